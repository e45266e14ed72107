//! Which access tokens do not count any more, although their signature says that they do.
//!
//! A token is verified by its signature alone. So each instance follows the change log, on a connection of its own, and
//! remembers what was revoked for as long as a token lives.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::Utc;
use diesel_async::AsyncPgConnection;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::Core;
use crate::domain::accounts::model::{Credential, SignedIn, TOKEN_VERSION};
use crate::domain::accounts::store;
use crate::domain::changes::{self, Entity, Version};
use crate::domain::error::Error;
use crate::domain::ids::UserId;

/// How often the log is looked at.
const PACE: Duration = Duration::from_millis(200);
/// Longest wait for the log.
const PATIENCE: Duration = Duration::from_secs(2);
/// From this age on it is a matter for people.
const ALARMING: Duration = Duration::from_secs(5);
/// Longer than clocks differ.
const MARGIN: Duration = Duration::from_mins(1);
/// How often what is too old to matter is forgotten.
const TIDYING: Duration = Duration::from_secs(30);

/// What was revoked lately.
pub struct Revocations {
    known: RwLock<Known>,
    /// Tells those who wait that there is more.
    news: watch::Sender<()>,
    token_life: Duration,
}

struct Known {
    /// Sessions and API keys.
    credentials: HashMap<Uuid, Instant>,
    /// Users with the token version that still counts.
    users: HashMap<UserId, (i32, Instant)>,
    /// All is known that happened until then.
    seen: Instant,
}

impl Revocations {
    /// Nothing is known before [`Self::follow`]. `token_life` is how long an access token lives.
    pub fn new(token_life: Duration) -> Self {
        let known = Known { credentials: HashMap::new(), users: HashMap::new(), seen: Instant::now() };
        Self { known: RwLock::new(known), news: watch::Sender::new(()), token_life }
    }

    /// Whatever was revoked longer ago has ended by itself.
    fn window(&self) -> Duration {
        self.token_life + MARGIN
    }

    /// Whether the credential of this user was revoked. Our tokens end by themselves; other credentials are also refused
    /// where nothing could be learnt for as long as a token lives.
    pub fn refuse(&self, user: &SignedIn) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        user.credential.id().is_some_and(|id| known.credentials.contains_key(&id))
            || known.users.get(&user.id).is_some_and(|(version, _)| *version > user.token_version)
            || (!matches!(user.credential, Credential::Session(_)) && known.seen.elapsed() > self.token_life)
    }

    /// Ready once the credential of this user is revoked.
    pub async fn until_refused(&self, user: SignedIn) {
        let mut news = self.news.subscribe();
        while !self.refuse(&user) {
            // That there is nothing to learn is no news.
            if let Ok(Err(_)) = tokio::time::timeout(self.token_life / 16, news.changed()).await {
                return std::future::pending().await;
            }
        }
    }

    /// Learns what was revoked, and goes on learning until the core is gone.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn follow(core: &Arc<Core>) -> Result<(), Error> {
        let mut reader = Reader { connection: None, at: None, tidied: Instant::now(), alarmed: false };
        reader.read_on(core).await?;
        let core = Arc::downgrade(core);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PACE).await;
                let Some(core) = core.upgrade() else { return };
                reader.turn(&core).await;
            }
        });
        Ok(())
    }

    fn change(&self, change: &mut dyn FnMut(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn note(&self, change: &mut dyn FnMut(&mut Known)) {
        self.change(change);
        self.news.send_replace(());
    }
}

/// Follows the log.
struct Reader {
    connection: Option<AsyncPgConnection>,
    /// All of the log up to here was read.
    at: Option<Version>,
    tidied: Instant,
    alarmed: bool,
}

impl Reader {
    async fn turn(&mut self, core: &Core) {
        if let Err(error) = self.read_on(core).await {
            self.connection = None;
            tracing::debug!(%error, "revocations cannot be read");
        }
        let revocations = &core.accounts.revocations;
        let behind = revocations.known.read().unwrap_or_else(PoisonError::into_inner).seen.elapsed();
        core.infra.metrics.revocations_age_seconds.set(behind.as_secs_f64());
        if self.alarmed != (behind > ALARMING) {
            self.alarmed = !self.alarmed;
            if self.alarmed {
                tracing::error!("revocations were not read for {behind:?}; tokens may outlive them");
            } else {
                tracing::info!("revocations are read again");
            }
        }
        if self.tidied.elapsed() > TIDYING {
            self.tidied = Instant::now();
            let window = revocations.window();
            revocations.change(&mut |known| {
                known.credentials.retain(|_, at| at.elapsed() < window);
                known.users.retain(|_, (_, at)| at.elapsed() < window);
            });
        }
    }

    async fn read_on(&mut self, core: &Core) -> Result<(), Error> {
        let asked = Instant::now();
        let read = tokio::time::timeout(PATIENCE, self.read(core)).await;
        read.unwrap_or_else(|late| Err(Error::unavailable(late)))?;
        core.accounts.revocations.change(&mut |known| known.seen = asked);
        Ok(())
    }

    async fn read(&mut self, core: &Core) -> Result<(), Error> {
        let revocations = &core.accounts.revocations;
        if self.connection.is_none() {
            let mut connection = core.infra.db.direct().await.map_err(Error::unavailable)?;
            // First the version: what happens from here on is in the log.
            let (version, _) = changes::of_kinds_after(&mut connection, &[], Version::MAX).await?;
            let since = Utc::now() - revocations.window();
            let sessions = store::revoked_sessions(&mut connection, since).await?;
            let users = store::revoked_users(&mut connection, since).await?;
            let now = Instant::now();
            revocations.note(&mut |known| {
                known.credentials.extend(sessions.iter().map(|session| (session.0, now)));
                known.users.extend(users.iter().map(|(user, version)| (*user, (*version, now))));
            });
            // API keys that were revoked are in the log alone: it is read on where that ended before.
            self.at = self.at.filter(|at| *at <= version).or(Some(version));
            self.connection = Some(connection);
        }
        let (Some(connection), Some(at)) = (&mut self.connection, self.at) else { return Ok(()) };
        let kinds = [Entity::User, Entity::Session, Entity::ApiKey];
        let (version, happened) = changes::of_kinds_after(connection, &kinds, at).await?;
        if version < at {
            return Err(Error::internal(anyhow::anyhow!("the database went back in time")));
        }
        if !happened.is_empty() {
            let now = Instant::now();
            revocations.note(&mut |known| happened.iter().for_each(|change| known.learn(change, now)));
        }
        self.at = Some(version);
        Ok(())
    }
}

impl Known {
    fn learn(&mut self, change: &changes::Happened, now: Instant) {
        match (change.entity, change.id) {
            (Entity::Session | Entity::ApiKey, Some(id)) if change.after.is_none() => {
                self.credentials.insert(id, now);
            }
            (Entity::User, Some(id)) => {
                let version = |logged: &Option<serde_json::Value>| {
                    logged.as_ref()?.get(TOKEN_VERSION)?.as_i64().and_then(|version| i32::try_from(version).ok())
                };
                if let (Some(before), Some(after)) = (version(&change.before), version(&change.after))
                    && before < after
                {
                    self.users.insert(UserId(id), (after, now));
                }
            }
            _ => {}
        }
    }
}
