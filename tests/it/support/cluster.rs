//! A Redis Cluster: three masters, and a replica of each.

use std::net::TcpListener;
use std::time::Duration;

use futures_util::future::join_all;

use super::eventually;
use super::servers::{RedisServer, scratch};

/// The first three of them begin as masters, the next three follow those.
pub struct Cluster {
    pub nodes: Vec<RedisServer>,
}

impl Cluster {
    pub async fn start() -> Self {
        let folder = scratch("cluster").display().to_string();
        let nodes: Vec<RedisServer> = (0..6).map(|_| start(&folder)).collect();
        for (number, master) in nodes[..3].iter().enumerate() {
            let slots: Vec<String> =
                (number * 16384 / 3..(number + 1) * 16384 / 3).map(|slot| slot.to_string()).collect();
            master.ask::<()>(&format!("CLUSTER ADDSLOTS {}", slots.join(" "))).await;
            master.ask::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)).await;
        }
        for node in &nodes[1..] {
            node.ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port)).await;
        }
        let all = async |asked: &str, sign: &str| {
            let told = join_all(nodes.iter().map(|node| node.ask::<String>(asked))).await;
            told.iter().all(|told| told.contains(sign))
        };
        eventually("the nodes know each other", async || all("CLUSTER INFO", "cluster_known_nodes:6").await).await;
        for (master, replica) in nodes.iter().zip(&nodes[3..]) {
            let id: String = master.ask("CLUSTER MYID").await;
            // Whom it follows it must have heard of.
            eventually("the replica knows its master", async || {
                replica.ask::<String>("CLUSTER NODES").await.lines().any(|line| line.starts_with(&id))
            })
            .await;
            replica.ask::<()>(&format!("CLUSTER REPLICATE {id}")).await;
        }
        eventually("the cluster is whole", async || all("CLUSTER INFO", "cluster_state:ok").await).await;
        for replica in &nodes[3..] {
            eventually("the replica follows", async || {
                replica.ask::<String>("INFO replication").await.contains("master_link_status:up")
            })
            .await;
        }
        // Each master has told the others of its replica.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Self { nodes }
    }

    /// As the setting has it, by two of the nodes.
    pub fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", self.nodes[1].port, self.nodes[4].port)
    }

    /// Whether a node leads others, or none.
    pub async fn is_master(&self, number: usize) -> bool {
        self.nodes[number].ask::<String>("INFO replication").await.contains("role:master")
    }
}

fn start(folder: &str) -> RedisServer {
    // They talk to each other on a second port, ten thousand above.
    let port = (15_000 + std::process::id() % 5_000..25_000)
        .map(|port| u16::try_from(port).unwrap())
        .find(|port| [*port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()));
    let port = port.expect("a free pair of ports");
    let file = format!("nodes-{port}.conf");
    let arguments = ["--cluster-enabled", "yes", "--dir", folder, "--cluster-config-file", &file];
    let timing = ["--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"];
    RedisServer::start_with(port, &[&arguments[..], &timing].concat())
}
