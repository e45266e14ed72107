//! Which replica answers a query, and when the primary does instead.
//!
//! A query knows from the gate which version it must see. A replica may answer if that version is seen on the very
//! connection that is read from: however many servers are behind its address, and however far behind they are, nothing older
//! is read. One that is behind is waited for a moment, and after that not until it has caught up.
//!
//! Besides, replicas are watched: one that cannot be reached, follows another database, or follows none any more (it was
//! promoted) is passed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::domain::changes::{Version, seen_on};
use crate::infra::Infra;
use crate::infra::db::{Bare, Connection, Database, Replica};

/// Longest wait for a replica to catch up, or to answer at all.
const PATIENCE: Duration = Duration::from_millis(50);
/// Pause before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How often all of them are looked at, and how long that may take.
const PULSE: Duration = Duration::from_millis(250);
const PULSE_PATIENCE: Duration = Duration::from_millis(500);
/// No version.
const NONE: Version = -1;

/// The replicas, as far as is known.
pub struct Replicas {
    states: Vec<State>,
    /// They take turns.
    next: AtomicUsize,
}

struct State {
    is_fit: AtomicBool,
    /// A version that was waited for in vain, until it is there.
    missing: AtomicI64,
    /// Told as long as it does not answer: whoever waits for it waits in vain.
    gone: Notify,
}

/// Which database a server has: the name of its line of versions, and its timeline, which each promotion begins anew.
type Identity = (Uuid, i32);

impl Replicas {
    /// Starts to watch them, if there are any; that ends with them. Needs a runtime then.
    pub fn start(infra: &Arc<Infra>) -> Arc<Self> {
        let unknown = || State { is_fit: AtomicBool::new(false), missing: AtomicI64::new(NONE), gone: Notify::new() };
        let states: Vec<State> = infra.db.replicas().iter().map(|_| unknown()).collect();
        let replicas = Arc::new(Self { states, next: AtomicUsize::new(0) });
        if !replicas.is_empty() {
            tokio::spawn(watch(Arc::downgrade(&replicas), Arc::clone(infra)));
        }
        replicas
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// A connection to a replica on which this version is seen, if there is one, and what ends when that replica stops
    /// answering; else the primary is to be asked.
    pub async fn read(&self, infra: &Infra, version: Version) -> Option<(Connection, Notified<'_>)> {
        let counted = |who| infra.metrics.replica_reads.get_or_create(&[("from", who)]).inc();
        let (count, first) = (self.states.len(), self.next.fetch_add(1, Ordering::Relaxed));
        let mut behind = None;
        for number in (0..count).map(|n| first.wrapping_add(n) % count) {
            match self.look(infra, number, version, Duration::ZERO).await {
                Seen::Enough(found) => {
                    counted("replica");
                    return Some(*found);
                }
                Seen::Less => behind = behind.or(Some(number)),
                Seen::Nothing => {}
            }
        }
        if let Some(number) = behind
            && let Seen::Enough(found) = self.look(infra, number, version, PATIENCE).await
        {
            counted("late_replica");
            return Some(*found);
        }
        counted("primary");
        None
    }

    /// Counts a read that a replica began and the primary does.
    pub fn failed(&self, infra: &Infra) {
        infra.metrics.replica_reads.get_or_create(&[("from", "primary")]).inc();
    }

    /// What is seen of a version on a connection to a replica, after some patience.
    async fn look(&self, infra: &Infra, number: usize, version: Version, patience: Duration) -> Seen<'_> {
        let (Some(state), Some(replica)) = (self.states.get(number), infra.db.replicas().get(number)) else {
            return Seen::Nothing;
        };
        let missing = state.missing.load(Ordering::Relaxed);
        if !state.is_fit.load(Ordering::Relaxed) || (missing != NONE && version >= missing) {
            return Seen::Nothing;
        }
        // One that is busy need not be unfit, and one that is gone the watch will find.
        let Ok(Ok(mut connection)) = timeout(PATIENCE, replica.read()).await else { return Seen::Nothing };
        let until = Instant::now() + patience;
        loop {
            match timeout(PATIENCE, seen_on(&mut connection)).await {
                Ok(Ok((seen, true))) if seen >= version => {
                    return Seen::Enough(Box::new((connection, state.gone.notified())));
                }
                Ok(Ok((_, true))) => {}
                _ => {
                    connection.abandon();
                    state.is_fit.store(false, Ordering::Relaxed);
                    return Seen::Nothing;
                }
            }
            if patience.is_zero() {
                return Seen::Less;
            }
            if Instant::now() >= until {
                state.missing.fetch_max(version, Ordering::Relaxed);
                return Seen::Less;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// What a replica has.
enum Seen<'a> {
    Enough(Box<(Connection, Notified<'a>)>),
    Less,
    /// It was not asked, or does not answer.
    Nothing,
}

/// Of each replica its place, and how far it is behind in versions, or why queries are not read from it.
///
/// # Errors
/// When the primary cannot be asked.
pub async fn check(db: &Database) -> anyhow::Result<Vec<(String, anyhow::Result<Version>)>> {
    let (mut primary, mut checked) = (None, Vec::new());
    let identity = identity(&mut primary, db).await?;
    let (version, _) = seen_on(&mut db.direct().await?).await?;
    for replica in db.replicas() {
        let seen = timely(follows(&mut None, replica, identity)).await;
        checked.push((replica.place(), seen.map(|seen| (version - seen).max(0))));
    }
    Ok(checked)
}

async fn watch(replicas: std::sync::Weak<Replicas>, infra: Arc<Infra>) {
    let mut primary = None;
    let mut followers: Vec<Option<Bare>> = infra.db.replicas().iter().map(|_| None).collect();
    while let Some(replicas) = replicas.upgrade() {
        // While the primary does not answer nobody knows better than before.
        if let Ok(identity) = timely(identity(&mut primary, &infra.db)).await {
            let watched = infra.db.replicas().iter().zip(&mut followers).zip(&replicas.states);
            join_all(watched.map(async |((replica, connection), state)| {
                let answer = timeout(PULSE_PATIENCE, follows(connection, replica, identity)).await;
                if answer.is_err() {
                    state.gone.notify_waiters();
                }
                let seen = answer.unwrap_or_else(|_| Err(silent()));
                let is_fit = seen.is_ok();
                if state.is_fit.swap(is_fit, Ordering::Relaxed) != is_fit {
                    let replica = replica.place();
                    match &seen {
                        Ok(_) => tracing::info!(replica, "queries are read from the replica"),
                        Err(error) => {
                            tracing::warn!(replica, error = format!("{error:#}"), "the replica is passed over");
                        }
                    }
                }
                match seen {
                    Ok(version) if version >= state.missing.load(Ordering::Relaxed) => {
                        state.missing.store(NONE, Ordering::Relaxed);
                    }
                    Ok(_) => {}
                    Err(_) => *connection = None,
                }
            }))
            .await;
        } else {
            primary = None;
        }
        drop(replicas);
        sleep(PULSE).await;
    }
}

async fn timely<T>(look: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(PULSE_PATIENCE, look).await.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> anyhow::Error {
    anyhow!("no answer in {PULSE_PATIENCE:?}")
}

/// The primary's identity.
async fn identity(connection: &mut Option<Bare>, db: &Database) -> anyhow::Result<Identity> {
    const ASK: &str = "SELECT history, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4
        FROM catalog_version";
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(db.bare().await?),
    };
    let row = connection.ask(async |client| client.query_one(ASK, &[]).await).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// The version on a server that follows this primary.
async fn follows(
    connection: &mut Option<Bare>,
    replica: &Replica,
    (history, timeline): Identity,
) -> anyhow::Result<Version> {
    const ASK: &str =
        "SELECT v, history, pg_is_in_recovery(), greatest((SELECT timeline_id FROM pg_control_checkpoint()),
        (SELECT min_recovery_end_timeline FROM pg_control_recovery())) FROM catalog_version";
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(replica.bare().await?),
    };
    let row = connection.ask(async |client| client.query_one(ASK, &[]).await).await?;
    ensure!(row.try_get::<_, bool>(2)?, "it is no replica, or was promoted");
    ensure!(row.try_get::<_, Uuid>(1)? == history, "it is a replica of another database");
    let followed: i32 = row.try_get(3)?;
    ensure!(followed == timeline, "it is on timeline {followed}, and the primary on {timeline}");
    Ok(row.try_get(0)?)
}
