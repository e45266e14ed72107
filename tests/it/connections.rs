//! How long connections may dawdle. Time is Tokio's, which passes at once while nothing else happens: clients block their
//! threads, so that it stands still until they heard what they wait for.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use stockroom::transport::Stage;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Bytes that no buffers on the way hold.
const LARGE: usize = 100 * 1024 * 1024;

/// A server that greets, with room for some connections.
fn greets(connections: u32) -> (SocketAddr, watch::Sender<Stage>) {
    let listener = stockroom::transport::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stopping, stop) = watch::channel(Stage::Serving);
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/events", get(async || ([(CONTENT_TYPE, "text/event-stream")], "data: hello\n\n")))
        .route("/large", get(async || vec![0; LARGE]));
    tokio::spawn(stockroom::transport::serve(router, None, listener, connections, stop, Duration::from_secs(1)));
    (address, stopping)
}

struct Guest(TcpStream);

impl Guest {
    async fn connect(address: SocketAddr) -> Self {
        let stream = spawn_blocking(move || TcpStream::connect(address)).await.unwrap().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    /// Sends something, and gives the server a moment to see it.
    async fn says(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
        self.is_left_within(Duration::from_millis(50)).await;
    }

    /// What a request is answered.
    async fn asks(&mut self) -> String {
        self.asks_for("/").await
    }

    /// How what is at a path begins.
    async fn asks_for(&mut self, path: &str) -> String {
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut stream = self.0.try_clone().unwrap();
        let read = move || {
            let mut answer = [0; 512];
            let length = stream.read(&mut answer).unwrap_or_default();
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        spawn_blocking(read).await.unwrap()
    }

    /// Reads so many bytes.
    async fn takes(&mut self, bytes: usize) {
        let mut stream = self.0.try_clone().unwrap();
        spawn_blocking(move || stream.read_exact(&mut vec![0; bytes]).unwrap()).await.unwrap();
    }

    /// Whether the server has ended it, or does so within a moment of real time.
    async fn is_left_within(&mut self, moment: Duration) -> bool {
        let mut stream = self.0.try_clone().unwrap();
        stream.set_read_timeout(Some(moment)).unwrap();
        let ended = move || match stream.read(&mut [0; 512]) {
            Ok(length) => length == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        spawn_blocking(ended).await.unwrap()
    }

    async fn is_left(&mut self) -> bool {
        self.is_left_within(Duration::from_secs(10)).await
    }

    async fn is_kept(&mut self) -> bool {
        !self.is_left_within(Duration::from_millis(50)).await
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_left_after_five_seconds() {
    let (address, _stopping) = greets(10);
    let mut guest = Guest::connect(address).await;
    assert!(guest.is_kept().await);
    sleep(Duration::from_millis(4_900)).await;
    assert!(guest.is_kept().await);
    sleep(Duration::from_millis(200)).await;
    assert!(guest.is_left().await);
}

#[tokio::test(start_paused = true)]
async fn a_head_has_five_seconds_however_it_trickles() {
    let (address, _stopping) = greets(10);
    let mut guest = Guest::connect(address).await;
    guest.says("GET / HTTP/1.1\r\n").await;
    for _ in 0..4 {
        sleep(Duration::from_millis(1_200)).await;
        guest.says("a").await;
    }
    assert!(guest.is_kept().await);
    sleep(Duration::from_millis(300)).await;
    assert!(guest.is_left().await);
}

#[tokio::test(start_paused = true)]
async fn between_requests_a_connection_may_rest_for_thirty_seconds() {
    let (address, _stopping) = greets(10);
    let mut guest = Guest::connect(address).await;
    for _ in 0..2 {
        assert!(guest.asks().await.starts_with("HTTP/1.1 200 OK"));
        sleep(Duration::from_millis(29_900)).await;
        assert!(guest.is_kept().await);
    }
    assert!(guest.asks().await.starts_with("HTTP/1.1 200 OK"));
    sleep(Duration::from_millis(30_100)).await;
    assert!(guest.is_left().await);
}

#[tokio::test(start_paused = true)]
async fn after_a_stream_of_events_a_connection_may_rest_for_as_long() {
    let (address, _stopping) = greets(10);
    let mut guest = Guest::connect(address).await;
    assert!(guest.asks_for("/events").await.contains("text/event-stream"));
    sleep(Duration::from_millis(29_900)).await;
    assert!(guest.is_kept().await);
    sleep(Duration::from_millis(200)).await;
    assert!(guest.is_left().await);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_a_large_answer_piece_by_piece_has_time_and_then_rests_like_others() {
    let (address, _stopping) = greets(10);
    let mut guest = Guest::connect(address).await;
    let begun = guest.asks_for("/large").await;
    let rest = LARGE - begun.split_once("\r\n\r\n").unwrap().1.len();
    for _ in 0..5 {
        sleep(Duration::from_secs(9)).await;
        guest.takes(rest / 5).await;
    }
    guest.takes(rest % 5).await;
    sleep(Duration::from_millis(20_900)).await;
    assert!(guest.asks().await.ends_with("hello"));
    sleep(Duration::from_millis(30_100)).await;
    assert!(guest.is_left().await);
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_who_dawdles_longest_makes_room() {
    let (address, _stopping) = greets(3);
    let mut rests = Guest::connect(address).await;
    rests.asks().await;
    sleep(Duration::from_secs(2)).await;
    let mut silent = Guest::connect(address).await;
    assert!(silent.is_kept().await);
    sleep(Duration::from_millis(100)).await;
    let mut silent_too = Guest::connect(address).await;
    assert!(silent_too.is_kept().await);
    // First of all those who have not asked for anything, then those who have nothing more to ask.
    assert!(Guest::connect(address).await.asks().await.ends_with("hello"));
    assert!(silent.is_left().await && silent_too.is_kept().await && rests.is_kept().await);
    let mut busy = [Guest::connect(address).await, Guest::connect(address).await];
    for guest in &mut busy {
        assert!(guest.asks().await.ends_with("hello"));
    }
    assert!(silent_too.is_left().await);
}
