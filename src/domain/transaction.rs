//! The one place where transactions begin and end, and where a command happens at most once.
//!
//! A command says what it does as a function of the connection; here it is run in a transaction, again if it met a
//! deadlock, and under the client's idempotency key if there is one: the key's row is inserted first and the answer
//! written last, in the transaction of the effect. A duplicate waits at the row until the first has ended, and then gives
//! its answer; a command that fails leaves no row.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use diesel::{ExpressionMethods, QueryDsl, QueryResult};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, TransactionManager};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::Core;
use crate::domain::changes::{Noted, Version};
use crate::domain::error::Error;
use crate::domain::ids::UserId;
use crate::infra::db::Connection;
use crate::infra::schema::idempotency;

/// How often a transaction begins anew that met a deadlock, or whose end is unknown and may be looked up.
const ATTEMPTS: u32 = 4;
/// Longest wait for the answer to a commit.
const COMMIT_PATIENCE: Duration = Duration::from_secs(3);

type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;

/// A transaction under way: its connection, and what was recorded in it.
pub struct Transaction {
    connection: Connection,
    pub(super) recorded: Vec<(Version, Vec<Noted>)>,
}

impl Deref for Transaction {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.connection
    }
}

/// On whose behalf a command runs, and under which key it happens at most once.
#[derive(Debug, Default)]
pub struct Mandate {
    /// `None` for strangers and the command line.
    pub actor: Option<UserId>,
    pub once: Option<Once>,
}

impl Mandate {
    /// Of this user, without a key.
    pub fn of(actor: UserId) -> Self {
        Self { actor: Some(actor), once: None }
    }
}

/// A client's idempotency key, with what it was used for. All that is kept is derived from the key, which is not: whoever
/// reads the table learns neither answers nor what was asked.
#[derive(Debug)]
pub struct Once {
    name: [u8; 32],
    fingerprint: [u8; 32],
    seal: [u8; 32],
}

impl Once {
    /// `asker` has keys of its own; `place` tells the mutations of one request apart; `wish` is what a repetition must ask
    /// for again.
    pub fn new(asker: &str, key: &str, place: &str, wish: &[u8]) -> Self {
        let secret = Salt::new(HKDF_SHA256, b"stockroom idempotency").extract(key.as_bytes());
        let derive = |purpose: &str| {
            let mut bytes = [0; 32];
            let info = [purpose.as_bytes(), b"\0", asker.as_bytes(), b"\0", place.as_bytes()];
            let derived = secret.expand(&info, Bytes32).and_then(|derived| derived.fill(&mut bytes));
            derived.map(|()| bytes).unwrap_or_default()
        };
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &derive("fingerprint")), wish);
        let fingerprint = mac.as_ref().try_into().unwrap_or_default();
        Self { name: derive("name"), fingerprint, seal: derive("seal") }
    }

    fn seal<T: Serialize>(&self, answer: &T) -> Result<Vec<u8>, Error> {
        let mut sealed = serde_json::to_vec(answer).map_err(Error::internal)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.seal).map_err(Error::internal)?;
        let nonce = key.seal_in_place_append_tag(Aad::from(self.name), &mut sealed).map_err(Error::internal)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    fn open<T: DeserializeOwned>(&self, sealed: &[u8]) -> Result<T, Error> {
        let damaged = || Error::internal(anyhow::anyhow!("a kept answer is damaged"));
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.seal).map_err(Error::internal)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let answer = key.open_in_place(nonce, Aad::from(self.name), &mut opened).map_err(|_| damaged())?;
        serde_json::from_slice(answer).map_err(Error::internal)
    }
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

/// Why a command failed, which may be for a reason that any may fail for.
pub trait Failure: From<Error> + From<diesel::result::Error> + Send {
    /// That reason.
    fn error(&self) -> Option<&Error>;
}

impl Failure for Error {
    fn error(&self) -> Option<&Error> {
        Some(self)
    }
}

/// Makes enums with a `Failed(Error)` the failures of commands.
macro_rules! failures {
    ($($name:ident)*) => {$(
        impl<E: Into<$crate::domain::error::Error>> From<E> for $name {
            fn from(error: E) -> Self {
                Self::Failed(error.into())
            }
        }

        impl $crate::domain::transaction::Failure for $name {
            fn error(&self) -> Option<&$crate::domain::error::Error> {
                if let Self::Failed(error) = self { Some(error) } else { None }
            }
        }
    )*};
}
pub(crate) use failures;

/// What is done on a connection or in a transaction, perhaps more than once, of which one is committed; in a future that
/// threads may hand on, which an async closure's type alone does not say.
pub trait Work<C, R>: Fn(C) -> <Self as Work<C, R>>::Future + Send + Sync {
    type Future: Future<Output = R> + Send;
}

impl<C, R, F, Fut> Work<C, R> for F
where
    F: Fn(C) -> Fut + Send + Sync,
    Fut: Future<Output = R> + Send,
{
    type Future = Fut;
}

impl Core {
    /// Runs `work` in a transaction, and at most once under the mandate's key.
    ///
    /// # Errors
    /// What `work` fails with, then nothing was done; [`Error::KeyReused`] where something else was asked under the key;
    /// [`Error::OutcomeUnknown`] where the connection broke at the commit and there is no key to look it up by.
    pub async fn transact<T, E, W>(&self, mandate: &Mandate, work: W) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send,
        E: Failure,
        W: for<'c> AsyncFn(&'c mut Transaction) -> Result<T, E> + for<'c> Work<&'c mut Transaction, Result<T, E>>,
    {
        let once = mandate.once.as_ref();
        let (mut attempt, mut is_unknown) = (1, false);
        loop {
            let failure = match self.attempt(once, &work).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let again = match failure.error() {
                Some(Error::Deadlock) => true,
                Some(Error::OutcomeUnknown) => {
                    is_unknown = true;
                    once.is_some()
                }
                // Whoever could not look it up does not know more than before.
                Some(Error::Busy | Error::Timeout | Error::Unavailable(_)) if is_unknown => {
                    return Err(Error::OutcomeUnknown.into());
                }
                _ => false,
            };
            if !again || attempt == ATTEMPTS {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(10 << (2 * attempt))).await;
            attempt += 1;
        }
    }

    async fn attempt<T, E, W>(&self, once: Option<&Once>, work: &W) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send,
        E: Failure,
        W: for<'c> AsyncFn(&'c mut Transaction) -> Result<T, E> + for<'c> Work<&'c mut Transaction, Result<T, E>>,
    {
        let connection = self.infra.db.write().await.map_err(Error::from)?;
        let mut transaction = Transaction { connection, recorded: Vec::new() };
        Manager::begin_transaction(&mut *transaction).await?;
        match run(&mut transaction, once, work).await {
            Ok(done) => {
                commit(&mut transaction).await?;
                self.gate.note(transaction.recorded);
                Ok(done)
            }
            Err(failure) => {
                // If even that fails, the connection is not used again, and PostgreSQL rolls back by itself.
                let _ = Manager::rollback_transaction(&mut *transaction).await;
                Err(failure)
            }
        }
    }
}

async fn run<T, E, W>(transaction: &mut Transaction, once: Option<&Once>, work: &W) -> Result<T, E>
where
    T: Serialize + DeserializeOwned + Send,
    E: Failure,
    W: for<'c> AsyncFn(&'c mut Transaction) -> Result<T, E> + for<'c> Work<&'c mut Transaction, Result<T, E>>,
{
    let Some(once) = once else { return work(transaction).await };
    if claim(transaction, once).await? == 0 {
        let (fingerprint, answer) = kept(transaction, once).await?;
        return match fingerprint == once.fingerprint {
            true => Ok(once.open(&answer)?),
            false => Err(Error::KeyReused.into()),
        };
    }
    let done = work(transaction).await?;
    keep(transaction, once, once.seal(&done)?).await?;
    Ok(done)
}

async fn commit(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    match tokio::time::timeout(COMMIT_PATIENCE, Manager::commit_transaction(connection)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => match Error::from(error) {
            Error::Unavailable(_) | Error::Timeout => Err(Error::OutcomeUnknown),
            refused => Err(refused),
        },
        Err(_) => Err(Error::OutcomeUnknown),
    }
}

/// Takes the key's row, and waits for whoever has it. Returns 0 if somebody was first.
async fn claim(connection: &mut AsyncPgConnection, once: &Once) -> QueryResult<usize> {
    let row = (
        idempotency::name.eq(once.name.as_slice()),
        idempotency::fingerprint.eq(once.fingerprint.as_slice()),
        idempotency::answer.eq([].as_slice()),
    );
    diesel::insert_into(idempotency::table).values(row).on_conflict_do_nothing().execute(connection).await
}

async fn kept(connection: &mut AsyncPgConnection, once: &Once) -> QueryResult<(Vec<u8>, Vec<u8>)> {
    let row = idempotency::table.find(once.name.as_slice());
    row.select((idempotency::fingerprint, idempotency::answer)).first(connection).await
}

async fn keep(connection: &mut AsyncPgConnection, once: &Once, answer: Vec<u8>) -> QueryResult<usize> {
    let row = diesel::update(idempotency::table.find(once.name.as_slice()));
    row.set(idempotency::answer.eq(answer)).execute(connection).await
}

/// Forgets the answers that were given before a moment. Returns how many it were.
pub async fn prune(connection: &mut AsyncPgConnection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(idempotency::table.filter(idempotency::at.lt(before))).execute(connection).await
}
