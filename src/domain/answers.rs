//! What reads found, remembered until the change log says that it no longer holds.
//!
//! The protocol, for one read:
//! 1. Ask the gate for the version `v`.
//! 2. An entry in process, or else in Redis, that was read at `e` is fresh if no change in `(e, v]` touches what it
//!    depended on; if the log does not reach back to `e`, it is not.
//! 3. Else read the database, after 1, and keep what it gives under `v`.
//!
//! No answer is stale: an entry kept under `v` was read after `v` was seen, so it contains every write up to `v`; a write
//! acknowledged before a read began has a version not above the one that read learns; everything in between is looked at.
//! Writers do nothing but commit, and no cache is trusted: Redis may be flushed, old, foreign or gone.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use uuid::Uuid;

use crate::config::Settings;
use crate::domain::Core;
use crate::domain::changes::{Dependencies, Entity, Version};
use crate::domain::error::Error;
use crate::domain::reads::Moment;
use crate::infra::Infra;

/// First bytes of an entry in Redis: what it is, and the release of its layout.
const MAGIC: [u8; 4] = *b"SRA2";

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
    entries: moka::sync::Cache<Key, Arc<Entry>>,
    flights: Mutex<HashMap<Key, Flight>>,
    ttl: Duration,
}

/// The region and a digest of the canonical question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    region: &'static str,
    digest: u128,
    /// See [`Gate::life`](crate::domain::changes::Gate::life).
    life: u32,
}

struct Entry {
    /// It holds at this version; it moves up as changes turn out not to touch it.
    version: AtomicI64,
    dependencies: Dependencies,
    value: Arc<dyn Any + Send + Sync>,
    bytes: u32,
}

/// One load for all that ask for the same at the same time.
struct Flight {
    /// The version that was seen before it took off: whoever needs a later one must not board it.
    version: Version,
    landing: Shared<BoxFuture<'static, Result<Arc<Entry>, Error>>>,
}

/// The layout in Redis, after the magic and a CRC-32 of the rest.
#[derive(Serialize, Deserialize)]
struct Kept<R, D, T> {
    /// The whole question again: a digest may collide, and keys may be moved about.
    region: R,
    digest: u128,
    version: Version,
    dependencies: D,
    value: T,
}

impl Answers {
    pub fn new(settings: &Settings, infra: Arc<Infra>) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(settings.cache_memory_mib * 1024 * 1024)
            .weigher(|_, entry: &Arc<Entry>| entry.bytes)
            .time_to_live(settings.cache_ttl)
            .build();
        Self { infra, entries, flights: Mutex::default(), ttl: settings.cache_ttl }
    }

    fn count(&self, key: Key, decision: &'static str) {
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
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<(T, Dependencies), Error>> + Send + 'static,
    {
        let Moment { version, life } = self.moment().await?;
        let key = Key { region: region.name, digest: digest(question)?, life };
        let entry = match self.remembered(key, version) {
            Some(entry) => {
                self.answers.count(key, "memory");
                entry
            }
            None => self.board(region, key, version, load).await?,
        };
        self.note(&entry.dependencies);
        Arc::clone(&entry.value).downcast().map_err(|_| Error::internal(anyhow::anyhow!("two types in one region")))
    }

    /// The entry in process, if it holds at `version`.
    fn remembered(&self, key: Key, version: Version) -> Option<Arc<Entry>> {
        let entry = self.answers.entries.get(&key)?;
        self.gate.untouched(&entry.dependencies, entry.version.load(Ordering::Acquire)).then(|| {
            entry.version.fetch_max(version, Ordering::AcqRel);
            entry
        })
    }

    /// Waits for the flight that loads `key` for this version, and starts it if there is none.
    fn board<T, F>(
        self: &Arc<Self>,
        region: Region,
        key: Key,
        version: Version,
        load: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Shared<BoxFuture<'static, Result<Arc<Entry>, Error>>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
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
        let core = self.for_all(version);
        // Owned: whoever started it may hang up without harm to the others.
        let task = tokio::spawn(
            async move {
                let flying = Arc::clone(&core);
                let flight =
                    tokio::spawn(async move { flying.fly(region, key, version, load).await }.in_current_span());
                let landed = flight.await.unwrap_or_else(|crash| Err(Error::internal(crash)));
                let mut flights = core.answers.flights.lock().unwrap_or_else(PoisonError::into_inner);
                if flights.get(&key).is_some_and(|flight| flight.version == version) {
                    flights.remove(&key);
                }
                landed
            }
            .in_current_span(),
        );
        let landing = async move { task.await.unwrap_or_else(|crash| Err(Error::internal(crash))) }.boxed().shared();
        flights.insert(key, Flight { version, landing: landing.clone() });
        landing
    }

    /// Of each of these its row, remembered in process or loaded together by `load`. What is missing is left out.
    pub async fn answer_each<I, T, F>(
        self: &Arc<Self>,
        region: Region,
        entity: Entity,
        ids: &[I],
        load: impl FnOnce(Arc<Self>, Vec<I>) -> F,
    ) -> Result<HashMap<I, Arc<T>>, Error>
    where
        I: Copy + Eq + Hash + Into<Uuid>,
        T: Serialize + Send + Sync + 'static,
        F: Future<Output = Result<HashMap<I, T>, Error>>,
    {
        let Moment { version, life } = self.moment().await?;
        let key = |id: I| Key { region: region.name, digest: id.into().as_u128(), life };
        let mut found = HashMap::with_capacity(ids.len());
        let mut missing = Vec::new();
        for &id in ids {
            self.note(&Dependencies::on_one(entity, id.into()));
            match self.remembered(key(id), version).and_then(|entry| Arc::clone(&entry.value).downcast().ok()) {
                Some(value) => {
                    self.answers.count(key(id), "memory");
                    found.insert(id, value);
                }
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            for (id, value) in load(Arc::clone(self), missing).await? {
                self.answers.count(key(id), "database");
                let size = rmp_serde::to_vec(&value).map_err(Error::internal)?.len();
                let value = Arc::new(value);
                let dependencies = Dependencies::on_one(entity, id.into());
                self.keep(key(id), version, dependencies, Arc::clone(&value), size);
                found.insert(id, value);
            }
        }
        Ok(found)
    }

    async fn fly<T, F>(
        self: &Arc<Self>,
        region: Region,
        key: Key,
        version: Version,
        load: impl FnOnce(Arc<Self>) -> F + Send,
    ) -> Result<Arc<Entry>, Error>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<(T, Dependencies), Error>> + Send,
    {
        let redis = self.infra.redis.as_ref().filter(|_| region.reach == Reach::Shared);
        let name = format!("{:08x}:{}:{}:{:032x}", layout(), self.gate.history().simple(), key.region, key.digest);
        if let Some(redis) = redis
            && let Some(bytes) = redis.get(&name).await
        {
            match decode::<T>(key, &bytes) {
                Some(kept) => {
                    // Another instance may have seen more than this one, so far.
                    if kept.version > version {
                        self.gate.version().await?;
                    }
                    if self.gate.untouched(&kept.dependencies, kept.version) {
                        self.answers.count(key, "redis");
                        let (version, value) = (kept.version.max(version), Arc::new(kept.value));
                        return Ok(self.keep(key, version, kept.dependencies, value, bytes.len()));
                    }
                }
                None => redis.fault("unusable_entry"),
            }
        }
        self.answers.count(key, "database");
        let (value, dependencies) = load(Arc::clone(self)).await?;
        let bytes = encode(key, version, &dependencies, &value)?;
        let size = bytes.len();
        if redis.is_some() {
            let (core, ttl) = (Arc::clone(self), jitter(self.answers.ttl, key.digest));
            tokio::spawn(
                async move {
                    if let Some(redis) = &core.infra.redis {
                        redis.set(&name, &bytes, ttl).await;
                    }
                }
                .in_current_span(),
            );
        }
        Ok(self.keep(key, version, dependencies, Arc::new(value), size))
    }

    fn keep<T: Send + Sync + 'static>(
        &self,
        key: Key,
        version: Version,
        dependencies: Dependencies,
        value: Arc<T>,
        encoded: usize,
    ) -> Arc<Entry> {
        // In memory a value takes about thrice its compact form.
        let bytes = u32::try_from(encoded.saturating_mul(3).saturating_add(256)).unwrap_or(u32::MAX);
        let entry = Arc::new(Entry { version: AtomicI64::new(version), dependencies, value, bytes });
        // A flight that took off earlier may land later: what is newer stays.
        let newer = self.answers.entries.get(&key).filter(|kept| kept.version.load(Ordering::Acquire) > version);
        if newer.is_none() {
            self.answers.entries.insert(key, Arc::clone(&entry));
        }
        entry
    }
}

/// A digest of the tables that rows come from: entries of a release with other tables are other entries.
fn layout() -> u32 {
    crc32fast::hash(include_bytes!("../infra/schema.rs"))
}

/// The first 128 bits of the SHA-256 of a question's compact form.
fn digest(question: &impl Serialize) -> Result<u128, Error> {
    let question = rmp_serde::to_vec(question).map_err(Error::internal)?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &question);
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    Ok(u128::from_be_bytes(first))
}

fn encode<T: Serialize>(key: Key, version: Version, dependencies: &Dependencies, value: &T) -> Result<Vec<u8>, Error> {
    let kept = Kept { region: key.region, digest: key.digest, version, dependencies, value };
    let body = rmp_serde::to_vec(&kept).map_err(Error::internal)?;
    let crc = crc32fast::hash(&body).to_be_bytes();
    Ok([MAGIC.as_slice(), &crc, &body].concat())
}

/// What was kept under this key; `None` if it is torn, foreign or of another release.
fn decode<T: DeserializeOwned>(key: Key, bytes: &[u8]) -> Option<Kept<String, Dependencies, T>> {
    let (crc, body) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let kept: Kept<String, Dependencies, T> = rmp_serde::from_slice(body).ok()?;
    (kept.region == key.region && kept.digest == key.digest).then_some(kept)
}

/// Between nine and ten tenths of the time, so that what was kept together does not end together.
fn jitter(ttl: Duration, digest: u128) -> Duration {
    ttl.saturating_sub(ttl / 1000 * u32::try_from(digest % 100).unwrap_or(0))
}
