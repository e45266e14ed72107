//! A PostgreSQL of the project's own, for a machine where none is configured: found, set up once, started with the
//! process, stopped with it, and gone even when the process is killed.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use crate::infra::db::SEARCH_PATH;

/// Longest time to start or stop, in which a crashed cluster also recovers.
const PATIENCE: Duration = Duration::from_secs(30);
/// The oldest major version that works.
const OLDEST: u32 = 15;
/// The user and the database that Stockroom makes for itself.
const USER: &str = "stockroom";
/// Files of the folder.
const LOCK: &str = "lock";
const PASSWORD: &str = "postgres.password";
const CLUSTER: &str = "postgres";
const LOG: &str = "postgres.log";

/// Runs PostgreSQL until it is told to stop, or until its standard input ends because the server is no more.
const KEEPER: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
( cat <&3 >/dev/null; kill -INT "$server" 2>/dev/null ) &
exec 3<&-
wait "$server"
"#;

/// How the cluster is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What is acknowledged survives a crash of the machine.
    Full,
    /// For tests: the data go when the machine does.
    None,
}

/// A running private PostgreSQL; dropping it stops it.
pub struct PrivatePostgres {
    keeper: Child,
    url: SecretString,
    version: u32,
    _lock: File,
}

/// Whether this process runs the folder's PostgreSQL, or another does.
pub enum Opened {
    Started(PrivatePostgres),
    /// Another process runs it, at this URL.
    Running(SecretString),
}

impl PrivatePostgres {
    /// Starts the cluster of this folder, after setting it up where there is none.
    ///
    /// # Errors
    /// When another process runs it, when there is no PostgreSQL, or when the folder belongs to another major version.
    pub fn start(folder: &Path, durability: Durability) -> anyhow::Result<Self> {
        match Self::open(folder, durability)? {
            Opened::Started(postgres) => Ok(postgres),
            Opened::Running(_) => {
                bail!(
                    "another stockroom runs the PostgreSQL in {}; stop it, or set DATA_DIR to another folder",
                    folder.display()
                )
            }
        }
    }

    /// Starts the cluster of this folder, or finds it running.
    pub fn open(folder: &Path, durability: Durability) -> anyhow::Result<Opened> {
        let folder = make_folder(folder)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
        let asked = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Self::start_locked(&folder, lock, durability).map(Opened::Started),
                Err(std::fs::TryLockError::Error(error)) => return Err(error).context("locking the data folder"),
                Err(std::fs::TryLockError::WouldBlock) => {}
            }
            // Another process has it: it runs PostgreSQL, is about to, or is about to be done with it.
            if let Some(url) = running(&folder) {
                return Ok(Opened::Running(url));
            }
            if asked.elapsed() > PATIENCE {
                bail!("another stockroom holds {} but its PostgreSQL does not answer", folder.display());
            }
            pause();
        }
    }

    fn start_locked(folder: &Path, lock: File, durability: Durability) -> anyhow::Result<Self> {
        let account = Account::of_the_server()?;
        let cluster = cluster_folder(folder, account.as_ref())?;
        let password = password(folder)?;
        let made_by = std::fs::read_to_string(cluster.join("PG_VERSION")).ok();
        let programs = Programs::find(made_by.as_deref().map(str::trim))?;
        match made_by {
            Some(made_by) => programs.check_version_of(&cluster, made_by.trim())?,
            None => initialise(&programs, &cluster, &password, account.as_ref(), durability)?,
        }
        let started = Instant::now();
        loop {
            let port = free_port()?;
            let mut keeper = run(&programs, &cluster, folder, port, account.as_ref(), durability)?;
            let error = match wait_until_ready(&mut keeper, port, &password, started) {
                Ok(()) => {
                    return Ok(Self { keeper, url: url(port, &password), version: programs.version, _lock: lock });
                }
                Err(error) => error,
            };
            // Somebody else may have taken the port in between, or the PostgreSQL of a server that was killed is still
            // stopping.
            let stopping = cluster.join("postmaster.pid").exists();
            let patience = if stopping { PATIENCE } else { Duration::from_secs(1) };
            if started.elapsed() > patience {
                return Err(error.context(format!("PostgreSQL did not start; see {}", folder.join(LOG).display())));
            }
            pause();
        }
    }

    /// Where it listens, with its password.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// Its major version.
    pub fn version(&self) -> u32 {
        self.version
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // The end of its input tells the keeper to stop the server.
        drop(self.keeper.stdin.take());
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if !matches!(self.keeper.try_wait(), Ok(None)) {
                return;
            }
            pause();
        }
    }
}

/// PostgreSQL's programs.
struct Programs {
    folder: PathBuf,
    version: u32,
}

impl Programs {
    /// The newest that this machine has, or those of the release that made the cluster.
    fn find(made_by: Option<&str>) -> anyhow::Result<Self> {
        let candidates = candidates();
        let found = candidates.into_iter().filter_map(|folder| {
            let version = version_of(&folder.join("postgres"))?;
            folder.join("initdb").exists().then_some(Self { folder, version })
        });
        let of_the_cluster = |programs: &Self| made_by.is_some_and(|made_by| made_by == programs.version.to_string());
        match found.max_by_key(|programs| (of_the_cluster(programs), programs.version)) {
            Some(programs) if programs.version >= OLDEST => Ok(programs),
            Some(old) => bail!(
                "PostgreSQL {OLDEST} or newer is needed, {} has {}; install a newer one, or set DATABASE_URL",
                old.folder.display(),
                old.version
            ),
            None => bail!(
                "no PostgreSQL server was found; install one (Debian: apt-get install postgresql, macOS: brew install \
                 postgresql@17), or set DATABASE_URL to a database of yours"
            ),
        }
    }

    fn command(&self, program: &str) -> Command {
        Command::new(self.folder.join(program))
    }

    fn check_version_of(&self, cluster: &Path, made_by: &str) -> anyhow::Result<()> {
        if made_by != self.version.to_string() {
            bail!(
                "{} was made by PostgreSQL {made_by}, this machine has {}; install {made_by}, or move the folder away \
                 to begin anew",
                cluster.display(),
                self.version
            );
        }
        Ok(())
    }
}

/// Folders that may hold PostgreSQL's programs.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = crate::config::search_path();
    if let Ok(told) = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output() {
        folders.push(PathBuf::from(String::from_utf8_lossy(&told.stdout).trim()));
    }
    for place in
        ["/usr/lib/postgresql", "/usr", "/usr/local/opt", "/opt/homebrew/opt", "/home/linuxbrew/.linuxbrew/opt"]
    {
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        let named = entries.filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("postgresql") || name.starts_with("pgsql") || name.parse::<u32>().is_ok()
        });
        folders.extend(named.map(|entry| entry.path().join("bin")));
    }
    folders.retain(|folder| folder.is_absolute() && folder.join("postgres").exists());
    folders
}

/// The major version that `postgres --version` tells.
fn version_of(program: &Path) -> Option<u32> {
    let told = Command::new(program).arg("--version").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let number = told.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    number.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// Whom PostgreSQL runs as when we are root, which it refuses.
struct Account {
    name: &'static str,
    uid: u32,
    gid: u32,
}

impl Account {
    fn of_the_server() -> anyhow::Result<Option<Self>> {
        let me = Command::new("id").arg("-u").output().context("asking `id` who we are")?;
        if String::from_utf8_lossy(&me.stdout).trim() != "0" {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        for name in ["postgres", "nobody"] {
            let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let mut user = fields.filter(|fields| fields.first() == Some(&name));
            if let Some([_, _, uid, gid, ..]) = user.next().as_deref() {
                return Ok(Some(Self { name, uid: uid.parse()?, gid: gid.parse()? }));
            }
        }
        bail!("PostgreSQL refuses to run as root, and there is no user `postgres`; make one with `useradd postgres`")
    }

    fn may_enter(&self, folder: &Path) -> bool {
        let mut test = Command::new("test");
        test.arg("-x").arg(folder).current_dir("/").uid(self.uid).gid(self.gid);
        test.status().is_ok_and(|status| status.success())
    }
}

fn make_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("making the data folder {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        std::fs::write(&ignore, "*\n").with_context(|| format!("writing to {}", folder.display()))?;
    }
    Ok(folder)
}

/// The cluster's own folder. A home that only root may enter cannot hold the files of another user: then they lie
/// below `/var/lib`, and the folder holds a link to them.
fn cluster_folder(folder: &Path, account: Option<&Account>) -> anyhow::Result<PathBuf> {
    let link = folder.join(CLUSTER);
    let Some(account) = account else { return Ok(link) };
    if link.is_symlink() || account.may_enter(folder) {
        return Ok(link);
    }
    let name = URL_SAFE_NO_PAD
        .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, folder.as_os_str().as_encoded_bytes()).as_ref());
    let place = Path::new("/var/lib/stockroom").join(name.get(..16).unwrap_or(&name));
    std::fs::create_dir_all(&place)?;
    std::os::unix::fs::symlink(place.join(CLUSTER), &link)?;
    Ok(link)
}

/// The database's password, made once; only its owner may read it.
fn password(folder: &Path) -> anyhow::Result<SecretString> {
    let path = folder.join(PASSWORD);
    if !path.exists() {
        let mut bytes = [0_u8; 24];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no random numbers"))?;
        write_secret(&path, &URL_SAFE_NO_PAD.encode(bytes))?;
    }
    Ok(std::fs::read_to_string(path)?.into())
}

fn initialise(
    programs: &Programs,
    cluster: &Path,
    password: &SecretString,
    account: Option<&Account>,
    durability: Durability,
) -> anyhow::Result<()> {
    let cluster = &std::fs::read_link(cluster).unwrap_or_else(|_| cluster.to_owned());
    // Set up under another name, so that what was interrupted is never taken for whole.
    let unfinished = cluster.with_extension("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o700))?;
    let mut command = programs.command("initdb");
    command.arg("-D").arg(&unfinished).args(["-U", USER, "-E", "UTF8", "-A", "scram-sha-256"]);
    // Sorted by bytes, so that no two machines differ; letters are letters in every alphabet.
    let letters = if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" };
    command.args(["--locale=C", &format!("--lc-ctype={letters}")]);
    let password_file = cluster.with_extension("password-once");
    write_secret(&password_file, password.expose_secret())?;
    command.arg("--pwfile").arg(&password_file).current_dir("/").stdin(Stdio::null());
    if durability == Durability::None {
        command.arg("--no-sync");
    }
    if let Some(account) = account {
        for path in [&unfinished, &password_file] {
            std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))?;
        }
        command.uid(account.uid).gid(account.gid);
    }
    let done = command.output().context("starting initdb");
    std::fs::remove_file(&password_file)?;
    let done = done?;
    if !done.status.success() {
        let told = String::from_utf8_lossy(&done.stderr);
        bail!("initdb failed{}: {}", account.map_or(String::new(), |user| format!(" as {}", user.name)), told.trim());
    }
    std::fs::rename(&unfinished, cluster)?;
    Ok(())
}

fn run(
    programs: &Programs,
    cluster: &Path,
    folder: &Path,
    port: u16,
    account: Option<&Account>,
    durability: Durability,
) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join(LOG))?;
    let cluster = std::fs::read_link(cluster).unwrap_or_else(|_| cluster.to_owned());
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "stockroom-postgres"]).arg(programs.folder.join("postgres"));
    command.arg("-D").arg(cluster).args(["-p", &port.to_string()]);
    let settings = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "shared_buffers=256MB",
        "max_wal_size=4GB",
        "timezone=UTC",
        // For whoever looks by other means.
        &format!("search_path={SEARCH_PATH}"),
    ];
    let careless = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];
    let careless: &[&str] = if durability == Durability::None { &careless } else { &[] };
    for setting in settings.iter().chain(careless) {
        command.args(["-c", setting]);
    }
    // A process group of its own: Ctrl-C is for the server, which stops PostgreSQL when it is done with it.
    command.process_group(0).current_dir("/").stdin(Stdio::piped());
    command.stdout(log.try_clone()?).stderr(log);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command.spawn().context("starting PostgreSQL")
}

fn wait_until_ready(keeper: &mut Child, port: u16, password: &SecretString, since: Instant) -> anyhow::Result<()> {
    loop {
        if let Some(status) = keeper.try_wait()? {
            bail!("it ended with {status}");
        }
        match ask(port, password, "postgres", async |client| {
            if client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&USER]).await?.is_none() {
                client.batch_execute(&format!("CREATE DATABASE {USER}")).await?;
            }
            Ok(())
        }) {
            Ok(()) => return Ok(()),
            Err(error) if since.elapsed() > PATIENCE => return Err(error),
            Err(_) => pause(),
        }
    }
}

/// Asks a PostgreSQL of ours something short.
fn ask(
    port: u16,
    password: &SecretString,
    database: &str,
    question: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<(), tokio_postgres::Error>,
) -> anyhow::Result<()> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(USER).password(password.expose_secret()).dbname(database);
    let asked = async {
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        let driver = tokio::spawn(connection);
        question(&client).await?;
        drop(client);
        let _ = driver.await;
        anyhow::Ok(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), asked).await })?
}

/// The URL of the cluster that another process runs, once it answers.
fn running(folder: &Path) -> Option<SecretString> {
    let password: SecretString = std::fs::read_to_string(folder.join(PASSWORD)).ok()?.into();
    // The fourth line of a running cluster's file is its port.
    let told = std::fs::read_to_string(folder.join(CLUSTER).join("postmaster.pid")).ok()?;
    let port = told.lines().nth(3)?.trim().parse().ok()?;
    ask(port, &password, USER, async |_| Ok(())).ok()?;
    Some(url(port, &password))
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let _ = std::fs::remove_file(&unfinished);
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(std::fs::rename(&unfinished, path)?)
}

fn url(port: u16, password: &SecretString) -> SecretString {
    format!("postgres://{USER}:{}@127.0.0.1:{port}/{USER}?sslmode=disable", password.expose_secret()).into()
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[expect(clippy::disallowed_methods, reason = "starting and stopping happen outside the runtime")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
