//! PostgreSQL as others run it: over TLS.

use serde_json::json;
use stockroom::domain::accounts::Role;

use crate::support::TestServer;
use crate::support::certificates::Authority;
use crate::support::process::{complained, run, said, signing_key};
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
