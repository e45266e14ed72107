//! The pages in a real browser, as people use them: the programs under `tests/browser` say what must hold.

use stockroom::domain::accounts::{self, AccountDraft, Role};
use tokio::sync::Mutex;

use crate::support::{TestServer, programs};

const EMAIL: &str = "staff@stockroom.test";
const PASSWORD: &str = "correct horse battery";

/// A browser has the machine to itself, as far as other tests let it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A server whose staff has an account.
async fn staffed() -> TestServer {
    let server = TestServer::start().await;
    let name = Some("Sam Staff".to_owned());
    let draft = AccountDraft { email: EMAIL.to_owned(), password: PASSWORD.to_owned().into(), name };
    accounts::commands::create_user(&server.core, draft, Role::Staff).await.unwrap();
    server
}

async fn every_check_holds(program: &str, given: &[&str]) {
    assert!(stockroom::transport::pages_are_built(), "build the pages first: make web");
    let _turn = ONE_AT_A_TIME.lock().await;
    programs::every_check_holds("browser", &[program], given).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphiql_works_without_the_internet() {
    let server = staffed().await;
    every_check_holds("graphiql.mjs", &[&server.anonymous().url, EMAIL, PASSWORD]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_finds_and_watches_products_and_keeps_an_account() {
    let server = staffed().await;
    let outbox = server.outbox.to_str().unwrap();
    every_check_holds("customer.mjs", &[&server.anonymous().url, EMAIL, PASSWORD, outbox]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_staff_keeps_the_catalogue_and_nobody_overwrites_another() {
    let server = staffed().await;
    every_check_holds("staff.mjs", &[&server.anonymous().url, EMAIL, PASSWORD]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_lives_through_a_restart_of_the_server() {
    every_check_holds("restart.mjs", &[env!("CARGO_BIN_EXE_stockroom")]).await;
}
