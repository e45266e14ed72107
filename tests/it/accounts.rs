//! Accounts, tokens and roles, through HTTP.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use uuid::Uuid;

use crate::support::{Account, Client, PASSWORD, TestServer, eventually};

const REGISTER: &str = "mutation($input: RegisterInput!) { register(input: $input) {
    user { id email name role } tokens { accessToken accessTokenExpiresAt }
    errors { __typename ... on UserError { code message path } } } }";
const LOGIN: &str =
    "mutation($email: String!, $password: String!) { login(input: { email: $email, password: $password }) {
    user { email role } tokens { accessToken } errors { __typename ... on UserError { code message path } } } }";
const ME: &str = "{ me { email role } }";

fn with_token(client: &Client, token: &Value) -> Client {
    Client { token: Some(token.as_str().unwrap().to_owned()), ..client.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_is_signed_in_and_can_sign_in_again() {
    let server = TestServer::start_with(&[]).await;
    let anonymous = server.anonymous();
    assert_eq!(anonymous.data(ME, json!({})).await["me"], Value::Null);
    let input = json!({ "email": "Ada@Example.com", "password": "correct horse", "name": " Ada " });
    let registered = anonymous.data(REGISTER, json!({ "input": input })).await["register"].take();
    assert_eq!(registered["errors"], json!([]));
    assert_eq!(registered["user"]["email"], "Ada@Example.com");
    assert_eq!((&registered["user"]["name"], &registered["user"]["role"]), (&json!("Ada"), &json!("CUSTOMER")));
    let ada = with_token(&anonymous, &registered["tokens"]["accessToken"]);
    let me = json!({ "email": "Ada@Example.com", "role": "CUSTOMER" });
    assert_eq!(ada.data(ME, json!({})).await["me"], me);

    let signed_in = anonymous.data(LOGIN, json!({ "email": "ADA@example.COM", "password": "correct horse" })).await;
    let ada = with_token(&anonymous, &signed_in["login"]["tokens"]["accessToken"]);
    assert_eq!(ada.data(ME, json!({})).await["me"], me);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_address_and_a_wrong_password_answer_alike_and_cost_one_hash_each() {
    let server = TestServer::start_with(&[]).await;
    let anonymous = server.anonymous();
    let input = json!({ "email": "ada@example.com", "password": "correct horse" });
    anonymous.data(REGISTER, json!({ "input": input })).await;
    let hashes = || server.core.infra.metrics.password_hashes.get();
    let mut answers = Vec::new();
    for (email, password) in [
        ("ada@example.com", "wrong horse"),
        ("bob@example.com", "correct horse"),
        ("no address", "x"),
        ("ada@example.com", ""),
    ] {
        let before = hashes();
        answers.push(anonymous.data(LOGIN, json!({ "email": email, "password": password })).await);
        assert_eq!(hashes() - before, 1, "{email}");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(answers[0]["login"]["errors"][0]["code"], "INVALID_CREDENTIALS");
    assert_eq!(answers[0]["login"]["tokens"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_registrations_of_one_address_in_all_its_forms_make_one_account() {
    let flags = ["--database-wait", "20s", "--request-timeout", "60s", "--password-hashes", "2"];
    let server = TestServer::start_with(&flags).await;
    let forms = [
        "zoë@bücher.example",
        "ZOË@BÜCHER.example",
        "zoe\u{308}@bu\u{308}cher.example",
        "ｚｏë@bücher.example",
        "zoë@xn--bcher-kva.example",
    ];
    let attempt = |number: usize| {
        let (client, email) = (server.anonymous(), forms[number % forms.len()]);
        tokio::spawn(async move {
            client.data(REGISTER, json!({ "input": { "email": email, "password": "correct horse" } })).await["register"]
                .take()
        })
    };
    let mut made = 0;
    // A gateway gives up before fifty passwords are hashed.
    for first in (0..50).step_by(10) {
        for attempt in (first..first + 10).map(attempt).collect::<Vec<_>>() {
            let payload = attempt.await.unwrap();
            if payload["user"].is_object() {
                made += 1;
            } else {
                assert_eq!(payload["errors"][0]["__typename"], "TakenError");
                assert_eq!(payload["errors"][0]["path"], json!(["input", "email"]));
            }
        }
    }
    assert_eq!(made, 1);
    let admin = server.signed_in(Role::Admin).await;
    assert_eq!(admin.data("{ users { totalCount } }", json!({})).await["users"]["totalCount"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_with_a_registration_is_told_at_once() {
    let server = TestServer::start_with(&[]).await;
    let before = server.core.gate.version().await.unwrap();
    let input = json!({ "email": "nobody", "password": "short", "name": "a\u{202e}b" });
    let payload = server.anonymous().data(REGISTER, json!({ "input": input })).await["register"].take();
    let told: Vec<_> = payload["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["code"].clone(), error["path"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            (json!("INVALID"), json!(["input", "email"])),
            (json!("TOO_SHORT"), json!(["input", "password"])),
            (json!("INVALID"), json!(["input", "name"])),
        ]
    );
    assert_eq!(server.core.infra.metrics.password_hashes.get(), 0);
    assert_eq!(server.core.gate.version().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_easy_to_guess_cannot_be_set_but_still_signs_in() {
    let server = TestServer::start_with(&[]).await;
    let anonymous = server.anonymous();
    for password in ["password", "Passw0rd123!", "lovelace1815", "ada@example.com"] {
        let input = json!({ "email": "ada@example.com", "password": password, "name": "Ada Lovelace" });
        let payload = anonymous.data(REGISTER, json!({ "input": input })).await["register"].take();
        assert_eq!(payload["user"], Value::Null, "{password}");
        let [error] = payload["errors"].as_array().unwrap().as_slice() else { panic!("{payload}") };
        assert_eq!((&error["code"], &error["path"]), (&json!("WEAK_PASSWORD"), &json!(["input", "password"])));
    }
    assert_eq!(server.core.infra.metrics.password_hashes.get(), 0);

    let input = json!({ "email": "ada@example.com", "password": "correct horse", "name": "Ada Lovelace" });
    let payload = anonymous.data(REGISTER, json!({ "input": input })).await["register"].take();
    assert_eq!(payload["errors"], json!([]));
    // As if it were from before the rule.
    let hash = server.core.infra.passwords.hash(&"password".into()).await.unwrap();
    server.database.connect().await.execute("UPDATE users SET password_hash = $1", &[&hash]).await.unwrap();
    let signed_in = anonymous.data(LOGIN, json!({ "email": "ada@example.com", "password": "password" })).await;
    assert_eq!(signed_in["login"]["errors"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sign_ins_than_the_queue_holds_are_told_to_come_back() {
    let server =
        TestServer::start_with(&["--password-hashes", "1", "--password-queue", "2", "--database-wait", "10s"]).await;
    let attempts = (0..30).map(|_| {
        let client = server.anonymous();
        tokio::spawn(
            async move { client.send(LOGIN, json!({ "email": "a@b.example", "password": "correct horse" })).await },
        )
    });
    let (mut looked_at, mut busy) = (0, 0);
    for attempt in attempts.collect::<Vec<_>>() {
        let body = attempt.await.unwrap();
        match body["errors"][0]["extensions"]["code"].as_str() {
            None => looked_at += 1,
            Some("BUSY") => busy += 1,
            Some(other) => panic!("{other}: {body}"),
        }
    }
    assert!(looked_at >= 3 && busy > 0, "{looked_at} looked at, {busy} turned away");
    assert_eq!(server.core.infra.metrics.password_hashes.get(), looked_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_all_users_page_by_page_and_nobody_else_does() {
    let server = TestServer::start_with(&[]).await;
    let admin = server.signed_in(Role::Admin).await;
    let staff = server.signed_in(Role::Staff).await;
    let customer = server.signed_in(Role::Customer).await;
    let users = "query($first: Int, $after: String, $last: Int, $before: String) {
        users(first: $first, after: $after, last: $last, before: $before) {
            nodes { id role } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }";
    for (client, code) in [(&server.anonymous(), "UNAUTHENTICATED"), (&customer, "FORBIDDEN"), (&staff, "FORBIDDEN")] {
        assert_eq!(client.send(users, json!({})).await["errors"][0]["extensions"]["code"], code);
    }
    let roles =
        |page: &Value| page["nodes"].as_array().unwrap().iter().map(|user| user["role"].clone()).collect::<Vec<_>>();
    let first = admin.data(users, json!({ "first": 2 })).await["users"].take();
    assert_eq!(roles(&first), ["CUSTOMER", "STAFF"]);
    assert_eq!(first["totalCount"], 3);
    let second =
        admin.data(users, json!({ "first": 2, "after": first["pageInfo"]["endCursor"] })).await["users"].take();
    assert_eq!(roles(&second), ["ADMIN"]);
    assert_eq!(second["pageInfo"]["hasNextPage"], false);
    let back =
        admin.data(users, json!({ "last": 2, "before": second["pageInfo"]["startCursor"] })).await["users"].take();
    assert_eq!(back["nodes"], first["nodes"]);

    // Others' accounts cannot be found by id either, one's own can.
    let node = "query($id: ID!) { node(id: $id) { ... on User { role } } }";
    let (staff_id, customer_id) = (first["nodes"][1]["id"].clone(), first["nodes"][0]["id"].clone());
    assert_eq!(customer.data(node, json!({ "id": staff_id })).await["node"], Value::Null);
    assert_eq!(customer.data(node, json!({ "id": customer_id })).await["node"]["role"], "CUSTOMER");
    assert_eq!(admin.data(node, json!({ "id": staff_id })).await["node"]["role"], "STAFF");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_give_roles_and_the_last_one_stays() {
    let server = TestServer::start_with(&[]).await;
    let admin = server.signed_in(Role::Admin).await;
    let Account { email, client: customer, .. } = server.registers().await;
    let me = "{ me { id role } }";
    let set = "mutation($id: ID!, $role: Role!) { setUserRole(id: $id, role: $role) {
        user { role } errors { __typename ... on UserError { code path } } } }";
    let customer_id = customer.data(me, json!({})).await["me"]["id"].take();
    let refused = customer.send(set, json!({ "id": customer_id, "role": "ADMIN" })).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
    assert_eq!(customer.data(me, json!({})).await["me"]["role"], "CUSTOMER");
    let set_to_staff = admin.data(set, json!({ "id": customer_id, "role": "STAFF" })).await;
    assert_eq!(set_to_staff["setUserRole"], json!({ "user": { "role": "STAFF" }, "errors": [] }));
    let tokens = server.anonymous().logs_in(&email, PASSWORD).await.unwrap();
    assert_eq!(server.anonymous().with_token(&tokens.access).data(me, json!({})).await["me"]["role"], "STAFF");
    eventually("a token from before is refused", async || customer.post(me, &json!({})).await.status() == 401).await;
    let admin_id = admin.data(me, json!({})).await["me"]["id"].take();
    let last = admin.data(set, json!({ "id": admin_id, "role": "CUSTOMER" })).await;
    assert_eq!(
        last["setUserRole"]["errors"],
        json!([{ "__typename": "ValidationError", "code": "INVALID", "path": ["role"] }])
    );
    let nobody = stockroom::graphql::id::NodeId::User(stockroom::domain::ids::UserId::new()).encode();
    let missing = admin.data(set, json!({ "id": nobody, "role": "STAFF" })).await;
    assert_eq!(
        missing["setUserRole"]["errors"],
        json!([{ "__typename": "NotFoundError", "code": "NOT_FOUND", "path": ["id"] }])
    );
}

/// The parts of a token, taken apart and put together again.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_the_claims_that_others_verify_it_by() {
    let server =
        TestServer::start_with(&["--issuer", "https://shop.example", "--audience", "shop", "--access-token-ttl", "5m"])
            .await;
    let input = json!({ "email": "ada@example.com", "password": "correct horse" });
    let data = server.anonymous().data(REGISTER, json!({ "input": input })).await;
    let token = data["register"]["tokens"]["accessToken"].as_str().unwrap().to_owned();
    let [header, claims, _] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let decode = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let (header, claims) = (decode(header), decode(claims));
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["role"]),
        (&json!("https://shop.example"), &json!("shop"), &json!("CUSTOMER"))
    );
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    assert!(claims["sid"].as_str().is_some_and(|sid| Uuid::parse_str(sid).is_ok()));
}
