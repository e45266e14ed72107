//! Redis as a cluster: a master that dies takes nothing with it but what can be had again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stockroom::domain::accounts::Role;

use crate::support::cluster::Cluster;
use crate::support::{TestServer, eventually};

/// Keys, one of each of the three thirds of the cluster.
async fn keys(cluster: &Cluster, prefix: &str) -> [String; 3] {
    let mut found: [Option<String>; 3] = Default::default();
    for number in 0.. {
        let key = format!("probe{number}");
        let slot: usize = cluster.nodes[5].ask(&format!("CLUSTER KEYSLOT {prefix}:{key}")).await;
        found[(slot * 3 / 16384).min(2)] = Some(key);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.map(Option::unwrap)
}

/// Whether what is kept under a key comes back.
async fn keeps(server: &TestServer, key: &str) -> bool {
    let redis = server.core.infra.redis.as_ref().unwrap();
    redis.set(key, b"kept", Duration::from_secs(1)).await;
    let found = redis.find(key, &format!("lease-{key}"), Duration::from_millis(100)).await;
    found.is_some_and(|found| found.value.as_deref() == Some(b"kept"))
}

/// How often somebody's budget was asked for in Redis.
fn shared_decisions(server: &TestServer) -> u64 {
    let figures = server.core.infra.figures();
    let line = figures.lines().find(|line| line.contains("budget=\"requests\"") && line.contains("by=\"redis\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_or_frozen_under_load_fails_no_request_and_is_made_up_for() {
    let cluster = Cluster::start().await;
    let url = cluster.url();
    let flags = ["--redis-url", &url, "--rate-limit", "1000000000/20s"];
    let servers = [TestServer::start_with(&flags).await];
    let servers = [servers[0].another(&flags).await, servers.into_iter().next().unwrap()];
    let staff = servers[0].signed_in(Role::Staff).await;
    let product = staff.create_product(json!({ "stock": 0 })).await;
    let keys = keys(&cluster, &servers[0].database.name).await;
    for key in &keys {
        for server in &servers {
            eventually("each third of the cluster is used", async || keeps(server, key).await).await;
        }
    }

    // Everybody reads what the last acknowledged write left, or more, and something that nobody asked for before.
    let (written, reads, is_over) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicU64::new(0)), AtomicBool::new(false));
    let is_over = Arc::new(is_over);
    let mut tasks = Vec::new();
    for reader in 0..4 {
        let (written, reads, is_over) = (Arc::clone(&written), Arc::clone(&reads), Arc::clone(&is_over));
        let (client, id) = (servers[reader % 2].anonymous(), product["id"].clone());
        tasks.push(tokio::spawn(async move {
            let query = "query($id: ID!, $search: String!) {
                product(by: { id: $id }) { stock { available } } products(search: $search) { totalCount } }";
            while !is_over.load(Ordering::SeqCst) {
                let owed = written.load(Ordering::SeqCst);
                let search = format!("word{}", reads.fetch_add(1, Ordering::SeqCst));
                let data = client.data(query, json!({ "id": id, "search": search })).await;
                let seen = data["product"]["stock"]["available"].as_i64().unwrap();
                assert!(seen >= owed, "{owed} was acknowledged, {seen} was read");
            }
        }));
    }
    let (staff_writes, id, ended) = (staff.clone(), product["id"].clone(), Arc::clone(&is_over));
    let told = Arc::clone(&written);
    tasks.push(tokio::spawn(async move {
        let adjust =
            "mutation($id: ID!) { adjustStock(by: { id: $id }, delta: 1) { product { stock { available } } } }";
        while !ended.load(Ordering::SeqCst) {
            let data = staff_writes.data(adjust, json!({ "id": id })).await;
            told.store(data["adjustStock"]["product"]["stock"]["available"].as_i64().unwrap(), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));

    tokio::time::sleep(Duration::from_secs(1)).await;
    // One is killed, and another does not answer any more.
    for (master, is_killed) in [(0, true), (1, false)] {
        let (before, gone) = (reads.load(Ordering::SeqCst), Instant::now());
        let node = &cluster.nodes[master];
        if is_killed {
            node.kill();
        } else {
            node.signal("STOP");
        }
        eventually("its replica is promoted", async || cluster.is_master(master + 3).await).await;
        let promoted = Instant::now();
        for server in &servers {
            for key in &keys {
                eventually("the cluster is used again", async || keeps(server, key).await).await;
            }
        }
        println!(
            "killed: {is_killed}; promoted after {:?}, used again {:?} later; {} reads meanwhile",
            promoted - gone,
            promoted.elapsed(),
            reads.load(Ordering::SeqCst) - before
        );
        // The limiter counts there, too.
        let counted = shared_decisions(&servers[0]);
        eventually("limits are shared again", async || shared_decisions(&servers[0]) > counted + 100).await;
        // What comes back follows.
        if is_killed {
            node.start_again();
        } else {
            node.signal("CONT");
        }
        eventually("it follows", async || !cluster.is_master(master).await).await;
    }
    is_over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(written.load(Ordering::SeqCst) > 20);
}
