//! What tests stand on: servers that are started once, a database for each test, and clients.

pub mod certificates;
pub mod cluster;
pub mod gateway;
pub mod pooler;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod servers;
pub mod standby;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use stockroom::config::{Service, Settings};
use stockroom::domain::Core;
use stockroom::domain::accounts::{self, AccountDraft, Device, Revocations, Role};
use stockroom::domain::transaction::Mandate;
use stockroom::graphql::service::ServiceInfo;
use stockroom::graphql::{self, SchemaBuilder, Schemas};
use stockroom::infra::Infra;
use stockroom::infra::db::Database;
use stockroom::infra::keys::Keys;
use stockroom::transport::{self, App, Stage};
use tokio::sync::watch;
use uuid::Uuid;

use servers::{TestDatabase, as_role, servers};

/// A server in this process, on its own database and its own prefix in Redis.
pub struct TestServer {
    pub address: SocketAddr,
    pub core: Arc<Core>,
    pub keys: Arc<Keys>,
    /// The server ends with it.
    _stage: watch::Sender<Stage>,
    /// Where it writes mails; the folder comes with the first of them.
    pub outbox: PathBuf,
    http: reqwest::Client,
    /// Where its API is.
    url: String,
    /// Where it is two services: the other one.
    _catalog: Option<Box<Self>>,
    // Dropped last, after the pools.
    pub database: Arc<TestDatabase>,
}

impl TestServer {
    /// With PostgreSQL and Redis.
    pub async fn start() -> Self {
        let redis = servers().redis_url();
        Self::start_with(&["--redis-url", &redis]).await
    }

    /// With these flags beside those that name the database.
    pub async fn start_with(flags: &[&str]) -> Self {
        Self::start_built(flags, |builder| builder).await
    }

    /// The same with something added to the schema.
    pub async fn start_built(flags: &[&str], build: fn(SchemaBuilder) -> SchemaBuilder) -> Self {
        let keys = Arc::new(Keys::generate().unwrap());
        let database = Arc::new(TestDatabase::create().await);
        let url = database.url.clone();
        Self::on(database, &url, keys, flags, build).await
    }

    /// On a migrated database of the test's own.
    pub async fn on_primary(url: &str, flags: &[&str]) -> Self {
        let database = Arc::new(TestDatabase::create().await);
        Self::on(database, url, Arc::new(Keys::generate().unwrap()), flags, |builder| builder).await
    }

    /// Another instance on this one's database, prefix and key.
    pub async fn another(&self, flags: &[&str]) -> Self {
        self.another_by_way_of(&self.database.url, flags).await
    }

    /// The same, where the database is at another URL.
    pub async fn another_by_way_of(&self, url: &str, flags: &[&str]) -> Self {
        Self::on(Arc::clone(&self.database), url, Arc::clone(&self.keys), flags, |builder| builder).await
    }

    async fn on(
        database: Arc<TestDatabase>,
        url: &str,
        keys: Arc<Keys>,
        flags: &[&str],
        build: fn(SchemaBuilder) -> SchemaBuilder,
    ) -> Self {
        if !gateway::is_everywhere() || flags.contains(&"--services") {
            return Self::alone(database, url, keys, flags, build).await;
        }
        let accounts = Self::service(Service::Accounts, &database, url, &keys, flags, build).await;
        let jwks = format!("http://{}/.well-known/jwks.json", accounts.address);
        let flags = [flags, &["--accounts-jwks-url", &jwks]].concat();
        let catalog = Self::service(Service::Catalog, &database, url, &keys, &flags, build).await;
        let url = gateway::url(accounts.address, catalog.address);
        // Sockets go to the one that has subscriptions.
        Self { url, address: catalog.address, _catalog: Some(Box::new(catalog)), ..accounts }
    }

    /// One of two services, with its role in the database.
    async fn service(
        service: Service,
        database: &Arc<TestDatabase>,
        url: &str,
        keys: &Arc<Keys>,
        flags: &[&str],
        build: fn(SchemaBuilder) -> SchemaBuilder,
    ) -> Self {
        let name = match service {
            Service::Accounts => "accounts",
            Service::Catalog => "catalog",
        };
        let (url, flags) = (as_role(url, service), [flags, &["--services", name]].concat());
        Box::pin(Self::alone(Arc::clone(database), &url, Arc::clone(keys), &flags, build)).await
    }

    async fn alone(
        database: Arc<TestDatabase>,
        url: &str,
        keys: Arc<Keys>,
        flags: &[&str],
        build: fn(SchemaBuilder) -> SchemaBuilder,
    ) -> Self {
        let prefix = database.name.clone();
        let url: SecretString = url.to_owned().into();
        let flags = [&["--redis-prefix", &prefix, "--password-hashes", "2"], UNLIMITED, flags].concat();
        let settings = Settings::from_flags(&flags).unwrap();
        let outbox = std::env::temp_dir().join(format!("stockroom-test-{}-{prefix}-outbox", std::process::id()));
        let db = Database::new(&settings, &url, &url).unwrap();
        let signing = settings.services.include(Service::Accounts).then(|| Arc::clone(&keys));
        let infra = Infra::new(&settings, db, signing, Some(outbox.clone()));
        let core = Core::new(&settings, infra.unwrap());
        // A machine with much to do may be too slow at first.
        eventually("revocations are read", async || Revocations::follow(&core).await.is_ok()).await;
        let (stage, stages) = watch::channel(Stage::Serving);
        let connections = settings.max_connections;
        let schemas = Schemas::new(|| build(graphql::builder(settings.services).data(ServiceInfo::new(&settings))));
        let app = App::new(Arc::clone(&core), schemas, settings, true, stages.clone()).unwrap();
        let listener = transport::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Arc::new(app);
        let router = transport::router(Arc::clone(&app));
        tokio::spawn(transport::serve(router, Some(app), listener, connections, stages, Duration::ZERO));
        let (http, url) = (reqwest::Client::new(), format!("http://{address}/graphql"));
        Self { address, core, keys, _stage: stage, outbox, http, url, _catalog: None, database }
    }

    /// A client without a token.
    pub fn anonymous(&self) -> Client {
        Client { http: self.http.clone(), url: self.url.clone(), token: None }
    }

    /// A client with an account of this role.
    pub async fn signed_in(&self, role: Role) -> Client {
        let (core, mandate) = (&self.core, Mandate::default());
        let email = format!("{}@stockroom.test", Uuid::new_v4().simple());
        let password = SecretString::from(PASSWORD);
        let name = Some(format!("A {}", role.as_str()));
        let draft = AccountDraft { email: email.clone(), password: password.clone(), name };
        accounts::commands::create_user(core, draft, role).await.unwrap();
        let device = Device { address: "127.0.0.1".to_owned(), user_agent: None, subject: "127.0.0.1".to_owned() };
        let signed = accounts::commands::login(core, &mandate, &email, &password, &device).await.unwrap();
        Client { token: Some(signed.access_token), ..self.anonymous() }
    }

    /// Somebody who opens an account and is signed in by that.
    pub async fn registers(&self) -> Account {
        let email = format!("{}@stockroom.test", Uuid::new_v4().simple());
        let input = json!({ "email": email, "password": PASSWORD });
        let data = self.anonymous().insist(REGISTER, json!({ "input": input })).await;
        let Ok(tokens) = tokens(&data["register"]) else { panic!("{data}") };
        Account { email, client: self.anonymous().with_token(&tokens.access), tokens }
    }

    /// The first so many mails, once they are written.
    pub async fn mails(&self, count: usize) -> Vec<String> {
        let files = || {
            let entries = std::fs::read_dir(&self.outbox).into_iter().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
            files.retain(|file| file.extension().is_some_and(|ending| ending == "eml"));
            files.sort();
            files
        };
        eventually("mails are written", async || files().len() >= count).await;
        files().iter().take(count).map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }

    /// Statements that `work` sends through the pools.
    pub async fn statements<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let before = self.core.infra.db.statements();
        let done = work.await;
        (done, self.core.infra.db.statements() - before)
    }
}

/// The password of all who are [signed in](TestServer::signed_in).
pub const PASSWORD: &str = "correct horse battery";

/// No limit on what one address may do: all tests come from one.
pub const UNLIMITED: &[&str] = &["--rate-limit", "off", "--login-limit", "off", "--login-address-limit", "off"];

/// Somebody with an account, in a session.
pub struct Account {
    pub email: String,
    pub tokens: Tokens,
    pub client: Client,
}

/// What shows who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

/// The tokens of a payload, or the code of its error.
pub fn tokens(payload: &Value) -> Result<Tokens, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match payload["tokens"].is_object() {
        true => Ok(Tokens {
            access: text(&payload["tokens"]["accessToken"]),
            refresh: text(&payload["tokens"]["refreshToken"]),
        }),
        false => Err(text(&payload["errors"][0]["code"])),
    }
}

const REGISTER: &str = "mutation($input: RegisterInput!) { register(input: $input) {
    tokens { accessToken refreshToken } errors { ... on UserError { code } } } }";
const LOGIN: &str = "mutation($email: String!, $password: String!) {
    login(input: { email: $email, password: $password }) {
        tokens { accessToken refreshToken } errors { ... on UserError { code } } } }";

/// Sends GraphQL to a server.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub token: Option<String>,
}

impl Client {
    /// The same client with this token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client before another server.
    pub fn at(&self, server: &process::Server) -> Self {
        Self { url: server.client().url, ..self.clone() }
    }

    /// Signs in, or the error's code.
    pub async fn logs_in(&self, email: &str, password: &str) -> Result<Tokens, String> {
        let data = self.insist(LOGIN, json!({ "email": email, "password": password })).await;
        tokens(&data["login"])
    }

    /// The answer to a document with variables, as it came.
    pub async fn post(&self, query: &str, variables: &Value) -> reqwest::Response {
        let request = self.http.post(&self.url).json(&json!({ "query": query, "variables": variables }));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.expect("an answer")
    }

    /// The code of the refusal, and the status under which clients of today get it.
    pub async fn refusal(&self, body: &Value) -> (u16, String) {
        let request = self.http.post(&self.url).header("accept", GRAPHQL).json(body);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let body: Value = response.json().await.expect("JSON");
        (status, body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The whole text of what is answered to this body.
    pub async fn refusal_text(&self, body: &Value) -> String {
        let request = self.http.post(&self.url).header("accept", GRAPHQL).json(body);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.expect("an answer").text().await.expect("text")
    }

    /// The body of the answer.
    pub async fn send(&self, query: &str, variables: Value) -> Value {
        let response = self.post(query, &variables).await;
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        // Where nothing could be done for want of room, the body tells as much.
        assert!(status.is_success() || status == 503, "{status}: {body}");
        body
    }

    /// The data of an answer without errors.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let mut body = self.send(query, variables).await;
        assert!(body.get("errors").is_none(), "{body:#}");
        body["data"].take()
    }

    /// The same, asked for again and again where the machine has too much to do.
    pub async fn insist(&self, query: &str, variables: Value) -> Value {
        loop {
            let mut body = self.send(query, variables.clone()).await;
            match body["errors"][0]["extensions"]["code"].as_str() {
                None => return body["data"].take(),
                Some("BUSY" | "CONFLICT" | "OUTCOME_UNKNOWN" | "TIMEOUT" | "UNAVAILABLE") => {}
                Some(_) => panic!("{body:#}"),
            }
        }
    }

    /// A product in the catalogue, made by this client: the input with defaults for what it lacks.
    pub async fn create_product(&self, input: Value) -> Value {
        let unique = Uuid::new_v4().simple().to_string();
        let mut whole = json!({
            "sku": format!("SKU-{unique}"),
            "name": format!("Product {unique}"),
            "price": { "amount": "10.00", "currency": "EUR" },
            "status": "ACTIVE",
            "stock": 1,
        });
        whole.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
        let data = self.data(CREATE_PRODUCT, json!({ "input": whole })).await;
        let payload = &data["createProduct"];
        assert_eq!(payload["errors"], json!([]));
        payload["product"].clone()
    }
}

/// What clients of today accept.
pub const GRAPHQL: &str = "application/graphql-response+json";

pub const CREATE_PRODUCT: &str = "mutation($input: ProductInput!) { createProduct(input: $input) {
    product { id sku slug name version stock { available state } createdBy { name } }
    errors { __typename ... on UserError { code message path } } } }";

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..400 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("in ten seconds it did not happen that {what}");
}
