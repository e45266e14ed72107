//! What reads found, remembered until the change log says that it no longer holds.
//!
//! The protocol, for one read:
//! 1. Ask the gate for the version `v`.
//! 2. An entry in process, or else in Redis, that was read at `e` is fresh if no change in `(e, v]` touches what it
//!    depended on; if the log does not reach back to `e`, it is not.
//! 3. An entry in process that changes touch is amended, where the log says all that they make of it.
//! 4. Else read the database, after 1, and keep what it gives under `v`.
//!
//! No answer is stale: an entry kept under `v` was read after `v` was seen, so it contains every write up to `v`; a write
//! acknowledged before a read began has a version not above the one that read learns; everything in between is looked at.
//! Writers do nothing but commit, and no cache is trusted: Redis may be flushed, old, foreign or gone.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt, Shared};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use crate::config::Settings;
use crate::domain::Core;
use crate::domain::batches::Batches;
use crate::domain::changes::{Dependencies, Noted, Version};
use crate::domain::entry;
use crate::domain::error::Error;
use crate::domain::reads::Moment;
use crate::infra::Infra;
use crate::infra::redis::Redis;

/// Bytes of an entry, about.
const ABOUT: u64 = 8 * 1024;
/// How long one instance has to find an answer that others wait for.
const LEASE: Duration = Duration::from_millis(100);
/// How often they look for it meanwhile.
const LOOKS: u32 = 20;

/// Whether other instances may have an answer too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Kept in process alone, as anything that holds personal data is.
    Process,
    /// Kept in Redis as well.
    Shared,
}

/// A kind of answer, as in `products`; it names keys and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub name: &'static str,
    pub reach: Reach,
}

/// What is remembered.
pub struct Answers {
    infra: Arc<Infra>,
    entries: Cache<Key, Arc<Entry>, ByBytes>,
    pub(super) batches: Batches,
    flights: Mutex<HashMap<Key, Flight>>,
    ttl: Duration,
}

/// The region and a digest of the canonical question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub region: &'static str,
    pub digest: u128,
    /// See [`Gate::life`](crate::domain::changes::Gate::life).
    pub life: u32,
}

pub(super) struct Entry {
    /// It holds at this version; it moves up as changes turn out not to touch it.
    version: AtomicI64,
    dependencies: Dependencies,
    pub(super) value: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    born: Instant,
    is_renewed: AtomicBool,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        entry.bytes
    }
}

impl Entry {
    /// An answer that was read at this version.
    pub(super) fn new<T: Send + Sync + 'static>(version: Version, dependencies: Dependencies, value: Arc<T>) -> Self {
        let (version, born, is_renewed) = (AtomicI64::new(version), Instant::now(), AtomicBool::new(false));
        Self { version, dependencies, value, bytes: 0, born, is_renewed }
    }

    /// The version up to which it is known to hold.
    pub(super) fn version(&self) -> Version {
        self.version.load(Ordering::Acquire)
    }

    /// As old as another one, which it replaces.
    fn instead_of(self, other: &Self) -> Self {
        let is_renewed = AtomicBool::new(other.is_renewed.load(Ordering::Relaxed));
        Self { born: other.born, is_renewed, ..self }
    }

    /// Whether it ends soon, and nobody was told so before.
    fn is_due(&self, ttl: Duration) -> bool {
        self.born.elapsed() > ttl / 10 * 9 && !self.is_renewed.swap(true, Ordering::Relaxed)
    }
}

/// What can be remembered.
pub trait Answer: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What it is after changes, some of which touch it; `None` where the database must be asked.
    fn after(&self, _dependencies: &Dependencies, _changes: &[Arc<Noted>]) -> Option<Self> {
        None
    }
}

impl Answer for () {}

/// Where an answer is looked for that is not in process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// In Redis, then in the database.
    Nearest,
    Database,
}

/// One load for all that ask for the same at the same time.
struct Flight {
    /// The version that was seen before it took off: whoever needs a later one must not board it.
    version: Version,
    landing: Shared<BoxFuture<'static, Result<Arc<Entry>, Error>>>,
}

impl Answers {
    pub fn new(settings: &Settings, infra: Arc<Infra>) -> Self {
        let capacity = settings.cache_memory_mib * 1024 * 1024;
        let entries = Cache::with_weighter(usize::try_from(capacity / ABOUT).unwrap_or(usize::MAX), capacity, ByBytes);
        let (batches, flights) = (Batches::default(), Mutex::default());
        Self { infra, entries, batches, flights, ttl: settings.cache_ttl }
    }

    pub(super) fn count(&self, key: Key, decision: &'static str) {
        self.infra.metrics.cache.get_or_create(&[("region", key.region), ("decision", decision)]).inc();
    }
}

impl Core {
    /// The answer to `question`, as fresh as [`Settings::freshness`] asks: remembered, or loaded by `load`.
    ///
    /// Equal questions must be equal values. `load` runs at most once at a time for all that ask, in a task of its own,
    /// and tells what its answer depended on.
    pub async fn answer<T, F>(
        self: &Arc<Self>,
        region: Region,
        question: &impl Serialize,
        load: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<Arc<T>, Error>
    where
        T: Answer,
        F: Future<Output = Result<(T, Dependencies), Error>> + Send + 'static,
    {
        let Moment { version, life } = self.moment().await?;
        let key = Key { region: region.name, digest: digest(question)?, life };
        let entry = match self.remembered(key, version) {
            Some(entry) => {
                self.answers.count(key, "memory");
                if entry.is_due(self.answers.ttl) {
                    // Nobody is to wait when it ends.
                    drop(self.board(region, key, version, Source::Database, load));
                }
                entry
            }
            None => self.board(region, key, version, Source::Nearest, load).await?,
        };
        self.note(&entry.dependencies, entry.version());
        Arc::clone(&entry.value).downcast().map_err(|_| Error::internal(anyhow::anyhow!("two types in one region")))
    }

    /// The entry in process, if it holds at `version`.
    pub(super) fn remembered(&self, key: Key, version: Version) -> Option<Arc<Entry>> {
        let entry = self.alive(key)?;
        let held = self.gate.holds(&entry.dependencies, entry.version(), version)?;
        entry.version.fetch_max(held, Ordering::AcqRel);
        Some(entry)
    }

    /// The entry in process, whether or not it holds.
    fn alive(&self, key: Key) -> Option<Arc<Entry>> {
        self.answers.entries.get(&key).filter(|entry| entry.born.elapsed() < self.answers.ttl)
    }

    /// What became of an answer by the changes since it was read, and up to which version, if the log alone can tell.
    fn after<T: Answer>(&self, entry: &Entry) -> Option<(T, Version)> {
        let (version, changes) = self.gate.since(&entry.dependencies, entry.version())?;
        let value = entry.value.downcast_ref::<T>()?.after(&entry.dependencies, &changes)?;
        Some((value, version))
    }

    /// Waits for the flight that loads `key` for this version, and starts it if there is none.
    fn board<T, F>(
        self: &Arc<Self>,
        region: Region,
        key: Key,
        version: Version,
        source: Source,
        load: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Shared<BoxFuture<'static, Result<Arc<Entry>, Error>>>
    where
        T: Answer,
        F: Future<Output = Result<(T, Dependencies), Error>> + Send + 'static,
    {
        let mut flights = self.answers.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key)
            && flight.version >= version
        {
            self.answers.count(key, "joined");
            self.infra.metrics.flights.get_or_create(&[("role", "joined")]).inc();
            return flight.landing.clone();
        }
        self.infra.metrics.flights.get_or_create(&[("role", "leader")]).inc();
        let core = self.for_all(Moment { version, life: key.life });
        // Owned: whoever started it may hang up without harm to the others.
        let task = async move {
            let flight = AssertUnwindSafe(core.fly(region, key, version, source, load)).catch_unwind().await;
            let landed = flight.unwrap_or_else(|_| Err(Error::internal(anyhow::anyhow!("a load panicked"))));
            let mut flights = core.answers.flights.lock().unwrap_or_else(PoisonError::into_inner);
            if flights.get(&key).is_some_and(|flight| flight.version == version) {
                flights.remove(&key);
            }
            landed
        };
        let task = tokio::spawn(Box::pin(task.in_current_span()));
        let landing = async move { task.await.unwrap_or_else(|crash| Err(Error::internal(crash))) }.boxed().shared();
        flights.insert(key, Flight { version, landing: landing.clone() });
        landing
    }

    async fn fly<T, F>(
        self: &Arc<Self>,
        region: Region,
        key: Key,
        version: Version,
        source: Source,
        load: impl FnOnce(Arc<Self>) -> F + Send,
    ) -> Result<Arc<Entry>, Error>
    where
        T: Answer,
        F: Future<Output = Result<(T, Dependencies), Error>> + Send,
    {
        let redis = self.infra.redis.as_ref().filter(|_| region.reach == Reach::Shared);
        let name = format!("{:08x}:{}:{}:{:032x}", layout(), self.gate.history().simple(), key.region, key.digest);
        let former = self.alive(key).filter(|_| source == Source::Nearest);
        let amended = former.and_then(|former| Some((self.after::<T>(&former)?, former)));
        if let (Some(redis), Source::Nearest, None) = (redis, source, &amended) {
            // Of the instances that miss the same at once one asks the database, and the others wait for it a moment.
            let lease = format!("lease-{name}:{version}");
            for _ in 0..LOOKS {
                let Some(found) = redis.find(&name, &lease, LEASE).await else { break };
                if let Some(bytes) = found.value
                    && let Some(entry) = self.received::<T>(redis, &bytes, key, version).await?
                {
                    return Ok(entry);
                }
                if found.is_leased {
                    break;
                }
                tokio::time::sleep(LEASE / LOOKS).await;
            }
        }
        let (entry, value, ttl) = if let Some(((value, version), former)) = amended {
            self.answers.count(key, "amended");
            let value = Arc::new(value);
            let entry = Entry::new(version, former.dependencies.clone(), Arc::clone(&value)).instead_of(&former);
            (entry, value, None)
        } else {
            self.answers.count(key, if source == Source::Database { "renewed" } else { "database" });
            let (value, dependencies) = load(Arc::clone(self)).await?;
            let value = Arc::new(value);
            let entry = Entry::new(version, dependencies, Arc::clone(&value));
            (entry, value, Some(jitter(self.answers.ttl, key.digest)))
        };
        let size = match redis {
            Some(_) => {
                let version = entry.version();
                let bytes = entry::encode(key.region, key.digest, version, &entry.dependencies, &*value);
                let bytes = bytes.map_err(Error::internal)?;
                let (core, size) = (Arc::clone(self), bytes.len());
                tokio::spawn(
                    async move {
                        match (&core.infra.redis, ttl) {
                            (Some(redis), Some(ttl)) => redis.set(&name, &bytes, ttl).await,
                            // No answer lives longer for being amended.
                            (Some(redis), None) => redis.replace(&name, &bytes).await,
                            (None, _) => {}
                        }
                    }
                    .in_current_span(),
                );
                size
            }
            None => entry::size(&*value).map_err(Error::internal)?,
        };
        Ok(self.keep(key, entry, size))
    }

    /// The answer that Redis had, if it holds.
    async fn received<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        redis: &Redis,
        bytes: &[u8],
        key: Key,
        version: Version,
    ) -> Result<Option<Arc<Entry>>, Error> {
        let Some(kept) = entry::decode::<T>(key.region, key.digest, bytes) else {
            redis.fault("unusable_entry");
            return Ok(None);
        };
        // Another instance may have seen more than this one, so far.
        if kept.version > version {
            self.gate.version().await?;
        }
        let Some(held) = self.gate.untouched(&kept.dependencies, kept.version) else { return Ok(None) };
        self.answers.count(key, "redis");
        let entry = Entry::new(held, kept.dependencies, Arc::new(kept.value));
        Ok(Some(self.keep(key, entry, bytes.len())))
    }

    /// Keeps an entry that takes so many bytes in its compact form.
    pub(super) fn keep(&self, key: Key, entry: Entry, encoded: usize) -> Arc<Entry> {
        // In memory a value takes about five times that: names, maps and what allocators round up.
        let bytes = u64::try_from(encoded.saturating_mul(5).saturating_add(256)).unwrap_or(u64::MAX);
        let entry = Arc::new(Entry { bytes, ..entry });
        // A flight that took off earlier may land later: what is newer stays.
        let version = entry.version();
        let newer = self.answers.entries.get(&key).filter(|kept| kept.version() > version);
        if newer.is_none() {
            self.answers.entries.insert(key, Arc::clone(&entry));
        }
        entry
    }
}

/// A digest of how entries are laid out, and of the tables that rows come from: those of a release with others are other
/// entries.
fn layout() -> u32 {
    let mut layout = crc32fast::Hasher::new();
    layout.update(&entry::MAGIC);
    layout.update(include_bytes!("../infra/schema.rs"));
    layout.finalize()
}

/// The first 128 bits of the SHA-256 of a question's compact form.
fn digest(question: &impl Serialize) -> Result<u128, Error> {
    let question = rmp_serde::to_vec(question).map_err(Error::internal)?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &question);
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    Ok(u128::from_be_bytes(first))
}

/// Between nine and ten tenths of the time, so that what was kept together does not end together.
fn jitter(ttl: Duration, digest: u128) -> Duration {
    ttl.saturating_sub(ttl / 1000 * u32::try_from(digest % 100).unwrap_or(0))
}
