//! The way to PostgreSQL: a pool to read and one to write, one for each replica, and direct connections beside them.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bb8::{Pool, PooledConnection};
use diesel::ConnectionError;
use diesel::connection::InstrumentationEvent;
use diesel::result::Error as DieselError;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use futures_util::future::join_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_postgres::Socket;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::{Instrument, Span};

use crate::config::Settings;
use crate::infra::metrics::{Histograms, Labels, Metrics, histograms};
use crate::infra::pooler;
use crate::infra::telemetry;
use crate::infra::tls::{self, Verify};

/// Longest time to make a connection, which a free one saves.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer after PostgreSQL must have ended the statement by itself.
const GRACE: Duration = Duration::from_secs(1);
/// How many may join whoever has a connection that is shared, and for how long, before it goes back to the pool: others wait
/// there for one of their own, and whatever holds one up is not to hold up more.
const COMPANIONS: u32 = 15;
const COMPANY: Duration = Duration::from_millis(100);
/// Where tables are. What is made without a schema's name is made in the first of them.
pub const SEARCH_PATH: &str = "public, accounts, catalog, shared";

type Manager = AsyncDieselConnectionManager<AsyncPgConnection>;

/// PostgreSQL as the process uses it.
pub struct Database {
    read: Gated,
    write: Gated,
    replicas: Vec<Replica>,
    /// For what replicas cannot answer.
    spare: Gated,
    direct: Connector,
    is_kept: Arc<AtomicBool>,
    statements: Arc<AtomicU64>,
    figures: Figures,
}

/// What is counted of the pools.
#[derive(Clone)]
struct Figures {
    /// Seconds until there was a connection, or none, by pool.
    waits: Histograms,
    /// Times that there was none, by pool and reason.
    refusals: Family<Labels<2>, Counter>,
}

/// A connection of a pool, and its place in the queue before it.
pub struct Connection {
    connection: PooledConnection<'static, Manager>,
    _turn: OwnedSemaphorePermit,
}

impl Connection {
    /// Leaves it, with a statement under way: the next in the pool must not wait for that. PostgreSQL notices, and ends it.
    pub fn abandon(mut self) {
        type Transactions = <AsyncPgConnection as AsyncConnection>::TransactionManager;
        Transactions::transaction_manager_status_mut(&mut *self.connection).set_in_error();
    }
}

impl std::ops::Deref for Connection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.connection
    }
}

impl std::ops::DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.connection
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    #[error("no connection became free within {0:?}")]
    Busy(Duration),
    #[error("PostgreSQL cannot be reached")]
    Unreachable(#[source] anyhow::Error),
}

impl Database {
    /// Pools for these settings; nothing connects yet.
    ///
    /// # Errors
    /// When a URL is malformed.
    pub fn new(settings: &Settings, url: &SecretString, direct_url: &SecretString) -> anyhow::Result<Self> {
        let statements = Arc::new(AtomicU64::new(0));
        let to = |url, access| Connector::new(url, access, settings, Some(Arc::clone(&statements)));
        let is_kept = Arc::new(AtomicBool::new(true));
        let connector =
            |url, access| to(url, access).map(|connector| Connector { is_kept: Arc::clone(&is_kept), ..connector });
        let figures = Figures { waits: histograms(), refusals: Family::default() };
        for pool in ["read", "write"] {
            for reason in ["busy", "unreachable"] {
                // Shown before it happens, so that alerts see the first.
                drop(figures.refusals.get_or_create(&[("pool", pool), ("reason", reason)]));
            }
        }
        Ok(Self {
            read: Gated::new("read", connector(url, Access::Read)?, settings, &figures),
            write: Gated::new("write", connector(url, Access::Write)?, settings, &figures),
            replicas: settings
                .database_replica_urls
                .iter()
                .map(|url| {
                    let direct = Connector::new(url, Access::Read, settings, None)?;
                    Ok(Replica {
                        pool: Gated::new("replica", to(url, Access::Read)?, settings, &figures),
                        direct,
                        is_past_poolers: OnceCell::new(),
                    })
                })
                .collect::<anyhow::Result<_>>()?,
            // When replicas fall behind, the primary is not to feel all of it.
            spare: Gated::of_size(
                "spare",
                connector(url, Access::Read)?,
                settings,
                &figures,
                settings.database_pool_size.div_ceil(2),
            ),
            direct: Connector::new(direct_url, Access::Read, settings, None)?,
            is_kept,
            statements,
            figures,
        })
    }

    /// From now on connections of the pools are told nothing: what is behind a pooler would tell others.
    pub fn keep_no_session(&self) {
        self.is_kept.store(false, Ordering::Relaxed);
    }

    /// The replicas, whether they can be reached or not.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// A read-only connection to the primary for what no replica answers.
    pub async fn spare(&self) -> Result<Connection, NoConnection> {
        self.spare.get().await
    }

    /// Shows what is counted of the pools.
    pub fn show(&self, metrics: &mut Metrics) {
        let Figures { waits, refusals } = &self.figures;
        metrics.show("database_wait_seconds", "Time until there is a connection to PostgreSQL", waits);
        metrics.show("database_refusals", "Times that there was no connection to PostgreSQL", refusals);
    }

    /// Counts the connections of each pool; all replicas are one.
    pub fn count(&self, metrics: &Metrics) {
        let mut counts: BTreeMap<_, i64> = BTreeMap::new();
        let replicas = self.replicas.iter().map(|replica| &replica.pool);
        for Gated { name, pool, .. } in [&self.read, &self.write, &self.spare].into_iter().chain(replicas) {
            let bb8::State { connections, idle_connections: idle, .. } = pool.state();
            *counts.entry((*name, "idle")).or_default() += i64::from(idle);
            *counts.entry((*name, "in_use")).or_default() += i64::from(connections.saturating_sub(idle));
        }
        for ((pool, state), count) in counts {
            metrics.database_connections.get_or_create_owned(&[("pool", pool), ("state", state)]).set(count);
        }
    }

    /// A connection on which PostgreSQL refuses every write, unless a pooler keeps it from knowing.
    pub async fn read(&self) -> Result<Connection, NoConnection> {
        self.read.get().await
    }

    /// The same, shared with others who read at the same time, unless a pooler is between. It is for what PostgreSQL does at
    /// once: a question is sent without waiting for the answers to those before, but answered after them. Whoever joins waits
    /// for no connection.
    pub async fn read_together(&self) -> Result<Arc<Connection>, NoConnection> {
        self.read.share().await
    }

    /// A connection for a command.
    pub async fn write(&self) -> Result<Connection, NoConnection> {
        self.write.get().await
    }

    /// Opens the connections that may write, so that the first changes, which may come all at once, wait for none. One that
    /// cannot be opened is for them to tell.
    pub async fn warm(&self) {
        join_all((0..self.write.turns.available_permits()).map(|_| self.write.get())).await;
    }

    /// A read-only connection outside the pools, and outside their statement count.
    pub async fn direct(&self) -> anyhow::Result<AsyncPgConnection> {
        self.direct.connect().await
    }

    /// Another such connection, without a task of its own.
    pub async fn bare(&self) -> anyhow::Result<Bare> {
        self.direct.bare().await
    }

    /// Statements sent through the pools so far.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

/// A copy of the database that follows it.
pub struct Replica {
    pool: Gated,
    direct: Connector,
    is_past_poolers: OnceCell<()>,
}

impl Replica {
    /// A read-only connection.
    pub async fn read(&self) -> Result<Connection, NoConnection> {
        self.pool.get().await
    }

    /// Another outside the pool, without a task of its own; none where the next statement may be read elsewhere.
    pub async fn bare(&self) -> anyhow::Result<Bare> {
        self.is_past_poolers.get_or_try_init(async || pooler::past(&self.direct).await).await?;
        self.direct.bare().await
    }

    /// Host, port and database.
    pub fn place(&self) -> String {
        self.direct.place()
    }
}

/// A connection that is its user's alone, who moves its bytes: no other task is woken for an answer.
pub struct Bare {
    client: tokio_postgres::Client,
    connection: Driver,
}

type Driver = tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Bare {
    /// The answer to whatever is asked of the client.
    ///
    /// # Errors
    /// What PostgreSQL says, and that the connection is gone.
    pub async fn ask<T>(
        &mut self,
        ask: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, tokio_postgres::Error>,
    ) -> anyhow::Result<T> {
        let Self { client, connection } = self;
        let mut answer = std::pin::pin!(ask(client));
        poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer.map_err(anyhow::Error::new));
            }
            match Pin::new(&mut *connection).poll(context) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(())) => return Poll::Ready(Err(anyhow::anyhow!("the connection was closed"))),
                Poll::Pending => {}
            }
            // It may have come with those bytes.
            answer.as_mut().poll(context).map(|answer| answer.map_err(anyhow::Error::new))
        })
        .await
    }
}

/// A pool behind a queue that is first come, first served, which bb8's own is not.
struct Gated {
    name: &'static str,
    pool: Pool<Manager>,
    turns: Arc<Semaphore>,
    connector: Arc<Connector>,
    wait: Duration,
    figures: Figures,
    shared: Mutex<Shared>,
}

/// The connection that was last lent to be shared.
#[derive(Default)]
struct Shared {
    connection: Weak<Connection>,
    lent: Option<Instant>,
    joined: u32,
}

impl Gated {
    fn new(name: &'static str, connector: Connector, settings: &Settings, figures: &Figures) -> Self {
        Self::of_size(name, connector, settings, figures, settings.database_pool_size)
    }

    fn of_size(name: &'static str, connector: Connector, settings: &Settings, figures: &Figures, size: u32) -> Self {
        let connector = Arc::new(connector);
        let mut config = ManagerConfig::<AsyncPgConnection>::default();
        let to_connect = Arc::clone(&connector);
        config.custom_setup = Box::new(move |_| {
            let connector = Arc::clone(&to_connect);
            let connect = async move { connector.connect().await };
            connect.map(|made| made.map_err(|error| ConnectionError::BadConnection(format!("{error:#}")))).boxed()
        });
        // The default asks the server `SELECT 1` before each use; the driver knows when its socket has closed.
        config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|connection| {
            let broken = diesel_async::pooled_connection::PoolableConnection::is_broken(connection);
            async move { if broken { Err(DieselError::BrokenTransactionManager) } else { Ok(()) } }.boxed()
        }));
        // The manager's own URL is not used: the connector has it, with its TLS.
        let manager = Manager::new_with_config("", config);
        let pool = Pool::builder()
            .max_size(size)
            .connection_timeout(CONNECT_TIMEOUT)
            .retry_connection(false)
            .build_unchecked(manager);
        let turns = Arc::new(Semaphore::new(size as usize));
        let (wait, figures, shared) = (settings.database_wait, figures.clone(), Mutex::default());
        Self { name, pool, turns, connector, wait, figures, shared }
    }

    /// A connection that others may join, which may be one that somebody else has.
    async fn share(&self) -> Result<Arc<Connection>, NoConnection> {
        // Not every pooler takes a question before it has answered the last one.
        let may_join = self.connector.is_kept.load(Ordering::Relaxed);
        if let Some(connection) = may_join.then(|| self.shared().join()).flatten() {
            return Ok(connection);
        }
        let connection = Arc::new(self.get().await?);
        *self.shared() = Shared { connection: Arc::downgrade(&connection), lent: Some(Instant::now()), joined: 0 };
        Ok(connection)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get(&self) -> Result<Connection, NoConnection> {
        let asked = Instant::now();
        let got = self.next().instrument(telemetry::call("postgresql", || "connection".to_owned())).await;
        let Figures { waits, refusals } = &self.figures;
        waits.get_or_create(&[("pool", self.name)]).observe(asked.elapsed().as_secs_f64());
        if let Err(refused) = &got {
            let reason = match refused {
                NoConnection::Busy(_) => "busy",
                NoConnection::Unreachable(_) => "unreachable",
            };
            refusals.get_or_create(&[("pool", self.name), ("reason", reason)]).inc();
        }
        got
    }

    async fn next(&self) -> Result<Connection, NoConnection> {
        let busy = |_| NoConnection::Busy(self.wait);
        let turn = tokio::time::timeout(self.wait, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(busy)?.map_err(|closed| NoConnection::Unreachable(closed.into()))?;
        match self.pool.get_owned().await {
            Ok(connection) => Ok(Connection { connection, _turn: turn }),
            Err(bb8::RunError::User(error)) => Err(NoConnection::Unreachable(error.into())),
            Err(bb8::RunError::TimedOut) => {
                Err(NoConnection::Unreachable(anyhow::anyhow!("{} did not answer", self.connector.place())))
            }
        }
    }
}

impl Shared {
    /// The connection, if somebody still has it who may be joined.
    fn join(&mut self) -> Option<Arc<Connection>> {
        let may_join = self.joined < COMPANIONS && self.lent?.elapsed() < COMPANY;
        let connection = self.connection.upgrade().filter(|_| may_join)?;
        self.joined += 1;
        Some(connection)
    }
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// What a connection tells the task that moves its bytes.
struct Asked {
    under_way: Arc<Mutex<UnderWay>>,
    /// Dropped with the connection.
    _alive: oneshot::Sender<()>,
}

impl Asked {
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Statements without an answer.
#[derive(Default)]
struct UnderWay {
    statements: Vec<Statement>,
    /// When the last one was asked, or answered.
    since: Option<Instant>,
}

struct Statement {
    /// Who asked, of several that share the connection.
    task: Option<tokio::task::Id>,
    at: Instant,
    span: Span,
}

impl UnderWay {
    fn begin(&mut self, span: Span) {
        let at = Instant::now();
        self.statements.push(Statement { task: tokio::task::try_id(), at, span });
        self.since = Some(at);
    }

    /// Ends what this task asked, and returns its span.
    fn end(&mut self) -> Option<Span> {
        let task = tokio::task::try_id();
        let ended = self.statements.iter().rposition(|statement| statement.task == task)?;
        self.since = Some(Instant::now());
        let ended = self.statements.remove(ended);
        // PostgreSQL answers in order, so whoever asked before and is no companion does not wait any more.
        self.statements.retain(|statement| ended.at.saturating_duration_since(statement.at) < COMPANY);
        Some(ended.span)
    }

    fn is_overdue(&self, patience: Duration) -> bool {
        !self.statements.is_empty() && self.since.is_some_and(|since| since.elapsed() > patience)
    }
}

/// Moves a connection's bytes until it is dropped, or an answer is overdue: PostgreSQL ends what takes too long by itself,
/// so then nobody is at the other end, and whoever waits must not wait for ever with a place in the pool.
async fn drive(
    connection: Driver,
    under_way: Arc<Mutex<UnderWay>>,
    patience: Duration,
    gone: oneshot::Receiver<()>,
    place: String,
) {
    let overdue = async {
        let mut ticks = tokio::time::interval(GRACE);
        loop {
            ticks.tick().await;
            if under_way.lock().unwrap_or_else(PoisonError::into_inner).is_overdue(patience) {
                return;
            }
        }
    };
    tokio::select! {
        _ = connection => {}
        _ = gone => {}
        () = overdue => tracing::warn!("{place} did not answer in {patience:?}; leaving this connection to it"),
    }
}

/// Makes connections to one database.
pub struct Connector {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// What each connection is told, by name.
    session: Vec<(&'static str, String)>,
    /// Whether it stays theirs.
    is_kept: Arc<AtomicBool>,
    /// Longest wait for the answer to a statement, in a pool.
    patience: Duration,
    statements: Option<Arc<AtomicU64>>,
}

impl Connector {
    pub fn new(
        url: &SecretString,
        access: Access,
        settings: &Settings,
        statements: Option<Arc<AtomicU64>>,
    ) -> anyhow::Result<Self> {
        let (mut config, verify) = parse_url(url.expose_secret())?;
        config.application_name("stockroom").connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_secs(30));
        let read_only = if access == Access::Read { "on" } else { "off" };
        let statement_timeout = settings.statement_timeout.as_millis();
        let session = vec![
            ("search_path", SEARCH_PATH.to_owned()),
            ("default_transaction_read_only", read_only.to_owned()),
            ("statement_timeout", statement_timeout.to_string()),
            // Nothing here runs long enough to be worth compiling, whatever PostgreSQL thinks where it has no statistics yet.
            ("jit", "off".to_owned()),
            ("client_connection_check_interval", "250".to_owned()),
            ("lock_timeout", (statement_timeout / 2).to_string()),
            ("idle_in_transaction_session_timeout", "5000".to_owned()),
            ("timezone", "'UTC'".to_owned()),
            ("pg_trgm.word_similarity_threshold", "0.42".to_owned()),
        ];
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(tls::to_store(settings, verify)?),
            session,
            is_kept: Arc::new(AtomicBool::new(true)),
            patience: settings.statement_timeout + GRACE,
            statements,
        })
    }

    async fn open(&self) -> anyhow::Result<(tokio_postgres::Client, Driver)> {
        let opened = self.config.connect(self.tls.clone()).await;
        opened.map_err(|error| {
            tls::explained(error.into()).context(format!("connecting to PostgreSQL at {}", self.place()))
        })
    }

    async fn bare(&self) -> anyhow::Result<Bare> {
        let (mut bare, setup) = (self.unset().await?, self.setup());
        bare.ask(async |client| client.batch_execute(&setup).await).await?;
        Ok(bare)
    }

    /// A connection that is told nothing.
    pub async fn unset(&self) -> anyhow::Result<Bare> {
        let (client, connection) = self.open().await?;
        Ok(Bare { client, connection })
    }

    /// What connections are told, as the names of settings and their values.
    pub fn session(&self) -> &[(&'static str, String)] {
        &self.session
    }

    fn setup(&self) -> String {
        let is_kept = self.is_kept.load(Ordering::Relaxed);
        let kept = self.session.iter().filter(|_| is_kept);
        kept.map(|(name, value)| format!("SET {name} = {value}")).collect::<Vec<_>>().join("; ")
    }

    /// A connection, set up.
    pub async fn connect(&self) -> anyhow::Result<AsyncPgConnection> {
        let (client, io) = self.open().await?;
        let Some(statements) = self.statements.clone() else {
            // It is its user's alone, who says how long to wait: a migration takes as long as it takes.
            let mut connection = AsyncPgConnection::try_from_client_and_connection(client, io).await?;
            connection.batch_execute(&self.setup()).await?;
            return Ok(connection);
        };
        let (alive, gone) = oneshot::channel();
        let asked = Asked { under_way: Arc::default(), _alive: alive };
        tokio::spawn(drive(io, Arc::clone(&asked.under_way), self.patience, gone, self.place()));
        let mut connection = AsyncPgConnection::try_from(client).await?;
        connection.batch_execute(&self.setup()).await?;
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| match event {
            InstrumentationEvent::StartQuery { query, .. } => {
                statements.fetch_add(1, Ordering::Relaxed);
                // Values may be personal: the statement alone is logged and traced.
                let text = || query.to_string().split(" -- binds:").next().unwrap_or_default().to_owned();
                asked.under_way().begin(telemetry::call("postgresql", text));
                if tracing::enabled!(target: "sql", tracing::Level::DEBUG) {
                    tracing::debug!(target: "sql", "{}", text());
                }
            }
            InstrumentationEvent::FinishQuery { error, .. } => {
                let span = asked.under_way().end();
                if let Some(span) = span.filter(|_| error.is_some()) {
                    span.record("otel.status_code", "ERROR");
                }
            }
            _ => {}
        });
        Ok(connection)
    }

    /// Host, port and database, without the secrets.
    pub fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("{host}:{port}/{}", self.config.get_dbname().unwrap_or_default())
    }
}

/// A PostgreSQL URL with libpq's `sslmode` (<https://www.postgresql.org/docs/15/libpq-ssl.html>), and what the server's
/// certificate must show.
///
/// `verify-full` and `verify-ca` mean what they mean there. `require` means `verify-full`: libpq would believe anybody.
/// `allow` and `prefer`, which is libpq's default, may fall back to plaintext and are refused. No `sslmode` means
/// `verify-full`, and for this host `disable`.
///
/// # Errors
/// When the URL is malformed, or asks for a mode that may fall back to plaintext.
fn parse_url(url: &str) -> anyhow::Result<(tokio_postgres::Config, Verify)> {
    const FORM: &str = "use postgres://user:password@host:5432/database";
    ensure!(
        url.starts_with("postgres://") || url.starts_with("postgresql://"),
        "the PostgreSQL URL is malformed; {FORM}"
    );
    let (start, query) = url.split_once('?').unwrap_or((url, ""));
    let mut mode = None;
    let mut kept = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", _)) => bail!("sslrootcert is not read; set TLS_CA_FILE to that file"),
            _ => kept.push(parameter),
        }
    }
    let rest = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let mut config: tokio_postgres::Config = format!("{start}{rest}")
        .parse()
        .map_err(|error| anyhow::anyhow!("the PostgreSQL URL is malformed ({error}); {FORM}"))?;
    let local = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(host) => host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    let (ssl_mode, verify) = match mode {
        Some("disable") => (SslMode::Disable, Verify::Host),
        None if local => (SslMode::Disable, Verify::Host),
        None | Some("require" | "verify-full") => (SslMode::Require, Verify::Host),
        Some("verify-ca") => (SslMode::Require, Verify::Authority),
        Some(other) => bail!("sslmode={other} may fall back to plaintext; use sslmode=require or sslmode=disable"),
    };
    config.ssl_mode(ssl_mode);
    Ok((config, verify))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks in a task of its own, which stays for the answer or does not.
    async fn ask(under_way: &Arc<Mutex<UnderWay>>, stays: bool) {
        let under_way = Arc::clone(under_way);
        let asked = tokio::spawn(async move {
            let mut under_way = under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.begin(Span::none());
            stays.then(|| under_way.end())
        });
        assert!(asked.await.is_ok());
    }

    #[tokio::test]
    async fn an_answer_ends_what_its_task_asked_and_what_was_asked_well_before() {
        let under_way: Arc<Mutex<UnderWay>> = Arc::default();
        let lock = || under_way.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&under_way, false).await;
        assert!(lock().is_overdue(Duration::ZERO) && !lock().is_overdue(GRACE));
        assert!(lock().end().is_none(), "this task has asked nothing");
        // It may have been sent a moment later all the same.
        ask(&under_way, true).await;
        assert!(lock().is_overdue(Duration::ZERO));
        for statement in &mut lock().statements {
            statement.at = statement.at.checked_sub(COMPANY).unwrap_or(statement.at);
        }
        ask(&under_way, true).await;
        assert!(!lock().is_overdue(Duration::ZERO));
    }
}
