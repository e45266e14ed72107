//! Queries are read from replicas, and never see less than they must.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use stockroom::domain::reads::Token;

use crate::support::proxy::{Fault, Proxy};
use crate::support::standby::{Primary, Standby, connect};
use crate::support::{Client, TestServer, eventually};

const ADJUST: &str = "mutation($id: ID!) { adjustStock(by: { id: $id }, delta: 1) {
    product { version } consistencyToken errors { ... on UserError { code } } } }";
const PRODUCT: &str = "query($id: ID!) { product(by: { id: $id }) { version stock { available } } }";

async fn on(primary: &Primary, replicas: &[&Standby], flags: &[&str]) -> TestServer {
    let urls: Vec<&str> = replicas.iter().map(|replica| replica.url.as_str()).collect();
    let urls = urls.join(",");
    TestServer::on_primary(&primary.url, &[&["--database-replica-urls", &urls], flags].concat()).await
}

/// Reads so far by who answered: a replica, a replica that had to catch up, or the primary.
fn reads(server: &TestServer) -> [u64; 3] {
    let metrics = &server.core.infra.metrics;
    ["replica", "late_replica", "primary"].map(|from| metrics.replica_reads.get_or_create(&[("from", from)]).get())
}

/// Asks for something that nobody asked for before.
async fn read_anew(client: &Client) {
    let search = format!("word{}", uuid::Uuid::new_v4().simple());
    client
        .data("query($search: String!) { products(search: $search) { totalCount } }", json!({ "search": search }))
        .await;
}

/// Waits until reads come from replicas, or do not; at most a second and a little for a busy machine.
async fn routed(server: &TestServer, to_replicas: bool) -> Duration {
    let (client, since) = (server.anonymous(), Instant::now());
    eventually("reads are routed anew", async || {
        let [before, ..] = reads(server);
        for _ in 0..4 {
            read_anew(&client).await;
        }
        let [after, ..] = reads(server);
        if to_replicas { after >= before + 4 } else { after == before }
    })
    .await;
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_go_to_replicas_and_mutations_with_all_in_them_to_the_primary() {
    let primary = Primary::start().await;
    let replica = primary.replica(&[]).await;
    let server = on(&primary, &[&replica], &[]).await;
    routed(&server, true).await;
    let staff = server.signed_in(Role::Staff).await;
    let before = reads(&server);
    let product = staff.create_product(json!({})).await;
    assert_eq!(reads(&server), before, "a mutation reads from the primary alone");
    for _ in 0..20 {
        read_anew(&server.anonymous()).await;
    }
    let after = reads(&server);
    assert!(after[0] + after[1] >= before[0] + before[1] + 20, "{after:?}");
    assert_eq!(after[2], before[2]);
    // What was written a moment ago is there, though nobody showed a token.
    let seen = server.anonymous().data(PRODUCT, json!({ "id": product["id"] })).await;
    assert_eq!(seen["product"]["version"], 1);
}

/// Writes, and reads from another instance, which need not be fresh, with and without the token. Returns how many of the
/// reads were older than the token, and how many of those without it were.
async fn read_back(writer: &TestServer, reader: &TestServer, times: usize) -> (usize, usize) {
    let staff = writer.signed_in(Role::Staff).await;
    let (mut stale, mut stale_without) = (0, 0);
    let product = staff.create_product(json!({})).await;
    for number in 0..times {
        let answer = staff.send(ADJUST, json!({ "id": product["id"] })).await;
        let payload = &answer["data"]["adjustStock"];
        let (token, written) = (payload["consistencyToken"].as_str().unwrap(), &payload["product"]["version"]);
        assert!(token.parse::<Token>().is_ok() && answer["extensions"]["consistencyToken"].is_string(), "{answer}");
        let version = |body: Value| body["data"]["product"]["version"].as_i64().unwrap_or_default();
        let asked = json!({ "id": product["id"] });
        if number % 10 == 0 {
            let without = version(reader.anonymous().send(PRODUCT, asked.clone()).await);
            stale_without += usize::from(without < written.as_i64().unwrap());
        }
        let reader = reader.anonymous();
        let body = json!({ "query": PRODUCT, "variables": asked });
        let request = reader.http.post(&reader.url).header("x-consistency-token", token).json(&body);
        let with = version(request.send().await.unwrap().json().await.unwrap());
        stale += usize::from(with < written.as_i64().unwrap());
    }
    (stale, stale_without)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_its_token_however_far_behind_a_replica_is() {
    let times = std::env::var("TOKENS").map_or(200, |times| times.parse().unwrap());
    let primary = Primary::start().await;
    let (late, prompt) = (primary.replica(&["recovery_min_apply_delay=5s"]).await, primary.replica(&[]).await);
    // Longer than any number of times takes.
    let writer = TestServer::on_primary(&primary.url, &["--access-token-ttl", "48h"]).await;
    let reader = on(&primary, &[&late, &prompt], &["--freshness", "bounded:20s"]).await;
    routed(&reader, true).await;
    let (stale, stale_without) = read_back(&writer, &reader, times).await;
    let by = reads(&reader);
    println!(
        "{times} reads with a token: {stale} stale; {stale_without} of those without; replicas and primary gave {by:?}"
    );
    assert_eq!(stale, 0);
    assert!(stale_without > 0, "a token makes no difference");
    assert!(by[0] > 0, "{by:?}");

    // With nobody prompt, the primary answers, and nobody waits for long.
    prompt.ask("SELECT pg_wal_replay_pause()").await;
    let before = reads(&reader)[2];
    assert_eq!(read_back(&writer, &reader, 20).await.0, 0);
    assert!(reads(&reader)[2] >= before + 20);
    prompt.ask("SELECT pg_wal_replay_resume()").await;
    routed(&reader, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_or_is_promoted_is_passed_over_and_one_that_comes_is_used() {
    let primary = Primary::start().await;
    let mut replica = primary.replica(&[]).await;
    let server = on(&primary, &[&replica], &[]).await;
    routed(&server, true).await;
    replica.stop();
    println!("killed: routed away in {:?}", routed(&server, false).await);
    replica.start().await;
    println!("started: routed to it in {:?}", routed(&server, true).await);
    // By accident: whatever is written there is of another line of history.
    replica.ask("SELECT pg_promote()").await;
    replica.ask("UPDATE catalog_version SET v = v + 1000").await;
    println!("promoted: routed away in {:?}", routed(&server, false).await);
    let product = server.signed_in(Role::Staff).await.create_product(json!({})).await;
    let seen = server.anonymous().data(PRODUCT, json!({ "id": product["id"] })).await;
    assert_eq!(seen["product"]["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_was_reading_when_it_died_is_read_from_the_primary() {
    let primary = Primary::start().await;
    let mut replica = primary.replica(&[]).await;
    let proxy = Proxy::before(&replica.url).await;
    let url = proxy.url(&replica.url);
    // All at once want one of the few connections to the primary: on a busy machine they wait, instead of being sent away.
    let flags = ["--database-replica-urls", &url, "--database-wait", "5s"];
    let server = TestServer::on_primary(&primary.url, &flags).await;
    routed(&server, true).await;
    let query = "query($sku: String!) { product(by: { sku: $sku }) { id } }";
    for fault in [Fault::Cut, Fault::LoseAnswer] {
        let before = (proxy.faults(), reads(&server)[2]);
        proxy.always("\"products\".\"sku\" = ", fault);
        eventually("it dies under a read", async || {
            let sku = format!("SKU-{}", uuid::Uuid::new_v4().simple());
            server.anonymous().data(query, json!({ "sku": sku })).await;
            proxy.faults() > before.0
        })
        .await;
        assert!(reads(&server)[2] > before.1);
        proxy.heal();
    }

    // The same in earnest, under load.
    let is_over = Arc::new(AtomicBool::new(false));
    let readers = (0..8).map(|_| {
        let (client, is_over) = (server.anonymous(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut read = 0_u32;
            while !is_over.load(Ordering::SeqCst) {
                read_anew(&client).await;
                read += 1;
            }
            read
        })
    });
    let readers: Vec<_> = readers.collect();
    for _ in 0..3 {
        routed(&server, true).await;
        replica.stop();
        routed(&server, false).await;
        replica.start().await;
    }
    is_over.store(true, Ordering::SeqCst);
    let mut read = 0;
    for reader in readers {
        read += reader.await.expect("no read fails");
    }
    println!("the replica died three times under {read} reads, of which none failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_was_reading_when_it_froze_is_read_from_the_primary_within_seconds() {
    let primary = Primary::start().await;
    let replica = primary.replica(&[]).await;
    let server = on(&primary, &[&replica], &["--statement-timeout", "20s", "--request-timeout", "30s"]).await;
    routed(&server, true).await;
    // The read waits on the replica for as long as the table is locked on the primary.
    let locker = connect(&primary.url).await;
    locker.batch_execute("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waits = async |what: &str| {
        let asked = format!("SELECT 1 / count(*) FROM {what}");
        eventually(what, async || replica.answers(&asked).await).await;
    };
    waits("pg_locks WHERE relation = 'products'::regclass AND mode = 'AccessExclusiveLock'").await;
    let client = server.anonymous();
    let read = tokio::spawn(async move { read_anew(&client).await });
    waits("pg_stat_activity WHERE wait_event_type = 'Lock'").await;

    let (processes, before) = (replica.processes().await, reads(&server)[2]);
    signal("STOP", &processes);
    locker.batch_execute("ROLLBACK").await.unwrap();
    let since = Instant::now();
    read.await.expect("it is answered");
    let took = since.elapsed();
    signal("CONT", &processes);
    println!("frozen: read from the primary after {took:?}");
    // A look at it every quarter of a second, each of which may take half a second; and some for a busy machine.
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(reads(&server)[2] > before);
    routed(&server, true).await;
}

fn signal(name: &str, processes: &[String]) {
    // Some may have ended meanwhile, of which it complains.
    let _ = std::process::Command::new("kill").arg(format!("-{name}")).args(processes).output();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_follows_nobody_is_no_replica() {
    let primary = Primary::start().await;
    let stranger = Primary::start().await;
    let server = TestServer::on_primary(&primary.url, &["--database-replica-urls", &stranger.url]).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    for _ in 0..8 {
        read_anew(&server.anonymous()).await;
    }
    let [replica, late, primary] = reads(&server);
    assert!(replica == 0 && late == 0 && primary >= 8, "{replica} {late} {primary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_token_is_told_and_one_of_another_database_says_nothing() {
    let server = TestServer::start_with(&["--freshness", "bounded:20s"]).await;
    let client = server.anonymous();
    let ask = async |token: &str| {
        let request = client.http.post(&client.url).header("x-consistency-token", token);
        let response = request.json(&json!({ "query": "{ products { totalCount } }" })).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, body) = ask("none").await;
    assert_eq!((status, &body["errors"][0]["extensions"]["code"]), (400, &json!("BAD_REQUEST")));
    let other = Token { history: uuid::Uuid::new_v4(), version: i64::MAX };
    assert_eq!(ask(&other.to_string()).await.1, json!({ "data": { "products": { "totalCount": 0 } } }));
    // Nor does one from the future keep anybody waiting.
    let future = Token { history: server.core.gate.history(), version: i64::MAX };
    assert_eq!(ask(&future.to_string()).await.1, json!({ "data": { "products": { "totalCount": 0 } } }));
}
