//! Turns: all cores but one work at what is large, so that what is small finds one free, however much of the other there
//! is.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use futures_util::{pending, poll};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Whose turn it is, first come first served.
pub struct Turns(Semaphore);

impl Turns {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Semaphore::new(cores.saturating_sub(1).max(1)))
    }

    /// A turn, for as long as it is held.
    pub async fn next(&self) -> Option<SemaphorePermit<'_>> {
        self.0.acquire().await.ok()
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
    use tokio::sync::{Semaphore, oneshot};

    use super::Turns;

    #[tokio::test]
    async fn a_turn_is_held_for_a_step_and_not_between() {
        let turns = Turns(Semaphore::new(1));
        let (tell, told) = oneshot::channel();
        let mut waits = Box::pin(turns.steps(told));
        assert!((&mut waits).now_or_never().is_none());
        let turn = turns.next().now_or_never().expect("nobody holds it");
        tell.send(7).unwrap();
        assert!((&mut waits).now_or_never().is_none(), "it went on out of turn");
        drop(turn);
        assert_eq!(waits.await, Ok(7));
    }
}
