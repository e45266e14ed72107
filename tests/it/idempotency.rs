//! Mutations that happen once, however often they are sent and whatever becomes of the answer.

use std::collections::BTreeSet;
use std::fs;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use stockroom::graphql;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::sockets::Socket;
use crate::support::process::{Server, run, run_with_input, said};
use crate::support::proxy::{Fault, Proxy};
use crate::support::servers::{TestDatabase, scratch};
use crate::support::{Client, PASSWORD, TestServer, eventually, gateway};

const CREATE: &str = "mutation($name: String!) { createCategory(input: { name: $name }) {
    category { id name } errors { ... on UserError { code } } } }";
const CREATE_BY_DIRECTIVE: &str = "mutation($name: String!, $key: String!) {
    createCategory(input: { name: $name }) @idempotent(key: $key) {
        category { id name } errors { ... on UserError { code } } } }";
const CREATE_PRODUCT: &str = "mutation($sku: String!) {
    createProduct(input: { sku: $sku, name: $sku, price: { amount: \"1.00\", currency: \"EUR\" } }) {
        product { id } errors { ... on UserError { code } } } }";
const CREATE_KEY: &str = "mutation { createApiKey(input: { name: \"k\", scopes: [CATALOG_READ] }) {
    apiKey { id } secret errors { ... on UserError { code } } } }";

/// The answer to a request with this key.
async fn with_key(client: &Client, key: &str, query: &str, variables: &Value) -> Value {
    let request = client.http.post(&client.url).header("idempotency-key", key);
    let request = request.json(&json!({ "query": query, "variables": variables }));
    let request = match &client.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.expect("an answer").json().await.expect("JSON")
}

fn code(body: &Value) -> &str {
    body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

fn new_key() -> String {
    Uuid::new_v4().to_string()
}

async fn count(database: &TestDatabase, table: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {table}");
    database.connect().await.query_one(&count, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_under_its_key_is_done_once_and_answered_alike() {
    let server = TestServer::start().await;
    let instance = server.another(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let there = instance.anonymous().with_token(staff.token.as_deref().unwrap());
    let (key, rooms) = (new_key(), json!({ "name": "Rooms" }));
    let first = with_key(&staff, &key, CREATE, &rooms).await;
    assert_eq!(first["data"]["createCategory"]["category"]["name"], "Rooms");
    for client in [&staff, &there] {
        assert_eq!(with_key(client, &key, CREATE, &rooms).await, first);
        // A header may have it in quotes.
        assert_eq!(with_key(client, &format!("\"{key}\""), CREATE, &rooms).await, first);
    }
    // By the directive, over a socket too.
    let (key, variables) = (new_key(), json!({ "name": "Kitchens" }));
    let by_directive = json!({ "name": "Kitchens", "key": key });
    let first = staff.data(CREATE_BY_DIRECTIVE, by_directive.clone()).await;
    assert_eq!(there.data(CREATE_BY_DIRECTIVE, by_directive).await, first);
    // What a gateway makes of a request is another one: the socket's is repeated at its instance.
    let (key, name) = if gateway::is_everywhere() { (new_key(), "Halls") } else { (key, "Kitchens") };
    let straight = Client { url: format!("http://{}/graphql", instance.address), ..staff.clone() };
    let first = straight.data(CREATE_BY_DIRECTIVE, json!({ "name": name, "key": key })).await;
    let mut socket = Socket::open(instance.address, staff.token.as_deref()).await;
    let document = CREATE_BY_DIRECTIVE.replace("($name: String!, $key: String!)", "");
    let document = document.replace("$name", &format!("\"{name}\"")).replace("$key", &format!("\"{key}\""));
    socket.ask("1", &document).await;
    let message = socket.message().await.unwrap();
    assert_eq!(message["payload"]["data"], first, "{message}");
    assert_eq!(count(&server.database, "categories").await, 2 + i64::from(gateway::is_everywhere()));
    // Without one it is tried again each time; with another too.
    let taken = json!({ "category": null, "errors": [{ "code": "TAKEN" }] });
    assert_eq!(staff.data(CREATE, variables.clone()).await["createCategory"], taken);
    assert_eq!(with_key(&staff, &new_key(), CREATE, &variables).await["data"]["createCategory"], taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_under_one_key_are_one() {
    let server = TestServer::start_with(&["--database-wait", "20s", "--request-timeout", "60s"]).await;
    let instance = server.another(&["--database-wait", "20s", "--request-timeout", "60s"]).await;
    let staff = server.signed_in(Role::Staff).await;
    let before = server.core.gate.version().await.unwrap();
    let key = new_key();
    let mut sent = JoinSet::new();
    for number in 0..20 {
        let client = if number % 2 == 0 { &server } else { &instance }.anonymous();
        let (client, key) = (client.with_token(staff.token.as_deref().unwrap()), key.clone());
        sent.spawn(async move {
            loop {
                let answer = with_key(&client, &key, CREATE, &json!({ "name": "Rooms" })).await;
                // Whoever waits too long, on a machine with too much to do, comes again.
                if !["BUSY", "CONFLICT", "OUTCOME_UNKNOWN", "TIMEOUT", "UNAVAILABLE"].contains(&code(&answer)) {
                    return answer;
                }
            }
        });
    }
    let answers = sent.join_all().await;
    assert!(answers[0]["data"]["createCategory"]["category"]["id"].is_string(), "{}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(server.core.gate.version().await.unwrap(), before + 1);
    assert_eq!(count(&server.database, "categories").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_thing_of_one_user() {
    let server = TestServer::start_with(&[]).await;
    let (ada, bob) = (server.signed_in(Role::Staff).await, server.signed_in(Role::Staff).await);
    let key = new_key();
    with_key(&ada, &key, CREATE, &json!({ "name": "Rooms" })).await;
    // Something else is refused, however little it differs.
    for (query, variables) in [
        (CREATE, json!({ "name": "Room" })),
        (CREATE_PRODUCT, json!({ "sku": "S" })),
        (&CREATE.replace("id name", "id"), json!({ "name": "Rooms" })),
    ] {
        let refused = with_key(&ada, &key, query, &variables).await;
        assert_eq!(code(&refused), "IDEMPOTENCY_CONFLICT", "{refused}");
    }
    assert_eq!(count(&server.database, "categories").await, 1);
    // Others have keys of their own, and learn nothing.
    let theirs = with_key(&bob, &key, CREATE_KEY, &json!({})).await["data"]["createApiKey"]["secret"].take();
    assert_eq!(code(&with_key(&ada, &key, CREATE_KEY, &json!({})).await), "IDEMPOTENCY_CONFLICT");
    let key = new_key();
    let own = with_key(&ada, &key, CREATE_KEY, &json!({})).await["data"]["createApiKey"]["secret"].take();
    assert!(own.is_string() && theirs.is_string() && own != theirs);
    let stranger = with_key(&server.anonymous(), &key, CREATE_KEY, &json!({})).await;
    assert_eq!(code(&stranger), "UNAUTHENTICATED");
    let machine = server.anonymous().with_token(own.as_str().unwrap());
    assert_eq!(code(&with_key(&machine, &key, CREATE_KEY, &json!({})).await), "FORBIDDEN");
    assert_eq!(count(&server.database, "api_keys").await, 2);

    let by_directive = async |key: &str, name: &str| {
        let variables = json!({ "name": name, "key": key });
        ada.send(CREATE_BY_DIRECTIVE, variables).await
    };
    let key = new_key();
    let first = by_directive(&key, "Kitchens").await;
    assert_eq!(code(&by_directive(&key, "Kitchen").await), "IDEMPOTENCY_CONFLICT");
    // Here the field counts, whatever is selected of it and what else is asked.
    let other =
        "mutation { a: createCategory(input: { name: \"Kitchens\" }) @idempotent(key: \"KEY\") { category { id } } }";
    let again = ada.data(&other.replace("KEY", &key), json!({})).await;
    assert_eq!(again["a"]["category"]["id"], first["data"]["createCategory"]["category"]["id"]);
    assert_eq!(count(&server.database, "categories").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_request_is_for_each_of_its_mutations() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let two = "mutation { a: createCategory(input: { name: \"A\" }) { category { id } }
        b: createCategory(input: { name: \"B\" }) { category { id } } }";
    let key = new_key();
    let first = with_key(&staff, &key, two, &json!({})).await;
    assert_ne!(first["data"]["a"], first["data"]["b"]);
    assert_eq!(with_key(&staff, &key, two, &json!({})).await, first);
    assert_eq!(count(&server.database, "categories").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_keys_are_refused_before_anything_is_done() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    for key in ["", "\"\"", "two words", &"x".repeat(256), "sp\u{e4}t"] {
        let body = with_key(&staff, key, CREATE, &json!({ "name": "A" })).await;
        assert!(["BAD_USER_INPUT", "BAD_REQUEST"].contains(&code(&body)), "{key}: {body}");
        let variables = json!({ "name": "A", "key": key });
        if key != "\"\"" {
            assert_eq!(code(&staff.send(CREATE_BY_DIRECTIVE, variables).await), "BAD_USER_INPUT", "{key}");
        }
    }
    for directive in ["@idempotent", "@idempotent(key: null)", "@idempotent(key: 7)", "@idempotent(other: \"k\")"] {
        let document = format!(
            "mutation {{ createCategory(input: {{ name: \"A\" }}) {directive} {{ errors {{ __typename }} }} }}"
        );
        let response = staff.post(&document, &json!({})).await;
        let body: Value = response.json().await.unwrap();
        assert!(!code(&body).is_empty(), "{directive}: {body}");
    }
    assert_eq!(count(&server.database, "categories").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_anew_and_what_is_old_forgotten() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.data(CREATE_PRODUCT, json!({ "sku": "LAMP" })).await;
    let key = new_key();
    for _ in 0..2 {
        let refused = with_key(&staff, &key, CREATE_PRODUCT, &json!({ "sku": "LAMP" })).await;
        assert_eq!(refused["data"]["createProduct"]["errors"][0]["code"], "TAKEN", "{refused}");
    }
    assert_eq!(count(&server.database, "idempotency").await, 0);
    staff.data("mutation { deleteProduct(by: { sku: \"LAMP\" }) { deletedId } }", json!({})).await;
    let made = with_key(&staff, &key, CREATE_PRODUCT, &json!({ "sku": "LAMP" })).await;
    assert!(made["data"]["createProduct"]["product"]["id"].is_string(), "{made}");
    assert_eq!(with_key(&staff, &key, CREATE_PRODUCT, &json!({ "sku": "LAMP" })).await, made);

    let database = server.database.connect().await;
    for (age, left) in [("23 hours", 1), ("2 hours", 0)] {
        let statement = format!("UPDATE idempotency SET at = at - interval '{age}'");
        database.execute(&statement, &[]).await.unwrap();
        stockroom::domain::accounts::commands::prune(&server.core).await.unwrap();
        assert_eq!(count(&server.database, "idempotency").await, left, "{age}");
    }
    let anew = with_key(&staff, &key, CREATE_PRODUCT, &json!({ "sku": "LAMP" })).await;
    assert_eq!(anew["data"]["createProduct"]["errors"][0]["code"], "TAKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_the_table_learns_no_secret_from_it() {
    let server = TestServer::start_with(&[]).await;
    let ada = server.registers().await;
    let key = new_key();
    let made = with_key(&ada.client, &key, CREATE_KEY, &json!({})).await["data"]["createApiKey"].take();
    let secret = made["secret"].as_str().unwrap();
    let login = "mutation($email: String!, $password: String!) {
        login(input: { email: $email, password: $password }) { tokens { accessToken refreshToken } } }";
    let credentials = json!({ "email": ada.email, "password": PASSWORD });
    let anonymous = server.anonymous();
    let tokens = with_key(&anonymous, &key, login, &credentials).await["data"]["login"]["tokens"].take();
    assert_eq!(with_key(&ada.client, &key, CREATE_KEY, &json!({})).await["data"]["createApiKey"]["secret"], secret);
    assert_eq!(with_key(&anonymous, &key, login, &credentials).await["data"]["login"]["tokens"], tokens);
    assert_eq!(count(&server.database, "sessions").await, 2);

    let rows = server.database.connect().await.query("SELECT name, fingerprint, answer FROM idempotency", &[]).await;
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 2);
    let hidden =
        [secret, &key, &ada.email, PASSWORD, tokens["accessToken"].as_str().unwrap(), "\"user\"", "rt_", "sk_"];
    for row in rows {
        for column in 0..3 {
            let bytes: Vec<u8> = row.get(column);
            assert!(bytes.len() >= 32);
            for hidden in hidden {
                assert!(!bytes.windows(hidden.len()).any(|window| window == hidden.as_bytes()), "{hidden}");
            }
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
            assert_ne!(bytes, digest.as_ref());
        }
    }
}

/// Another instance, and what its way to the database leads through.
async fn behind_a_proxy(server: &TestServer) -> (Proxy, TestServer) {
    let proxy = Proxy::before(&server.database.url).await;
    let instance = server.another_by_way_of(&proxy.url(&server.database.url), &[]).await;
    (proxy, instance)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_on_the_way_from_the_database_is_looked_up_under_the_key() {
    let server = TestServer::start_with(&[]).await;
    let (proxy, instance) = behind_a_proxy(&server).await;
    let staff = server.signed_in(Role::Staff).await;
    let far = instance.anonymous().with_token(staff.token.as_deref().unwrap());
    let mut there = 0;
    for fault in [Fault::LoseAnswer, Fault::Silence, Fault::Cut] {
        let (key, name) = (new_key(), json!({ "name": format!("{fault:?}") }));
        proxy.once("COMMIT", fault);
        let answer = with_key(&far, &key, CREATE, &name).await;
        there += 1;
        assert!(answer["data"]["createCategory"]["category"]["id"].is_string(), "{fault:?}: {answer}");
        assert_eq!(with_key(&staff, &key, CREATE, &name).await, answer, "{fault:?}");
        assert_eq!(count(&server.database, "categories").await, there, "{fault:?}");

        // Without a key nobody tries again, and nobody pretends to know.
        proxy.once("COMMIT", fault);
        let answer = far.send(CREATE, json!({ "name": format!("{fault:?} again") })).await;
        assert_eq!(code(&answer), "OUTCOME_UNKNOWN", "{fault:?}: {answer}");
        there += i64::from(fault != Fault::Cut);
        assert_eq!(count(&server.database, "categories").await, there, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_that_cannot_be_looked_up_is_unknown_and_not_undone() {
    let server = TestServer::start_with(&[]).await;
    let (proxy, instance) = behind_a_proxy(&server).await;
    let staff = server.signed_in(Role::Staff).await;
    let far = instance.anonymous().with_token(staff.token.as_deref().unwrap());
    // Whoever is looked up before connections break has the answer.
    for attempt in 1..=10 {
        let (key, name) = (new_key(), json!({ "name": format!("{attempt}") }));
        let before = proxy.faults();
        proxy.once("COMMIT", Fault::LoseAnswer);
        let breaks = async {
            proxy.happened(before + 1).await;
            proxy.always("BEGIN", Fault::Cut);
        };
        let (answer, ()) = tokio::join!(with_key(&far, &key, CREATE, &name), breaks);
        proxy.heal();
        assert_eq!(with_key(&staff, &key, CREATE, &name).await["errors"], Value::Null);
        assert_eq!(count(&server.database, "categories").await, attempt);
        if answer["errors"] != Value::Null {
            assert_eq!(code(&answer), "OUTCOME_UNKNOWN", "{answer}");
            return;
        }
    }
    panic!("connections never broke in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_between_commit_and_answer_owes_nothing() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&database.url).await;
    let key_file = scratch("once").join("key.pem");
    fs::write(&key_file, said(&run(&["keys", "generate"]))).unwrap();
    let start =
        |url: &str| Server::start(&["--database-url", url, "--jwt-private-key-file", key_file.to_str().unwrap()]);
    let create =
        ["user", "create", "ada@example.com", "--role", "STAFF", "--password-stdin", "--database-url", &database.url];
    assert!(run_with_input(&create, PASSWORD).status.success());
    let server = start(&proxy.url(&database.url));
    let token = server.client().logs_in("ada@example.com", PASSWORD).await.unwrap().access;
    let key = new_key();
    proxy.once("COMMIT", Fault::Silence);
    let (client, its_key) = (server.client().with_token(&token), key.clone());
    let lost = tokio::spawn(async move {
        let request =
            client.http.post(&client.url).header("idempotency-key", its_key).bearer_auth(client.token.unwrap());
        request.json(&json!({ "query": CREATE_KEY, "variables": {} })).send().await.is_err()
    });
    proxy.happened(1).await;
    drop(server);
    assert!(lost.await.unwrap(), "there is no answer");
    assert_eq!(count(&database, "api_keys").await, 1);

    let server = start(&database.url);
    let client = server.client().with_token(&token);
    let answer = with_key(&client, &key, CREATE_KEY, &json!({})).await;
    let secret = answer["data"]["createApiKey"]["secret"].as_str().unwrap();
    assert_eq!(with_key(&client, &key, CREATE_KEY, &json!({})).await, answer);
    assert_eq!(count(&database, "api_keys").await, 1);
    let machine = server.client().with_token(secret);
    assert_eq!(machine.data("{ me { email } }", json!({})).await["me"]["email"], "ada@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_updates_of_one_version_one_happens() {
    let server = TestServer::start_with(&["--database-wait", "20s", "--request-timeout", "60s"]).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "sku": "LAMP" })).await;
    let update =
        "mutation($name: String!) { updateProduct(by: { sku: \"LAMP\" }, patch: { name: $name }, ifVersion: 1) {
        product { version } errors { ... on UserError { code path } } } }";
    let mut updates = JoinSet::new();
    for number in 0..50 {
        let staff = staff.clone();
        updates.spawn(async move { staff.data(update, json!({ "name": format!("Lamp {number}") })).await });
    }
    let mut done = 0;
    for answer in updates.join_all().await {
        let payload = &answer["updateProduct"];
        match payload["product"]["version"].as_i64() {
            Some(version) => {
                assert_eq!(version, 2);
                done += 1;
            }
            None => assert_eq!(payload["errors"], json!([{ "code": "VERSION_CONFLICT", "path": ["ifVersion"] }])),
        }
    }
    assert_eq!(done, 1);
    let product = staff.data("{ product(by: { sku: \"LAMP\" }) { version } }", json!({})).await;
    assert_eq!(product["product"]["version"], 2);
}

/// The token of a link in the latest mail to somewhere.
async fn link(server: &TestServer, email: &str, page: &str) -> String {
    let mut number = 1;
    loop {
        let mail = server.mails(number).await.pop().unwrap().replace("=\r\n", "").replace("=3D", "=");
        if mail.contains(&format!("To: {email}\r\n"))
            && let Some((_, rest)) = mail.split_once(&format!("/{page}?token="))
        {
            return rest.split_whitespace().next().unwrap().to_owned();
        }
        number += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_happens_once_under_a_key() {
    let server = TestServer::start_with(&[]).await;
    let (admin, staff) = (server.signed_in(Role::Admin).await, server.signed_in(Role::Staff).await);
    let (anonymous, ada) = (server.anonymous(), server.registers().await);
    staff.create_product(json!({ "sku": "LAMP", "stock": 10 })).await;
    staff.create_product(json!({ "sku": "DESK" })).await;
    let category =
        async |name: &str| staff.data(CREATE, json!({ "name": name })).await["createCategory"]["category"]["id"].take();
    let (rooms, kitchens) = (category("Rooms").await, category("Kitchens").await);
    let other = anonymous.logs_in(&ada.email, PASSWORD).await.unwrap();
    let other = anonymous.with_token(&other.access);
    let sessions = "{ me { sessions { id current } } }";
    let phone = other.data(sessions, json!({})).await["me"]["sessions"].take();
    let phone = phone.as_array().unwrap().iter().find(|session| session["current"] == true).unwrap()["id"].clone();
    let api_key = ada.client.data(CREATE_KEY, json!({})).await["createApiKey"]["apiKey"]["id"].take();
    let refresh = anonymous.logs_in(&ada.email, PASSWORD).await.unwrap().refresh;
    let verification = link(&server, &ada.email, "verify-email").await;
    let bob = server.registers().await;
    anonymous
        .data(
            "mutation($email: String!) { requestPasswordReset(email: $email) { accepted } }",
            json!({ "email": bob.email }),
        )
        .await;
    let reset = link(&server, &bob.email, "reset-password").await;
    let (eve, fay) = (server.registers().await, server.registers().await);
    let eve = eve.client.data("{ me { id } }", json!({})).await["me"]["id"].take();
    let tokens = "user { email } tokens { accessToken refreshToken } errors { ... on UserError { code } }";
    let email = &ada.email;
    let calls = [
        ("adjustStock", &staff, "(by: { sku: \"LAMP\" }, delta: 3) { product { stock { available } } }".to_owned()),
        ("createCategory", &staff, "(input: { name: \"A\" }) { category { id } }".to_owned()),
        (
            "createProduct",
            &staff,
            "(input: { sku: \"A\", name: \"A\", price: { amount: \"1.00\", currency: \"EUR\" } }) { product { id } }"
                .to_owned(),
        ),
        (
            "updateCategory",
            &staff,
            format!("(id: {rooms}, patch: {{ name: \"B\" }}) {{ category {{ name updatedAt }} }}"),
        ),
        ("updateProduct", &staff, "(by: { sku: \"LAMP\" }, patch: { name: \"B\" }) { product { version } }".to_owned()),
        ("deleteCategory", &staff, format!("(id: {kitchens}) {{ deletedId }}")),
        ("deleteProduct", &staff, "(by: { sku: \"DESK\" }) { deletedId }".to_owned()),
        ("setUserRole", &admin, format!("(id: {eve}, role: STAFF) {{ user {{ role }} }}")),
        ("login", &anonymous, format!("(input: {{ email: \"{email}\", password: \"{PASSWORD}\" }}) {{ {tokens} }}")),
        (
            "register",
            &anonymous,
            format!("(input: {{ email: \"new@example.com\", password: \"{PASSWORD}\" }}) {{ {tokens} }}"),
        ),
        ("refreshTokens", &anonymous, format!("(refreshToken: \"{refresh}\") {{ {tokens} }}")),
        ("verifyEmail", &anonymous, format!("(token: \"{verification}\") {{ user {{ emailVerified }} }}")),
        ("requestPasswordReset", &anonymous, format!("(email: \"{email}\") {{ accepted }}")),
        ("resetPassword", &anonymous, format!("(token: \"{reset}\", newPassword: \"another horse 7\") {{ {tokens} }}")),
        ("requestEmailVerification", &fay.client, " { accepted }".to_owned()),
        (
            "createApiKey",
            &ada.client,
            "(input: { name: \"k\", scopes: [CATALOG_READ] }) { apiKey { id } secret }".to_owned(),
        ),
        ("revokeApiKey", &ada.client, format!("(id: {api_key}) {{ revoked }}")),
        ("revokeSession", &ada.client, format!("(id: {phone}) {{ revoked }}")),
        // These end what they are asked with: sent again they are refused, so they happen once as well.
        (
            "changePassword",
            &ada.client,
            format!("(currentPassword: \"{PASSWORD}\", newPassword: \"another horse 7\") {{ {tokens} }}"),
        ),
        ("logout", &fay.client, " { revoked }".to_owned()),
    ];
    let called: BTreeSet<&str> = calls.iter().map(|(name, ..)| *name).collect();
    assert_eq!(called, mutations());
    for (name, client, call) in &calls {
        let document = format!("mutation {{ {name}{call} }}");
        let before = server.core.gate.version().await.unwrap();
        let key = new_key();
        let first = with_key(client, &key, &document, &json!({})).await;
        assert!(first.get("errors").is_none(), "{name}: {first}");
        let no_errors = first["data"][name].get("errors").is_none_or(|errors| *errors == json!([]));
        assert!(no_errors, "{name}: {first}");
        let risen = server.core.gate.version().await.unwrap() - before;
        assert!((0..=1).contains(&risen), "{name}: {risen}");
        let again = with_key(client, &key, &document, &json!({})).await;
        match *name {
            "changePassword" | "logout" => assert_eq!(code(&again), "UNAUTHENTICATED", "{name}"),
            _ => assert_eq!(again, first, "{name}"),
        }
        assert_eq!(server.core.gate.version().await.unwrap() - before, risen, "{name}");
    }
    let stock = staff.data("{ product(by: { sku: \"LAMP\" }) { stock { available } } }", json!({})).await;
    assert_eq!(stock["product"]["stock"]["available"], 13);
    // So are mails: to the four who registered before and the one above, for bob, and the two that were asked for above.
    let sent = || server.core.infra.metrics.mails.get_or_create(&[("outcome", "sent")]).get();
    eventually("all mails are sent", async || sent() == 8).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(sent(), 8);
}

/// All that the schema has.
fn mutations() -> BTreeSet<&'static str> {
    let definitions = parse_schema(graphql::sdl()).unwrap().definitions.into_iter();
    let fields = definitions.filter_map(|definition| match definition {
        TypeSystemDefinition::Type(ty) if ty.node.name.node == "Mutation" => match ty.node.kind {
            TypeKind::Object(object) => Some(object.fields),
            _ => None,
        },
        _ => None,
    });
    fields.flatten().map(|field| &*String::leak(field.node.name.node.to_string())).collect()
}
