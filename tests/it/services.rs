//! Accounts and catalogue as services of their own: what each knows, what its role in the database may see, and what both
//! are behind a gateway. `SHAPE=services` runs the tests of the whole in this shape.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use stockroom::config::{Service, Services};
use stockroom::domain::accounts::Role;
use stockroom::graphql;
use stockroom::graphql::facts::{Facts, TypeFacts};

use crate::support::process::{Server, complained, run, run_with_input, said, signing_key};
use crate::support::servers::{TestDatabase, as_role, free_port, servers};
use crate::support::{Client, GRAPHQL, PASSWORD, TestServer, eventually, gateway, programs};

const ENTITIES: &str = "query($of: [_Any!]!) { _entities(representations: $of) {
    __typename ... on User { id name sessions { id } } } }";
const PRODUCTS: &str = "query($of: [_Any!]!) { _entities(representations: $of) {
    __typename ... on Product { name status createdBy { id } } ... on Category { name } } }";

async fn accounts() -> TestServer {
    TestServer::start_with(&["--services", "accounts"]).await
}

/// The catalogue alone, which asks these accounts for keys, on their database.
async fn catalog_of(accounts: &TestServer) -> TestServer {
    let jwks = format!("http://{}/.well-known/jwks.json", accounts.address);
    accounts.another(&["--services", "catalog", "--accounts-jwks-url", &jwks]).await
}

const CREATE: &str = "mutation($input: ProductInput!) { createProduct(input: $input) { product { id } } }";

/// A product's representation, made by this client.
async fn product(client: &Client, name: &str, status: &str) -> Value {
    let price = json!({ "amount": "10.00", "currency": "EUR" });
    let input = json!({ "sku": name, "name": name, "status": status, "price": price });
    let made = client.data(CREATE, json!({ "input": input })).await;
    json!({ "__typename": "Product", "id": made["createProduct"]["product"]["id"] })
}

fn asks(document: &str) -> Value {
    json!({ "query": document })
}

async fn is_unknown(client: &Client, field: &str, document: &str) {
    let text = client.refusal_text(&asks(document)).await;
    let told = text.contains(&format!("Unknown field \\\"{field}\\\"")) || text.contains("Unknown type");
    assert!(told && text.contains("GRAPHQL_VALIDATION_FAILED") && !text.contains("\"data\""), "{document}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_compose_to_the_whole_api() {
    let [accounts, catalog] = gateway::subgraphs();
    let whole = format!("{}/schema.graphql", env!("CARGO_MANIFEST_DIR"));
    programs::every_check_holds("clients", &["composition.mjs"], &[&whole, &accounts, &catalog]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_does_not_know_what_is_not_its_own_whichever_way_it_is_asked_for() {
    let accounts = accounts().await;
    let catalog = catalog_of(&accounts).await;
    let admin = accounts.signed_in(Role::Admin).await;
    let [whole, of_accounts, of_catalog] =
        [Services::All, Services::Only(Service::Accounts), Services::Only(Service::Catalog)]
            .map(|services| Facts::served(services).unwrap());
    let fields = |facts: &Facts, of: &str| -> Vec<String> {
        let Some(TypeFacts::Composite(composite)) = facts.of(of) else { return Vec::new() };
        composite.fields.keys().map(ToString::to_string).collect()
    };
    let mut refused = 0;
    for (server, own) in [(&accounts, &of_accounts), (&catalog, &of_catalog)] {
        let client = Client { token: admin.token.clone(), ..server.anonymous() };
        for (root, operation) in [("Query", "query"), ("Mutation", "mutation")] {
            for field in fields(&whole, root).iter().filter(|field| own.field(root, field).is_none()) {
                for document in [
                    format!("{operation} {{ {field} {{ __typename }} }}"),
                    format!("{operation} {{ ... on {root} {{ {field} }} }}"),
                    format!("{operation} {{ ...hidden }} fragment hidden on {root} {{ {field} {{ __typename }} }}"),
                ] {
                    is_unknown(&client, field, &document).await;
                    refused += 1;
                }
            }
        }
    }
    let events = accounts.anonymous().http.post(&accounts.anonymous().url).header("accept", "text/event-stream");
    let events = events.json(&asks("subscription { productEvents { cursor } }")).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("GRAPHQL_VALIDATION_FAILED"));
    assert!(refused > 50, "only {refused} documents were tried");
    let catalog = Client { token: admin.token.clone(), ..catalog.anonymous() };
    for field in fields(&whole, "User").iter().filter(|field| *field != "id") {
        for document in [
            format!("{{ products {{ nodes {{ createdBy {{ {field} }} }} }} }}"),
            format!("{{ products {{ nodes {{ createdBy {{ ... on Node {{ ... on User {{ {field} }} }} }} }} }} }}"),
            format!("{{ _entities(representations: []) {{ ... on Product {{ createdBy {{ {field} }} }} }} }}"),
            format!("{{ _entities(representations: []) {{ ... on User {{ {field} }} }} }}"),
        ] {
            is_unknown(&catalog, field, &document).await;
        }
    }
    for of in ["Product", "Category"] {
        is_unknown(&admin, "name", &format!("{{ node(id: \"x\") {{ ... on {of} {{ name }} }} }}")).await;
    }
    // The introspection tells of no more than that.
    let user = "{ __type(name: \"User\") { fields { name } } session: __type(name: \"Session\") { name } }";
    let data = catalog.data(user, json!({})).await;
    assert_eq!(data, json!({ "__type": { "fields": [{ "name": "id" }] }, "session": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_knows_no_fields_for_gateways() {
    let server = TestServer::start_with(&[]).await;
    for document in ["{ _service { sdl } }", "{ _entities(representations: []) { __typename } }"] {
        assert_eq!(server.anonymous().refusal(&asks(document)).await.1, "GRAPHQL_VALIDATION_FAILED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_come_in_their_order_by_one_statement_as_far_as_the_viewer_may_see_them() {
    let accounts = accounts().await;
    let catalog = catalog_of(&accounts).await;
    let staff = Client { token: accounts.signed_in(Role::Staff).await.token, ..catalog.anonymous() };
    let mut representations = Vec::new();
    for number in 0..20 {
        let status = if number == 7 { "DRAFT" } else { "ACTIVE" };
        representations.push(product(&staff, &format!("Lamp {number}"), status).await);
    }
    let of = json!({ "of": representations });
    // Another instance remembers nothing of them.
    let fresh = catalog_of(&accounts).await;
    let (data, statements) = fresh.statements(fresh.anonymous().data(PRODUCTS, of.clone())).await;
    assert_eq!(statements, 1);
    let entities = data["_entities"].as_array().unwrap();
    assert_eq!(entities.len(), 20);
    for (number, entity) in entities.iter().enumerate() {
        let seen =
            json!({ "__typename": "Product", "name": format!("Lamp {number}"), "status": "ACTIVE", "createdBy": null });
        assert_eq!(*entity, if number == 7 { Value::Null } else { seen });
    }
    let drafts = Client { url: fresh.anonymous().url, ..staff }.data(PRODUCTS, of).await;
    assert_eq!(drafts["_entities"][7]["status"], "DRAFT");
    assert!(drafts["_entities"][7]["createdBy"]["id"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_told_to_those_who_may_know_them_and_their_sessions_to_themselves() {
    let server = accounts().await;
    let (ada, bob) = (server.registers().await, server.registers().await);
    let id = ada.client.data("{ me { id } }", json!({})).await["me"]["id"].take();
    let of = json!({ "of": [{ "__typename": "User", "id": id }] });
    let told = async |client: &Client| client.data(ENTITIES, of.clone()).await["_entities"][0].take();
    assert_eq!(told(&server.anonymous()).await, Value::Null);
    assert_eq!(told(&bob.client).await, Value::Null);
    assert_eq!(told(&ada.client).await["sessions"].as_array().unwrap().len(), 1);
    // The staff sees who made a product, in whichever service.
    let seen = told(&server.signed_in(Role::Staff).await).await;
    assert_eq!((&seen["id"], &seen["sessions"]), (&id, &Value::Null));
    assert!(told(&server.signed_in(Role::Admin).await).await["sessions"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn representations_are_counted_and_what_is_none_fails_alone() {
    let accounts = accounts().await;
    let catalog = catalog_of(&accounts).await;
    let staff = Client { token: accounts.signed_in(Role::Staff).await.token, ..catalog.anonymous() };
    let good = product(&staff, "Lamp", "ACTIVE").await;
    let id = &good["id"];
    let user = accounts.registers().await.client.data("{ me { id } }", json!({})).await["me"]["id"].take();
    for bad in [
        json!({ "__typename": "User", "id": user }),
        json!({ "__typename": "Category", "id": id }),
        json!({ "__typename": "Product", "id": "x" }),
        json!({ "__typename": "Product" }),
        json!("Product"),
    ] {
        let body = staff.send(PRODUCTS, json!({ "of": [bad, good] })).await;
        assert_eq!(body["data"]["_entities"][0], Value::Null, "{body}");
        assert_eq!(body["data"]["_entities"][1]["name"], "Lamp", "{body}");
        assert_eq!(body["errors"][0]["path"], json!(["_entities", 0]), "{body}");
        assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
    }
    let many = |count: usize| json!({ "query": PRODUCTS, "variables": { "of": vec![good.clone(); count] } });
    assert_eq!(staff.refusal(&many(1_001)).await.1, "COST_TOO_HIGH");
    let reported = staff.http.post(&staff.url).header("graphql-cost", "report").json(&many(100));
    let reported: Value = reported.send().await.unwrap().json().await.unwrap();
    assert_eq!(reported["extensions"]["cost"]["requested"], 200, "{}", reported["extensions"]);
    let generous = accounts.another(&["--services", "accounts", "--max-cost", "100000"]).await;
    let users =
        json!({ "query": ENTITIES, "variables": { "of": vec![json!({ "__typename": "User", "id": user }); 1_001] } });
    assert_eq!(generous.anonymous().refusal(&users).await.1, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subgraph_is_shown_to_whom_the_schema_is() {
    let server = TestServer::start_with(&["--services", "accounts", "--introspection", "false"]).await;
    let document = "{ ...s } fragment s on Query { _service { sdl } }";
    assert_eq!(server.anonymous().refusal(&asks(document)).await.1, "INTROSPECTION_DISABLED");
    let shown = server.signed_in(Role::Staff).await.data(document, json!({})).await;
    assert_eq!(shown["_service"]["sdl"], graphql::published_sdl(Services::Only(Service::Accounts)));
    let printed = run(&["schema", "--services", "accounts"]);
    assert_eq!(said(&printed).trim(), shown["_service"]["sdl"].as_str().unwrap().trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_may_do_what_their_service_does_and_no_more() {
    let database = TestDatabase::create().await;
    let code = async |service, statement: &str| {
        let failed = database.connect_as(service).await.batch_execute(statement).await;
        failed.err().and_then(|error| error.code().map(|code| code.code().to_owned()))
    };
    let denied = Some("42501");
    for statement in [
        "SELECT password_hash FROM users",
        "SELECT * FROM users",
        "SELECT email FROM users",
        "SELECT name FROM users",
        "SELECT secret FROM sessions",
        "SELECT address FROM sessions",
        "SELECT * FROM mail_tokens",
        "SELECT name FROM api_keys",
        "UPDATE users SET role = 'ADMIN'",
        "UPDATE sessions SET revoked_at = NULL",
        "UPDATE api_keys SET expires_at = NULL",
        "INSERT INTO identities VALUES ('a', 'b', gen_random_uuid())",
        "DELETE FROM changes",
        "DELETE FROM idempotency",
        "ALTER TABLE users ADD COLUMN x text",
        "CREATE TABLE public.x ()",
        "TRUNCATE products",
    ] {
        assert_eq!(code(Service::Catalog, statement).await.as_deref(), denied, "{statement}");
    }
    for statement in
        ["SELECT id, role, token_version FROM users", "SELECT hash FROM api_keys", "SELECT * FROM products"]
    {
        assert_eq!(code(Service::Catalog, statement).await, None, "{statement}");
    }
    for statement in [
        "SELECT name FROM catalog.products",
        "SELECT price_amount FROM products",
        "UPDATE catalog.products SET stock = 0",
        "UPDATE changes SET actor_id = NULL",
    ] {
        assert_eq!(code(Service::Accounts, statement).await.as_deref(), denied, "{statement}");
    }
    assert_eq!(code(Service::Accounts, "SELECT password_hash FROM users").await, None);

    // What a role had before is taken back.
    let owner = database.connect().await;
    owner.batch_execute("GRANT SELECT ON users TO of_catalog").await.unwrap();
    assert_eq!(code(Service::Catalog, "SELECT email FROM users").await, None);
    let granted = run(&["grant", "catalog", "of_catalog", "--database-url", &database.url]);
    assert!(granted.status.success(), "{}", complained(&granted));
    assert_eq!(code(Service::Catalog, "SELECT email FROM users").await.as_deref(), denied);
    assert_eq!(code(Service::Catalog, "SELECT id FROM users").await, None);
    let nobody = run(&["grant", "catalog", "no\"body", "--database-url", &database.url]);
    assert!(complained(&nobody).contains("no\"body"), "{}", complained(&nobody));
}

#[test]
fn a_service_alone_needs_a_database_and_the_catalogue_keys_of_others_and_none_of_its_own() {
    let database = "postgres://a@127.0.0.1:1/b?sslmode=disable";
    let jwks = "http://127.0.0.1:1/.well-known/jwks.json";
    let catalog = ["serve", "--services", "catalog", "--listen-addr", "127.0.0.1:0"];
    for (arguments, advice) in [
        (&["serve", "--services", "accounts", "--listen-addr", "127.0.0.1:0"][..], "set DATABASE_URL"),
        (&[&catalog[..], &["--database-url", database]].concat(), "ACCOUNTS_JWKS_URL"),
        (
            &[&catalog[..], &["--database-url", database, "--accounts-jwks-url", jwks, "--jwt-private-key", "x"]]
                .concat(),
            "unset JWT_PRIVATE_KEY",
        ),
        (&["serve", "--services", "stock"], "use `accounts`, `catalog`"),
        (&[&catalog[..], &["--accounts-jwks-url", "http://accounts.example/jwks.json"]].concat(), "use https"),
    ] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(2), "{}", complained(&refused));
        assert!(complained(&refused).contains(advice), "{}", complained(&refused));
    }
}

/// Both services as processes, each with its role, behind the gateway.
struct Shop {
    accounts: Server,
    catalog: Server,
    client: Client,
    database: TestDatabase,
}

impl Shop {
    async fn open() -> Self {
        let (database, key) = (TestDatabase::create().await, signing_key());
        let accounts = Self::accounts(free_port(), &database, &key);
        let catalog = Self::catalog(&database, accounts.port);
        let at = |server: &Server| ([127, 0, 0, 1], server.port).into();
        let url = gateway::url(at(&accounts), at(&catalog));
        let client = Client { url, ..accounts.client() };
        Self { accounts, catalog, client, database }
    }

    fn accounts(port: u16, database: &TestDatabase, key: &str) -> Server {
        let (url, redis) = (as_role(&database.url, Service::Accounts), servers().redis_url());
        let flags = ["--services", "accounts", "--database-url", &url, "--jwt-private-key-file", key];
        Server::start_on(port, &[&flags[..], &["--redis-url", &redis, "--redis-prefix", &database.name]].concat())
    }

    fn catalog(database: &TestDatabase, accounts: u16) -> Server {
        let (url, redis) = (as_role(&database.url, Service::Catalog), servers().redis_url());
        let jwks = format!("http://127.0.0.1:{accounts}/.well-known/jwks.json");
        let flags = ["--services", "catalog", "--database-url", &url, "--accounts-jwks-url", &jwks];
        Server::start(&[&flags[..], &["--redis-url", &redis, "--redis-prefix", &database.name]].concat())
    }

    async fn staff(&self) -> Client {
        let (email, url) = ("staff@stockroom.test", &self.database.url);
        let create =
            ["user", "create", email, "--name", "Sam", "--role", "STAFF", "--password-stdin", "--database-url", url];
        let made = run_with_input(&create, PASSWORD);
        assert!(made.status.success(), "{}", complained(&made));
        self.client.with_token(&self.client.logs_in(email, PASSWORD).await.unwrap().access)
    }
}

const BOTH: &str = "{ products { nodes { name createdBy { name } } } me { name } }";

/// The status, what is answered, how many requests the gateway sent for it, and how long it took.
async fn timed(client: &Client) -> (u16, Value, u32, Duration) {
    let asked = Instant::now();
    let response = client.post(BOTH, &json!({})).await;
    let requests = response.headers()["x-requests-to-services"].to_str().unwrap().parse().unwrap();
    let (status, body) = (response.status().as_u16(), response.json().await.unwrap());
    (status, body, requests, asked.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_service_is_down_the_other_answers_its_part_in_time_and_nobody_storms() {
    let mut shop = Shop::open().await;
    let staff = shop.staff().await;
    staff.create_product(json!({ "name": "Lamp" })).await;
    let (_, whole, requests, _) = timed(&staff).await;
    let lamp = |by: Value| json!([{ "name": "Lamp", "createdBy": { "name": by } }]);
    assert_eq!(whole["data"], json!({ "products": { "nodes": lamp(json!("Sam")) }, "me": { "name": "Sam" } }));
    // Of each service its part, and of the accounts who made the products.
    assert_eq!(requests, 3);

    let failed = |body: &Value| -> Vec<Value> {
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.into_iter().map(|error| error["path"].clone()).collect()
    };
    let without_accounts = async |what: &str| {
        let (status, body, requests, took) = timed(&staff).await;
        assert_eq!(status, 200, "{what}: a part is there");
        let expected = json!({ "products": { "nodes": lamp(Value::Null) }, "me": null });
        assert_eq!(body["data"], expected, "{what}: {body}");
        let paths = failed(&body);
        assert!(paths.contains(&json!(["me"])), "{what}: {body}");
        assert!(paths.contains(&json!(["products", "nodes", 0, "createdBy", "name"])), "{what}: {body}");
        assert!(body["errors"].as_array().unwrap().iter().all(|error| error["extensions"]["code"] == "UNAVAILABLE"));
        assert!(!body.to_string().contains("_entities") && !body.to_string().contains("127.0.0.1"), "{what}: {body}");
        assert_eq!(requests, 3, "{what}: nothing is tried again");
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
    };
    shop.accounts.signal("STOP");
    without_accounts("frozen").await;
    shop.accounts.signal("CONT");
    eventually("it answers again", async || timed(&staff).await.1.get("errors").is_none()).await;

    // The catalogue goes on to verify tokens by the keys that it knows.
    shop.accounts.child.kill().unwrap();
    shop.accounts.child.wait().unwrap();
    without_accounts("killed").await;
    assert!(product(&staff, "CHAIR", "ACTIVE").await["id"].is_string());
    // One that knows none does not take that for the tokens' fault.
    let other = Shop::catalog(&shop.database, shop.accounts.port);
    let (status, code) = staff.at(&other).refusal(&asks("{ products { nodes { name } } }")).await;
    assert_eq!((status, code.as_str()), (503, "UNAVAILABLE"));

    let accounts = shop.accounts.port;
    shop.accounts = Shop::accounts(accounts, &shop.database, &signing_key());
    eventually("tokens of a key that is no more are refused", async || {
        staff.at(&other).refusal(&asks("{ products { nodes { name } } }")).await == (401, "UNAUTHENTICATED".to_owned())
    })
    .await;

    shop.catalog.signal("STOP");
    let (status, body, requests, took) = timed(&shop.client).await;
    assert_eq!(status, 503, "nothing is there");
    assert_eq!((&body["data"], failed(&body)), (&json!({ "products": null, "me": null }), vec![json!(["products"])]));
    assert_eq!(requests, 2);
    assert!(took < Duration::from_secs(2), "{took:?}");
    // What becomes of a change that it was sent nobody knows; one that it was not sent may be tried again.
    let create = "mutation { createCategory(input: { name: \"Chairs\" }) { category { id } } }";
    let changed = async || {
        let response = staff.post(create, &json!({})).await;
        let come_back = response.headers().get("retry-after").is_some_and(|wait| wait == "1");
        let (status, body) = (response.status().as_u16(), response.json::<Value>().await.unwrap());
        (status, come_back, body["errors"][0]["extensions"]["code"].clone())
    };
    assert_eq!(changed().await, (200, false, json!("OUTCOME_UNKNOWN")));
    shop.catalog.child.kill().unwrap();
    shop.catalog.child.wait().unwrap();
    assert_eq!(changed().await, (503, true, json!("UNAVAILABLE")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_before_a_service_says_nothing_to_clients_and_refuses_no_part_of_the_other() {
    let mut shop = Shop::open().await;
    let staff = shop.staff().await;
    staff.create_product(json!({ "name": "Lamp" })).await;
    shop.accounts.child.kill().unwrap();
    shop.accounts.child.wait().unwrap();
    let page = (StatusCode::BAD_GATEWAY, "text/html", "<h1>inside.example is down</h1>".to_owned());
    let answer = Arc::new(Mutex::new(page));
    let given = Arc::clone(&answer);
    let everything = Router::new().fallback(move || async move {
        let (status, kind, body) = given.lock().unwrap().clone();
        (status, [("content-type", kind)], body)
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", shop.accounts.port)).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, everything).await });

    let lamp = json!([{ "name": "Lamp", "createdBy": { "name": null } }]);
    let (status, body, ..) = timed(&staff).await;
    assert_eq!((status, &body["data"]["products"]["nodes"]), (200, &lamp), "{body}");
    assert!(body["errors"].as_array().unwrap().iter().all(|error| error["extensions"]["code"] == "UNAVAILABLE"));
    assert!(!body.to_string().contains("inside") && !body.to_string().contains("_entities"), "{body}");
    let login = "mutation($input: LoginInput!) { login(input: $input) { user { id } } }";
    let body = staff.send(login, json!({ "input": { "email": "a@b.example", "password": "secret wish" } })).await;
    assert_eq!(body["errors"][0]["extensions"]["code"], "OUTCOME_UNKNOWN", "{body}");
    assert!(!body.to_string().contains("inside") && !body.to_string().contains("secret wish"), "{body}");

    let limit = json!({ "code": "RATE_LIMITED", "rateLimit": { "retryAfterSeconds": 7 } });
    let refused = json!({ "errors": [{ "message": "the budget is spent", "extensions": limit }] });
    *answer.lock().unwrap() = (StatusCode::TOO_MANY_REQUESTS, "application/json", refused.to_string());
    let (status, body, ..) = timed(&staff).await;
    assert_eq!((status, &body["data"]["products"]["nodes"]), (200, &lamp), "{body}");
    let whole = staff.post("{ me { name } }", &json!({})).await;
    assert_eq!((whole.status().as_u16(), whole.headers()["retry-after"].to_str().unwrap()), (429, "7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_service_revokes_the_other_refuses_at_once() {
    let shop = Shop::open().await;
    let staff = shop.staff().await;
    let product = staff.create_product(json!({ "name": "Lamp" })).await;
    let input = json!({ "name": "import", "scopes": ["CATALOG_WRITE", "CATALOG_READ"] });
    let create = "mutation($input: ApiKeyInput!) { createApiKey(input: $input) { secret apiKey { id } } }";
    let made = staff.data(create, json!({ "input": input })).await["createApiKey"].take();
    let machine = shop.client.with_token(made["secret"].as_str().unwrap());
    let adjust = "mutation($id: ID!) { adjustStock(by: { id: $id }, delta: 1) { product { stock { available } } } }";
    let by = json!({ "id": product["id"] });
    let adjusted = machine.data(adjust, by.clone()).await;
    assert_eq!(adjusted["adjustStock"]["product"]["stock"]["available"], 2);

    let revoke = "mutation($id: ID!) { revokeApiKey(id: $id) { revoked } }";
    staff.data(revoke, json!({ "id": made["apiKey"]["id"] })).await;
    staff.data("mutation { logout { revoked } }", json!({})).await;
    for client in [&machine, &staff] {
        let refused = client.at(&shop.catalog).refusal(&json!({ "query": adjust, "variables": by })).await;
        assert_eq!(refused.1, "UNAUTHENTICATED");
    }
    let left = shop.client.data("query($id: ID!) { product(by: { id: $id }) { stock { available } } }", by).await;
    assert_eq!(left["product"]["stock"]["available"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_of_both_services_under_one_key_happens_once_in_each() {
    let shop = Shop::open().await;
    let staff = shop.staff().await;
    let both = "mutation { createApiKey(input: { name: \"import\", scopes: [CATALOG_READ] }) { secret }
        createCategory(input: { name: \"Lamps\" }) { category { id } errors { ... on UserError { code } } } }";
    let send = async || -> Value {
        let request = staff.http.post(&staff.url).bearer_auth(staff.token.as_ref().unwrap()).header("accept", GRAPHQL);
        let request = request.header("idempotency-key", "one-key-of-a-client").json(&asks(both));
        request.send().await.unwrap().json().await.unwrap()
    };
    let first = send().await;
    assert!(first["data"]["createCategory"]["category"]["id"].is_string(), "{first}");
    assert_eq!(send().await, first);
}
