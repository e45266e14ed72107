//! What one query read: the version at which it read all of it, and what that depended on. Whoever keeps the whole answer
//! knows by it how long that holds.
//!
//! Only what goes through [`Core::answer`] and [`Core::answer_each`] is noted. A field that anybody may see must read
//! nothing past them.

use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::domain::Core;
use crate::domain::changes::{Dependencies, Gate, Version};
use crate::domain::error::Error;

/// What one query read.
#[derive(Debug, Default)]
pub struct Reads {
    moment: OnceCell<Moment>,
    dependencies: Mutex<Dependencies>,
}

/// When something was read: the version, in which life of the database; see
/// [`Gate::life`](crate::domain::changes::Gate::life).
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub version: Version,
    pub life: u32,
}

impl Reads {
    /// The moment at which all is read; the gate is asked when it is first needed.
    ///
    /// # Errors
    /// When the register cannot be read.
    pub async fn moment(&self, gate: &Gate) -> Result<Moment, Error> {
        let now = async || Ok(Moment { version: gate.version().await?, life: gate.life() });
        self.moment.get_or_try_init(now).await.copied()
    }

    /// What was read and when, once it is over; `None` if nothing was.
    pub fn finish(&self) -> Option<(Moment, Dependencies)> {
        let moment = *self.moment.get()?;
        let dependencies = std::mem::take(&mut *self.dependencies.lock().unwrap_or_else(PoisonError::into_inner));
        Some((moment, dependencies))
    }
}

impl Core {
    /// The moment of a read; for a query the one at which it began to read, which is not before its question.
    pub(in crate::domain) async fn moment(&self) -> Result<Moment, Error> {
        match &self.reads {
            Some(reads) => reads.moment(&self.gate).await,
            None => Ok(Moment { version: self.gate.version().await?, life: self.gate.life() }),
        }
    }

    /// Takes note of something that was read.
    pub(in crate::domain) fn note(&self, dependencies: &Dependencies) {
        if let Some(reads) = &self.reads {
            reads.dependencies.lock().unwrap_or_else(PoisonError::into_inner).add(dependencies);
        }
    }
}
