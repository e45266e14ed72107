//! Web sockets: how long they live, what they may take, and how they end. What the protocol asks is tested with the real
//! client, see `clients.rs`.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use stockroom::domain::accounts::{self, Role};
use stockroom::domain::ids::UserId;
use stockroom::domain::transaction::Mandate;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};
use uuid::Uuid;

use crate::support::process::Server;
use crate::support::servers::{TestDatabase, servers};
use crate::support::{Client, TestServer, eventually};

/// A client of one socket.
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Connected and introduced.
    pub async fn open(address: SocketAddr, token: Option<&str>) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), address, token).await
    }

    async fn over(stream: TcpStream, address: SocketAddr, token: Option<&str>) -> Self {
        let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        let (socket, _) = client_async(request, stream).await.unwrap();
        let mut socket = Self(socket);
        let payload = token.map_or_else(|| json!({}), |token| json!({ "Authorization": format!("Bearer {token}") }));
        socket.send(&json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.message().await.unwrap()["type"], "connection_ack");
        socket
    }

    async fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub async fn ask(&mut self, id: &str, query: &str) {
        self.send(&json!({ "type": "subscribe", "id": id, "payload": { "query": query } })).await;
    }

    /// The next message, or the code of the close.
    pub async fn message(&mut self) -> Result<Value, u16> {
        loop {
            match tokio::time::timeout(Duration::from_secs(30), self.0.next()).await.expect("a message") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(0),
            }
        }
    }
}

pub fn user_id(me: &Value) -> UserId {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(me.as_str().unwrap()).unwrap();
    UserId(Uuid::parse_str(String::from_utf8(bytes).unwrap().strip_prefix("User:").unwrap()).unwrap())
}

pub const WATCH: &str = "subscription { productEvents { type product { sku } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_token() {
    let server = TestServer::start_with(&["--access-token-ttl", "2s"]).await;
    let staff = server.signed_in(Role::Staff).await;
    let opened = Instant::now();
    let mut socket = Socket::open(server.address, staff.token.as_deref()).await;
    socket.ask("1", WATCH).await;
    assert_eq!(socket.message().await, Err(4403));
    let lived = opened.elapsed();
    assert!(lived <= Duration::from_secs(3), "{lived:?}");
    // Clocks may differ by a little: such a token still opens a socket, which ends at once.
    let mut late = Socket::open(server.address, staff.token.as_deref()).await;
    assert_eq!(late.message().await, Err(4403));
    assert!(opened.elapsed() <= lived + Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_streams_end_when_the_role_is_taken_away() {
    let server = TestServer::start().await;
    let instance = server.another(&["--redis-url", &servers().redis_url()]).await;
    let staff = server.signed_in(Role::Staff).await;
    let me = staff.data("{ me { id } }", json!({})).await["me"]["id"].clone();
    let mut socket = Socket::open(instance.address, staff.token.as_deref()).await;
    socket.ask("1", WATCH).await;
    let request = staff.http.post(&staff.url).bearer_auth(staff.token.clone().unwrap());
    let request = request.header("accept", "text/event-stream").json(&json!({ "query": WATCH }));
    let stream = request.send().await.unwrap();
    // Nothing tells when a socket has begun to watch, but the first event.
    let seen = loop {
        staff.create_product(json!({ "name": "Seen" })).await;
        if let Ok(seen) = tokio::time::timeout(Duration::from_millis(500), socket.message()).await {
            break seen.unwrap();
        }
    };
    assert_eq!(seen["payload"]["data"]["productEvents"]["type"], "CREATED");

    let taken = Instant::now();
    accounts::commands::set_role(&server.core, &Mandate::default(), user_id(&me), Role::Customer).await.unwrap();
    let closed = loop {
        if let Err(code) = socket.message().await {
            break code;
        }
    };
    assert_eq!(closed, 4403);
    let text = stream.text().await.unwrap();
    assert!(text.contains("CREATED") && !text.contains("event: complete"), "{text}");
    assert!(taken.elapsed() <= Duration::from_secs(2), "{:?}", taken.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_of_what_is_sent_is_left() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    for n in 0..10 {
        staff.create_product(json!({ "sku": format!("P{n}"), "description": "long ".repeat(1_900) })).await;
    }
    let small = TcpSocket::new_v4().unwrap();
    small.set_recv_buffer_size(4096).unwrap();
    let stream = small.connect(server.address).await.unwrap();
    let mut socket = Socket::over(stream, server.address, None).await;
    // Each answer is 100 kB; after some of them nothing more fits anywhere.
    for n in 0..18 {
        socket.ask(&n.to_string(), "{ products { nodes { description } } }").await;
    }
    let slow = Instant::now();
    tokio::time::sleep(Duration::from_secs(11)).await;
    let mut answers = 0;
    while let Ok(message) = socket.message().await {
        answers += usize::from(message["type"] == "next");
    }
    println!("left after {answers} of 18 answers");
    assert!(answers < 18, "{answers}");
    assert!(slow.elapsed() < Duration::from_secs(15));
    assert_eq!(staff.data("{ products { totalCount } }", json!({})).await["products"]["totalCount"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_pass_the_same_door() {
    let server = TestServer::start_with(&["--introspection", "false", "--rate-limit", "1000/1h"]).await;
    let mut socket = Socket::open(server.address, None).await;
    let deep = format!("{{ products(filter: {}{}) {{ totalCount }} }}", "[".repeat(40), "]".repeat(40));
    let login = "l1: login(input: { email: \"a@b.example\", password: \"correct horse\" }) { errors { __typename } }";
    let two_logins = format!("mutation {{ {login} {} }}", login.replace("l1", "l2"));
    for (document, code) in [
        (deep.as_str(), "QUERY_TOO_DEEP"),
        (&two_logins, "QUERY_TOO_LARGE"),
        ("{ __schema { queryType { name } } }", "INTROSPECTION_DISABLED"),
        ("{ products(first: 100) { nodes { category { products(first: 100) { nodes { id } } } } } }", "COST_TOO_HIGH"),
        ("subscription { a: productEvents { type } b: productEvents { type } }", "QUERY_TOO_LARGE"),
        ("subscription { ...f } fragment f on Subscription { productEvents { type } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { productEvent { type } }", "GRAPHQL_VALIDATION_FAILED"),
        ("mutation { deleteProduct(by: { sku: \"x\" }) { deletedId } }", ""),
    ] {
        socket.ask("1", document).await;
        let message = socket.message().await.unwrap();
        if code.is_empty() {
            assert_eq!(message["payload"]["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
            assert_eq!(socket.message().await.unwrap()["type"], "complete");
            continue;
        }
        assert_eq!(message["type"], "error", "{document}: {message}");
        assert_eq!(message["payload"][0]["extensions"]["code"], code, "{document}: {message}");
        assert!(!message.to_string().contains("Did you mean"), "{message}");
    }
    // One budget for all that an address asks, over whatever.
    let spend = "{ products(first: 100) { nodes { id } } }";
    loop {
        socket.ask("1", spend).await;
        let message = socket.message().await.unwrap();
        if message["type"] == "error" {
            assert_eq!(message["payload"][0]["extensions"]["code"], "RATE_LIMITED");
            break;
        }
        assert_eq!(socket.message().await.unwrap()["type"], "complete");
    }
    assert_eq!(server.anonymous().post(spend, &json!({})).await.status(), 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_panics_ends_its_subscription_alone() {
    let server = TestServer::start_built(&[], |builder| builder.extension(crate::door::Misbehaves)).await;
    let staff = server.signed_in(Role::Staff).await;
    let mut socket = Socket::open(server.address, None).await;
    socket.ask("1", "subscription { productEvents { product { boom: name } } }").await;
    socket.ask("2", WATCH).await;
    // An answer shows that what was asked before is under way.
    socket.ask("3", "{ __typename }").await;
    assert_eq!(socket.message().await.unwrap()["id"], "3");
    assert_eq!(socket.message().await.unwrap()["type"], "complete");
    tokio::time::sleep(Duration::from_millis(300)).await;
    staff.create_product(json!({ "sku": "SEEN" })).await;
    let mut messages = [socket.message().await.unwrap(), socket.message().await.unwrap()];
    messages.sort_by_key(|message| message["id"].to_string());
    assert_eq!(messages[0]["payload"][0]["extensions"]["code"], "INTERNAL_SERVER_ERROR", "{}", messages[0]);
    assert_eq!(messages[1]["payload"]["data"]["productEvents"]["product"]["sku"], "SEEN");
    assert_eq!(server.core.infra.metrics.panics.get(), 1);
}

fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn process() -> (Server, Client, TestDatabase) {
    let database = TestDatabase::create().await;
    let redis = servers().redis_url();
    let key = crate::support::process::signing_key();
    let flags = crate::support::process::instance_flags(&database, &redis, &key);
    // Time enough for what waits for a lock.
    let server = Server::start(&[&flags[..], &["--statement-timeout", "20s"]].concat());
    let staff = crate::support::process::sign_in(&server, &database, &redis).await;
    (server, staff, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_socket_takes_little_memory() {
    const SOCKETS: u64 = 700;
    let (server, _, _database) = process().await;
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    let mut open = vec![Socket::open(address, None).await];
    let before = resident_kib(&server);
    for _ in 0..SOCKETS {
        open.push(Socket::open(address, None).await);
    }
    let taken = resident_kib(&server).saturating_sub(before);
    println!("{SOCKETS} idle sockets take {taken} KiB");
    assert!(taken <= 20 * SOCKETS, "{taken} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_a_server_answers_what_it_owes_and_tells_its_sockets() {
    let (mut server, staff, database) = process().await;
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    staff.create_product(json!({ "sku": "HELD", "stock": 0 })).await;
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut socket = Socket::open(address, None).await;
        socket.ask("1", WATCH).await;
        open.push(socket);
    }
    let mut busy = Socket::open(address, staff.token.as_deref()).await;
    // The row is locked by somebody else, so that both mutations are under way when the signal comes.
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // A connection of its own: in a transaction PostgreSQL shows who is connected as it was at its beginning.
    let (watcher, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT * FROM products WHERE sku = 'HELD' FOR UPDATE").await.unwrap();
    let adjust = "mutation { adjustStock(by: { sku: \"HELD\" }, delta: 1) { product { stock { available } } } }";
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN
        (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    let wait = async || watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0);
    busy.ask("m", adjust).await;
    eventually("the first waits for the row", async || wait().await == 1).await;
    let posted = tokio::spawn({
        let staff = staff.clone();
        async move { staff.data(adjust, json!({})).await }
    });
    eventually("the second waits, too", async || wait().await == 2).await;
    let told = Instant::now();
    server.signal("TERM");
    for socket in &mut open {
        assert_eq!(socket.message().await, Err(1001));
    }
    client.batch_execute("COMMIT").await.unwrap();
    let answer = busy.message().await.unwrap();
    assert!(answer["payload"]["data"]["adjustStock"]["product"].is_object(), "{answer}");
    assert_eq!(busy.message().await.unwrap()["type"], "complete");
    assert_eq!(busy.message().await, Err(1001));
    assert!(posted.await.unwrap()["adjustStock"]["product"].is_object());
    assert!(server.wait(Duration::from_secs(20)).success());
    println!("it ended {:?} after the signal", told.elapsed());
}
