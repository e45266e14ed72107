//! The real clients, as their users run them: the programs under `tests/clients` say what must hold.

use std::path::Path;
use std::process::Stdio;

use stockroom::domain::accounts::Role;
use tokio::process::Command;

use crate::support::{Client, TestServer};

/// Runs a program against the server, and shows what it said if anything did not hold.
async fn every_check_holds(program: &str, client: &Client) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    assert!(folder.join("node_modules").is_dir(), "install the clients first: make clients");
    let mut command = Command::new("node");
    command.current_dir(folder).arg(program).arg(&client.url).args(&client.token);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("Node.js is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}:\n{said}{complaints}");
    println!("{program}: {}", said.lines().last().unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_audit_of_graphql_over_http_finds_nothing() {
    let server = TestServer::start().await;
    every_check_holds("audit.mjs", &server.anonymous()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_ws_gets_every_event_once_and_every_mistake_its_code() {
    let server = TestServer::start().await;
    every_check_holds("websocket.mjs", &server.signed_in(Role::Staff).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_sse_gets_every_event_once_and_goes_on_where_it_was_cut_off() {
    let server = TestServer::start().await;
    every_check_holds("sse.mjs", &server.signed_in(Role::Staff).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apollo_persists_its_queries() {
    let server = TestServer::start().await;
    every_check_holds("persisted.mjs", &server.anonymous()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_read_the_schema_by_introspection() {
    let server = TestServer::start().await;
    every_check_holds("introspection.mjs", &server.anonymous()).await;
}
