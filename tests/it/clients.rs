//! The real clients, as their users run them: the programs under `tests/clients` say what must hold.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use stockroom::domain::accounts::Role;

use crate::support::process::{Server, complained, instance_flags, run, sign_in, signing_key};
use crate::support::servers::{TestDatabase, scratch, servers};
use crate::support::{Client, TestServer, programs};

/// A client kit as the binary writes it, in a folder of its own with the clients' packages.
fn kit() -> String {
    let folder = scratch("kit");
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node_modules");
    symlink(packages, folder.join("node_modules")).unwrap();
    fs::write(folder.join("package.json"), r#"{ "type": "module" }"#).unwrap();
    let kit = folder.join("kit").display().to_string();
    let written = run(&["client-kit", &kit]);
    assert!(written.status.success(), "{}", complained(&written));
    kit
}

/// Runs a program against the server.
async fn every_check_holds(program: &str, client: &Client) {
    let given: Vec<&str> = std::iter::once(&client.url).chain(&client.token).map(String::as_str).collect();
    every_check_of(program, &given).await;
}

/// The same for a program that uses the client kit, as one of the staff, with the binary itself as the server.
async fn every_check_holds_with_the_kit(program: &str) {
    let (database, redis, key) = (TestDatabase::create().await, servers().redis_url(), signing_key());
    let server = Server::start(&instance_flags(&database, &redis, &key));
    let Client { url, token, .. } = sign_in(&server, &database, &redis).await;
    every_check_of(program, &[&url, &token.unwrap(), &kit()]).await;
}

async fn every_check_of(program: &str, given: &[&str]) {
    // The kit is TypeScript.
    programs::every_check_holds("clients", &["--import", "tsx", program], given).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn apollo_client_keeps_its_cache_true_and_refreshes_once_with_the_kit() {
    every_check_holds_with_the_kit("apollo.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn urql_keeps_its_cache_true_and_refreshes_once_with_the_kit() {
    every_check_holds_with_the_kit("urql.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_generators_compilers_and_linters_take_the_kit() {
    every_check_of("tools.mjs", &[&kit()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_do_what_they_say() {
    every_check_holds_with_the_kit("examples.mjs").await;
}
