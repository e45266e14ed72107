//! PostgreSQL and Redis for all tests, on free ports, gone when the test process is.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use stockroom::config::{Service, Settings};
use stockroom::infra::postgres::{Durability, PrivatePostgres};
use stockroom::infra::{grants, migrations};

use super::certificates::Authority;

const TEMPLATE: &str = "migrated";

/// What is started once.
pub struct Servers {
    postgres: PrivatePostgres,
    redis: RedisServer,
}

/// Starts them, the first time.
pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| in_a_thread(start))
}

/// Runs blocking work that may not happen inside a runtime.
fn in_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(work).join().expect("the servers start")
}

fn start() -> Servers {
    let folder = scratch("postgres");
    let postgres = PrivatePostgres::start(&folder, Durability::None).expect("PostgreSQL starts");
    let servers = Servers { postgres, redis: RedisServer::start() };
    let template = servers.database_url(TEMPLATE);
    let settings = Settings::from_flags(&[]).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        servers.maintain(&format!("CREATE DATABASE {TEMPLATE}")).await;
        migrations::run(&settings, &template.clone().into()).await.expect("the migrations run");
        for service in [Service::Accounts, Service::Catalog] {
            let role = role(service);
            servers.maintain(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}'")).await;
            grants::give(&settings, &template.clone().into(), service, role).await.expect("a grant");
        }
    });
    servers
}

/// The role of a service, in all databases.
fn role(service: Service) -> &'static str {
    match service {
        Service::Accounts => "of_accounts",
        Service::Catalog => "of_catalog",
    }
}

/// The same database for the role of a service.
pub fn as_role(url: &str, service: Service) -> String {
    let (mut url, role) = (url::Url::parse(url).unwrap(), role(service));
    url.set_username(role).unwrap();
    url.set_password(Some(role)).unwrap();
    url.into()
}

impl Servers {
    pub fn redis_url(&self) -> String {
        self.redis.url()
    }

    pub fn database_url(&self, name: &str) -> String {
        self.postgres.url().expose_secret().replace("/stockroom?", &format!("/{name}?"))
    }

    /// Runs a statement that creates or drops databases.
    async fn maintain(&self, statement: &str) {
        let connected = tokio_postgres::connect(self.postgres.url().expose_secret(), tokio_postgres::NoTls).await;
        let (client, connection) = connected.unwrap();
        let driver = tokio::spawn(connection);
        client.batch_execute(statement).await.unwrap();
        drop(client);
        driver.await.unwrap().unwrap();
    }
}

/// A folder of this test process; those of processes that are no more are swept.
pub fn scratch(name: &str) -> PathBuf {
    static SWEPT: OnceLock<()> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let all = std::env::temp_dir();
    SWEPT.get_or_init(|| {
        for entry in std::fs::read_dir(&all).unwrap().flatten() {
            let folder = entry.file_name().to_string_lossy().into_owned();
            let owner = folder.strip_prefix("stockroom-test-").and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|owner| !process_runs(owner)) {
                let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
            }
        }
    });
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = all.join(format!("stockroom-test-{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Whether a process with this id runs.
pub fn process_runs(id: &str) -> bool {
    Command::new("kill").args(["-0", id]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A migrated database, dropped at the end of its test.
pub struct TestDatabase {
    pub name: String,
    pub url: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // PostgreSQL copies a template for one at a time.
        static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let servers = servers();
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let _turn = ONE_AT_A_TIME.lock().await;
        servers.maintain(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await;
        Self { url: servers.database_url(&name), name }
    }

    /// An empty one, without the migrations.
    pub async fn create_empty() -> Self {
        let name = format!("empty_{}_{}", std::process::id(), uuid::Uuid::new_v4().simple());
        servers().maintain(&format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Self { url: servers().database_url(&name), name }
    }

    /// A connection that no pool knows.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Another one for the role of a service.
    pub async fn connect_as(&self, service: Service) -> tokio_postgres::Client {
        let url = as_role(&self.url, service);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        in_a_thread(move || tokio::runtime::Runtime::new().unwrap().block_on(servers().maintain(&statement)));
    }
}

/// A Redis of its own.
pub struct RedisServer {
    pub port: u16,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with(free_port(), &[])
    }

    /// On this port, with these arguments.
    pub fn start_with(port: u16, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let server = Self { port, arguments, child: Mutex::new(None) };
        server.start_again();
        server
    }

    /// That speaks TLS alone, with a certificate for localhost.
    pub fn start_tls(authority: &Authority, arguments: &[&str]) -> Self {
        let [certificate, key] = authority.issue("localhost").map(|file| file.display().to_string());
        let (port, file) = (free_port(), authority.file());
        let own = ["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no", "--tls-ca-cert-file"];
        let own = [&own[..], &[&file, "--tls-cert-file", &certificate, "--tls-key-file", &key]].concat();
        Self::start_with(port, &[&own, arguments].concat())
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// After [`Self::kill`].
    pub fn start_again(&self) {
        // It ends when our end of its input does, as the test process ends in whatever way.
        let keeper = r#"exec 3<&0; "$@" 3<&- </dev/null & it=$!; cat <&3 >/dev/null; kill -KILL $it 2>/dev/null"#;
        let port = self.port.to_string();
        let program = ["redis-server", "--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let mut command = Command::new("sh");
        command.args(["-c", keeper, "redis"]).args(program).args(["--pidfile", &self.pidfile()]);
        command.args(&self.arguments);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn();
        *self.child() = Some(child.expect("redis-server starts"));
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "redis-server starts");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As a crash would.
    pub fn kill(&self) {
        self.signal("KILL");
        if let Some(mut child) = self.child().take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// Sends a signal to the server itself.
    pub fn signal(&self, signal: &str) {
        let id = std::fs::read_to_string(self.pidfile()).expect("a pid file");
        assert!(Command::new("kill").args([&format!("-{signal}"), id.trim()]).status().unwrap().success());
    }

    /// Sends it a command, by its words.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &str) -> T {
        self.send(&words.split(' ').collect::<Vec<_>>()).await
    }

    async fn send<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }

    /// Forgets everything.
    pub async fn flush(&self) {
        self.ask::<()>("FLUSHALL").await;
    }

    /// Writes a field of a hash.
    pub async fn set_field(&self, key: &str, field: &str, value: &str) {
        self.send::<()>(&["HSET", key, field, value]).await;
    }

    /// Every key that there is.
    pub async fn keys(&self) -> Vec<String> {
        self.ask("KEYS *").await
    }

    fn pidfile(&self) -> String {
        std::env::temp_dir()
            .join(format!("stockroom-test-{}-redis-{}", std::process::id(), self.port))
            .display()
            .to_string()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.child().is_some() {
            self.kill();
        }
    }
}

use std::os::unix::process::CommandExt;
