//! What one query read: the version at which it read all of it, and what that depended on. Whoever keeps the whole answer
//! knows by it how long that holds.
//!
//! Only what goes through [`Core::answer`] and [`Core::answer_each`] is noted. A field that anybody may see must read
//! nothing past them.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::domain::Core;
use crate::domain::changes::{Dependencies, Gate, Version};
use crate::domain::error::Error;
use crate::domain::transaction::Work;

/// What one query read.
#[derive(Debug, Default)]
pub struct Reads {
    /// What whoever asks has seen before.
    seen: Option<Token>,
    moment: OnceCell<Moment>,
    /// What it depended on, and up to which version all of it is known to hold.
    noted: Mutex<(Dependencies, Option<Version>)>,
}

/// A state of the database that somebody has seen: whatever they read from now on must not be older. As text it is opaque,
/// of 32 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The database's line of versions; a token of another one says nothing.
    pub history: Uuid,
    pub version: Version,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.history.as_bytes().as_slice(), &self.version.to_be_bytes()].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ())?;
        let (history, version) = bytes.split_first_chunk().ok_or(())?;
        let version = Version::from_be_bytes(version.try_into().map_err(|_| ())?);
        Ok(Self { history: Uuid::from_bytes(*history), version })
    }
}

/// When something was read: the version, in which life of the database; see
/// [`Gate::life`](crate::domain::changes::Gate::life).
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub version: Version,
    pub life: u32,
}

impl Reads {
    /// For whoever has seen this before.
    pub fn after(seen: Option<Token>) -> Self {
        Self { seen, ..Self::default() }
    }

    /// For whoever reads at this moment.
    pub fn at(moment: Moment) -> Self {
        Self { moment: OnceCell::new_with(Some(moment)), ..Self::default() }
    }

    /// The moment at which all is read; the gate is asked when it is first needed.
    ///
    /// # Errors
    /// When the register cannot be read.
    pub async fn moment(&self, gate: &Gate) -> Result<Moment, Error> {
        self.moment.get_or_try_init(async || gate.moment_since(self.seen).await).await.copied()
    }

    /// What was read, and the latest moment at which all of it is known to hold, once it is over; `None` if nothing was.
    pub fn finish(&self) -> Option<(Moment, Dependencies)> {
        let moment = *self.moment.get()?;
        let (dependencies, held) = std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        Some((Moment { version: held.map_or(moment.version, |held| held.max(moment.version)), ..moment }, dependencies))
    }
}

impl Core {
    /// The moment of a read; for a query the one at which it began to read, which is not before its question, also where it is
    /// read on behalf of many.
    pub(in crate::domain) async fn moment(&self) -> Result<Moment, Error> {
        match (&self.reads, self.read_at) {
            (Some(reads), _) => reads.moment(&self.gate).await,
            (None, Some(moment)) => Ok(moment),
            (None, None) => Ok(Moment { version: self.gate.version().await?, life: self.gate.life() }),
        }
    }

    /// Whether all that is read is of one moment, as for a query.
    pub fn reads_at_once(&self) -> bool {
        self.reads.is_some()
    }

    /// Reads on a connection. For a query it is one to a replica, if there is one that has seen what the query must see; if
    /// that fails under it, the primary is asked. Whatever else reads does so on the primary.
    pub(in crate::domain) async fn read<T, R>(&self, read: R) -> Result<T, Error>
    where
        R: for<'c> AsyncFn(&'c mut AsyncPgConnection) -> QueryResult<T>
            + for<'c> Work<&'c mut AsyncPgConnection, QueryResult<T>>,
    {
        let version = match &self.reads {
            _ if self.replicas.is_empty() => None,
            Some(reads) => Some(reads.moment(&self.gate).await?.version),
            None => self.read_at.map(|moment| moment.version),
        };
        let Some(version) = version else { return Ok(read(&mut *self.infra.db.read().await?).await?) };
        if let Some((mut replica, gone)) = self.replicas.read(&self.infra, version).await {
            let done = tokio::select! {
                done = read(&mut replica) => Some(done.map_err(Error::from)),
                () = gone => None,
            };
            // It died, stands still, or must forget what is read: a read can be asked again.
            match done {
                None => replica.abandon(),
                Some(Err(Error::Unavailable(_) | Error::Deadlock)) => {}
                Some(done) => return done,
            }
            self.replicas.failed(&self.infra);
        }
        Ok(read(&mut *self.infra.db.spare().await?).await?)
    }

    /// The same of what PostgreSQL does at once, on a connection that is shared: what is asked at the same time is sent and
    /// answered together, since to wake each other costs both sides as much as the rest. Of a replica everybody has a connection
    /// of their own, on which they ask first what it has seen.
    pub(in crate::domain) async fn read_together<T, R>(&self, read: R) -> Result<T, Error>
    where
        R: for<'c> AsyncFn(&'c AsyncPgConnection) -> QueryResult<T>
            + for<'c> Work<&'c AsyncPgConnection, QueryResult<T>>,
        T: Send,
    {
        if !self.replicas.is_empty() {
            return self.read(async |connection| read(connection).await).await;
        }
        let connection = self.infra.db.read_together().await?;
        Ok(read(&connection).await?)
    }

    /// What a replica must have seen to be read by whoever reads at this moment; `None`: nothing but the primary will do.
    pub(in crate::domain) fn replica_at(&self, moment: Moment) -> Option<Version> {
        if self.reads.is_some() { Some(moment.version) } else { self.read_at.map(|moment| moment.version) }
    }

    /// Takes note of something that was read, and up to which version it is known to hold.
    pub(in crate::domain) fn note(&self, dependencies: &Dependencies, held: Version) {
        if let Some(reads) = &self.reads {
            let mut noted = reads.noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.0.add(dependencies);
            noted.1 = Some(noted.1.map_or(held, |least| least.min(held)));
        }
    }
}
