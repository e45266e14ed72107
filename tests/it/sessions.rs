//! Sessions: how their tokens are refreshed, and how they end, on every instance.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::sockets::{Socket, WATCH};
use crate::support::process::{Server, run, said};
use crate::support::proxy::{Fault, Proxy};
use crate::support::servers::{RedisServer, TestDatabase, scratch, servers};
use crate::support::{Account, Client, GRAPHQL, PASSWORD, TestServer, Tokens, eventually, gateway, tokens};

const REFRESH: &str = "mutation($token: String!) { refreshTokens(refreshToken: $token) {
    tokens { accessToken refreshToken } errors { ... on UserError { code } } } }";
const ME: &str = "{ me { email } }";
const SESSIONS: &str = "{ me { sessions { id createdAt lastUsedAt expiresAt userAgent address current } } }";
const REVOKE: &str =
    "mutation($id: ID!) { revokeSession(id: $id) { revoked errors { ... on UserError { code path } } } }";
const LOGOUT: &str = "mutation { logout { revoked errors { __typename } } }";
const LOGOUT_EVERYWHERE: &str = "mutation { logout(everywhere: true) { revoked } }";
/// A mutation that any session may make, and that changes nothing.
const HARMLESS: &str = "mutation { revokeApiKey(id: \"QXBpS2V5OjAxOTNhMDAwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMA\") {
    errors { ... on UserError { code } } } }";
/// What the feed of revocations asks.
const FEED: &str = "LEFT OUTER JOIN \"changes\"";

/// `make races` does more of what is done at once.
fn rounds() -> usize {
    std::env::var("RACES").map_or(4, |rounds| rounds.parse().expect("RACES is a number"))
}

/// New tokens for a refresh token, or the error's code.
async fn refresh(client: &Client, token: &str) -> Result<Tokens, String> {
    let data = Client { token: None, ..client.clone() }.insist(REFRESH, json!({ "token": token })).await;
    tokens(&data["refreshTokens"])
}

/// Three instances on one database, with many writers.
async fn three(flags: &[&str]) -> [TestServer; 3] {
    let flags = [&["--database-wait", "20s", "--request-timeout", "60s"], flags].concat();
    let first = TestServer::start_with(&flags).await;
    let (second, third) = (first.another(&flags).await, first.another(&flags).await);
    [first, second, third]
}

/// Whether the token is refused as one that is not valid any more.
async fn is_refused(client: &Client) -> bool {
    match client.refusal(&json!({ "query": ME })).await {
        (401, code) => {
            assert_eq!(code, "UNAUTHENTICATED");
            true
        }
        (status, _) => {
            assert_eq!(status, 200);
            false
        }
    }
}

/// The code with which a mutation fails that needs a session; empty if it does not.
async fn mutation_fails_with(client: &Client) -> String {
    loop {
        let code = client.refusal(&json!({ "query": HARMLESS })).await.1;
        // A busy machine says nothing of the session.
        if !["BUSY", "CONFLICT", "UNAVAILABLE"].contains(&code.as_str()) {
            return code;
        }
    }
}

/// What the token says of itself.
fn session_of(access: &str) -> Uuid {
    let claims = URL_SAFE_NO_PAD.decode(access.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["sid"].as_str().unwrap().parse().unwrap()
}

/// What a server would give that knows this secret.
fn refresh_token(session: Uuid, counter: i32, secret: &[u8]) -> String {
    let body = [session.as_bytes().as_slice(), &counter.to_be_bytes()].concat();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &body);
    format!("rt_{}", URL_SAFE_NO_PAD.encode([&body, mac.as_ref()].concat()))
}

/// Counter of the session, and whether it was ended.
async fn session_row(database: &TestDatabase, session: Uuid) -> (i32, bool) {
    let row = database.connect().await;
    let row = row.query_one("SELECT counter, revoked_at IS NOT NULL FROM sessions WHERE id = $1", &[&session]).await;
    let row = row.unwrap();
    (row.get(0), row.get(1))
}

/// As if the session had been begun, and used, so much earlier.
async fn age(database: &TestDatabase, session: Uuid, begun: &str, used: &str) {
    let statement = format!(
        "UPDATE sessions SET created_at = created_at - interval '{begun}', used_at = used_at - interval '{used}'
         WHERE id = $1"
    );
    assert_eq!(database.connect().await.execute(&statement, &[&session]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_gives_new_tokens_and_for_ten_seconds_the_same_again() {
    let server = TestServer::start_with(&[]).await;
    let Account { tokens: first, email, client } = server.registers().await;
    let session = session_of(&first.access);
    let second = refresh(&client, &first.refresh).await.unwrap();
    assert_ne!(second.refresh, first.refresh);
    assert_eq!(session_of(&second.access), session);
    assert_eq!(client.with_token(&second.access).data(ME, json!({})).await["me"]["email"], json!(email));
    // The answer was lost, twice.
    for _ in 0..2 {
        let again = refresh(&client, &first.refresh).await.unwrap();
        assert_eq!(again.refresh, second.refresh);
        assert_eq!(client.with_token(&again.access).data(ME, json!({})).await["me"]["email"], json!(email));
    }
    assert_eq!(session_row(&server.database, session).await, (1, false));
    // The access token of before is good for as long as it says.
    assert!(!is_refused(&client).await);
    let third = refresh(&client, &second.refresh).await.unwrap();
    assert_eq!(session_row(&server.database, session).await, (2, false));
    assert_eq!(third.refresh.len(), first.refresh.len());
    // Tokens of one kind are none of the other.
    assert!(is_refused(&client.with_token(&third.refresh)).await);
    assert_eq!(refresh(&client, &third.access).await, Err("INVALID_CREDENTIALS".to_owned()));
    assert_eq!(session_row(&server.database, session).await, (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_comes_back_too_late_ends_its_session_on_every_instance() {
    let [one, two, three] = three(&[]).await;
    for case in ["the one before, after 11 seconds", "the one before that, at once"] {
        let Account { tokens: first, client, .. } = one.registers().await;
        let session = session_of(&first.access);
        let mut latest = refresh(&client, &first.refresh).await.unwrap();
        if case.ends_with("at once") {
            latest = refresh(&client, &latest.refresh).await.unwrap();
        } else {
            age(&one.database, session, "11 seconds", "11 seconds").await;
        }
        let (counter, _) = session_row(&one.database, session).await;
        assert_eq!(refresh(&two.anonymous(), &first.refresh).await, Err("TOKEN_REUSED".to_owned()), "{case}");
        assert_eq!(session_row(&one.database, session).await, (counter, true), "{case}");
        // Whoever has the successor is out, too.
        for server in [&one, &two, &three] {
            let access = server.anonymous().with_token(&latest.access);
            assert_eq!(mutation_fails_with(&access).await, "UNAUTHENTICATED", "{case}");
            for token in [&latest.refresh, &first.refresh] {
                assert_eq!(refresh(&access, token).await, Err("TOKEN_EXPIRED".to_owned()), "{case}");
            }
            eventually("its access tokens are refused", async || is_refused(&access).await).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_of_one_token_on_three_instances_give_one_successor() {
    let servers = three(&[]).await;
    let Account { mut tokens, .. } = servers[0].registers().await;
    let session = session_of(&tokens.access);
    for round in 1..=rounds() {
        let barrier = Arc::new(Barrier::new(50));
        let mut refreshes = JoinSet::new();
        for number in 0..50 {
            let (client, token) = (servers[number % 3].anonymous(), tokens.refresh.clone());
            let barrier = Arc::clone(&barrier);
            refreshes.spawn(async move {
                barrier.wait().await;
                refresh(&client, &token).await
            });
        }
        let given = refreshes.join_all().await;
        let successor = given[0].clone().unwrap();
        for given in given {
            assert_eq!(given.unwrap().refresh, successor.refresh);
        }
        assert_eq!(session_row(&servers[0].database, session).await, (i32::try_from(round).unwrap(), false));
        tokens = successor;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_whose_answer_is_lost_gives_the_same_when_it_is_tried_again() {
    let server = TestServer::start_with(&[]).await;
    let proxy = Proxy::before(&server.database.url).await;
    let far = server.another_by_way_of(&proxy.url(&server.database.url), &[]).await;
    for fault in [Fault::LoseAnswer, Fault::Silence] {
        let Account { tokens: first, .. } = server.registers().await;
        let session = session_of(&first.access);
        proxy.once("COMMIT", fault);
        let body = far.anonymous().send(REFRESH, json!({ "token": first.refresh })).await;
        assert_eq!(body["errors"][0]["extensions"]["code"], "OUTCOME_UNKNOWN", "{fault:?}: {body}");
        // Nobody was told when PostgreSQL is done with it.
        let committed = async || session_row(&server.database, session).await == (1, false);
        eventually("the refresh is committed", committed).await;
        let (second, same) =
            (refresh(&far.anonymous(), &first.refresh).await, refresh(&server.anonymous(), &first.refresh).await);
        assert_eq!(second.as_ref().unwrap().refresh, same.unwrap().refresh);
        assert_eq!(session_row(&server.database, session).await, (1, false));
        refresh(&server.anonymous(), &second.unwrap().refresh).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_outlives_the_server_that_is_killed_right_after_its_commit() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&database.url).await;
    let key = scratch("killed").join("key.pem");
    fs::write(&key, said(&run(&["keys", "generate"]))).unwrap();
    let start = |url: &str| Server::start(&["--database-url", url, "--jwt-private-key-file", key.to_str().unwrap()]);
    let server = start(&proxy.url(&database.url));
    let register = "mutation { register(input: { email: \"ada@example.com\", password: \"correct horse\" }) {
        tokens { accessToken refreshToken } } }";
    let first = tokens(&server.client().data(register, json!({})).await["register"]).unwrap();
    proxy.once("COMMIT", Fault::Silence);
    let (client, token) = (server.client(), first.refresh.clone());
    let lost = tokio::spawn(async move {
        let body = json!({ "query": REFRESH, "variables": { "token": token } });
        client.http.post(&client.url).json(&body).send().await.is_err()
    });
    proxy.happened(1).await;
    drop(server);
    assert!(lost.await.unwrap(), "there is no answer");
    assert_eq!(session_row(&database, session_of(&first.access)).await, (1, false));

    let server = start(&database.url);
    let second = refresh(&server.client(), &first.refresh).await.unwrap();
    assert_eq!(second.refresh, refresh(&server.client(), &first.refresh).await.unwrap().refresh);
    assert_eq!(session_row(&database, session_of(&first.access)).await, (1, false));
    assert!(!is_refused(&server.client().with_token(&second.access)).await);
    refresh(&server.client(), &second.refresh).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_session_that_was_revoked_while_it_was_refreshed_nothing_is_left() {
    let servers = three(&[]).await;
    let owner = servers[0].registers().await;
    let connection = servers[0].database.connect().await;
    let mut refreshed_first = 0;
    let mut given = Vec::new();
    let races = 5 * rounds();
    for number in 0..races {
        // As if they had signed in on another device.
        let (session, secret) = (Uuid::now_v7(), Uuid::new_v4().as_bytes().repeat(2));
        let begin = "INSERT INTO sessions (id, user_id, secret, address)
            SELECT $1, user_id, $2, address FROM sessions WHERE id = $3";
        connection.execute(begin, &[&session, &secret, &session_of(&owner.tokens.access)]).await.unwrap();
        let token = refresh_token(session, 0, &secret);
        let id = URL_SAFE_NO_PAD.encode(format!("Session:{session}"));
        let barrier = Arc::new(Barrier::new(2));
        let (client, its_token, its_barrier) = (servers[1].anonymous(), token.clone(), Arc::clone(&barrier));
        let refreshing = tokio::spawn(async move {
            its_barrier.wait().await;
            if number % 2 == 0 {
                tokio::task::yield_now().await;
            }
            refresh(&client, &its_token).await
        });
        barrier.wait().await;
        let owning = servers[2].anonymous().with_token(&owner.tokens.access);
        let revoked = owning.insist(REVOKE, json!({ "id": id })).await;
        assert_eq!(revoked["revokeSession"]["errors"], json!([]));
        // From here on nothing of the session is good for anything.
        let refreshed = refreshing.await.unwrap();
        let mut left = vec![token];
        if let Ok(tokens) = refreshed {
            refreshed_first += 1;
            left.push(tokens.refresh);
            given.push(tokens.access);
        }
        for token in &left {
            let again = refresh(&servers[number % 3].anonymous(), token).await;
            assert_eq!(again, Err("TOKEN_EXPIRED".to_owned()), "race {number}");
        }
        if let Some(access) = given.last() {
            let access = servers[number % 3].anonymous().with_token(access);
            assert_eq!(mutation_fails_with(&access).await, "UNAUTHENTICATED", "race {number}");
        }
    }
    println!("{refreshed_first} of {races} were refreshed first");
    for server in &servers {
        for access in &given {
            let access = server.anonymous().with_token(access);
            eventually("its access tokens are refused", async || is_refused(&access).await).await;
        }
        assert!(!is_refused(&server.anonymous().with_token(&owner.tokens.access)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_a_refresh_token_change_nothing_and_are_counted() {
    let server = TestServer::start_with(&[]).await;
    let Account { tokens: first, client, .. } = server.registers().await;
    let session = session_of(&first.access);
    let second = refresh(&client, &first.refresh).await.unwrap();
    let other = server.registers().await.tokens;
    let bytes = URL_SAFE_NO_PAD.decode(&second.refresh[3..]).unwrap();
    let spelled = |bytes: &[u8]| format!("rt_{}", URL_SAFE_NO_PAD.encode(bytes));
    let (body, mac) = bytes.split_at(20);
    let counter = |counter: i32| spelled(&[&body[..16], &counter.to_be_bytes(), mac].concat());
    let mut bent = bytes.clone();
    bent[51] ^= 1;
    let guesses = [
        counter(0),
        counter(2),
        counter(-1),
        counter(i32::MIN),
        counter(i32::MAX),
        spelled(&bent),
        spelled(&[body, &[0; 32]].concat()),
        spelled(&[body, &URL_SAFE_NO_PAD.decode(&other.refresh[3..]).unwrap()[20..]].concat()),
        refresh_token(session, 0, &[0; 32]),
        refresh_token(session, 1, &[]),
        spelled(&bytes[..51]),
        spelled(body),
        second.refresh[3..].to_owned(),
        second.refresh.to_uppercase(),
        spelled(&[Uuid::now_v7().as_bytes(), &bytes[16..]].concat()),
        String::new(),
    ];
    for guess in &guesses {
        assert_eq!(refresh(&client, guess).await, Err("INVALID_CREDENTIALS".to_owned()), "{guess}");
        assert_eq!(session_row(&server.database, session).await, (1, false), "{guess}");
    }
    assert!(!is_refused(&client).await);
    refresh(&client, &second.refresh).await.unwrap();

    let strict = server.another(&["--login-address-limit", "5/1h", "--login-limit", "5/1h"]).await;
    for (number, guess) in guesses.iter().enumerate().take(8) {
        let code = if number < 5 { "INVALID_CREDENTIALS" } else { "LOGIN_DELAYED" };
        assert_eq!(refresh(&strict.anonymous(), guess).await, Err(code.to_owned()), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_knows_a_sessions_id_cannot_keep_it_from_being_refreshed() {
    let server = TestServer::start_with(&["--login-limit", "3/1h"]).await;
    let Account { tokens: first, client, .. } = server.registers().await;
    let guess = refresh_token(session_of(&first.access), 0, &[7; 32]);
    for _ in 0..6 {
        assert_eq!(refresh(&client, &guess).await, Err("INVALID_CREDENTIALS".to_owned()));
    }
    // What succeeds is not counted.
    let mut latest = first;
    for _ in 0..6 {
        latest = refresh(&client, &latest.refresh).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_and_ends_their_own_sessions_and_nobody_elses() {
    let server = TestServer::start_with(&[]).await;
    let ada = server.registers().await;
    let login = "mutation($email: String!, $password: String!) {
        login(input: { email: $email, password: $password }) { tokens { accessToken refreshToken } } }";
    let agent = format!("Phone/1 {}", "x".repeat(300));
    let body = json!({ "query": login, "variables": { "email": ada.email, "password": PASSWORD } });
    let request = ada.client.http.post(&ada.client.url).header("user-agent", &agent);
    let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
    let phone = tokens(&answer["data"]["login"]).unwrap();

    let list = async |client: &Client| client.data(SESSIONS, json!({})).await["me"]["sessions"].take();
    let sessions = list(&ada.client).await;
    let [latest, first] = sessions.as_array().unwrap().as_slice() else { panic!("{sessions}") };
    assert_eq!((&latest["userAgent"], &first["userAgent"]), (&json!(agent[..200]), &Value::Null));
    assert_eq!((&latest["address"], &first["address"]), (&json!("127.0.0.1"), &json!("127.0.0.1")));
    assert_eq!((&latest["current"], &first["current"]), (&json!(false), &json!(true)));
    assert_eq!(list(&ada.client.with_token(&phone.access)).await[0]["current"], true);
    let id = |access: &str| json!(URL_SAFE_NO_PAD.encode(format!("Session:{}", session_of(access))));
    assert_eq!((&latest["id"], &first["id"]), (&id(&phone.access), &id(&ada.tokens.access)));
    // What was refreshed last comes first.
    refresh(&ada.client, &ada.tokens.refresh).await.unwrap();
    let used = list(&ada.client).await;
    assert_eq!((&used[0]["id"], &used[0]["createdAt"]), (&first["id"], &first["createdAt"]));
    assert!(used[0]["lastUsedAt"].as_str().unwrap() > first["lastUsedAt"].as_str().unwrap());
    assert!(used[0]["expiresAt"].as_str().unwrap() > first["expiresAt"].as_str().unwrap());

    // Others can neither see nor end them, and are not told that they exist.
    let (eve, staff) = (server.registers().await.client, server.signed_in(Role::Staff).await);
    let node = "query($id: ID!) { node(id: $id) { id ... on Session { address } } }";
    let nobodys = json!({ "id": URL_SAFE_NO_PAD.encode(format!("Session:{}", Uuid::now_v7())) });
    let theirs = json!({ "id": latest["id"] });
    for other in [&eve, &staff] {
        let nothing = other.data(REVOKE, nobodys.clone()).await;
        assert_eq!(nothing["revokeSession"]["errors"], json!([{ "code": "NOT_FOUND", "path": ["id"] }]));
        assert_eq!(other.data(REVOKE, theirs.clone()).await, nothing);
        assert_eq!(other.data(node, theirs.clone()).await["node"], Value::Null);
    }
    assert_eq!(server.anonymous().data(node, theirs.clone()).await["node"], Value::Null);
    assert_eq!(ada.client.data(node, theirs.clone()).await["node"]["address"], "127.0.0.1");
    assert_eq!(list(&ada.client).await.as_array().unwrap().len(), 2);

    // Their owner can, once, and administrators.
    let revoked = |count: usize| json!({ "revokeSession": { "revoked": count, "errors": [] } });
    assert_eq!(ada.client.data(REVOKE, theirs.clone()).await, revoked(1));
    assert_eq!(ada.client.data(REVOKE, theirs.clone()).await, revoked(0));
    assert_eq!(refresh(&eve, &phone.refresh).await, Err("TOKEN_EXPIRED".to_owned()));
    assert_eq!(ada.client.data(node, theirs).await["node"], Value::Null);
    assert_eq!(list(&ada.client).await.as_array().unwrap().len(), 1);
    let admin = server.signed_in(Role::Admin).await;
    assert_eq!(admin.data(REVOKE, json!({ "id": first["id"] })).await, revoked(1));
    assert_eq!(mutation_fails_with(&ada.client).await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_ends_however_often_it_was_used() {
    let server = TestServer::start_with(&["--access-token-ttl", "2s"]).await;
    let begun = Instant::now();
    let Account { client, .. } = server.registers().await;
    while !is_refused(&client).await {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "its two seconds, and five that clocks may differ by, are over"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(5), "it was refused too early");
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_this_session_and_everywhere_all_of_them() {
    let server = TestServer::start_with(&[]).await;
    let ada = server.registers().await;
    let eve = server.registers().await;
    let anonymous = server.anonymous();
    let phone = anonymous.logs_in(&ada.email, PASSWORD).await.unwrap();
    let laptop = anonymous.logs_in(&ada.email, PASSWORD).await.unwrap();
    let logout = ada.client.data(LOGOUT, json!({})).await;
    assert_eq!(logout["logout"], json!({ "revoked": 1, "errors": [] }));
    assert_eq!(mutation_fails_with(&ada.client).await, "UNAUTHENTICATED");
    assert_eq!(refresh(&ada.client, &ada.tokens.refresh).await, Err("TOKEN_EXPIRED".to_owned()));
    let laptop = refresh(&ada.client, &laptop.refresh).await.unwrap();
    let everywhere = ada.client.with_token(&laptop.access).data(LOGOUT_EVERYWHERE, json!({})).await;
    assert_eq!(everywhere["logout"]["revoked"], 2);
    for tokens in [&phone, &laptop] {
        assert_eq!(mutation_fails_with(&ada.client.with_token(&tokens.access)).await, "UNAUTHENTICATED");
        assert_eq!(refresh(&ada.client, &tokens.refresh).await, Err("TOKEN_EXPIRED".to_owned()));
    }
    // It concerns nobody else, nor those who sign in again.
    assert_eq!(mutation_fails_with(&eve.client).await, "");
    let again = anonymous.logs_in(&ada.email, PASSWORD).await.unwrap();
    assert_eq!(mutation_fails_with(&anonymous.with_token(&again.access)).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_when_they_are_not_used_and_at_last_in_any_case() {
    let server = TestServer::start_with(&[]).await;
    let seen =
        async |client: &Client| client.data(SESSIONS, json!({})).await["me"]["sessions"].as_array().unwrap().len();
    for (begun, used, goes_on) in [
        ("6 days 23 hours", "6 days 23 hours", true),
        ("7 days 1 minute", "7 days 1 minute", false),
        ("29 days 23 hours", "1 day", true),
        ("30 days 1 minute", "1 day", false),
    ] {
        let Account { tokens: first, client, .. } = server.registers().await;
        let session = session_of(&first.access);
        age(&server.database, session, begun, used).await;
        assert_eq!(seen(&client).await, usize::from(goes_on), "{begun}");
        let refreshed = refresh(&client, &first.refresh).await;
        match goes_on {
            true => assert_ne!(refreshed.unwrap(), first, "{begun}"),
            false => assert_eq!(refreshed, Err("TOKEN_EXPIRED".to_owned()), "{begun}"),
        }
        assert_eq!(session_row(&server.database, session).await, (i32::from(goes_on), false), "{begun}");
        // What is over is forgotten, and nothing else.
        stockroom::domain::accounts::commands::prune(&server.core).await.unwrap();
        let left = server.database.connect().await;
        let left = left.query_one("SELECT count(*) FROM sessions WHERE id = $1", &[&session]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), i64::from(goes_on), "{begun}");
        let code = if goes_on { "" } else { "UNAUTHENTICATED" };
        assert_eq!(mutation_fails_with(&client).await, code, "{begun}");
    }

    // A refresh makes the end later, but not the last one.
    let brief = server.another(&["--session-idle", "1h", "--session-life", "90m"]).await;
    let Account { tokens: first, client, .. } = brief.registers().await;
    let session = session_of(&first.access);
    age(&server.database, session, "50 minutes", "50 minutes").await;
    let second = refresh(&client, &first.refresh).await.unwrap();
    age(&server.database, session, "30 minutes", "30 minutes").await;
    let shown = client.data(SESSIONS, json!({})).await["me"]["sessions"][0].take();
    let read = |name: &str| chrono::DateTime::parse_from_rfc3339(shown[name].as_str().unwrap()).unwrap();
    assert_eq!(read("expiresAt") - read("createdAt"), chrono::TimeDelta::minutes(90));
    age(&server.database, session, "11 minutes", "11 minutes").await;
    assert_eq!(refresh(&client, &second.refresh).await, Err("TOKEN_EXPIRED".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_everywhere_is_out_on_every_instance_whatever_becomes_of_redis() {
    let redis = RedisServer::start();
    let url = redis.url();
    let servers = three(&["--redis-url", &url]).await;
    for state in ["up", "frozen", "down"] {
        match state {
            "frozen" => redis.signal("STOP"),
            "down" => redis.kill(),
            _ => {}
        }
        let ada = servers[0].registers().await;
        let clients: Vec<Client> =
            servers.iter().map(|server| server.anonymous().with_token(&ada.tokens.access)).collect();
        for client in &clients {
            assert!(!is_refused(client).await, "{state}");
        }
        assert_eq!(clients[0].data(LOGOUT_EVERYWHERE, json!({})).await["logout"]["revoked"], 1);
        let ended = Instant::now();
        // What changes something is refused at once.
        for client in &clients {
            assert_eq!(mutation_fails_with(client).await, "UNAUTHENTICATED", "{state}");
        }
        for client in &clients {
            eventually("its access tokens are refused", async || is_refused(client).await).await;
        }
        println!("Redis {state}: refused everywhere after {:?}", ended.elapsed());
        assert!(ended.elapsed() < Duration::from_secs(2), "Redis {state}: {:?}", ended.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_revocations_cannot_be_read_mutations_are_refused_all_the_same() {
    let server = TestServer::start_with(&[]).await;
    let proxy = Proxy::before(&server.database.url).await;
    let url = proxy.url(&server.database.url);
    let cut_off = server.another_by_way_of(&url, &[]).await;
    let brief = server.another_by_way_of(&url, &["--access-token-ttl", "8s"]).await;
    let (staff, owner) = (server.signed_in(Role::Staff).await, server.signed_in(Role::Staff).await);
    let phone = server.registers().await;
    let far = |token: &str| cut_off.anonymous().with_token(token);
    let token = staff.token.clone().unwrap();
    let key = "mutation { createApiKey(input: { name: \"k\", scopes: [CATALOG_READ, CATALOG_WRITE] }) {
        apiKey { id } secret } }";
    let keys = [owner.data(key, json!({})).await, owner.data(key, json!({})).await];
    let [(revoked, secret), (_, other)] =
        keys.map(|key| (key["createApiKey"]["apiKey"]["id"].clone(), key["createApiKey"]["secret"].clone()));
    let (secret, other) = (secret.as_str().unwrap(), other.as_str().unwrap());
    let mut socket = Socket::open(cut_off.address, Some(secret)).await;
    let mut forgotten = Socket::open(brief.address, Some(other)).await;

    proxy.always(FEED, Fault::Cut);
    proxy.happened(1).await;
    let revoke = "mutation($id: ID!) { revokeApiKey(id: $id) { revoked } }";
    assert_eq!(owner.data(revoke, json!({ "id": revoked })).await["revokeApiKey"]["revoked"], 1);
    for client in [&staff, &phone.client] {
        assert_eq!(client.data(LOGOUT_EVERYWHERE, json!({})).await["logout"]["revoked"], 1);
    }
    let url = format!("http://{}/metrics", cut_off.address);
    let age = async || -> f64 {
        let figures = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let line = figures.lines().find(|line| line.starts_with("stockroom_revocations_age_seconds "));
        line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
    };
    eventually("the gauge shows it", async || age().await > 5.0).await;
    // Questions are answered until the token ends; nothing is changed.
    for token in [&token, &phone.tokens.access] {
        assert!(!is_refused(&far(token)).await);
        assert_eq!(mutation_fails_with(&far(token)).await, "UNAUTHENTICATED");
    }
    assert_eq!(refresh(&cut_off.anonymous(), &phone.tokens.refresh).await, Err("TOKEN_EXPIRED".to_owned()));
    let create = json!({ "query": "mutation { createCategory(input: { name: \"A\" }) { category { id } } }" });
    assert_eq!(far(&token).refusal(&create).await.1, "UNAUTHENTICATED");
    assert_eq!(far(secret).refusal(&create).await, (401, "UNAUTHENTICATED".to_owned()));
    socket.ask("1", "mutation { createCategory(input: { name: \"A\" }) { category { id } } }").await;
    assert_eq!(socket.message().await.unwrap()["payload"]["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    assert_eq!(socket.message().await.unwrap()["type"], "complete");

    // A key that nothing is known of for as long as a token lives is not trusted on.
    assert_eq!(forgotten.message().await, Err(4403));

    // What happened meanwhile is learnt afterwards.
    proxy.heal();
    for token in [&token, &phone.tokens.access] {
        eventually("it is refused", async || is_refused(&far(token)).await).await;
    }
    assert_eq!(socket.message().await, Err(4403));
    eventually("the gauge shows it", async || age().await < 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_streams_end_with_their_session_and_no_other() {
    let server = TestServer::start().await;
    let instance = server.another(&["--redis-url", &servers().redis_url()]).await;
    let ada = server.registers().await;
    let other = ada.client.logs_in(&ada.email, PASSWORD).await.unwrap();
    let mut bystander = Socket::open(instance.address, Some(&other.access)).await;
    let mut socket = Socket::open(instance.address, Some(&ada.tokens.access)).await;
    socket.ask("1", WATCH).await;
    let stream = ada.client.http.post(format!("http://{}/graphql", instance.address));
    let stream = stream.bearer_auth(&ada.tokens.access).header("accept", "text/event-stream");
    let stream = stream.json(&json!({ "query": WATCH })).send().await.unwrap();
    assert_eq!(ada.client.data(LOGOUT, json!({})).await["logout"]["revoked"], 1);
    let ended = Instant::now();
    assert_eq!(socket.message().await, Err(4403));
    let text = stream.text().await.unwrap();
    assert!(!text.contains("event: complete"), "{text}");
    assert!(ended.elapsed() < Duration::from_secs(2), "{:?}", ended.elapsed());
    // Of two services the one with the sockets has no `me`.
    let (question, place, expected) = match gateway::is_everywhere() {
        true => ("{ products { totalCount } }", "/payload/data/products/totalCount", json!(0)),
        false => (ME, "/payload/data/me/email", json!(ada.email)),
    };
    bystander.ask("1", question).await;
    assert_eq!(bystander.message().await.unwrap().pointer(place), Some(&expected));
    // And none is opened any more.
    let request = ada.client.http.post(format!("http://{}/graphql", instance.address)).header("accept", GRAPHQL);
    let request = request.bearer_auth(&ada.tokens.access).json(&json!({ "query": ME }));
    assert_eq!(request.send().await.unwrap().status(), 401);
}
