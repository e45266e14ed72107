//! pgbouncer before the tests' PostgreSQL.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use url::Url;

use super::eventually;
use super::servers::{free_port, scratch};

/// It ends when our end of its input does.
const KEEPER: &str = r#"exec 3<&0; "$@" 3<&- </dev/null & it=$!; cat <&3 >/dev/null; kill -KILL $it 2>/dev/null"#;
/// Nobody in particular: it refuses to run as root.
const NOBODY: u32 = 65_534;

pub struct Pooler {
    port: u16,
    keeper: Child,
}

impl Pooler {
    /// In this mode, before the PostgreSQL of this URL.
    pub async fn before(url: &str, mode: &str) -> Self {
        let (to, port, folder) = (Url::parse(url).unwrap(), free_port(), scratch("pooler"));
        let (user, password) = (to.username(), to.password().unwrap());
        let routing = if routes_statements() { "max_prepared_statements = 100" } else { "" };
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\nadmin_users = {user}\npool_mode = {mode}\n\
             default_pool_size = 8\n{routing}\n",
            to.port().unwrap(),
            folder.join("users").display(),
        );
        std::fs::write(folder.join("settings.ini"), settings).unwrap();
        std::fs::write(folder.join("users"), format!("\"{user}\" \"{password}\"\n")).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = program("sh");
        command.args(["-c", KEEPER, "pooler", "pgbouncer", "-q"]).arg(folder.join("settings.ini"));
        if std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            command.uid(NOBODY).gid(NOBODY);
        }
        let keeper =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        let pooler = Self { port, keeper };
        eventually("pgbouncer answers", async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        pooler
    }

    /// The same database, by way of it.
    pub fn url(&self, url: &str) -> String {
        let mut url = Url::parse(url).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.into()
    }

    /// Lets it connect anew.
    pub async fn reconnect(&self, url: &str) {
        let mut url = Url::parse(&self.url(url)).unwrap();
        url.set_path("pgbouncer");
        let (client, connection) = tokio_postgres::connect(url.as_str(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.simple_query("RECONNECT").await.unwrap();
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Whether this release hands prepared statements on in transaction mode.
pub fn routes_statements() -> bool {
    let told = program("pgbouncer").arg("--version").output().expect("pgbouncer is installed (`make setup-test`)");
    let told = String::from_utf8_lossy(&told.stdout);
    let release = told.lines().find_map(|line| line.strip_prefix("PgBouncer 1.")).expect("a release");
    release.split('.').next().unwrap().parse::<u32>().unwrap() >= 21
}

/// Debian has it where only administrators look.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}
