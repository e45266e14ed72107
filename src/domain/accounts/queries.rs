//! Reads of accounts. They stay in the process: addresses are nobody else's business.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::config::Service;
use crate::domain::Core;
use crate::domain::accounts::commands::{adopt, hashed};
use crate::domain::accounts::model::{ApiKey, Credential, Grant, Session, SignedIn, Standing, User};
use crate::domain::accounts::store::{self, Audited};
use crate::domain::answers::{Answer, Reach, Region};
use crate::domain::changes::{Dependencies, Entity, Place};
use crate::domain::error::Error;
use crate::domain::ids::{ApiKeyId, SessionId, UserId};
use crate::domain::page::{Page, Window};
use crate::domain::reads::Reads;
use crate::infra::jwks::Identity;

const USERS: Region = Region { name: "user", reach: Reach::Process };
const API_KEYS: Region = Region { name: "api_key", reach: Reach::Process };
const CREDENTIALS: Region = Region { name: "credential", reach: Reach::Process };
const IDENTITIES: Region = Region { name: "identity", reach: Reach::Process };
/// Sessions, or API keys, that are listed of a user.
const MOST: i64 = 100;

/// Of these users those that exist.
pub async fn users_by_ids(core: &Arc<Core>, ids: &[UserId]) -> Result<HashMap<UserId, Arc<User>>, Error> {
    core.answer_each(USERS, Entity::User, ids, async |core: Arc<Core>, missing: Vec<UserId>| {
        let users = core.read(async |connection| store::by_ids(connection, &missing).await).await?;
        Ok(users.into_iter().map(|user| (user.id, user)).collect())
    })
    .await
}

/// All users, the newest first.
pub async fn users(core: &Core, window: &Window<UserId>) -> Result<Page<User>, Error> {
    let users = core.read(async |connection| store::page(connection, window).await);
    Ok(window.page(users.await?))
}

/// How many there are.
pub async fn user_count(core: &Core) -> Result<i64, Error> {
    core.read(store::count).await
}

/// The user's sessions that go on, the last used first, 100 at most.
pub async fn sessions(core: &Core, user: UserId) -> Result<Vec<Session>, Error> {
    let sessions = core.read(async |connection| store::sessions_of(connection, user, MOST).await).await?;
    let now = Utc::now();
    Ok(sessions.into_iter().filter(|session| session.expires_at(core.accounts.lives) > now).collect())
}

/// A session that goes on.
pub async fn session(core: &Core, id: SessionId) -> Result<Option<Session>, Error> {
    let found = core.read(async |connection| store::session(connection, id).await).await?;
    let goes_on =
        |session: &Session, now| session.revoked_at.is_none() && session.expires_at(core.accounts.lives) > now;
    Ok(found.filter(|(session, now)| goes_on(session, *now)).map(|(session, _)| session))
}

/// The user's API keys, the newest first, 100 at most.
pub async fn api_keys(core: &Core, user: UserId) -> Result<Vec<ApiKey>, Error> {
    core.read(async |connection| store::api_keys_of(connection, user, MOST).await).await
}

/// The API key with this id.
pub async fn api_key(core: &Core, id: ApiKeyId) -> Result<Option<ApiKey>, Error> {
    core.read(async |connection| store::api_key_by_id(connection, id).await).await
}

impl Answer for Standing {}
impl Answer for (Grant, Standing) {}

/// Whom an API key speaks for; nobody, if there is no such key or it has ended.
pub async fn by_api_key(core: &Arc<Core>, secret: &str) -> Result<Option<SignedIn>, Error> {
    let hash = hashed(secret);
    let found = core.answer(API_KEYS, &hash, {
        let hash = hash.clone();
        async move |core: Arc<Core>| {
            let found = store::api_key(&mut *core.infra.db.read().await?, &hash).await?;
            // What does not exist is not remembered: there is no end to it.
            let (key, user) = found.ok_or(Error::Unauthenticated)?;
            let entities = vec![(Entity::ApiKey, key.id.0), (Entity::User, user.id.0)];
            Ok(((key, user), Dependencies { entities, ..Dependencies::default() }))
        }
    });
    let found: Arc<(Grant, Standing)> = match found.await {
        Err(Error::Unauthenticated) => return Ok(None),
        found => found?,
    };
    let (key, user) = &*found;
    if key.expires_at.is_some_and(|end| end <= Utc::now()) {
        return Ok(None);
    }
    note_use(core, key.id);
    Ok(Some(SignedIn {
        id: user.id,
        role: user.role,
        credential: Credential::ApiKey(key.id, key.scopes.iter().copied().collect()),
        token_version: user.token_version,
        expires_at: key.expires_at,
    }))
}

/// Whom an outside issuer's user is here; at first sight an account is made. Nobody, if there cannot be one.
pub async fn by_identity(core: &Arc<Core>, identity: &Identity) -> Result<Option<SignedIn>, Error> {
    let question = (&identity.issuer, &identity.subject);
    let found = core.answer(IDENTITIES, &question, {
        let identity = identity.clone();
        async move |core: Arc<Core>| {
            let (issuer, subject) = (&identity.issuer, &identity.subject);
            let known = store::by_identity(&mut *core.infra.db.read().await?, issuer, subject).await?;
            let user = match known {
                Some(user) => user,
                // Who is new is made known by the service that has the accounts.
                None if !core.services.include(Service::Accounts) => return Err(Error::Unauthenticated),
                None => adopt(&core, &identity).await?.ok_or(Error::Unauthenticated)?,
            };
            let dependencies = Dependencies::on_one(Entity::User, user.id.0);
            Ok((user, dependencies))
        }
    });
    let user: Arc<Standing> = match found.await {
        Err(Error::Unauthenticated) => return Ok(None),
        found => found?,
    };
    Ok(Some(SignedIn {
        id: user.id,
        role: user.role,
        credential: Credential::Outside,
        token_version: user.token_version,
        expires_at: Some(identity.expires_at),
    }))
}

fn note_use(core: &Arc<Core>, id: ApiKeyId) {
    if core.accounts.used_keys.contains_key(&id) {
        return;
    }
    core.accounts.used_keys.insert(id, ());
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let noted = async { Ok::<_, Error>(store::touch_api_key(&mut *core.infra.db.write().await?, id).await?) };
        if let Err(error) = noted.await {
            tracing::debug!(%error, "the use of an API key was not noted");
        }
    });
}

/// Makes sure that the user's credential counts still at this moment, whatever freshness is configured: for what must not
/// happen by one that was revoked a moment ago.
///
/// # Errors
/// [`Error::Unauthenticated`] if it was revoked.
pub async fn assure(core: &Arc<Core>, user: &SignedIn) -> Result<(), Error> {
    let SignedIn { id, credential, token_version, .. } = *user;
    let core = core.noting(Arc::new(Reads::at(core.gate.now().await?)));
    let question = (id, credential.id(), token_version);
    let counts = core.answer(CREDENTIALS, &question, async move |core: Arc<Core>| {
        let mut connection = core.infra.db.read().await?;
        let (counts, of) = match credential {
            Credential::Session(id) => {
                (store::is_current(&mut connection, id, token_version).await?, Some((Entity::Session, id.0)))
            }
            Credential::ApiKey(id, _) => {
                (store::is_current_key(&mut connection, id, token_version).await?, Some((Entity::ApiKey, id.0)))
            }
            // What the issuer takes back, it does not tell.
            Credential::Outside => (store::is_at(&mut connection, id, token_version).await?, None),
        };
        // What was revoked is not remembered: it stays so.
        if !counts {
            return Err(Error::Unauthenticated);
        }
        let entities = of.into_iter().chain([(Entity::User, id.0)]).collect();
        Ok(((), Dependencies { entities, ..Dependencies::default() }))
    });
    counts.await.map(|_: Arc<()>| ())
}

/// Makes sure that the user has shown that the e-mail address is theirs.
///
/// # Errors
/// [`Error::Unverified`] if not.
pub async fn assure_verified(core: &Core, id: UserId) -> Result<(), Error> {
    let is_verified = store::is_verified(&mut *core.infra.db.read().await?, id).await?;
    if is_verified { Ok(()) } else { Err(Error::Unverified) }
}

/// What the audit log is asked for.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<UserId>,
    pub entity: Option<Entity>,
    pub entity_id: Option<Uuid>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

/// Who did what, the latest first.
pub async fn audit(core: &Core, filter: &AuditFilter, window: &Window<Place>) -> Result<Page<Audited>, Error> {
    let entries = core.read(async |connection| store::audit(connection, filter, window).await);
    Ok(window.page(entries.await?))
}
