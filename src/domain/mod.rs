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
pub mod catalog;
pub mod changes;
pub mod error;
pub mod feed;
pub mod ids;
pub mod page;
pub mod text;

use std::sync::Arc;

use crate::config::Settings;
use crate::domain::answers::Answers;
use crate::domain::changes::Gate;
use crate::domain::feed::Feed;
use crate::infra::Infra;

/// All that a query or a command needs: the outside world, and what is remembered of it.
pub struct Core {
    pub infra: Arc<Infra>,
    pub gate: Gate,
    pub answers: Answers,
    pub feed: Feed,
}

impl Core {
    /// Starts the version gate's task, so it needs a runtime.
    pub fn new(settings: &Settings, infra: Infra) -> Arc<Self> {
        let infra = Arc::new(infra);
        infra.limiter.count_instances();
        infra.metrics.feel_the_pulse();
        let gate = Gate::start(Arc::clone(&infra), settings.freshness);
        let answers = Answers::new(settings, Arc::clone(&infra));
        let feed = Feed::start(Arc::clone(&infra), gate.clone());
        Arc::new(Self { infra, gate, answers, feed })
    }
}
