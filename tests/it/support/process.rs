//! The binary itself, as a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::json;
use stockroom::infra::keys::SigningKey;

use super::servers::{TestDatabase, free_port, scratch};
use super::{Client, UNLIMITED};

/// The binary with these arguments, without the settings of whoever runs the tests.
pub fn stockroom(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockroom"));
    for variable in [
        "ACCOUNTS_JWKS_URL",
        "DATABASE_URL",
        "DATABASE_DIRECT_URL",
        "DATABASE_REPLICA_URLS",
        "REDIS_URL",
        "JWT_PRIVATE_KEY",
        "JWT_PRIVATE_KEY_FILE",
        "OIDC_AUDIENCE",
        "OIDC_ISSUER",
        "OIDC_JWKS_URL",
        "MAIL_FROM",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "PUBLIC_URL",
        "SERVICES",
        "SMTP_URL",
        "TLS_CA_FILE",
    ] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What a command says, and how it ends.
pub fn run(arguments: &[&str]) -> Output {
    stockroom(arguments).output().unwrap()
}

/// The same, with something on its standard input.
pub fn run_with_input(arguments: &[&str], input: &str) -> Output {
    let mut command = stockroom(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What was said on standard output.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What was complained of on standard error.
pub fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server process; dropping it kills it.
pub struct Server {
    pub child: Child,
    pub port: u16,
    lines: Receiver<String>,
    /// What it said until it was ready.
    pub greeting: String,
}

impl Server {
    /// Started, and ready to answer.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_on(free_port(), arguments)
    }

    /// The same on this port.
    pub fn start_on(port: u16, arguments: &[&str]) -> Self {
        let address = format!("127.0.0.1:{port}");
        let own = ["serve", "--listen-addr", &address, "--log", "warn", "--shutdown-delay", "0s"];
        let arguments = [&own, UNLIMITED, arguments].concat();
        let mut child = stockroom(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (told, lines) = channel();
        let output = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let mut server = Self { child, port, lines, greeting: String::new() };
        let started = Instant::now();
        while !server.greeting.contains("Ctrl-C") {
            match server.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => server.greeting += &format!("{line}\n"),
                Err(_) if server.child.try_wait().unwrap().is_some() || started.elapsed() > Duration::from_mins(1) => {
                    let _ = server.child.kill();
                    let mut complaint = String::new();
                    server.child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
                    panic!("the server did not start: {}{complaint}", server.greeting);
                }
                Err(_) => {}
            }
        }
        server
    }

    pub fn client(&self) -> Client {
        Client { http: reqwest::Client::new(), url: format!("http://127.0.0.1:{}/graphql", self.port), token: None }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }

    /// What it logged, once it has ended.
    pub fn log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(asked.elapsed() < patience, "the server ends within {patience:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What instances on one database and one Redis have in common.
pub fn instance_flags<'a>(database: &'a TestDatabase, redis: &'a str, key: &'a str) -> [&'a str; 8] {
    let (url, prefix) = (&database.url, &database.name);
    ["--database-url", url, "--redis-url", redis, "--redis-prefix", prefix, "--jwt-private-key-file", key]
}

/// A key file that two processes can share.
pub fn signing_key() -> String {
    let path = scratch("key").join("key.pem");
    std::fs::write(&path, SigningKey::generate().unwrap().pem.expose_secret()).unwrap();
    path.display().to_string()
}

/// A member of the staff, made by the command line.
pub async fn sign_in(server: &Server, database: &TestDatabase, redis: &str) -> Client {
    let create = [
        "user",
        "create",
        "staff@stockroom.test",
        "--role",
        "STAFF",
        "--password-stdin",
        "--database-url",
        &database.url,
        "--redis-url",
        redis,
    ];
    let made = run_with_input(&create, "correct horse\n");
    assert!(made.status.success(), "{}", complained(&made));
    let login = "mutation { login(input: { email: \"staff@stockroom.test\", password: \"correct horse\" }) { tokens { accessToken } } }";
    let data = server.client().data(login, json!({})).await;
    Client { token: Some(data["login"]["tokens"]["accessToken"].as_str().unwrap().to_owned()), ..server.client() }
}

/// The id of the PostgreSQL that runs in a data folder.
pub fn postgres_id(folder: &Path) -> Option<String> {
    let told = std::fs::read_to_string(folder.join("postgres/postmaster.pid")).ok()?;
    Some(told.lines().next()?.trim().to_owned())
}
