//! The way to Redis: short deadlines and a circuit breaker, so that no request fails or waits for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use bb8::{ManageConnection, Pool};
use bb8_redis::RedisConnectionManager;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncCommands, Cmd, ExistenceCheck, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, Script,
    SetExpiry, SetOptions, TlsCertificates, Value,
};
use secrecy::{ExposeSecret, SecretString};
use tracing::Instrument;

use crate::config::Settings;
use crate::infra::metrics::Metrics;
use crate::infra::{telemetry, tls};

/// After a failure Redis is left alone this long; then one request tries it again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long what is to be kept waits for other such, so that they are sent together: to wake Redis for each costs more than to
/// keep it.
const GATHERING: Duration = Duration::from_millis(1);
/// A larger value is neither kept nor believed, in bytes.
const MAX_VALUE: usize = 1024 * 1024;

/// Longest wait for a node of a cluster to connect or to answer; while one is waited for, others may wait, too.
const NODE_PATIENCE: Duration = Duration::from_millis(250);
/// Longest wait of whoever wants to know whether Redis is there.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);

/// What is under a key that several want, of whom the one with its lease makes it.
pub struct Found {
    pub value: Option<Vec<u8>>,
    /// Whether nobody else had the lease.
    pub is_leased: bool,
}

/// What its user must be allowed to do, on keys that begin with the prefix.
pub const NEEDED: &str = "+get +psetex +evalsha +script|load +time +set +del +pexpire +zadd +zremrangebyscore +zcard \
                          +hget +hset +hlen +hdel +hrandfield +info +ping +cluster|slots +asking";

/// KEYS: one of ours. Returns which of the commands that our scripts send to it are refused.
const CHECK: &str = "
local refused = {}
for _, command in ipairs({
    {'TIME'}, {'GET', KEYS[1]}, {'SET', KEYS[1], '', 'PX', 1}, {'DEL', KEYS[1]}, {'PEXPIRE', KEYS[1], 1},
    {'ZADD', KEYS[1], 1, '1'}, {'ZREMRANGEBYSCORE', KEYS[1], 0, 1}, {'ZCARD', KEYS[1]},
    {'DEL', KEYS[1]}, {'HSET', KEYS[1], '1', '1'}, {'HGET', KEYS[1], '1'}, {'HLEN', KEYS[1]},
    {'HRANDFIELD', KEYS[1]}, {'HDEL', KEYS[1], '1'},
}) do
    local answer = redis.pcall(unpack(command))
    if type(answer) == 'table' and answer.err and not string.find(answer.err, 'WRONGTYPE') then
        refused[#refused + 1] = command[1]
    end
end
return refused";

/// Redis, as far as it is there.
pub struct Redis {
    client: Arc<Client>,
    pool: Pool<Manager>,
    timeout: Duration,
    prefix: String,
    breaker: Breaker,
    metrics: Arc<Metrics>,
}

impl Redis {
    /// A pool of one connection, which is made when it is first needed.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn new(url: &SecretString, settings: &Settings, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        // Both TLS stacks of the process must agree on one provider; a second call finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Arc::new(Client::new(url, settings)?);
        let pool = Pool::builder()
            .max_size(1)
            .max_lifetime(None)
            .connection_timeout(settings.redis_timeout)
            .test_on_check_out(false)
            .build_unchecked(Manager(Arc::clone(&client)));
        Ok(Self {
            client,
            pool,
            timeout: settings.redis_timeout,
            prefix: settings.redis_prefix.clone(),
            breaker: Breaker::default(),
            metrics,
        })
    }

    /// What is under `key`, and whether the caller has its lease now, for this long; `None` where Redis could not be asked in
    /// time, or refused. Both are asked at once, and each by itself, so that a cluster may have them in two places.
    pub async fn find(&self, key: &str, lease: &str, ttl: Duration) -> Option<Found> {
        let options =
            SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::PX(millis(ttl)));
        let (key, lease) = (self.key(key), self.key(lease));
        let (value, leased): (Option<Vec<u8>>, RedisResult<Option<String>>) = self
            .patiently("GET", async |redis| {
                let mut other = redis.clone();
                let (value, leased) = tokio::join!(redis.get(key), other.set_options(lease, 1, options));
                Ok((value?, leased))
            })
            .await?;
        if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
            self.fault("too_large");
            return None;
        }
        // Where leases are refused everybody asks the database.
        Some(Found { value, is_leased: !matches!(leased, Ok(None)) })
    }

    /// Keeps the bytes under `key` for this long, if Redis is there.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        if value.len() > MAX_VALUE {
            return;
        }
        let (key, ttl) = (self.key(key), millis(ttl));
        tokio::time::sleep(GATHERING).await;
        self.patiently("PSETEX", async |redis| redis.pset_ex::<_, _, ()>(key, value, ttl).await).await;
    }

    /// Puts other bytes in the place of those under `key`, for as long as they would have stayed; if there are none, nothing.
    pub async fn replace(&self, key: &str, value: &[u8]) {
        if value.len() > MAX_VALUE {
            return;
        }
        let options = SetOptions::default().conditional_set(ExistenceCheck::XX).with_expiration(SetExpiry::KEEPTTL);
        let key = self.key(key);
        tokio::time::sleep(GATHERING).await;
        self.patiently("SET", async |redis| redis.set_options::<_, _, ()>(key, value, options).await).await;
    }

    /// What a script that works on one key returns, if Redis answers in time.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        arguments: &[&str],
        patience: Duration,
    ) -> Option<T> {
        let mut call = script.key(self.key(key));
        for argument in arguments {
            call.arg(*argument);
        }
        self.within("EVALSHA", self.timeout.min(patience), async |redis| call.invoke_async(redis).await).await
    }

    /// Whether Redis can be used, and of which release it is: asked on a connection of its own, since a pool does not say
    /// why it has none.
    ///
    /// # Errors
    /// When it cannot be used: why, and what to do.
    pub async fn check(&self) -> anyhow::Result<String> {
        let key = self.key("check");
        let asked = async {
            let mut link = self.client.connect().await?;
            let () = link.pset_ex(&key, "", 1).await?;
            let _: Option<Vec<u8>> = link.get(&key).await?;
            let refused: Vec<String> = Script::new(CHECK).key(&key).invoke_async(&mut link).await?;
            Ok((link.version().await?, refused))
        };
        let asked = tokio::time::timeout(CHECK_PATIENCE, asked).await;
        let (version, refused) =
            asked.map_err(|_| anyhow!("no answer within {CHECK_PATIENCE:?}"))?.map_err(|error: RedisError| {
                let told = error.to_string();
                let says = |word| told.to_ascii_uppercase().contains(word);
                let error = tls::explained(anyhow!(told.clone()));
                match () {
                    () if says("AUTH") => error.context("the user or the password in REDIS_URL is wrong"),
                    () if says("NOPERM") => error.context(self.allowance()),
                    () => error,
                }
            })?;
        ensure!(refused.is_empty(), "it refuses {}; {}", refused.join(" "), self.allowance());
        Ok(version)
    }

    fn allowance(&self) -> String {
        format!("allow its user what is needed: ACL SETUSER ... ~{}:* {NEEDED}", self.prefix)
    }

    /// Whether nobody asks it for now, because it did not answer.
    pub fn is_left_alone(&self) -> bool {
        self.breaker.open_until.load(Ordering::Relaxed) != 0
    }

    /// Counts something that a healthy Redis would not have given.
    pub fn fault(&self, kind: &'static str) {
        self.metrics.redis_faults.get_or_create(&[("kind", kind)]).inc();
    }

    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix)
    }

    async fn patiently<T>(
        &self,
        command: &'static str,
        ask: impl AsyncFnOnce(&mut Link) -> Result<T, RedisError>,
    ) -> Option<T> {
        self.within(command, self.timeout, ask).await
    }

    /// The one place where a failure of Redis ends.
    async fn within<T>(
        &self,
        command: &'static str,
        timeout: Duration,
        ask: impl AsyncFnOnce(&mut Link) -> Result<T, RedisError>,
    ) -> Option<T> {
        if !self.breaker.lets_through() {
            return None;
        }
        let used = OnceLock::new();
        let asked = async {
            let Shared { mut link, is_broken } = self.connection().await?;
            let _ = used.set(is_broken);
            match ask(&mut link).await {
                Ok(answer) => Ok(Some(answer)),
                Err(error) if error.is_unrecoverable_error() || error.is_timeout() => {
                    tracing::debug!(%error, "redis");
                    Err("broken")
                }
                // It is there, and refuses: out of memory, say, or a key of another kind.
                Err(error) => {
                    tracing::debug!(%error, "redis");
                    self.fault("refused");
                    Ok(None)
                }
            }
        };
        let started = Instant::now();
        let span = telemetry::call("redis", || command.to_owned());
        let asked = tokio::time::timeout(timeout, asked).instrument(span.clone());
        let answer = asked.await.unwrap_or(Err("timeout"));
        if answer.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        let took = started.elapsed().as_secs_f64();
        self.metrics.redis_seconds.get_or_create(&[("command", command)]).observe(took);
        match answer {
            Ok(answer) => {
                self.breaker.close();
                answer
            }
            Err(kind) => {
                // Of a cluster, a new one learns who leads it now; the old one would wait for a master that is frozen.
                if let Some(is_broken) = used.get() {
                    is_broken.store(true, Ordering::Relaxed);
                }
                self.fault(kind);
                if self.breaker.open() {
                    tracing::warn!(kind, "Redis does not answer; going on without it");
                }
                None
            }
        }
    }

    /// The one that all share: what is asked at the same time is sent together.
    async fn connection(&self) -> Result<Shared, &'static str> {
        loop {
            let connection = self.pool.get().await.map_err(|error| match error {
                bb8::RunError::TimedOut => "no_connection",
                bb8::RunError::User(_) => "not_connected",
            })?;
            // A broken one leaves the pool as it is given back.
            if !connection.is_broken.load(Ordering::Relaxed) {
                return Ok(connection.clone());
            }
        }
    }
}

/// One server, or a cluster of them.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Client {
    Server(RedisConnectionManager),
    Cluster(ClusterClient),
}

/// A connection to either, for any number at once. Whatever is sent on it has one key: a cluster finds its node by that.
#[derive(Clone)]
enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Client {
    fn new(url: &SecretString, settings: &Settings) -> anyhow::Result<Self> {
        let malformed = |error| {
            anyhow!(
                "REDIS_URL is malformed ({error}); use redis://host:6379, rediss://user:password@host:6379, or \
                 rediss-cluster://user:password@host:6379,host2:6379"
            )
        };
        let url = url.expose_secret();
        let authorities = tls::authorities(settings)?.filter(|_| url.starts_with("rediss"));
        let certificates = authorities.map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem) });
        if let Some(nodes) = nodes(url) {
            let builder = ClusterClient::builder(nodes);
            let builder = builder.connection_timeout(NODE_PATIENCE).response_timeout(NODE_PATIENCE);
            let builder = match certificates {
                Some(certificates) => builder.certs(certificates),
                None => builder,
            };
            return builder.build().map(Self::Cluster).map_err(malformed);
        }
        let client = match certificates {
            Some(certificates) => redis::Client::build_with_tls(url, certificates),
            None => redis::Client::open(url),
        };
        let manager = client.and_then(|client| RedisConnectionManager::new(client.get_connection_info().clone()));
        manager.map(Self::Server).map_err(malformed)
    }

    async fn connect(&self) -> Result<Link, RedisError> {
        Ok(match self {
            Self::Server(manager) => Link::Server(manager.connect().await?),
            Self::Cluster(client) => Link::Cluster(client.get_async_connection().await?),
        })
    }
}

/// The URLs of the nodes that a cluster's URL names.
fn nodes(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("-cluster://")?;
    let (credentials, hosts) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
    Some(hosts.split(',').map(|host| format!("{scheme}://{credentials}{host}")).collect())
}

impl Link {
    async fn version(&mut self) -> Result<String, RedisError> {
        let mut ask = redis::cmd("INFO");
        ask.arg("server");
        let info = match self {
            Self::Server(connection) => ask.query_async(connection).await?,
            Self::Cluster(connection) => {
                let anybody = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                String::from_redis_value(connection.route_command(ask, anybody).await?)?
            }
        };
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").trim().to_owned())
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

struct Manager(Arc<Client>);

/// A connection of the pool, which all that use it can tell that it broke.
#[derive(Clone)]
struct Shared {
    link: Link,
    is_broken: Arc<AtomicBool>,
}

impl ManageConnection for Manager {
    type Connection = Shared;
    type Error = RedisError;

    async fn connect(&self) -> Result<Shared, RedisError> {
        Ok(Shared { link: self.0.connect().await?, is_broken: Arc::default() })
    }

    async fn is_valid(&self, _: &mut Shared) -> Result<(), RedisError> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Shared) -> bool {
        connection.is_broken.load(Ordering::Relaxed)
    }
}

/// Closed, or open until a moment; then one caller at a time passes until an answer closes it.
struct Breaker {
    started: Instant,
    /// Milliseconds since `started` until which it is open; 0 is closed.
    open_until: AtomicU64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { started: Instant::now(), open_until: AtomicU64::new(0) }
    }
}

impl Breaker {
    fn lets_through(&self) -> bool {
        let until = self.open_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.now();
        let next = now + Self::pause();
        // Whoever moves the moment on is the one that tries.
        now >= until && self.open_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether it was closed before.
    fn open(&self) -> bool {
        self.open_until.swap(self.now() + Self::pause(), Ordering::Relaxed) == 0
    }

    fn close(&self) {
        if self.open_until.load(Ordering::Relaxed) != 0 && self.open_until.swap(0, Ordering::Relaxed) != 0 {
            tracing::info!("Redis answers again");
        }
    }

    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn pause() -> u64 {
        millis(PAUSE)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
