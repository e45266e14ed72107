//! A real gateway in front of the two services: one for all tests, which say in each address where their services are.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use stockroom::config::{Service, Services};
use stockroom::graphql;

use super::servers::scratch;

/// Whether all servers of this run are two services behind a gateway, as `SHAPE=services` says.
pub fn is_everywhere() -> bool {
    std::env::var("SHAPE").is_ok_and(|shape| shape == "services")
}

/// Where the API of these two services is.
pub fn url(accounts: SocketAddr, catalog: SocketAddr) -> String {
    static GATEWAY: OnceLock<Gateway> = OnceLock::new();
    let port = GATEWAY.get_or_init(start).port;
    format!("http://127.0.0.1:{port}/graphql?accounts={}&catalog={}", accounts.port(), catalog.port())
}

struct Gateway {
    port: u16,
    // It ends when its input does.
    _child: Child,
}

/// What each service publishes, as files: the accounts' first.
pub fn subgraphs() -> [String; 2] {
    let folder = scratch("subgraphs");
    [("accounts", Service::Accounts), ("catalog", Service::Catalog)].map(|(name, service)| {
        let file = folder.join(format!("{name}.graphql"));
        std::fs::write(&file, graphql::published_sdl(Services::Only(service))).unwrap();
        file.display().to_string()
    })
}

fn start() -> Gateway {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    assert!(folder.join("node_modules").is_dir(), "install what the programs need first: make clients");
    let mut command = Command::new("node");
    command.current_dir(folder).arg("gateway.mjs").args(subgraphs());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Node.js is installed");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Gateway { port: line.trim().parse().expect("the gateway's port"), _child: child }
}
