//! Rows by id: those that are missing in process are asked for together, by all requests that miss some meanwhile.
//!
//! Of each kind one statement is under way at a time. Whoever comes later shares the next one, which begins after they came,
//! so it sees all that they must see.

use std::any::Any;
use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::oneshot;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::domain::Core;
use crate::domain::answers::{Entry, Key, Region};
use crate::domain::changes::{Dependencies, Entity, Version};
use crate::domain::entry;
use crate::domain::error::Error;
use crate::domain::reads::Moment;

/// Of each kind that somebody asks the database for: who waits for the next statement.
#[derive(Default)]
pub struct Batches(Mutex<HashMap<&'static str, Vec<Waiting>>>);

type Rows = HashMap<Uuid, Arc<dyn Any + Send + Sync>>;

/// A request that misses rows.
struct Waiting {
    ids: Vec<Uuid>,
    moment: Moment,
    /// A replica that has seen this will do; `None`: only the primary.
    read_at: Option<Version>,
    span: Span,
    told: oneshot::Sender<Result<Arc<Rows>, Error>>,
}

impl Batches {
    /// Whether nobody asks the database for this kind, so that whoever comes must.
    fn enlist(&self, kind: &'static str, waiting: Waiting) -> bool {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind) {
            Place::Occupied(mut others) => {
                others.get_mut().push(waiting);
                false
            }
            Place::Vacant(free) => {
                free.insert(vec![waiting]);
                true
            }
        }
    }

    /// Those who wait; `None` ends the asking.
    fn next(&self, kind: &'static str) -> Option<Vec<Waiting>> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(kinds.get_mut(kind)?);
        if waiting.is_empty() {
            kinds.remove(kind);
            return None;
        }
        Some(waiting)
    }
}

impl Core {
    /// Of each of these its row, remembered in process or loaded together by `load`. What is missing is left out.
    ///
    /// `load` must be the same each time for a region.
    pub async fn answer_each<I, T, F>(
        self: &Arc<Self>,
        region: Region,
        entity: Entity,
        ids: &[I],
        load: impl Fn(Arc<Self>, Vec<I>) -> F + Send + Sync + 'static,
    ) -> Result<HashMap<I, Arc<T>>, Error>
    where
        I: Copy + Eq + Hash + Into<Uuid> + From<Uuid> + Send + 'static,
        T: Serialize + Send + Sync + 'static,
        F: Future<Output = Result<HashMap<I, T>, Error>> + Send + 'static,
    {
        let moment = self.moment().await?;
        let mut found = HashMap::with_capacity(ids.len());
        let mut missing = Vec::new();
        for &id in ids {
            let key = Key { region: region.name, digest: id.into().as_u128(), life: moment.life };
            let entry = self.remembered(key, moment.version);
            let held = entry.as_ref().map_or(moment.version, |entry| entry.version());
            self.note(&Dependencies::on_one(entity, id.into()), held);
            match entry.and_then(|entry| Arc::clone(&entry.value).downcast().ok()) {
                Some(value) => {
                    self.answers.count(key, "memory");
                    found.insert(id, value);
                }
                None => missing.push(id),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let (told, rows) = oneshot::channel();
        let (ids, read_at) = (missing.iter().map(|&id| id.into()).collect(), self.replica_at(moment));
        let waiting = Waiting { ids, moment, read_at, span: Span::current(), told };
        if self.answers.batches.enlist(region.name, waiting) {
            tokio::spawn(Box::pin(Arc::clone(self).load_batches(region, entity, load)));
        }
        let rows = rows.await.map_err(Error::internal)??;
        for id in missing {
            if let Some(value) = rows.get(&id.into()).and_then(|row| Arc::clone(row).downcast().ok()) {
                found.insert(id, value);
            }
        }
        Ok(found)
    }

    async fn load_batches<I, T, F>(
        self: Arc<Self>,
        region: Region,
        entity: Entity,
        load: impl Fn(Arc<Self>, Vec<I>) -> F,
    ) where
        I: Copy + Eq + Hash + Into<Uuid> + From<Uuid>,
        T: Serialize + Send + Sync + 'static,
        F: Future<Output = Result<HashMap<I, T>, Error>>,
    {
        loop {
            // Whoever is about to ask shares the statement.
            tokio::task::yield_now().await;
            let Some(asked) = self.answers.batches.next(region.name) else { return };
            // They are read after the latest of them was seen.
            let latest = asked.iter().map(|waiting| waiting.moment).max_by_key(|moment| (moment.life, moment.version));
            let (Some(first), Some(moment)) = (asked.first(), latest) else { continue };
            let ids: BTreeSet<Uuid> = asked.iter().flat_map(|waiting| waiting.ids.iter().copied()).collect();
            let read_at: Option<Vec<Version>> = asked.iter().map(|waiting| waiting.read_at).collect();
            let read_at = read_at.and_then(|versions| versions.into_iter().max());
            let core = self.reading_at(read_at.map(|version| Moment { version, ..moment }));
            let loading = AssertUnwindSafe(load(core, ids.into_iter().map(I::from).collect())).catch_unwind();
            let loaded = loading.instrument(first.span.clone()).await;
            let loaded = loaded.unwrap_or_else(|_| Err(Error::internal(anyhow::anyhow!("a load panicked"))));
            let rows = loaded.and_then(|rows| self.keep_each(region, entity, moment, rows)).map(Arc::new);
            for waiting in asked {
                // Whoever hung up is not told.
                let _ = waiting.told.send(rows.clone());
            }
        }
    }

    fn keep_each<I, T>(
        &self,
        region: Region,
        entity: Entity,
        moment: Moment,
        rows: HashMap<I, T>,
    ) -> Result<Rows, Error>
    where
        I: Copy + Into<Uuid>,
        T: Serialize + Send + Sync + 'static,
    {
        let mut kept = Rows::with_capacity(rows.len());
        for (id, value) in rows {
            let id: Uuid = id.into();
            let key = Key { region: region.name, digest: id.as_u128(), life: moment.life };
            self.answers.count(key, "database");
            let (size, value) = (entry::size(&value).map_err(Error::internal)?, Arc::new(value));
            let entry = Entry::new(moment.version, Dependencies::on_one(entity, id), Arc::clone(&value));
            self.keep(key, entry, size);
            kept.insert(id, value);
        }
        Ok(kept)
    }
}
