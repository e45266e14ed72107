//! Batches what the fields of one request ask for one by one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use dataloader::BatchFn;
use dataloader::non_cached;
use futures_util::future::BoxFuture;

use crate::domain::Core;
use crate::domain::error::Error;

/// Keys in one statement, at most.
const MAX_BATCH: usize = 1_000;

type Rows<I, T> = HashMap<I, Arc<T>>;
type Load<I, T> = fn(Arc<Core>, Vec<I>) -> BoxFuture<'static, Result<Rows<I, T>, Error>>;
type Loaded<T> = Result<Option<Arc<T>>, Error>;

/// Loads rows by id: one call down for all that a request asks for at once.
///
/// It batches and does not cache: two mutations of one request must not see each other's past. Only nullable fields may
/// use it: async-graphql drops the siblings of a non-null field that fails, and a batch must not lose its leader.
pub struct Loader<I: Id, T: Send + Sync + 'static> {
    core: Arc<Core>,
    load: Load<I, T>,
    /// Most requests need none.
    batches: OnceLock<non_cached::Loader<I, Loaded<T>, Batch<I, T>>>,
}

/// What rows are loaded by.
pub trait Id: Copy + Eq + Hash + std::fmt::Debug + Send + Sync + 'static {}

impl<I: Copy + Eq + Hash + std::fmt::Debug + Send + Sync + 'static> Id for I {}

impl<I: Id, T: Send + Sync + 'static> Loader<I, T> {
    pub fn new(core: &Arc<Core>, load: Load<I, T>) -> Self {
        Self { core: Arc::clone(core), load, batches: OnceLock::new() }
    }

    /// The row with this id, if there is one.
    pub async fn load(&self, id: I) -> Loaded<T> {
        let batches = self.batches.get_or_init(|| {
            let batch = Batch { core: Arc::clone(&self.core), load: self.load };
            non_cached::Loader::new(batch).with_max_batch_size(MAX_BATCH)
        });
        batches.try_load(id).await.map_err(Error::internal)?
    }
}

struct Batch<I, T> {
    core: Arc<Core>,
    load: Load<I, T>,
}

impl<I: Id, T: Send + Sync + 'static> BatchFn<I, Loaded<T>> for Batch<I, T> {
    async fn load(&mut self, ids: &[I]) -> HashMap<I, Loaded<T>> {
        match (self.load)(Arc::clone(&self.core), ids.to_vec()).await {
            // The loader panics on a key without a value, so "none" is a value.
            Ok(mut rows) => ids.iter().map(|&id| (id, Ok(rows.remove(&id)))).collect(),
            Err(error) => ids.iter().map(|&id| (id, Err(error.clone()))).collect(),
        }
    }
}
