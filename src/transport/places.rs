//! Places: so many operations are executed at once, and others wait for a place. More would wait for one another all the
//! longer, some of them with rows of the database locked.
//!
//! Whoever comes when too many wait already is sent away at once: an operation that is understood, waits, and is sent away
//! in the end costs much of what serving it would have.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::infra::metrics::Counted;

/// Places for each core.
const FOR_EACH_CORE: usize = 64;

/// The places of all operations, first come first served.
pub struct Places {
    free: Arc<Semaphore>,
    waiting: Gauge,
    /// So many may wait, give or take those who look at the same moment.
    most: i64,
    patience: Duration,
}

impl Places {
    /// For those who wait so long at most.
    pub fn new(patience: Duration) -> Self {
        let count = FOR_EACH_CORE * std::thread::available_parallelism().map_or(1, usize::from);
        let most = i64::try_from(count / 2).unwrap_or(i64::MAX);
        Self { free: Arc::new(Semaphore::new(count)), waiting: Gauge::default(), most, patience }
    }

    /// Whether whoever comes now is to go away.
    pub fn are_crowded(&self) -> bool {
        self.waiting.get() >= self.most
    }

    /// A place, for as long as it is held; `None` if none becomes free in time.
    pub async fn next(&self) -> Option<OwnedSemaphorePermit> {
        let _waits = Counted::by(&self.waiting);
        tokio::time::timeout(self.patience, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()
    }
}
