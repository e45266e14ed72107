//! Turns: all cores but one work at what is large, so that what is small finds one free, however much of the other there
//! is.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use futures_util::{pending, poll};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::infra::metrics::Counted;

/// Whose turn it is, first come first served.
pub struct Turns {
    permits: Semaphore,
    count: usize,
    waiting: Gauge,
}

impl Turns {
    /// On all cores but one.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(cores.saturating_sub(1).max(1))
    }

    fn of(count: usize) -> Self {
        Self { permits: Semaphore::new(count), count, waiting: Gauge::default() }
    }

    /// How many have a turn, and how many wait for one.
    pub fn taken(&self) -> (i64, i64) {
        let taken = self.count - self.permits.available_permits();
        (i64::try_from(taken).unwrap_or(i64::MAX), self.waiting.get())
    }

    /// A turn, for as long as it is held.
    pub async fn next(&self) -> Option<SemaphorePermit<'_>> {
        let _waits = Counted::by(&self.waiting);
        self.permits.acquire().await.ok()
    }

    /// Does something step by step. Each step waits for its turn; between them, when it waits for the database, say, it
    /// holds none.
    pub async fn steps<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let turn = self.next().await;
            if let Poll::Ready(done) = poll!(work.as_mut()) {
                return done;
            }
            drop(turn);
            pending!();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::Turns;

    #[tokio::test]
    async fn a_turn_is_held_for_a_step_and_not_between() {
        let turns = Turns::of(1);
        let (tell, told) = oneshot::channel();
        let mut waits = Box::pin(turns.steps(told));
        assert!((&mut waits).now_or_never().is_none());
        let turn = turns.next().now_or_never().expect("nobody holds it");
        tell.send(7).unwrap();
        assert!((&mut waits).now_or_never().is_none(), "it went on out of turn");
        assert_eq!(turns.taken(), (1, 1));
        drop(turn);
        assert_eq!(waits.await, Ok(7));
        assert_eq!(turns.taken(), (0, 0));
    }
}
