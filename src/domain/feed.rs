//! The change log as a stream: every change after a place, in order, none lost and none doubled.
//!
//! One task per process reads what is new and hands it to all who listen. Whoever listens from an earlier place, or falls
//! behind, reads the log itself until it has caught up: nothing waits in memory for the slow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, broadcast};

use crate::domain::Core;
use crate::domain::changes::{Gate, Logged, Place, Version, logged_after, prune};
use crate::domain::error::Error;
use crate::infra::Infra;

/// How often the version is looked at while somebody listens.
const PACE: Duration = Duration::from_millis(100);
/// Changes read at once.
const BATCH: i64 = 500;
/// Changes that a listener reads at once itself.
const REPLAYED: i64 = 100;
/// Batches that a listener may fall behind before it reads the log itself.
const MAX_BEHIND: usize = 64;
/// The rest after the database could not be read.
const PAUSE: Duration = Duration::from_millis(500);
/// Old changes that go at once.
const PRUNED: i64 = 1_000;

/// Changes that follow each other.
#[derive(Clone)]
struct Batch {
    /// All after this version.
    since: Version,
    changes: Arc<[Arc<Logged>]>,
}

/// Hands out what is new.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    infra: Arc<Infra>,
    gate: Gate,
    news: broadcast::Sender<Batch>,
    somebody_listens: Notify,
    /// Those who read the log themselves take turns, so that they leave connections to others.
    turns: Semaphore,
}

impl Feed {
    /// Starts the task that reads the log while somebody listens; it ends with the feed.
    pub fn start(infra: Arc<Infra>, gate: Gate) -> Self {
        let news = broadcast::Sender::new(MAX_BEHIND);
        let shared = Arc::new(Shared { infra, gate, news, somebody_listens: Notify::new(), turns: Semaphore::new(2) });
        let reader = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Some(shared) = reader.upgrade() {
                let _ = tokio::time::timeout(Duration::from_secs(1), shared.somebody_listens.notified()).await;
                let (mut read_to, mut told_at) = (None, Instant::now());
                let metrics = &shared.infra.metrics;
                while shared.news.receiver_count() > 0 {
                    metrics.feed_listeners.set(i64::try_from(shared.news.receiver_count()).unwrap_or(i64::MAX));
                    match shared.tell(&mut read_to).await {
                        Ok(()) => told_at = Instant::now(),
                        Err(error) => {
                            tracing::warn!(error = &error as &dyn std::error::Error, "the change log cannot be read");
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                    metrics.feed_lag_seconds.set(told_at.elapsed().as_secs_f64());
                    tokio::time::sleep(PACE).await;
                }
                metrics.feed_listeners.set(0);
                metrics.feed_lag_seconds.set(0.0);
            }
        });
        Self { shared }
    }
}

impl Shared {
    /// Tells the changes after `read_to`; the first time there are none.
    async fn tell(&self, read_to: &mut Option<(Version, u32)>) -> Result<(), Error> {
        let version = self.gate.version().await?;
        let life = self.gate.life();
        let mut since = match *read_to {
            Some((since, then)) if then == life => since,
            // Nothing was read yet, or the database went back in time. Whoever listens from an earlier place, or from one
            // that is not there any more, is to look for itself.
            _ => {
                self.let_all_look();
                version
            }
        };
        *read_to = Some((since, life));
        while since < version {
            let changes = logged_after(&mut *self.infra.db.read().await?, (since, i32::MAX), BATCH).await?;
            let Some(last) = changes.last().map(Logged::place) else { break };
            // The last version may have more changes than fit: it is told when it is whole. One that never fits the
            // listeners read themselves.
            let is_all = i64::try_from(changes.len()).unwrap_or(i64::MAX) < BATCH;
            let whole = if is_all { last.0 } else { last.0 - 1 };
            if whole > since {
                let told = changes.into_iter().filter(|change| change.v <= whole).map(Arc::new).collect();
                // Nobody need be there any more.
                let _ = self.news.send(Batch { since, changes: told });
            } else {
                self.let_all_look();
            }
            since = whole.max(since + 1);
            *read_to = Some((since, life));
        }
        Ok(())
    }

    /// Makes every listener read the log for itself, once.
    fn let_all_look(&self) {
        let _ = self.news.send(Batch { since: Version::MAX, changes: Arc::default() });
    }
}

/// Somebody who reads the log from a place on.
struct Listener {
    shared: Arc<Shared>,
    news: broadcast::Receiver<Batch>,
    at: Place,
    ready: VecDeque<Arc<Logged>>,
    /// The log has more than the news told.
    behind: bool,
    ended: bool,
}

impl Core {
    /// All changes after a place; from now on, if none is given.
    ///
    /// # Errors
    /// [`Error::CursorExpired`] for a place that the log does not reach back to or has not come to, also later for a
    /// listener that fell so far behind.
    pub async fn changes_after(
        &self,
        from: Option<Place>,
    ) -> Result<impl Stream<Item = Result<Arc<Logged>, Error>> + Send + use<>, Error> {
        let shared = Arc::clone(&self.feed.shared);
        // Listening comes first: what happens meanwhile is in the news or in the log.
        let news = shared.news.subscribe();
        shared.somebody_listens.notify_one();
        let version = shared.gate.latest().await?;
        let at = from.unwrap_or((version, i32::MAX));
        let mut listener = Listener { shared, news, at, ready: VecDeque::new(), behind: true, ended: false };
        listener.catch_up().await?;
        Ok(unfold(listener, async |mut listener| {
            let next = listener.next().await?;
            Some((next, listener))
        }))
    }
}

impl Listener {
    async fn next(&mut self) -> Option<Result<Arc<Logged>, Error>> {
        while !self.ended {
            if let Some(change) = self.ready.pop_front() {
                self.at = change.place();
                return Some(Ok(change));
            }
            if self.behind {
                match self.catch_up().await {
                    Ok(()) => {}
                    Err(Error::CursorExpired) => {
                        self.ended = true;
                        return Some(Err(Error::CursorExpired));
                    }
                    // It will be there again; nothing is lost meanwhile.
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
                continue;
            }
            match self.news.recv().await {
                Ok(batch) if batch.since > self.at.0 => self.behind = true,
                Ok(batch) => {
                    self.ready.extend(batch.changes.iter().filter(|change| change.place() > self.at).cloned());
                }
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => self.ended = true,
            }
        }
        None
    }

    /// Reads what comes next in the log.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let _turn = self.shared.turns.acquire().await.map_err(Error::internal)?;
        let changes = logged_after(&mut *self.shared.infra.db.read().await?, self.at, REPLAYED).await?;
        // Versions have no gaps: if the next one is missing, it is not kept any more.
        let next = match changes.first() {
            Some(first) => first.v,
            None => self.shared.gate.latest().await?,
        };
        if next < self.at.0 {
            // The database went back in time.
            return Err(Error::CursorExpired);
        }
        let has_gap = next > self.at.0 + i64::from(!changes.is_empty());
        if has_gap {
            // Unless it was only just written.
            let again = logged_after(&mut *self.shared.infra.db.read().await?, self.at, 1).await?;
            if again.first().is_none_or(|first| first.v > self.at.0 + 1) {
                return Err(Error::CursorExpired);
            }
        }
        self.behind = has_gap || i64::try_from(changes.len()).unwrap_or(i64::MAX) >= REPLAYED;
        self.ready.extend(changes.into_iter().map(Arc::new));
        Ok(())
    }
}

/// Forgets what is older than the retention.
pub async fn prune_old(core: &Core, retention: Duration) -> Result<usize, Error> {
    let retention = TimeDelta::from_std(retention).map_err(Error::internal)?;
    let mut pruned = 0;
    loop {
        let more = prune(&mut *core.infra.db.write().await?, Utc::now() - retention, PRUNED).await?;
        pruned += more;
        if more == 0 {
            return Ok(pruned);
        }
    }
}
