//! A PostgreSQL with replicas, as `pg_basebackup` makes them.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use secrecy::{ExposeSecret, SecretString};
use stockroom::config::Settings;
use stockroom::infra::db::SEARCH_PATH;
use stockroom::infra::migrations;
use stockroom::infra::postgres::{Durability, PrivatePostgres};

use super::certificates::Authority;
use super::eventually;
use super::servers::{free_port, scratch};

/// It ends when our end of its input does.
const KEEPER: &str = r#"exec 3<&0; "$@" 3<&- </dev/null & it=$!; cat <&3 >/dev/null; kill -QUIT $it 2>/dev/null"#;

/// A migrated database in a PostgreSQL of its own, which others may follow.
pub struct Primary {
    _postgres: PrivatePostgres,
    pub url: String,
    programs: PathBuf,
    /// Whom the server's files belong to.
    owner: (u32, u32),
}

impl Primary {
    pub async fn start() -> Self {
        let folder = scratch("primary");
        let starting = tokio::task::spawn_blocking(move || PrivatePostgres::start(&folder, Durability::None).unwrap());
        let postgres = starting.await.unwrap();
        let url = postgres.url().expose_secret().to_owned();
        let secret: SecretString = url.clone().into();
        migrations::run(&Settings::from_flags(&[]).unwrap(), &secret).await.unwrap();
        let client = connect(&url).await;
        // What is acknowledged is on its way to the replicas.
        client.batch_execute("ALTER DATABASE stockroom SET synchronous_commit = on").await.unwrap();
        let ask = "SELECT (SELECT setting FROM pg_config WHERE name = 'BINDIR'), current_setting('data_directory')";
        let row = client.query_one(ask, &[]).await.unwrap();
        let files = std::fs::metadata(row.get::<_, &str>(1)).unwrap();
        let programs = PathBuf::from(row.get::<_, &str>(0));
        Self { _postgres: postgres, url, programs, owner: (files.uid(), files.gid()) }
    }

    /// Takes connections over TLS from now on, and so do replicas that are made later; plain ones are welcome, too.
    pub async fn speak_tls(&self, authority: &Authority) {
        let [certificate, key] = authority.issue("localhost");
        std::os::unix::fs::chown(&key, Some(self.owner.0), Some(self.owner.1)).unwrap();
        let client = connect(&self.url).await;
        for (setting, value) in [("ssl_cert_file", certificate), ("ssl_key_file", key), ("ssl", "on".into())] {
            client.batch_execute(&format!("ALTER SYSTEM SET {setting} = '{}'", value.display())).await.unwrap();
        }
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        eventually("TLS is on", async || {
            connect(&self.url).await.query_one("SHOW ssl", &[]).await.unwrap().get::<_, &str>(0) == "on"
        })
        .await;
    }

    /// A replica that runs, with these settings.
    pub async fn replica(&self, settings: &[&str]) -> Standby {
        let folder = scratch("replica").join("cluster");
        std::os::unix::fs::chown(folder.parent().unwrap(), Some(self.owner.0), Some(self.owner.1)).unwrap();
        let mut copy = self.command(&self.programs.join("pg_basebackup"));
        copy.args(["-R", "-X", "stream", "-c", "fast", "-d", &self.url, "-D"]).arg(&folder);
        let copied = tokio::task::spawn_blocking(move || copy.output().unwrap()).await.unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let port = free_port();
        let (start, rest) = self.url.rsplit_once(':').unwrap();
        let url = format!("{start}:{port}/{}", rest.split_once('/').unwrap().1);
        let mut command = self.command(Path::new("sh"));
        command.args(["-c", KEEPER, "replica"]).arg(self.programs.join("postgres")).arg("-D").arg(&folder);
        command.args(["-p", &port.to_string()]);
        let fixed = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "fsync=off"];
        for setting in fixed.iter().chain(settings) {
            command.args(["-c", setting]);
        }
        let mut standby = Standby { url, command, child: None };
        standby.start().await;
        standby
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        if std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            command.uid(self.owner.0).gid(self.owner.1);
        }
        command
    }
}

/// A replica of a [`Primary`].
pub struct Standby {
    pub url: String,
    command: Command,
    child: Option<Child>,
}

impl Standby {
    /// Starts it, also again.
    pub async fn start(&mut self) {
        self.child = Some(self.command.stderr(Stdio::null()).spawn().unwrap());
        eventually("the replica answers", async || {
            tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.is_ok()
        })
        .await;
    }

    /// As a crash would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// Its processes, the one that makes the others first.
    pub async fn processes(&self) -> Vec<String> {
        // But for the one that answers, which ends with that.
        let asked = "SELECT pid::text FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
        let rows = connect(&self.url).await.query(asked, &[]).await.unwrap();
        let children: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let status = std::fs::read_to_string(format!("/proc/{}/status", children[0])).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
        [vec![parent], children].concat()
    }

    /// Whether it answers a question without an error.
    pub async fn answers(&self, question: &str) -> bool {
        connect(&self.url).await.batch_execute(question).await.is_ok()
    }

    /// Asks it something.
    pub async fn ask(&self, statement: &str) {
        connect(&self.url).await.batch_execute(statement).await.unwrap();
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.stop();
    }
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path = {SEARCH_PATH}")).await.unwrap();
    client
}
