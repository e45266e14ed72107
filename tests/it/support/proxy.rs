//! A way to PostgreSQL on which things happen that happen in networks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::eventually;

/// What happens to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not arrive, and the connection is gone.
    Cut,
    /// It is executed, but its answer does not arrive, and the connection is gone.
    LoseAnswer,
    /// It is executed, but neither its answer nor anything later arrives.
    Silence,
}

/// Passes bytes on between servers and PostgreSQL, but for those of a statement that it watches for.
pub struct Proxy {
    port: u16,
    to: u16,
    shared: Arc<Shared>,
}

struct Shared {
    rule: Mutex<Option<Rule>>,
    /// How often a fault happened in full.
    happened: watch::Sender<usize>,
    /// Raised to end all connections.
    epoch: watch::Sender<u32>,
}

struct Rule {
    text: &'static str,
    fault: Fault,
    /// So often.
    left: usize,
}

impl Proxy {
    /// Before the PostgreSQL of this URL.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = url.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
        let (happened, epoch) = (watch::Sender::new(0), watch::Sender::new(0));
        let shared = Arc::new(Shared { rule: Mutex::new(None), happened, epoch });
        let port = listener.local_addr().unwrap().port();
        let all = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to, Arc::clone(&all)));
            }
        });
        Self { port, to, shared }
    }

    /// The same database, by way of here.
    pub fn url(&self, url: &str) -> String {
        url.replace(&format!("127.0.0.1:{}", self.to), &format!("127.0.0.1:{}", self.port))
    }

    /// The next statement with this text meets a fault.
    pub fn once(&self, text: &'static str, fault: Fault) {
        *self.shared.rule.lock().unwrap() = Some(Rule { text, fault, left: 1 });
    }

    /// Every statement with this text meets a fault, until [`Self::heal`]. Connections are made anew, so that statements
    /// are seen which were prepared before.
    pub fn always(&self, text: &'static str, fault: Fault) {
        *self.shared.rule.lock().unwrap() = Some(Rule { text, fault, left: usize::MAX });
        self.shared.epoch.send_modify(|epoch| *epoch += 1);
    }

    pub fn heal(&self) {
        *self.shared.rule.lock().unwrap() = None;
    }

    /// Waits until faults have happened so often since the start.
    pub async fn happened(&self, times: usize) {
        eventually("a fault happens", async || self.faults() >= times).await;
    }

    /// How often one has happened since the start.
    pub fn faults(&self) -> usize {
        *self.shared.happened.borrow()
    }
}

impl Shared {
    /// What is to happen to these bytes.
    fn fault(&self, bytes: &[u8]) -> Option<Fault> {
        let mut rule = self.rule.lock().unwrap();
        let Rule { text, fault, left } = rule.as_mut()?;
        if *left == 0 || !bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            return None;
        }
        *left -= 1;
        Some(*fault)
    }

    fn note(&self) {
        self.happened.send_modify(|times| *times += 1);
    }
}

async fn pass(client: TcpStream, to: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let lost = AtomicBool::new(false);
    let mut epoch = shared.epoch.subscribe();
    tokio::select! {
        () = ask(from_client, to_server, &shared, &lost) => {}
        () = answer(from_server, to_client, &shared, &lost) => {}
        _ = epoch.changed() => {}
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, lost: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        match shared.fault(&buffer[..length]) {
            Some(Fault::Cut) => return shared.note(),
            Some(Fault::LoseAnswer | Fault::Silence) => lost.store(true, Ordering::SeqCst),
            None => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, lost: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if lost.load(Ordering::SeqCst) {
            shared.note();
            let is_silent = shared.rule.lock().unwrap().as_ref().is_some_and(|rule| rule.fault == Fault::Silence);
            return if is_silent {
                std::future::pending::<()>().await;
            };
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
