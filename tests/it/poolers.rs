//! PostgreSQL behind a pooler: what works is served, and what would not is refused when the server starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;

use crate::support::Client;
use crate::support::pooler::{Pooler, routes_statements};
use crate::support::process::{Server, complained, run, said, sign_in, signing_key};
use crate::support::servers::{TestDatabase, servers};

const ADJUST: &str =
    "mutation($sku: String!) { adjustStock(by: { sku: $sku }, delta: 1) { product { stock { available } } } }";
const LIST: &str = "query($n: Int!) { products(first: $n, search: \"pooled\", sortBy: [{ field: NAME }]) {
    totalCount nodes { sku name stock { available } category { name } createdBy { name } } } }";

/// Writes and reads at once, through both servers: what was acknowledged is there, and no answer is another's.
async fn work(both: &[Server; 2], database: &TestDatabase) {
    let staff = sign_in(&both[0], database, &servers().redis_url()).await;
    for n in 0..4 {
        staff.create_product(json!({ "sku": format!("POOL-{n}"), "name": format!("Pooled {n}"), "stock": 0 })).await;
    }
    let acknowledged: Arc<[AtomicI64; 4]> = Arc::default();
    let mut tasks = Vec::new();
    for n in 0..4_usize {
        let client = Client { url: both[n % 2].client().url, ..staff.clone() };
        let owed = Arc::clone(&acknowledged);
        tasks.push(tokio::spawn(async move {
            for write in 1..=100 {
                let data = client.data(ADJUST, json!({ "sku": format!("POOL-{n}") })).await;
                assert_eq!(data["adjustStock"]["product"]["stock"]["available"], write);
                owed[n].store(write, Ordering::SeqCst);
            }
        }));
        let (client, owed) =
            (Client { url: both[(n + 1) % 2].client().url, ..staff.clone() }, Arc::clone(&acknowledged));
        tasks.push(tokio::spawn(async move {
            for read in 0..150 {
                let before: Vec<i64> = owed.iter().map(|owed| owed.load(Ordering::SeqCst)).collect();
                // Each length is a question of its own.
                let data = client.data(LIST, json!({ "n": 4 + (read * 4 + n) % 90 })).await;
                assert_eq!(data["products"]["totalCount"], 4);
                let nodes = data["products"]["nodes"].as_array().unwrap();
                for (number, node) in nodes.iter().enumerate() {
                    assert_eq!(node["name"], format!("Pooled {number}"));
                    let seen = node["stock"]["available"].as_i64().unwrap();
                    assert!(seen >= before[number], "{} was acknowledged, {seen} was read", before[number]);
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_keeps_sessions_is_as_good_as_none() {
    let (database, key) = (TestDatabase::create().await, signing_key());
    let pooler = Pooler::before(&database.url, "session").await;
    let url = pooler.url(&database.url);
    // Each instance keeps a connection to the register and up to four others.
    let flags = ["--database-url", &url, "--jwt-private-key-file", &key, "--database-pool-size", "1"];
    let told = said(&run(&[&["doctor"], &flags[..]].concat()));
    assert!(!told.contains("FAIL"), "{told}");
    let server = Server::start(&flags);
    let staff = sign_in(&server, &database, &servers().redis_url()).await;
    staff.create_product(json!({ "name": "Pooled" })).await;
    let data = staff.data(LIST, json!({ "n": 5 })).await;
    assert_eq!(data["products"]["totalCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_keeps_transactions_is_worked_with_where_it_can_be_and_else_refused() {
    let (database, key) = (TestDatabase::create().await, signing_key());
    let pooler = Pooler::before(&database.url, "transaction").await;
    let (url, direct) = (pooler.url(&database.url), database.url.clone());
    let flags = ["--database-url", &url, "--jwt-private-key-file", &key];
    let refusal = |flags: &[&str]| {
        let refused = run(&[&["serve", "--listen-addr", "127.0.0.1:0"], flags].concat());
        assert!(!refused.status.success());
        complained(&refused)
    };
    // Migrations and the register must have sessions, whatever else can be done without them.
    for arguments in [vec!["--database-url", &url], vec!["--database-url", &direct, "--database-direct-url", &url]] {
        let refused = run(&[&["migrate"], &arguments[..]].concat());
        assert!(complained(&refused).contains("is a pooler in transaction mode"), "{}", complained(&refused));
    }
    // So must replicas: what is checked there must hold for the next statement.
    let doctor = ["doctor", "--jwt-private-key-file", &key, "--database-url", &direct, "--database-replica-urls", &url];
    let told = said(&run(&doctor));
    assert!(told.contains("queries are not read from") && told.contains("is a pooler in transaction mode"), "{told}");

    let past = ["--database-direct-url", &direct];
    let past = [&flags[..], &past].concat();
    if !routes_statements() {
        for flags in [&flags[..], &past] {
            let told = refusal(flags);
            assert!(told.contains("does not route prepared statements; let it be pgbouncer 1.21 or newer"), "{told}");
        }
        let told = said(&run(&[&["doctor"], &past[..]].concat()));
        assert!(told.contains("FAIL  PostgreSQL  the pooler at"), "{told}");
        return;
    }
    let told = refusal(&flags);
    assert!(told.contains("set DATABASE_DIRECT_URL past it"), "{told}");
    // What connections are told must be the database's own.
    let told = refusal(&past);
    let remedy = told.split("let the database set it: ").nth(1).and_then(|rest| rest.split("; then RECONNECT").next());
    database.connect().await.batch_execute(remedy.unwrap_or_else(|| panic!("{told}"))).await.unwrap();
    pooler.reconnect(&database.url).await;
    let told = said(&run(&[&["doctor"], &past[..]].concat()));
    assert!(told.contains("behind a pooler in transaction mode that routes prepared statements"), "{told}");
    work(&[Server::start(&past), Server::start(&past)], &database).await;
    println!("400 writes and 600 reads through a pooler in transaction mode, all of them right");
}
