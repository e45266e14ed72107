//! PostgreSQL and Redis as others run them: over TLS, with passwords and users of their own.

use std::collections::HashMap;

use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use stockroom::infra::redis::NEEDED;

use crate::support::TestServer;
use crate::support::certificates::Authority;
use crate::support::process::{Server, complained, run, said, signing_key};
use crate::support::servers::{RedisServer, TestDatabase};
use crate::support::standby::Primary;

/// The same database by the name that the certificates have, in this mode.
fn by_name(url: &str, mode: &str) -> String {
    url.replace("127.0.0.1", "localhost").replace("sslmode=disable", &format!("sslmode={mode}"))
}

/// Why a server does not start with these flags.
fn refusal(flags: &[&str]) -> String {
    let serve = ["serve", "--listen-addr", "127.0.0.1:0", "--jwt-private-key-file"];
    let key = signing_key();
    let refused = run(&[&serve[..], &[key.as_str()], flags].concat());
    assert!(!refused.status.success());
    complained(&refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_believed_by_its_certificate_and_never_asked_in_plain_text_instead() {
    let (authority, other) = (Authority::new(), Authority::new());
    let primary = Primary::start().await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let told = refusal(&["--database-url", &by_name(&primary.url, mode)]);
        assert!(told.contains("the server offers no TLS; turn it on there"), "{mode}: {told}");
    }
    primary.speak_tls(&authority).await;
    let file = authority.file();
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = by_name(&primary.url, mode);
        for flags in [vec!["--database-url", &url], vec!["--database-url", &url, "--tls-ca-file", &other.file()]] {
            let told = refusal(&flags);
            assert!(told.contains("name that one in TLS_CA_FILE"), "{flags:?}: {told}");
        }
        // The right authority, and a host that the certificate does not name.
        let elsewhere = url.replace("localhost", "127.0.0.1");
        let flags = ["--database-url", &elsewhere, "--tls-ca-file", &file];
        if mode == "verify-ca" {
            assert!(run(&[&["migrate", "--check"], &flags[..]].concat()).status.success());
        } else {
            let told = refusal(&flags);
            assert!(told.contains("the certificate is for another host"), "{mode}: {told}");
        }
    }
    // What may fall back to plain text is refused unasked, and so is what would go unnoticed.
    for mode in ["prefer", "allow"] {
        let told = refusal(&["--database-url", &by_name(&primary.url, mode)]);
        assert!(told.contains("use sslmode=require or sslmode=disable"), "{told}");
    }
    for rest in ["sslrootcert=ca.pem", "sslmode=require&sslrootcert=ca.pem"] {
        let told = refusal(&["--database-url", &primary.url.replace("sslmode=disable", rest)]);
        assert!(told.contains("set TLS_CA_FILE"), "{told}");
    }
    let told = refusal(&["--database-url", &by_name(&primary.url, "require"), "--tls-ca-file", "/nowhere.pem"]);
    assert!(told.contains("TLS_CA_FILE /nowhere.pem"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_server_says_to_postgresql_and_its_replica_goes_over_tls() {
    let authority = Authority::new();
    let primary = Primary::start().await;
    primary.speak_tls(&authority).await;
    let replica = primary.replica(&[]).await;
    let (url, replica_url) = (by_name(&primary.url, "require"), by_name(&replica.url, "verify-full"));
    let file = authority.file();
    let flags = ["--database-direct-url", &url, "--database-replica-urls", &replica_url, "--tls-ca-file", &file];
    let server = TestServer::on_primary(&url, &flags).await;
    server.signed_in(Role::Staff).await.create_product(json!({ "name": "Safe" })).await;
    let from = |who| server.core.infra.metrics.replica_reads.get_or_create(&[("from", who)]).get();
    crate::support::eventually("a replica answers", async || {
        let search = format!("word{}", uuid::Uuid::new_v4().simple());
        let query = "query($s: String!) { products(search: $s) { totalCount } }";
        server.anonymous().data(query, json!({ "s": search })).await;
        from("replica") > 0
    })
    .await;
    for url in [&primary.url, &replica.url] {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let ask = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
            FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'stockroom'";
        let row = client.query_one(ask, &[]).await.unwrap();
        let (safe, plain): (i64, i64) = (row.get(0), row.get(1));
        assert!(safe >= 2 && plain == 0, "{safe} connections over TLS, {plain} without");
    }
    // One that shows the wrong certificate is passed over.
    let elsewhere = replica_url.replace("localhost", "127.0.0.1");
    let key = signing_key();
    let flags = ["--database-url", &url, "--database-replica-urls", &elsewhere, "--tls-ca-file", &file];
    let told = said(&run(&[&["doctor", "--jwt-private-key-file", &key], &flags[..]].concat()));
    assert!(told.contains("queries are not read from 127.0.0.1"), "{told}");
    assert!(told.contains("the certificate is for another host"), "{told}");
}

/// What the doctor says of Redis.
fn diagnosis(flags: &[&str]) -> String {
    let told = said(&run(&[&["doctor"], flags].concat()));
    told.lines().find(|line| line.contains("Redis")).unwrap_or_else(|| panic!("{told}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_used_over_tls_and_where_it_cannot_be_the_server_says_why_and_goes_on() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (database, key) = (TestDatabase::create().await, signing_key());
    let (file, prefix) = (authority.file(), &database.name);
    let mine = format!("~{prefix}:*");
    let users = |name, keys: &str, allowed: &str| format!("--user {name} on >s3cret {keys} {allowed}");
    let arguments = [
        "--user default off".to_owned(),
        users("shop", &mine, NEEDED),
        users("lacking", &mine, &NEEDED.replace("+zadd ", "")),
        users("foreign", "~other:*", NEEDED),
    ]
    .join(" ");
    let redis = RedisServer::start_tls(&authority, &arguments.split(' ').collect::<Vec<_>>());
    let port = redis.port;
    let whose = |user: &str| format!("rediss://{user}:s3cret@localhost:{port}");
    let common = ["--database-url", &database.url, "--redis-prefix", prefix, "--jwt-private-key-file", &key];
    let with = |url: &str, authority: &str| {
        let flags = common.iter().copied().chain(["--redis-url", url, "--tls-ca-file", authority]);
        flags.map(str::to_owned).collect::<Vec<_>>()
    };

    let well = with(&whose("shop"), &file);
    let well: Vec<&str> = well.iter().map(String::as_str).collect();
    assert!(diagnosis(&well).starts_with("ok    Redis       release"), "{}", diagnosis(&well));
    let server = Server::start(&well);
    let ready = |server: &Server| format!("http://127.0.0.1:{}/readyz", server.port);
    let state: Value = reqwest::get(ready(&server)).await.unwrap().json().await.unwrap();
    assert_eq!(state["redis"]["ok"], true, "{state}");

    let plain = whose("shop").replace("rediss:", "redis:");
    let wrong = whose("shop").replace("s3cret", "secret");
    for (url, authority, reason) in [
        (&whose("shop"), &other.file(), "name that one in TLS_CA_FILE"),
        (&whose("shop").replace("localhost", "127.0.0.1"), &file, "the certificate is for another host"),
        (&wrong, &file, "the user or the password in REDIS_URL is wrong"),
        (&whose("lacking"), &file, "it refuses ZADD; allow its user what is needed: ACL SETUSER"),
        (&whose("foreign"), &file, &format!("ACL SETUSER ... {mine} {NEEDED}")),
        (&plain, &file, "start it, or correct REDIS_URL"),
    ] {
        let flags = with(url, authority);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let told = diagnosis(&flags);
        assert!(told.starts_with("FAIL") && told.contains(reason) && !told.contains("s3cret"), "{told}");
        let mut server = Server::start(&flags);
        server.client().data("{ products { totalCount } }", json!({})).await;
        let state: Value = reqwest::get(ready(&server)).await.unwrap().json().await.unwrap();
        assert_eq!(state["ready"], true, "{state}");
        let told = state["redis"]["message"].as_str().unwrap();
        assert!((url == &plain || told.contains(reason)) && !told.contains("s3cret"), "{state}");
        // It is asked whether it can be used when the server starts.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        server.signal("KILL");
        let log = server.log();
        assert!(log.contains("going on without Redis, which cannot be used"), "{log}");
        assert!(url == &plain || log.contains(reason), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_acl_that_the_readme_tells_suffices() {
    let readme = include_str!("../../README.md");
    let line = readme.lines().find(|line| line.starts_with("ACL SETUSER")).expect("the README tells it");
    assert!(line.ends_with(&format!("~stockroom:* {NEEDED}")), "{line}");
    let redis = RedisServer::start();
    let name = line.split(' ').nth(2).unwrap();
    let password = line.split(' ').find_map(|word| word.strip_prefix('>')).unwrap();
    // The server's prefix is its database's.
    redis.ask::<()>(&line.replace("~stockroom:", "~test_")).await;
    let url = redis.url().replace("redis://", &format!("redis://{name}:{password}@"));
    let flags = ["--redis-url", &url, "--rate-limit", "200000/1h", "--login-limit", "10/5m"];
    let server = TestServer::start_with(&flags).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({})).await;
    staff.data("{ products(first: 5) { totalCount nodes { name } } }", json!({})).await;
    let hash: String = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"{ __typename }")
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let body = json!({
        "query": "{ __typename }",
        "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash } },
    });
    let answer: Value = staff.http.post(&staff.url).json(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["__typename"], "Query", "{answer}");
    for kind in ["limit:requests", "instances", "documents", "products"] {
        crate::support::eventually(&format!("there are keys of {kind}"), async || {
            redis.keys().await.iter().any(|key| key.contains(kind))
        })
        .await;
    }
    let denied: Vec<HashMap<String, redis::Value>> = redis.ask("ACL LOG").await;
    let denied: Vec<String> = denied.into_iter().map(|entry| format!("{:?}", entry["object"])).collect();
    // What a client is called it may tell in vain.
    assert!(denied.iter().all(|command| command.contains("setinfo")), "{denied:?}");
    let refused = server.core.infra.metrics.redis_faults.get_or_create(&[("kind", "refused")]).get();
    assert_eq!(refused, 0);
}
