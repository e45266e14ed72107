//! Three instances behind nginx and behind HAProxy, with the configurations of `deploy/`: what clients notice when
//! instances are replaced, and when they are killed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::sockets::{Socket, WATCH};
use crate::support::process::{Server, instance_flags, sign_in, signing_key};
use crate::support::servers::{TestDatabase, free_port, scratch, servers};
use crate::support::{Client, eventually};

/// How many ask at once.
const WORKERS: usize = 6;
const SOCKETS: usize = 6;

/// A balancer of `deploy/`, on a port of its own; dropping it ends it.
struct Balancer {
    child: Child,
    address: SocketAddr,
    /// What it complains of, if it writes that to a file.
    log: PathBuf,
}

impl Balancer {
    /// nginx before instances on these ports.
    fn nginx(ports: &[u16]) -> Self {
        let folder = scratch("nginx");
        let (file, address) = configured("nginx.conf", "listen 80;", "listen {};", ports, &folder);
        let global = format!("daemon off; pid {0}/pid; error_log {0}/error.log warn;", folder.display());
        let mut command = program("nginx");
        command.args(["-p", &folder.display().to_string(), "-c", &file, "-g", &global]);
        let log = folder.join("error.log");
        command.args(["-e", &log.display().to_string()]);
        Self::start(command, address, log)
    }

    fn haproxy(ports: &[u16]) -> Self {
        let folder = scratch("haproxy");
        let (file, address) = configured("haproxy.cfg", "bind :80", "bind {}", ports, &folder);
        let mut command = program("haproxy");
        command.args(["-f", &file]);
        Self::start(command, address, folder.join("none"))
    }

    fn start(mut command: Command, address: SocketAddr, log: PathBuf) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let balancer = Self { child: child.expect("nginx and haproxy are installed"), address, log };
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the balancer starts");
            std::thread::sleep(Duration::from_millis(20));
        }
        balancer
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // By its own signal: a killed nginx leaves its workers behind.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A program that may be where only root looks for it.
fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin"));
    command
}

/// A file of `deploy/` with other addresses in it, and the one that it listens on.
fn configured(name: &str, listens: &str, instead: &str, ports: &[u16], folder: &Path) -> (String, SocketAddr) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    let mut text = fs::read_to_string(file).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let instances = ports.iter().enumerate();
    let instances =
        instances.map(|(number, port)| (format!("stockroom-{}:8000", number + 1), format!("127.0.0.1:{port}")));
    let listens = (listens.to_owned(), instead.replace("{}", &address.to_string()));
    for (found, put) in instances.chain([listens]) {
        assert_eq!(text.matches(&found).count(), 1, "{found} is once in {name}");
        text = text.replace(&found, &put);
    }
    // Nobody reads what it logs.
    text = text.replace("access_log /dev/stdout json;", "access_log off;");
    let path: PathBuf = folder.join(name);
    fs::write(&path, text).unwrap();
    (path.display().to_string(), address)
}

/// Three instances, and what they have in common.
struct Instances {
    servers: Vec<Server>,
    key: String,
    database: TestDatabase,
    redis: String,
}

impl Instances {
    async fn start() -> Self {
        let (key, database, redis) = (signing_key(), TestDatabase::create().await, servers().redis_url());
        let mut instances = Self { servers: Vec::new(), key, database, redis };
        for _ in 0..3 {
            instances.servers.push(instances.begin(free_port()));
        }
        instances
    }

    fn begin(&self, port: u16) -> Server {
        let own = instance_flags(&self.database, &self.redis, &self.key);
        // A machine with too much to do is not what this is about.
        let patient = ["--shutdown-delay", "3s", "--database-wait", "5s", "--statement-timeout", "10s"];
        Server::start_on(port, &[&own[..], &patient, &["--trusted-proxies", "127.0.0.0/8"]].concat())
    }

    fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// An instance in the place of one that has ended.
    fn replace(&mut self, number: usize) {
        let port = self.servers[number].port;
        self.servers[number] = self.begin(port);
    }
}

/// Requests by a few clients at once, until it is told to end.
struct Load {
    end: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Tally>>,
}

/// What became of them.
#[derive(Default)]
struct Tally {
    answered: usize,
    /// Changes of the stock that were acknowledged, however often they were sent.
    acknowledged: i64,
    /// When those began that failed, and how.
    failed: Vec<(Instant, String)>,
}

const SEARCH: &str = "query($s: String) { products(first: 5, search: $s) { nodes { name stock { available } } } }";
const ADJUST: &str = "mutation { adjustStock(by: { sku: \"HOT\" }, delta: 1) { product { stock { available } } errors { __typename } } }";

impl Load {
    fn begin(client: &Client, balancer: &Balancer) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let workers = (0..WORKERS).map(|_| {
            let client = Client { http: reqwest::Client::new(), url: balancer.url("/graphql"), ..client.clone() };
            let end = Arc::clone(&end);
            tokio::spawn(async move {
                let mut tally = Tally::default();
                while !end.load(Ordering::Relaxed) {
                    tally.note(ask(&client, SEARCH, None).await);
                    // Once in all, however often it must be sent.
                    let key = Uuid::new_v4().to_string();
                    while !tally.note(ask(&client, ADJUST, Some(&key)).await) {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    tally.acknowledged += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                tally
            })
        });
        let workers = workers.collect();
        Self { end, workers }
    }

    async fn end(self) -> Tally {
        self.end.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for worker in self.workers {
            let tally = worker.await.unwrap();
            all.answered += tally.answered;
            all.acknowledged += tally.acknowledged;
            all.failed.extend(tally.failed);
        }
        all
    }
}

impl Tally {
    /// Whether it was answered.
    fn note(&mut self, outcome: Result<(), (Instant, String)>) -> bool {
        match outcome {
            Ok(()) => self.answered += 1,
            Err(failed) => {
                self.failed.push(failed);
                return false;
            }
        }
        true
    }
}

/// Sends one request, once.
async fn ask(client: &Client, query: &str, key: Option<&str>) -> Result<(), (Instant, String)> {
    let begun = Instant::now();
    let failed = |how: String| (begun, how);
    let body = json!({ "query": query, "variables": { "s": "lamp" } });
    let body = if key.is_some() { json!({ "query": query }) } else { body };
    let mut request = client.http.post(&client.url).bearer_auth(client.token.as_deref().unwrap()).json(&body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = request.send().await.map_err(|error| failed(format!("{error:?}")))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| failed(format!("{error:?}")))?;
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    match body["data"].is_object() && body.get("errors").is_none() {
        true => Ok(()),
        false => Err(failed(format!("{status}: {text}"))),
    }
}

/// Replaces each instance, then kills some of them, under load.
async fn goes_on(before: fn(&[u16]) -> Balancer) {
    let mut instances = Instances::start().await;
    let balancer = before(&instances.ports());
    let staff = sign_in(&instances.servers[0], &instances.database, &instances.redis).await;
    staff.create_product(json!({ "sku": "HOT", "name": "Hot lamp", "stock": 0 })).await;
    let client = Client { url: balancer.url("/graphql"), ..staff.clone() };
    eventually("instances are found", async || ask(&client, SEARCH, None).await.is_ok()).await;
    who_asks_is_known_and_machines_are_not_shown(&balancer, &client).await;

    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut socket = Socket::open(balancer.address, None).await;
        socket.ask("1", WATCH).await;
        sockets.push(tokio::spawn(async move {
            loop {
                if let Err(code) = socket.message().await {
                    return code;
                }
            }
        }));
    }
    let load = Load::begin(&client, &balancer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 0..3 {
        let told = Instant::now();
        instances.servers[number].signal("TERM");
        assert!(instances.servers[number].wait(Duration::from_secs(20)).success());
        println!("instance {number} ended {:?} after it was told to", told.elapsed());
        instances.replace(number);
        // Until a balancer that asks for readiness has asked.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    let replaced = load.end().await;
    println!("{} requests were answered while all instances were replaced", replaced.answered);
    let failed: Vec<_> = replaced.failed.iter().map(|(_, how)| how).collect();
    let complaints = fs::read_to_string(&balancer.log).unwrap_or_default();
    assert_eq!(failed, Vec::<&String>::new(), "{complaints}");
    assert!(replaced.answered > 100, "{} answers", replaced.answered);
    for socket in sockets {
        assert_eq!(socket.await.unwrap(), 1001);
    }

    let load = Load::begin(&client, &balancer);
    let mut kills = Vec::new();
    for number in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        instances.servers[number].signal("KILL");
        instances.servers[number].wait(Duration::from_secs(5));
        kills.push(Instant::now());
        tokio::time::sleep(Duration::from_secs(2)).await;
        instances.replace(number);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed = load.end().await;
    println!("{} answered, {} failed, with {} kills", killed.answered, killed.failed.len(), kills.len());
    assert!(killed.failed.len() <= WORKERS * kills.len(), "{:#?}", killed.failed);
    for (begun, how) in &killed.failed {
        let was_under_way = kills.iter().any(|killed| {
            let since = killed.saturating_duration_since(*begun);
            since > Duration::ZERO && since < Duration::from_secs(10)
        });
        assert!(was_under_way, "it began after the kill: {how}");
    }
    let left = client.data("{ product(by: { sku: \"HOT\" }) { stock { available } } }", json!({})).await;
    // One was for an event.
    let acknowledged = 1 + replaced.acknowledged + killed.acknowledged;
    assert_eq!(left["product"]["stock"]["available"], acknowledged, "each was done once");
}

/// The balancer names the client's address, whatever that says of itself, and keeps what is for machines to itself.
async fn who_asks_is_known_and_machines_are_not_shown(balancer: &Balancer, client: &Client) {
    let login = "mutation { login(input: { email: \"staff@stockroom.test\", password: \"correct horse\" }) {
        tokens { accessToken } } }";
    let request = client.http.post(&client.url).header("x-forwarded-for", "203.0.113.9");
    let told: Value = request.json(&json!({ "query": login })).send().await.unwrap().json().await.unwrap();
    let token = told["data"]["login"]["tokens"]["accessToken"].as_str().unwrap();
    let sessions = client.with_token(token).data("{ me { sessions { address current } } }", json!({})).await;
    let sessions = sessions["me"]["sessions"].as_array().unwrap().clone();
    let current = sessions.iter().find(|session| session["current"] == true).unwrap();
    assert_eq!(current["address"], "127.0.0.1");
    for path in ["/metrics", "/readyz", "/livez"] {
        assert_eq!(client.http.get(balancer.url(path)).send().await.unwrap().status(), 404, "{path}");
    }
    let long = json!({ "query": format!("{{ __typename }} #{}", "x".repeat(300_000)) });
    assert_eq!(client.http.post(&client.url).json(&long).send().await.unwrap().status(), 413);
    // An event arrives while the stream goes on.
    let request = client.http.post(&client.url).header("accept", "text/event-stream").json(&json!({ "query": WATCH }));
    let mut events = request.send().await.unwrap();
    let adjusted = ask(client, ADJUST, Some(&Uuid::new_v4().to_string())).await;
    assert!(adjusted.is_ok(), "{adjusted:?}");
    let event = tokio::time::timeout(Duration::from_secs(5), events.chunk()).await.expect("an event in time");
    let event = String::from_utf8(event.unwrap().unwrap().to_vec()).unwrap();
    assert!(event.starts_with("event: next"), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_nobody_notices_that_instances_are_replaced_and_little_that_they_are_killed() {
    goes_on(Balancer::nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_nobody_notices_that_instances_are_replaced_and_little_that_they_are_killed() {
    goes_on(Balancer::haproxy).await;
}
