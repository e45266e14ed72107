//! The way to Redis: short deadlines and a circuit breaker, so that no request fails or waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bb8::{ManageConnection, Pool};
use bb8_redis::RedisConnectionManager;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, ExistenceCheck, FromRedisValue, RedisError, Script, SetExpiry, SetOptions};
use secrecy::{ExposeSecret, SecretString};
use tracing::Instrument;

use crate::config::Settings;
use crate::infra::metrics::Metrics;
use crate::infra::telemetry;

/// After a failure Redis is left alone this long; then one request tries it again.
const PAUSE: Duration = Duration::from_millis(500);
/// A larger value is neither kept nor believed, in bytes.
const MAX_VALUE: usize = 1024 * 1024;

/// Redis, as far as it is there.
pub struct Redis {
    pool: Pool<Manager>,
    pool_size: u32,
    timeout: Duration,
    prefix: String,
    breaker: Breaker,
    metrics: Arc<Metrics>,
}

impl Redis {
    /// A pool that connects when it is first needed.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn new(url: &SecretString, settings: &Settings, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        // Both TLS stacks of the process must agree on one provider; a second call finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let manager = RedisConnectionManager::new(url.expose_secret()).map_err(|error| {
            anyhow::anyhow!("REDIS_URL is malformed ({error}); use redis://host:6379 or rediss://:password@host:6379")
        })?;
        let pool = Pool::builder()
            .max_size(settings.redis_pool_size)
            .connection_timeout(settings.redis_timeout)
            .test_on_check_out(false)
            .build_unchecked(Manager(manager));
        Ok(Self {
            pool,
            pool_size: settings.redis_pool_size,
            timeout: settings.redis_timeout,
            prefix: settings.redis_prefix.clone(),
            breaker: Breaker::default(),
            metrics,
        })
    }

    /// The bytes under `key`; `None` also where Redis could not be asked in time.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let key = self.key(key);
        let found = self.patiently("GET", async |redis| redis.get::<_, Option<Vec<u8>>>(key).await).await??;
        if found.len() > MAX_VALUE {
            self.fault("too_large");
            return None;
        }
        Some(found)
    }

    /// Keeps the bytes under `key` for this long, if Redis is there.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        if value.len() > MAX_VALUE {
            return;
        }
        let (key, ttl) = (self.key(key), u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self.patiently("PSETEX", async |redis| redis.pset_ex::<_, _, ()>(key, value, ttl).await).await;
    }

    /// Takes `key` for this long if nobody has it; `None` where Redis could not be asked in time.
    pub async fn claim(&self, key: &str, ttl: Duration) -> Option<bool> {
        let (key, ttl) = (self.key(key), u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let options = SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::PX(ttl));
        let claimed: Option<String> =
            self.patiently("SET", async |redis| redis.set_options(key, 1, options).await).await?;
        Some(claimed.is_some())
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

    /// Asks Redis for its version, without the breaker.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn version(&self) -> anyhow::Result<String> {
        let patience = Duration::from_secs(2);
        let asked = async {
            let mut connection = self.pool.get().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            connection.broken = true;
            let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection.redis).await?;
            connection.broken = false;
            let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
            Ok(version.unwrap_or("unknown").trim().to_owned())
        };
        tokio::time::timeout(patience, asked).await.map_err(|_| anyhow::anyhow!("no answer within {patience:?}"))?
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
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Option<T> {
        self.within(command, self.timeout, ask).await
    }

    /// The one place where a failure of Redis ends.
    async fn within<T>(
        &self,
        command: &'static str,
        timeout: Duration,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Option<T> {
        if !self.breaker.lets_through() {
            return None;
        }
        let connected = AtomicBool::new(false);
        let asked = async {
            let mut connection = match self.pool.get().await {
                Ok(connection) => connection,
                Err(bb8::RunError::TimedOut) => return Err("no_connection"),
                Err(bb8::RunError::User(_)) => return Err("not_connected"),
            };
            connected.store(true, Ordering::Relaxed);
            connection.broken = true;
            let answer = ask(&mut connection.redis).await;
            // Stays broken when the deadline drops this future in `ask`, or the connection is gone.
            connection.broken = answer.as_ref().is_err_and(RedisError::is_unrecoverable_error);
            match answer {
                Ok(answer) => Ok(Some(answer)),
                Err(error) if connection.broken => {
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
            // All connections were in use: whoever uses them knows whether Redis answers.
            Err(_) if !connected.into_inner() && self.pool.state().connections >= self.pool_size => {
                self.fault("busy");
                None
            }
            Err(kind) => {
                self.fault(kind);
                if self.breaker.open() {
                    tracing::warn!(kind, "Redis does not answer; going on without it");
                }
                None
            }
        }
    }
}

/// bb8-redis's manager, which cannot tell a connection that broke.
struct Manager(RedisConnectionManager);

struct Tracked {
    redis: MultiplexedConnection,
    broken: bool,
}

impl ManageConnection for Manager {
    type Connection = Tracked;
    type Error = RedisError;

    async fn connect(&self) -> Result<Tracked, RedisError> {
        Ok(Tracked { redis: self.0.connect().await?, broken: false })
    }

    async fn is_valid(&self, connection: &mut Tracked) -> Result<(), RedisError> {
        self.0.is_valid(&mut connection.redis).await
    }

    fn has_broken(&self, connection: &mut Tracked) -> bool {
        connection.broken
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
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn pause() -> u64 {
        u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX)
    }
}
