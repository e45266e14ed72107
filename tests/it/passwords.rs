//! Passwords and addresses: how they are changed, set anew and shown to be somebody's.

use std::time::Duration;

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use tokio::task::JoinSet;

use crate::support::{Account, Client, GRAPHQL, PASSWORD, TestServer, eventually, gateway, tokens};

const CHANGE: &str = "mutation($current: String!, $new: String!) {
    changePassword(currentPassword: $current, newPassword: $new) {
        tokens { accessToken refreshToken } errors { ... on UserError { code path } } } }";
const REQUEST_RESET: &str = "mutation($email: String!) { requestPasswordReset(email: $email) {
    accepted errors { ... on UserError { code } } } }";
const RESET: &str = "mutation($token: String!, $new: String!) { resetPassword(token: $token, newPassword: $new) {
    user { emailVerified } tokens { accessToken refreshToken } errors { ... on UserError { code path } } } }";
const REQUEST_VERIFICATION: &str =
    "mutation { requestEmailVerification { accepted errors { ... on UserError { code } } } }";
const VERIFY: &str = "mutation($token: String!) { verifyEmail(token: $token) {
    user { emailVerified } errors { ... on UserError { code path } } } }";
const REGISTER: &str = "mutation($input: RegisterInput!) { register(input: $input) {
    user { email } tokens { accessToken refreshToken } errors { __typename ... on UserError { code path } } } }";
const REFRESH: &str = "mutation($token: String!) { refreshTokens(refreshToken: $token) {
    tokens { accessToken refreshToken } errors { ... on UserError { code } } } }";
const ME: &str = "{ me { email emailVerified } }";
const NEW: &str = "another horse, less wrong";

fn hashes(server: &TestServer) -> u64 {
    server.core.infra.metrics.password_hashes.get()
}

/// The only error of a payload.
fn error(payload: &Value) -> Value {
    let [error] = payload["errors"].as_array().unwrap().as_slice() else { panic!("{payload}") };
    error.clone()
}

/// The mails to this address with this word in their links, once there are so many of them.
async fn links(server: &TestServer, email: &str, page: &str, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    for number in 1.. {
        let mail = server.mails(number).await.pop().unwrap();
        let is_theirs = mail.contains(&format!("To: {email}\r\n"));
        // Links are longer than a line of quoted-printable text.
        let text = mail.replace("=\r\n", "").replace("=3D", "=");
        if let (true, Some((_, rest))) = (is_theirs, text.split_once(&format!("/{page}?token="))) {
            found.push(rest.split_whitespace().next().unwrap().to_owned());
        }
        if found.len() == count {
            break;
        }
    }
    found
}

async fn is_signed_in(client: &Client) -> bool {
    client.refusal(&json!({ "query": ME })).await.0 == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_for_the_current_one_and_ends_all_other_sessions() {
    let server = TestServer::start_with(&[]).await;
    let instance = server.another(&[]).await;
    let Account { email, tokens: first, client } = server.registers().await;
    let phone = client.logs_in(&email, PASSWORD).await.unwrap();
    let change = async |client: &Client, current: &str, new: &str| {
        client.data(CHANGE, json!({ "current": current, "new": new })).await["changePassword"].take()
    };
    for (current, new, code, path) in [
        ("wrong horse", NEW, "INVALID_CREDENTIALS", "currentPassword"),
        ("", NEW, "INVALID_CREDENTIALS", "currentPassword"),
        (PASSWORD, "short", "TOO_SHORT", "newPassword"),
        (PASSWORD, "Passw0rd123!", "WEAK_PASSWORD", "newPassword"),
        (PASSWORD, &email, "WEAK_PASSWORD", "newPassword"),
        (PASSWORD, &"x7Gk2pQ9".repeat(33), "TOO_LONG", "newPassword"),
    ] {
        let refused = change(&client, current, new).await;
        assert_eq!(error(&refused), json!({ "code": code, "path": [path] }), "{new}");
        assert_eq!(refused["tokens"], Value::Null);
    }
    assert!(is_signed_in(&client.with_token(&phone.access)).await);
    client.logs_in(&email, PASSWORD).await.unwrap();

    let changed = tokens(&change(&client, PASSWORD, NEW).await).unwrap();
    for client in [client.with_token(&changed.access), instance.anonymous().with_token(&changed.access)] {
        assert_eq!(client.data(ME, json!({})).await["me"]["email"], json!(email));
    }
    for old in [&first, &phone] {
        for server in [&server, &instance] {
            let old = server.anonymous().with_token(&old.access);
            eventually("the old token is refused", async || !is_signed_in(&old).await).await;
        }
    }
    let anonymous = server.anonymous();
    let refreshed = anonymous.data(REFRESH, json!({ "token": phone.refresh })).await;
    assert_eq!(tokens(&refreshed["refreshTokens"]), Err("TOKEN_EXPIRED".to_owned()));
    assert_eq!(anonymous.logs_in(&email, PASSWORD).await, Err("INVALID_CREDENTIALS".to_owned()));
    anonymous.logs_in(&email, NEW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_refresh_token_from_before_a_change_of_the_password_is_worth_nothing() {
    let server = TestServer::start_with(&[]).await;
    let Account { tokens: first, client, .. } = server.registers().await;
    let anonymous = server.anonymous();
    let changed = client.data(CHANGE, json!({ "current": PASSWORD, "new": NEW })).await["changePassword"].take();
    let changed = tokens(&changed).unwrap();
    // Not even for the ten seconds in which the one before is taken elsewhere.
    let copy = anonymous.data(REFRESH, json!({ "token": first.refresh })).await;
    assert_eq!(tokens(&copy["refreshTokens"]), Err("INVALID_CREDENTIALS".to_owned()));
    // Nor can it be used to put the owner out.
    let own = anonymous.data(REFRESH, json!({ "token": changed.refresh })).await;
    let own = tokens(&own["refreshTokens"]).unwrap();
    assert!(is_signed_in(&anonymous.with_token(&own.access)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_sets_another_password_once_and_ends_all_sessions() {
    let server = TestServer::start_with(&[]).await;
    let anonymous = server.anonymous();
    let Account { email, tokens: first, client } = server.registers().await;
    let requested = json!({ "requestPasswordReset": { "accepted": true, "errors": [] } });
    assert_eq!(anonymous.data(REQUEST_RESET, json!({ "email": email })).await, requested);
    // Mails of requests at the same time are sent in any order.
    links(&server, &email, "reset-password", 1).await;
    assert_eq!(anonymous.data(REQUEST_RESET, json!({ "email": email.to_uppercase() })).await, requested);
    let mut mailed = links(&server, &email, "reset-password", 2).await;
    let (latest, older) = (mailed.pop().unwrap(), mailed.pop().unwrap());
    assert_ne!(latest, older);
    // The database does not have what the link proves.
    let database = server.database.connect().await;
    let rows = database.query("SELECT mail_tokens::text AS row FROM mail_tokens", &[]).await.unwrap();
    assert!(rows.iter().all(|row| !row.get::<_, String>(0).contains(&latest)));
    let verification = links(&server, &email, "verify-email", 1).await.pop().unwrap();

    let reset = async |token: &str, new: &str| {
        anonymous.data(RESET, json!({ "token": token, "new": new })).await["resetPassword"].take()
    };
    for (token, new, code, path) in [
        (older.as_str(), NEW, "TOKEN_EXPIRED", "token"),
        (verification.as_str(), NEW, "TOKEN_EXPIRED", "token"),
        ("", NEW, "TOKEN_EXPIRED", "token"),
        (&latest[1..], NEW, "TOKEN_EXPIRED", "token"),
        (&latest, "short", "TOO_SHORT", "newPassword"),
        (&latest, "Passw0rd123!", "WEAK_PASSWORD", "newPassword"),
    ] {
        assert_eq!(error(&reset(token, new).await), json!({ "code": code, "path": [path] }), "{token} {new}");
    }
    assert!(is_signed_in(&client).await);

    // Whoever clicks twice at once sets it once.
    let mut clicks = JoinSet::new();
    for _ in 0..5 {
        let (client, variables) = (anonymous.clone(), json!({ "token": latest, "new": NEW }));
        clicks.spawn(async move { client.data(RESET, variables).await["resetPassword"].take() });
    }
    let clicks = clicks.join_all().await;
    let (set, late): (Vec<_>, Vec<_>) = clicks.iter().partition(|click| click["tokens"].is_object());
    assert_eq!((set.len(), late.len()), (1, 4), "{clicks:#?}");
    assert!(late.iter().all(|late| error(late)["code"] == "TOKEN_EXPIRED"));
    // The link came to the address, so the address is theirs.
    assert_eq!(set[0]["user"]["emailVerified"], true);
    let signed = tokens(set[0]).unwrap();
    assert!(is_signed_in(&anonymous.with_token(&signed.access)).await);
    eventually("the old session has ended", async || !is_signed_in(&client).await).await;
    let refreshed = anonymous.data(REFRESH, json!({ "token": first.refresh })).await;
    assert_eq!(tokens(&refreshed["refreshTokens"]), Err("TOKEN_EXPIRED".to_owned()));
    assert_eq!(anonymous.logs_in(&email, PASSWORD).await, Err("INVALID_CREDENTIALS".to_owned()));
    anonymous.logs_in(&email, NEW).await.unwrap();
    assert_eq!(error(&reset(&latest, PASSWORD).await)["code"], "TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_hold_for_as_long_as_they_say() {
    let server = TestServer::start_with(&[]).await;
    let anonymous = server.anonymous();
    let database = server.database.connect().await;
    for (age, holds) in [("29 minutes", true), ("30 minutes 1 second", false)] {
        let Account { email, .. } = server.registers().await;
        anonymous.data(REQUEST_RESET, json!({ "email": email })).await;
        let token = links(&server, &email, "reset-password", 1).await.pop().unwrap();
        let statement = format!("UPDATE mail_tokens SET expires_at = expires_at - interval '{age}'");
        database.execute(&statement, &[]).await.unwrap();
        let reset = anonymous.data(RESET, json!({ "token": token, "new": NEW })).await["resetPassword"].take();
        assert_eq!(reset["tokens"].is_object(), holds, "{age}: {reset}");
    }
    for (age, holds) in [("23 hours", true), ("24 hours 1 second", false)] {
        let Account { email, .. } = server.registers().await;
        let token = links(&server, &email, "verify-email", 1).await.pop().unwrap();
        let statement = format!("UPDATE mail_tokens SET expires_at = expires_at - interval '{age}'");
        database.execute(&statement, &[]).await.unwrap();
        let verified = anonymous.data(VERIFY, json!({ "token": token })).await["verifyEmail"].take();
        assert_eq!(verified["user"]["emailVerified"] == true, holds, "{age}: {verified}");
        if !holds {
            assert_eq!(error(&verified), json!({ "code": "TOKEN_EXPIRED", "path": ["token"] }));
        }
    }
    stockroom::domain::accounts::commands::prune(&server.core).await.unwrap();
    let left = "SELECT count(*) FROM mail_tokens WHERE expires_at < now()";
    assert_eq!(database.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_from_a_reset_whether_an_address_has_an_account() {
    let server = TestServer::start_with(&[]).await;
    let Account { email, .. } = server.registers().await;
    links(&server, &email, "verify-email", 1).await;
    let before = hashes(&server);
    let mut answers = Vec::new();
    for email in [email.as_str(), "nobody@stockroom.test", "no address", ""] {
        let response = server.anonymous().post(REQUEST_RESET, &json!({ "email": email })).await;
        let mut headers: Vec<String> = response.headers().keys().map(ToString::to_string).collect();
        headers.sort();
        answers.push((response.status(), headers, response.text().await.unwrap()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(hashes(&server), before);
    // One mail, to the one whose address it is.
    links(&server, &email, "reset-password", 1).await;
    assert_eq!(server.mails(2).await.len(), 2);
    // Longer than any of them would take.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let sent = server.core.infra.metrics.mails.get_or_create(&[("outcome", "sent")]).get();
    assert_eq!(sent, 2);

    // Too many of them are refused, of either alike.
    let strict = server.another(&["--mail-limit", "3/1h"]).await;
    for email in [email.as_str(), "nobody@stockroom.test"] {
        for number in 0..5 {
            let payload = strict.anonymous().data(REQUEST_RESET, json!({ "email": email })).await;
            let payload = &payload["requestPasswordReset"];
            assert_eq!(payload["accepted"], number < 3, "{email}");
            if number >= 3 {
                assert_eq!(error(payload)["code"], "LOGIN_DELAYED");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_wrong_and_locked_accounts_answer_alike_and_cost_the_same() {
    let server = TestServer::start_with(&["--login-limit", "4/1h"]).await;
    let Account { email, .. } = server.another(&[]).await.registers().await;
    let login = "mutation($email: String!) { login(input: { email: $email, password: \"wrong horse\" }) {
        user { id } tokens { accessToken } errors { __typename ... on UserError { code message path } } } }";
    let tries = async |email: &str| {
        let mut answers = Vec::new();
        for _ in 0..6 {
            let before = hashes(&server);
            let response = server.anonymous().post(login, &json!({ "email": email })).await;
            let status = response.status();
            answers.push((status, response.json::<Value>().await.unwrap(), hashes(&server) - before));
        }
        answers
    };
    let (known, unknown) = (tries(&email).await, tries("nobody@stockroom.test").await);
    for (number, (known, unknown)) in known.into_iter().zip(unknown).enumerate() {
        let code = known.1["data"]["login"]["errors"][0]["code"].as_str().unwrap().to_owned();
        // How long is left differs by the moments between.
        let told = |mut answer: Value| {
            let message = answer["data"]["login"]["errors"][0]["message"].take();
            let words = message.as_str().unwrap().split(char::is_numeric).map(str::to_owned).collect::<Vec<_>>();
            (answer, words.first().cloned(), words.last().cloned())
        };
        assert_eq!(code, if number < 4 { "INVALID_CREDENTIALS" } else { "LOGIN_DELAYED" });
        assert_eq!((known.2, unknown.2), if number < 4 { (1, 1) } else { (0, 0) });
        assert_eq!((known.0, told(known.1)), (unknown.0, told(unknown.1)));
    }
    // Whoever registers an address that has an account learns that, and pays for a hash as everybody does.
    let before = hashes(&server);
    let input = json!({ "email": "taken@stockroom.test", "password": PASSWORD });
    for _ in 0..2 {
        server.anonymous().data(REGISTER, json!({ "input": input })).await;
    }
    assert_eq!(hashes(&server) - before, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_verified_by_the_link_that_was_sent_there() {
    let server = TestServer::start_with(&[]).await;
    let Account { email, client, .. } = server.registers().await;
    let first = links(&server, &email, "verify-email", 1).await.pop().unwrap();
    let requested = json!({ "requestEmailVerification": { "accepted": true, "errors": [] } });
    assert_eq!(client.data(REQUEST_VERIFICATION, json!({})).await, requested);
    let second = links(&server, &email, "verify-email", 2).await.pop().unwrap();
    let verify =
        async |token: &str| server.anonymous().data(VERIFY, json!({ "token": token })).await["verifyEmail"].take();
    for void in [&first, "", &second[..42]] {
        assert_eq!(error(&verify(void).await), json!({ "code": "TOKEN_EXPIRED", "path": ["token"] }));
    }
    assert_eq!(client.data(ME, json!({})).await["me"]["emailVerified"], false);
    assert_eq!(verify(&second).await, json!({ "user": { "emailVerified": true }, "errors": [] }));
    assert_eq!(client.data(ME, json!({})).await["me"]["emailVerified"], true);
    assert_eq!(error(&verify(&second).await)["code"], "TOKEN_EXPIRED");
    // Asked for again there is nothing to send.
    assert_eq!(client.data(REQUEST_VERIFICATION, json!({})).await, requested);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.core.infra.metrics.mails.get_or_create(&[("outcome", "sent")]).get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_verified_an_address_may_be_kept_from_writing() {
    let server = TestServer::start_with(&[]).await;
    let strict = server.another(&["--require-verified-email", "true"]).await;
    let Account { email, client, .. } = server.registers().await;
    let database = server.database.connect().await;
    // As staff; which is how they may write at all.
    let admin = server.signed_in(Role::Admin).await;
    let id = client.data("{ me { id } }", json!({})).await["me"]["id"].take();
    let set = "mutation($id: ID!) { setUserRole(id: $id, role: STAFF) { user { role } } }";
    assert_eq!(admin.data(set, json!({ "id": id })).await["setUserRole"]["user"]["role"], "STAFF");
    let staff = server.anonymous().logs_in(&email, PASSWORD).await.unwrap();
    let staff = strict.anonymous().with_token(&staff.access);
    let create = json!({ "query": "mutation { createCategory(input: { name: \"A\" }) { category { name } } }" });
    assert_eq!(staff.refusal(&create).await, (200, "EMAIL_NOT_VERIFIED".to_owned()));
    assert_eq!(staff.data("{ categories { name } }", json!({})).await["categories"], json!([]));
    // A key of theirs may not do what they may not.
    let key = "mutation { createApiKey(input: { name: \"k\", scopes: [CATALOG_WRITE] }) { secret } }";
    let key = staff.data(key, json!({})).await["createApiKey"]["secret"].take();
    let key = strict.anonymous().with_token(key.as_str().unwrap());
    assert_eq!(key.refusal(&create).await, (200, "EMAIL_NOT_VERIFIED".to_owned()));
    assert_eq!(database.query("SELECT 1 FROM categories", &[]).await.unwrap().len(), 0);

    let link = links(&server, &email, "verify-email", 1).await.pop().unwrap();
    strict.anonymous().data(VERIFY, json!({ "token": link })).await;
    assert_eq!(staff.refusal(&create).await, (200, String::new()));
    assert_eq!(
        key.refusal(
            &json!({ "query": "mutation { createCategory(input: { name: \"B\" }) { errors { __typename } } }" })
        )
        .await
        .1,
        ""
    );
    assert_eq!(database.query("SELECT 1 FROM categories", &[]).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_hash_is_renewed_when_its_password_signs_in() {
    let server = TestServer::start_with(&[]).await;
    let Account { email, client, .. } = server.registers().await;
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8 * 1024, 1, 1, None).unwrap());
    let old = weak.hash_password(PASSWORD.as_bytes()).unwrap().to_string();
    let database = server.database.connect().await;
    let set = "UPDATE users SET password_hash = $1 WHERE email = $2";
    database.execute(set, &[&old, &email]).await.unwrap();
    let hash = async || {
        let row =
            database.query_one("SELECT password_hash, token_version FROM users WHERE email = $1", &[&email]).await;
        let row = row.unwrap();
        (row.get::<_, String>(0), row.get::<_, i32>(1))
    };
    assert_eq!(client.logs_in(&email, "wrong horse").await, Err("INVALID_CREDENTIALS".to_owned()));
    assert_eq!(hash().await, (old.clone(), 0));
    // Also when several do so at once.
    let mut logins = JoinSet::new();
    for _ in 0..4 {
        let (client, email) = (client.clone(), email.clone());
        logins.spawn(async move { client.logs_in(&email, PASSWORD).await });
    }
    let logins = logins.join_all().await;
    assert!(logins.iter().all(Result::is_ok), "{logins:?}");
    let (renewed, version) = hash().await;
    assert!(renewed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{renewed}");
    // Nobody is put out by that, and it happens once.
    assert_eq!(version, 0);
    assert!(is_signed_in(&client).await);
    client.logs_in(&email, PASSWORD).await.unwrap();
    assert_eq!(hash().await, (renewed, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_are_judged_before_hashing_and_unicode_by_its_meaning() {
    let server = TestServer::start_with(&[]).await;
    let anonymous = server.anonymous();
    let register = async |email: &str, password: &str| {
        let input = json!({ "email": email, "password": password });
        anonymous.data(REGISTER, json!({ "input": input })).await["register"].take()
    };
    let long = "x7Gk2pQ9".repeat(33);
    for (password, code) in [("", "TOO_SHORT"), ("x7Gk2pQ", "TOO_SHORT"), (&long[..257], "TOO_LONG")] {
        let payload = register("ada@example.com", password).await;
        assert_eq!(error(&payload)["code"], code, "{} bytes", password.len());
    }
    // A document of a megabyte is not even read.
    let input = json!({ "email": "ada@example.com", "password": "x".repeat(1 << 20) });
    let body = json!({ "query": REGISTER, "variables": { "input": input } });
    let response = anonymous.http.post(&anonymous.url).header("accept", GRAPHQL).json(&body).send().await;
    // It may be refused while it is still being sent. A gateway tells in the body what a service refused.
    assert!(response.map_or(true, |response| response.status() == 413 || gateway::is_everywhere()));
    assert_eq!(hashes(&server), 0);
    assert_eq!(register("ada@example.com", &long[..256]).await["errors"], json!([]));
    anonymous.logs_in("ada@example.com", &long[..256]).await.unwrap();
    assert_eq!(anonymous.logs_in("ada@example.com", &long[..255]).await, Err("INVALID_CREDENTIALS".to_owned()));
    assert_eq!(anonymous.logs_in("ada@example.com", &long).await, Err("INVALID_CREDENTIALS".to_owned()));

    let (composed, decomposed) = ("ka\u{308}lteschutz h\u{f6}rt auf", "k\u{e4}lteschutz ho\u{308}rt auf");
    assert_ne!(composed, decomposed);
    assert_eq!(register("bob@example.com", composed).await["errors"], json!([]));
    anonymous.logs_in("bob@example.com", decomposed).await.unwrap();
    let without = composed.replace('\u{308}', "");
    assert_eq!(anonymous.logs_in("bob@example.com", &without).await, Err("INVALID_CREDENTIALS".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_go_to_the_address_as_it_was_registered_however_it_is_asked_for() {
    let server = TestServer::start_with(&["--database-wait", "20s", "--request-timeout", "60s"]).await;
    let anonymous = server.anonymous();
    // Another letter is another address.
    for email in ["Ilse.Krüger@example.com", "ilse.kruger@example.com"] {
        let input = json!({ "email": email, "password": PASSWORD });
        assert_eq!(anonymous.data(REGISTER, json!({ "input": input })).await["register"]["errors"], json!([]));
        links(&server, email, "verify-email", 1).await;
    }
    let forms = [
        "ilse.krüger@example.com",
        "ILSE.KRU\u{308}GER@EXAMPLE.COM",
        "ｉlse.krüger@example.com",
        "\u{131}lse.krüger@example.com",
    ];
    for (number, form) in forms.iter().enumerate() {
        anonymous.data(REQUEST_RESET, json!({ "email": form })).await;
        links(&server, "Ilse.Krüger@example.com", "reset-password", number + 1).await;
    }
    anonymous.data(REQUEST_RESET, json!({ "email": "ilse.kruger@example.com" })).await;
    links(&server, "ilse.kruger@example.com", "reset-password", 1).await;
    // A mail is counted after it has arrived.
    let sent = || server.core.infra.metrics.mails.get_or_create(&[("outcome", "sent")]).get();
    eventually("seven mails are counted", async || sent() >= 7).await;
    assert_eq!(sent(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_sign_ins_is_worked_off_a_few_at_once_and_the_rest_told_to_come_back() {
    let server = TestServer::start_with(&["--password-hashes", "2", "--password-queue", "4"]).await;
    let metrics = &server.core.infra.metrics;
    let mut flood = JoinSet::new();
    for number in 0..60 {
        let client = server.anonymous();
        let login = json!({ "query": "mutation { login(input: { email: \"a@b.example\", password: \"wrong horse\" }) {
            errors { __typename } } }" });
        flood.spawn(async move {
            let request = client.http.post(&client.url).json(&login);
            // Half of them hang up at once.
            let patience = Duration::from_millis(if number % 2 == 0 { 5 } else { 60_000 });
            let answer = request.timeout(patience).send().await.ok()?;
            let told = (answer.status() == 503, answer.headers().get("retry-after").is_some_and(|wait| wait == "1"));
            let body: Value = answer.json().await.ok()?;
            let code = body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned();
            let busy = code == "BUSY";
            assert_eq!(told, (busy, busy), "{body}");
            Some(code)
        });
    }
    let mut most = 0;
    let (mut looked_at, mut busy) = (0, 0);
    loop {
        most = most.max(metrics.password_hashes_running.get());
        tokio::select! {
            answered = flood.join_next() => match answered {
                Some(answered) => match answered.unwrap().as_deref() {
                    Some("") => looked_at += 1,
                    Some("BUSY") => busy += 1,
                    Some(other) => panic!("{other}"),
                    None => {}
                },
                None => break,
            },
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    assert!((1..=2).contains(&most), "{most} at once");
    assert!(looked_at > 0 && busy > 0, "{looked_at} looked at, {busy} told to come back");
    // What runs ends, whoever has gone.
    eventually("all hashes end", async || metrics.password_hashes_running.get() == 0).await;
    server.anonymous().data("{ products { totalCount } }", json!({})).await;
}
