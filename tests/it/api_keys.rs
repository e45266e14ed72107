//! API keys: what they may, and how they end.

use std::time::Duration;

use serde_json::{Value, json};
use stockroom::domain::accounts::Role;

use crate::sockets::{Socket, WATCH};
use crate::support::{Client, GRAPHQL, PASSWORD, TestServer, eventually};

const CREATE: &str = "mutation($input: ApiKeyInput!) { createApiKey(input: $input) {
    apiKey { id name prefix scopes createdAt lastUsedAt expiresAt } secret errors { ... on UserError { code path } } } }";
const REVOKE: &str =
    "mutation($id: ID!) { revokeApiKey(id: $id) { revoked errors { ... on UserError { code path } } } }";
const KEYS: &str = "{ me { apiKeys { id name prefix lastUsedAt } } }";
const ME: &str = "{ me { email } }";

/// A new key, and a client that has it.
async fn key(client: &Client, input: Value) -> (Value, Client) {
    let mut payload = client.data(CREATE, json!({ "input": input })).await["createApiKey"].take();
    assert_eq!(payload["errors"], json!([]));
    (payload["apiKey"].take(), client.with_token(payload["secret"].as_str().unwrap()))
}

async fn status(client: &Client) -> u16 {
    client.refusal(&json!({ "query": ME })).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_key_is_told_once_and_kept_nowhere() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let input = json!({ "name": " Till 7 ", "scopes": ["CATALOG_WRITE", "CATALOG_READ", "CATALOG_WRITE"] });
    let (made, machine) = key(&staff, input).await;
    let secret = machine.token.clone().unwrap();
    assert!(secret.starts_with("sk_") && secret.len() >= 43, "{}", secret.len());
    assert_eq!((&made["name"], &made["prefix"]), (&json!("Till 7"), &json!(secret[..11])));
    assert_eq!(made["scopes"], json!(["CATALOG_READ", "CATALOG_WRITE"]));
    assert_eq!((&made["lastUsedAt"], &made["expiresAt"]), (&Value::Null, &Value::Null));
    machine.create_product(json!({ "sku": "BY-MACHINE" })).await;
    // Nothing in the database, nor in Redis, gives it away: not the secret, and no part of it beyond its beginning.
    let database = server.database.connect().await;
    let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let mut looked_at = 0;
    for table in database.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        for row in database.query(&format!("SELECT t::text FROM \"{table}\" t"), &[]).await.unwrap() {
            looked_at += 1;
            assert!(!row.get::<_, String>(0).contains(&secret[11..22]), "{table}");
        }
    }
    assert!(looked_at > 5);
    let hash = "SELECT count(*) FROM api_keys WHERE hash = sha256(convert_to($1, 'UTF8'))";
    assert_eq!(database.query_one(hash, &[&secret]).await.unwrap().get::<_, i64>(0), 1);

    // Its use is noted, and who did something by it.
    eventually("its use is noted", async || {
        !staff.data(KEYS, json!({})).await["me"]["apiKeys"][0]["lastUsedAt"].is_null()
    })
    .await;
    let creator = "{ product(by: { sku: \"BY-MACHINE\" }) { createdBy { email } } }";
    let me = staff.data(ME, json!({})).await["me"].take();
    assert_eq!(staff.data(creator, json!({})).await["product"]["createdBy"], me);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_needs_a_name_a_scope_and_a_future() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    for (input, code, path) in [
        (json!({ "name": " ", "scopes": ["CATALOG_READ"] }), "REQUIRED", "name"),
        (json!({ "name": "n".repeat(101), "scopes": ["CATALOG_READ"] }), "TOO_LONG", "name"),
        (json!({ "name": "n", "scopes": [] }), "REQUIRED", "scopes"),
        (
            json!({ "name": "n", "scopes": ["CATALOG_READ"], "expiresAt": "2020-01-01T00:00:00Z" }),
            "OUT_OF_RANGE",
            "expiresAt",
        ),
    ] {
        let payload = staff.data(CREATE, json!({ "input": input })).await["createApiKey"].take();
        assert_eq!(payload["errors"], json!([{ "code": code, "path": ["input", path] }]), "{input}");
        assert_eq!((&payload["apiKey"], &payload["secret"]), (&Value::Null, &Value::Null));
    }
    let (mut last, mut machine) = key(&staff, json!({ "name": "0", "scopes": ["CATALOG_READ"] })).await;
    for number in 1..50 {
        (last, machine) = key(&staff, json!({ "name": number.to_string(), "scopes": ["CATALOG_READ"] })).await;
    }
    let one_more = json!({ "input": { "name": "50", "scopes": ["CATALOG_READ"] } });
    let refused = staff.data(CREATE, one_more.clone()).await["createApiKey"]["errors"].take();
    assert_eq!(refused[0]["code"], "OUT_OF_RANGE");
    assert_eq!(status(&machine).await, 200);
    staff.data(REVOKE, json!({ "id": last["id"] })).await;
    assert_eq!(staff.data(CREATE, one_more).await["createApiKey"]["errors"], json!([]));
    let keys = staff.data(KEYS, json!({})).await["me"]["apiKeys"].take();
    assert_eq!((keys.as_array().unwrap().len(), &keys[0]["name"]), (50, &json!("50")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_is_refused_at_once_everywhere_and_no_other_is() {
    let server = TestServer::start().await;
    let instances = [server.another(&[]).await, server.another(&[]).await];
    let staff = server.signed_in(Role::Staff).await;
    let both = json!({ "name": "k", "scopes": ["CATALOG_READ", "CATALOG_WRITE"] });
    let (first, one) = key(&staff, both.clone()).await;
    let (_, other) = key(&staff, both).await;
    let here = |client: &Client, server: &TestServer| server.anonymous().with_token(client.token.as_deref().unwrap());
    for instance in &instances {
        assert_eq!((status(&here(&one, instance)).await, status(&here(&other, instance)).await), (200, 200));
    }
    let mut socket = Socket::open(instances[0].address, one.token.as_deref()).await;
    socket.ask("1", WATCH).await;
    let stream = one.http.post(format!("http://{}/graphql", instances[1].address));
    let stream = stream.bearer_auth(one.token.as_deref().unwrap()).header("accept", "text/event-stream");
    let stream = stream.json(&json!({ "query": WATCH })).send().await.unwrap();

    // Not by others, who are not told that it exists.
    let nobodys = json!({ "id": "QXBpS2V5OjAxOTNhMDAwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMA" });
    let eve = server.signed_in(Role::Staff).await;
    let nothing = eve.data(REVOKE, nobodys).await;
    assert_eq!(nothing["revokeApiKey"]["errors"], json!([{ "code": "NOT_FOUND", "path": ["id"] }]));
    assert_eq!(eve.data(REVOKE, json!({ "id": first["id"] })).await, nothing);
    assert_eq!(status(&one).await, 200);

    let revoked = staff.data(REVOKE, json!({ "id": first["id"] })).await["revokeApiKey"].take();
    assert_eq!(revoked, json!({ "revoked": 1, "errors": [] }));
    for server in [&server, &instances[0], &instances[1]] {
        assert_eq!(here(&one, server).refusal(&json!({ "query": ME })).await, (401, "UNAUTHENTICATED".to_owned()));
        assert_eq!(status(&here(&other, server)).await, 200);
    }
    assert_eq!(socket.message().await, Err(4403));
    assert!(!stream.text().await.unwrap().contains("event: complete"));
    assert_eq!(staff.data(REVOKE, json!({ "id": first["id"] })).await, nothing);

    // Administrators may; and a session's end is not a key's.
    let logout = "mutation { logout(everywhere: true) { revoked } }";
    staff.data(logout, json!({})).await;
    assert_eq!(status(&other).await, 200);
    let admin = server.signed_in(Role::Admin).await;
    let keys = admin.data("{ users { nodes { apiKeys { id } } } }", json!({})).await;
    let keys: Vec<Value> = keys["users"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|user| user["apiKeys"].as_array().unwrap().clone())
        .collect();
    let [left] = keys.as_slice() else { panic!("{keys:?}") };
    assert_eq!(admin.data(REVOKE, left.clone()).await["revokeApiKey"]["revoked"], 1);
    assert_eq!(status(&other).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_by_itself_and_its_sockets_with_it() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let end = chrono::Utc::now() + Duration::from_secs(3);
    let input = json!({ "name": "k", "scopes": ["CATALOG_WRITE"], "expiresAt": end.to_rfc3339() });
    let (made, machine) = key(&staff, input).await;
    assert!(made["expiresAt"].is_string());
    let mut socket = Socket::open(server.address, machine.token.as_deref()).await;
    assert_eq!(status(&machine).await, 200);
    assert_eq!(socket.message().await, Err(4403));
    assert_eq!(machine.refusal(&json!({ "query": ME })).await, (401, "UNAUTHENTICATED".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_nobody_gets_at_keys_passwords_or_sessions() {
    let server = TestServer::start_with(&[]).await;
    let admin = server.signed_in(Role::Admin).await;
    let scopes = json!(["CATALOG_READ", "CATALOG_WRITE", "ACCOUNTS_READ", "ACCOUNTS_WRITE"]);
    let (made, machine) = key(&admin, json!({ "name": "k", "scopes": scopes })).await;
    let session = admin.data("{ me { sessions { id } } }", json!({})).await["me"]["sessions"][0]["id"].take();
    let session = session.as_str().unwrap();
    let id = made["id"].as_str().unwrap();
    let before = server.core.gate.version().await.unwrap();
    for mutation in [
        "createApiKey(input: { name: \"more\", scopes: [ACCOUNTS_WRITE] }) { secret }".to_owned(),
        format!("revokeApiKey(id: \"{id}\") {{ revoked }}"),
        format!("revokeSession(id: \"{session}\") {{ revoked }}"),
        "logout { revoked }".to_owned(),
        "logout(everywhere: true) { revoked }".to_owned(),
        format!(
            "changePassword(currentPassword: \"{PASSWORD}\", newPassword: \"another horse 7\") {{ tokens {{ accessToken }} }}"
        ),
        "requestEmailVerification { accepted }".to_owned(),
    ] {
        let refused = machine.refusal(&json!({ "query": format!("mutation {{ {mutation} }}") })).await;
        assert_eq!(refused, (200, "FORBIDDEN".to_owned()), "{mutation}");
    }
    assert_eq!(server.core.gate.version().await.unwrap(), before);
    assert_eq!(server.core.infra.metrics.password_hashes.get(), 2);
    // It is no refresh token either, nor does it get one.
    let refresh =
        "mutation($token: String!) { refreshTokens(refreshToken: $token) { errors { ... on UserError { code } } } }";
    let refused = machine.data(refresh, json!({ "token": machine.token })).await;
    assert_eq!(refused["refreshTokens"]["errors"][0]["code"], "INVALID_CREDENTIALS");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_exist_are_refused_and_charged_to_their_address() {
    let server = TestServer::start_with(&["--rate-limit", "100/1h"]).await;
    let generous = server.another(&[]).await;
    let staff = generous.signed_in(Role::Staff).await;
    let (_, machine) = key(&staff, json!({ "name": "k", "scopes": ["CATALOG_READ"] })).await;
    let secret = machine.token.clone().unwrap();
    let almost = [
        "sk_".to_owned(),
        secret[..secret.len() - 1].to_owned(),
        format!("{secret}A"),
        secret.to_lowercase(),
        "sk_' OR true --".to_owned(),
    ];
    for guess in &almost {
        let guess = generous.anonymous().with_token(guess);
        assert_eq!(guess.refusal(&json!({ "query": ME })).await, (401, "UNAUTHENTICATED".to_owned()));
    }
    // Elsewhere than in the header it is nothing.
    for url in [format!("{}?access_token={secret}", machine.url), format!("{}?token={secret}", machine.url)] {
        let request = machine.http.post(url).header("accept", GRAPHQL).header("x-api-key", &secret);
        let request = request.header("cookie", format!("authorization=Bearer {secret}"));
        let body: Value = request.json(&json!({ "query": ME })).send().await.unwrap().json().await.unwrap();
        assert_eq!(body, json!({ "data": { "me": null } }));
    }
    let mut refused = 0;
    let limited = loop {
        let guess = server.anonymous().with_token(&format!("sk_{}", uuid::Uuid::new_v4()));
        match guess.refusal(&json!({ "query": ME })).await.0 {
            401 => refused += 1,
            status => break status,
        }
        assert!(refused <= 21, "guesses are not charged");
    };
    assert_eq!(limited, 429);
    assert!(refused >= 19, "{refused}");
}
