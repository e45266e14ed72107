//! Floor 2, what the business does.
//!
//! A feature is a folder of four files: `model` (types and their rules), `store` (its SQL, one function a statement, on
//! a connection that the caller chose), `queries` (reads, which decide what is remembered) and `commands` (writes, which
//! alone open transactions). Features do not know each other; they share the ids in [`ids`].
//!
//! Beside them, [`changes`] is the log of what every write changed, and [`answers`] remembers what reads found until
//! the log says that it no longer holds.

pub mod accounts;
pub mod answers;
mod batches;
pub mod catalog;
pub mod changes;
pub mod entry;
pub mod error;
pub mod feed;
pub mod ids;
pub mod json;
pub mod page;
pub mod reads;
pub mod replicas;
pub mod text;
mod time;
pub mod transaction;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Services, Settings};
use crate::domain::accounts::Accounts;
use crate::domain::answers::Answers;
use crate::domain::changes::Gate;
use crate::domain::feed::Feed;
use crate::domain::reads::{Moment, Reads};
use crate::domain::replicas::Replicas;
use crate::infra::Infra;

/// How often what is over is looked for.
const TIDYING: Duration = Duration::from_mins(10);

/// All that a query or a command needs: the outside world, and what is remembered of it.
#[derive(Clone)]
pub struct Core {
    pub infra: Arc<Infra>,
    pub gate: Gate,
    pub answers: Arc<Answers>,
    pub feed: Feed,
    pub accounts: Arc<Accounts>,
    /// What this process serves.
    pub services: Services,
    /// What is read on behalf of one query goes here, too.
    reads: Option<Arc<Reads>>,
    /// What is read on behalf of many queries is read at this moment, and must be seen at its version.
    read_at: Option<Moment>,
    replicas: Arc<Replicas>,
}

impl Core {
    /// Starts the version gate's task, so it needs a runtime.
    pub fn new(settings: &Settings, infra: Infra) -> Arc<Self> {
        let infra = Arc::new(infra);
        infra.limiter.count_instances();
        infra.metrics.feel_the_pulse();
        let gate = Gate::start(Arc::clone(&infra), settings.freshness);
        let answers = Arc::new(Answers::new(settings, Arc::clone(&infra)));
        let feed = Feed::start(Arc::clone(&infra), gate.clone());
        let accounts = Arc::new(Accounts::new(settings));
        let (replicas, services) = (Replicas::start(&infra), settings.services);
        Arc::new(Self { infra, gate, answers, feed, accounts, services, reads: None, read_at: None, replicas })
    }

    /// Forgets what is over, now and then, until the core is gone: changes older than the retention, sessions, links,
    /// answers to idempotency keys.
    pub fn keep_tidy(self: &Arc<Self>, retention: Duration) {
        let core = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(core) = core.upgrade() {
                let pruned = (feed::prune_old(&core, retention).await, accounts::commands::prune(&core).await);
                if let (Err(error), _) | (_, Err(error)) = pruned {
                    tracing::warn!(error = &error as &dyn std::error::Error, "what is over was not forgotten");
                }
                drop(core);
                tokio::time::sleep(TIDYING).await;
            }
        });
    }

    /// The same for one query, whose reads are all of one version and are noted.
    pub fn noting(&self, reads: Arc<Reads>) -> Arc<Self> {
        Arc::new(Self { reads: Some(reads), ..self.clone() })
    }

    /// The same for whoever reads on behalf of many, at this moment.
    fn for_all(self: &Arc<Self>, moment: Moment) -> Arc<Self> {
        if self.reads.is_some() { self.reading_at(Some(moment)) } else { Arc::clone(self) }
    }

    /// The same for whoever reads on behalf of many, from replicas that have seen a moment's version, if that is told.
    fn reading_at(&self, read_at: Option<Moment>) -> Arc<Self> {
        Arc::new(Self { reads: None, read_at, ..self.clone() })
    }
}
