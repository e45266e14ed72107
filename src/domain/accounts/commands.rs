//! Writes of accounts: opening them, signing in and out, passwords, roles and API keys.
//!
//! Whatever is done to a user's role, password or sessions first locks the user's row, so that it happens in some order:
//! nobody refreshes a session that was revoked.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::AsyncPgConnection;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::Core;
use crate::domain::accounts::model::{
    self, AccountDraft, ApiKey, ApiKeyDraft, Device, MailPurpose, NewAccount, Role, Session, SignedIn, Standing, User,
};
use crate::domain::accounts::refresh::RefreshToken;
use crate::domain::accounts::store::{self, NewApiKey, NewSession, NewUser};
use crate::domain::changes::{self, Change, Entity};
use crate::domain::error::{Error, FieldErrorCode, FieldErrors, violated};
use crate::domain::ids::{ApiKeyId, SessionId, UserId};
use crate::domain::transaction::{self, Mandate, Transaction, failures};
use crate::infra::jwks::Identity;
use crate::infra::mail::Mail;
use crate::infra::rate_limit::Budget;
use crate::infra::tokens::Subject;

/// For so long the refresh token before the current one still gives the current one: its answer may have been lost.
const GRACE: TimeDelta = TimeDelta::seconds(10);
/// Most API keys of a user.
const MAX_API_KEYS: i64 = 50;
/// How often an outside issuer's user is given an account, should others be faster each time.
const ADOPTIONS: u32 = 3;
/// How an API key's secret begins, so that people and scanners recognise it.
pub const KEY_PREFIX: &str = "sk_";
/// Characters of the secret that are kept in the clear.
const SHOWN: usize = 11;
/// How long an answer is kept for its idempotency key.
const ANSWERS_KEPT: TimeDelta = TimeDelta::hours(24);
/// How long sessions that were ended are kept.
const REVOKED_KEPT: TimeDelta = TimeDelta::days(1);

/// Somebody who signed in, and what shows it from now on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Signed {
    pub user: User,
    pub access_token: String,
    pub access_token_expires_at: DateTime<Utc>,
    pub refresh_token: String,
    pub refresh_token_expires_at: DateTime<Utc>,
}

/// Why there is no new account.
#[derive(Debug)]
pub enum RegisterError {
    Invalid(FieldErrors),
    /// There were too many attempts; when the next one may be made.
    TooOften(Duration),
    /// The address has an account.
    EmailTaken,
    Failed(Error),
}

/// Why an outside issuer's user has no account yet.
enum AdoptError {
    /// Another request made one meanwhile.
    Overtaken,
    Failed(Error),
}

/// Why nobody was signed in.
#[derive(Debug)]
pub enum LoginError {
    /// There were too many attempts; when the next one may be made.
    TooOften(Duration),
    /// The address is unknown or the password is wrong; which of them is not told.
    WrongCredentials,
    Failed(Error),
}

/// Why a session was not refreshed.
#[derive(Debug)]
pub enum RefreshError {
    /// There were too many attempts; when the next one may be made.
    TooOften(Duration),
    /// The token is not one that this server gave.
    Invalid,
    /// The session has ended.
    Ended,
    /// The token was used before, so somebody has a copy: the session has ended by this.
    Reused,
    Failed(Error),
}

/// Why a password stayed as it was.
#[derive(Debug)]
pub enum PasswordError {
    TooOften(Duration),
    /// The current password is another.
    WrongPassword,
    /// The new one will not do.
    Invalid(FieldErrors),
    Failed(Error),
}

/// Why no mail is on its way.
#[derive(Debug)]
pub enum MailError {
    TooOften(Duration),
    Failed(Error),
}

/// Why what a link proves was not taken.
#[derive(Debug)]
pub enum LinkError {
    TooOften(Duration),
    /// It was used, or is too old, or no link of ours.
    Ended,
    /// The new password will not do.
    Invalid(FieldErrors),
    Failed(Error),
}

/// Why a role stayed as it was.
#[derive(Debug)]
pub enum SetRoleError {
    NoSuchUser,
    /// Somebody must be able to make administrators.
    LastAdmin,
    Failed(Error),
}

/// Why there is no new API key.
#[derive(Debug)]
pub enum ApiKeyError {
    Invalid(FieldErrors),
    Failed(Error),
}

/// Why nothing was revoked.
#[derive(Debug)]
pub enum RevokeError {
    /// There is no such thing, or not for whoever asks.
    NotFound,
    Failed(Error),
}

failures! {
    AdoptError RegisterError LoginError RefreshError PasswordError MailError LinkError SetRoleError ApiKeyError RevokeError
}

/// Opens an account for a customer, and signs them in.
pub async fn register(
    core: &Arc<Core>,
    mandate: &Mandate,
    draft: AccountDraft,
    device: &Device,
) -> Result<Signed, RegisterError> {
    core.infra.passwords.room()?;
    attempt(core, Some(&account(&draft.email)), &device.subject).await.map_err(RegisterError::TooOften)?;
    let new = checked(core, draft, Role::Customer, None).await?;
    let registered = core.transact(mandate, async |connection| {
        let user = insert(connection, Some(new.id), &new).await?;
        Ok::<_, RegisterError>(sign_in(core, connection, user, device).await?)
    });
    let signed = registered.await?;
    // Unless this only says again what was done before.
    if signed.user.id == new.id {
        let (core, user) = (Arc::clone(core), signed.user.clone());
        tokio::spawn(async move { told(send_link(&core, &user, MailPurpose::VerifyEmail).await) });
    }
    Ok(signed)
}

/// Opens an account with a role, for the command line, which vouches for the address.
pub async fn create_user(core: &Arc<Core>, draft: AccountDraft, role: Role) -> Result<User, RegisterError> {
    let new = checked(core, draft, role, Some(Utc::now())).await?;
    core.transact(&Mandate::default(), async |connection| insert(connection, None, &new).await).await
}

async fn checked(
    core: &Core,
    draft: AccountDraft,
    role: Role,
    email_verified_at: Option<DateTime<Utc>>,
) -> Result<NewUser, RegisterError> {
    let NewAccount { email, email_key, password, name } = draft.check().map_err(RegisterError::Invalid)?;
    let password_hash = core.infra.passwords.hash(&model::password_key(&password)).await?;
    Ok(NewUser { id: UserId::new(), email, email_key, name, role, password_hash, email_verified_at })
}

async fn insert(connection: &mut Transaction, actor: Option<UserId>, new: &NewUser) -> Result<User, RegisterError> {
    let inserted = store::insert(connection, new).await;
    let user = inserted.map_err(|error| match violated(&error) {
        Some("users_email_key_key") => RegisterError::EmailTaken,
        _ => error.into(),
    })?;
    let change = Change::created(Entity::User, user.id.0, &user.logged());
    changes::record(connection, actor, vec![change]).await?;
    Ok(user)
}

/// The account of an outside issuer's user who is seen for the first time: the one with their address, if the issuer and
/// we both know that it is theirs, or else a new one. None, if somebody has an account with the address without having
/// shown that it is theirs: whoever that is shall not share it with its owner.
pub async fn adopt(core: &Core, identity: &Identity) -> Result<Option<Standing>, Error> {
    let email = identity.email.as_ref().filter(|_| identity.email_verified);
    let email = email.and_then(|email| Some((email.trim().to_owned(), model::email_key(email).ok()?)));
    let (id, email_verified_at) = (UserId::new(), email.as_ref().map(|_| Utc::now()));
    let (email, email_key) = email.unwrap_or_else(|| {
        let nowhere = format!("{}@unknown.invalid", id.0.simple());
        (nowhere.clone(), nowhere)
    });
    let new = NewUser {
        id,
        email_verified_at,
        email,
        email_key,
        name: identity.name.as_deref().and_then(model::name),
        role: Role::Customer,
        password_hash: core.infra.passwords.nobodys().to_owned(),
    };
    let mandate = Mandate::default();
    for _ in 0..ADOPTIONS {
        let adopted = core.transact(&mandate, async |connection| adopt_as(connection, identity, &new).await);
        match adopted.await {
            Err(AdoptError::Overtaken) => {}
            Err(AdoptError::Failed(error)) => return Err(error),
            Ok(adopted) => return Ok(adopted),
        }
    }
    Err(Error::Conflict)
}

async fn adopt_as(
    connection: &mut Transaction,
    identity: &Identity,
    new: &NewUser,
) -> Result<Option<Standing>, AdoptError> {
    let Identity { issuer, subject, .. } = identity;
    if let Some(known) = store::by_identity(connection, issuer, subject).await? {
        return Ok(Some(known));
    }
    let owner = match store::id_by_email_key(connection, &new.email_key).await? {
        Some(owner) => store::lock(connection, owner).await?,
        None => None,
    };
    let user = match owner {
        Some(owner) if owner.email_verified_at.is_none() => {
            tracing::warn!(
                user = %owner.id.0,
                issuer,
                "an outside user has the address of an account that has not verified it, and is refused until it has"
            );
            return Ok(None);
        }
        Some(owner) => {
            let mut linked = owner.logged();
            if let Some(linked) = linked.as_object_mut() {
                linked.insert("linkedTo".to_owned(), issuer.as_str().into());
            }
            let change = Change::updated(Entity::User, owner.id.0, &owner.logged(), &linked);
            changes::record(connection, None, vec![change]).await?;
            owner
        }
        None => insert(connection, None, new).await.map_err(|error| match error {
            RegisterError::Failed(error) => AdoptError::Failed(error),
            _ => AdoptError::Overtaken,
        })?,
    };
    let inserted = store::insert_identity(connection, issuer, subject, user.id).await;
    inserted.map_err(|error| match violated(&error) {
        Some("identities_pkey") => AdoptError::Overtaken,
        _ => error.into(),
    })?;
    Ok(Some(Standing::from(&user)))
}

/// Begins a session for the user with this address and password.
pub async fn login(
    core: &Arc<Core>,
    mandate: &Mandate,
    email: &str,
    password: &SecretString,
    device: &Device,
) -> Result<Signed, LoginError> {
    // What cannot be an address is looked for in vain all the same: nothing may tell the cases apart.
    let email_key = model::email_key(email).unwrap_or_default();
    let account = account(email);
    core.infra.passwords.room()?;
    attempt(core, Some(&account), &device.subject).await.map_err(LoginError::TooOften)?;
    let known = {
        let mut connection = core.infra.db.read().await?;
        store::with_hash(&mut connection, &email_key).await?
    };
    let password = model::password_key(password);
    let hash = known.as_ref().map(|(_, hash)| hash.as_str());
    let matches = core.infra.passwords.verify(&password, hash).await?;
    let Some((user, hash)) = known.filter(|_| matches) else { return Err(LoginError::WrongCredentials) };
    give_back(core, Some(&account), &device.subject).await;
    if core.infra.passwords.needs_upgrade(&hash) {
        let new = core.infra.passwords.hash(&password).await?;
        store::replace_hash(&mut *core.infra.db.write().await?, user.id, &hash, &new).await?;
    }
    let signed = core.transact(mandate, async |connection| {
        let now = store::lock(connection, user.id).await?.ok_or(LoginError::WrongCredentials)?;
        // The password may have been changed since it was looked at; another hash alone is no other password.
        if now.password_changed_at != user.password_changed_at {
            return Err(LoginError::WrongCredentials);
        }
        Ok(sign_in(core, connection, now, device).await?)
    });
    signed.await
}

/// Begins a session.
async fn sign_in(
    core: &Core,
    connection: &mut AsyncPgConnection,
    user: User,
    device: &Device,
) -> Result<Signed, Error> {
    let new = NewSession {
        id: SessionId::new(),
        user_id: user.id,
        secret: random::<32>()?.to_vec(),
        user_agent: device.user_agent.clone(),
        address: device.address.clone(),
    };
    let session = store::insert_session(connection, &new).await?;
    signed(core, user, &session)
}

/// The tokens of a session as it is now.
fn signed(core: &Core, user: User, session: &Session) -> Result<Signed, Error> {
    let subject = Subject {
        id: user.id.0,
        session: session.id.0,
        role: user.role.as_str().to_owned(),
        version: user.token_version,
    };
    let access = core.infra.tokens.issue(&subject, Utc::now()).map_err(Error::internal)?;
    Ok(Signed {
        user,
        access_token: access.token,
        access_token_expires_at: access.expires_at,
        refresh_token: RefreshToken::text(session.id, session.counter, &session.secret),
        refresh_token_expires_at: session.expires_at(core.accounts.lives),
    })
}

/// What a refresh token turns out to be; ending a session is an outcome, since it must be committed.
#[derive(Serialize, Deserialize)]
enum Refreshed {
    Signed(Box<Signed>),
    Reused,
}

/// Gives a session new tokens for its current refresh token, which is void from then on.
///
/// The token before it may be shown once more for ten seconds, and gives the same refresh token again: an answer may have
/// been lost. Any older one was copied, and ends the session. What is forged changes nothing.
pub async fn refresh(
    core: &Arc<Core>,
    mandate: &Mandate,
    token: &str,
    device: &Device,
) -> Result<Signed, RefreshError> {
    // By address alone: whoever knows a session's id must not be able to lock it.
    attempt(core, None, &device.subject).await.map_err(RefreshError::TooOften)?;
    let token = RefreshToken::read(token).ok_or(RefreshError::Invalid)?;
    let refreshed = core.transact(mandate, async |connection| {
        let user = store::lock_user_of(connection, token.session).await?.ok_or(RefreshError::Invalid)?;
        let (session, now) = store::session(connection, token.session).await?.ok_or(RefreshError::Invalid)?;
        if !token.is_genuine(&session.secret) || token.counter > session.counter {
            return Err(RefreshError::Invalid);
        }
        if session.revoked_at.is_some() || session.expires_at(core.accounts.lives) <= now {
            return Err(RefreshError::Ended);
        }
        if token.counter == session.counter {
            let session = store::rotate(connection, session.id).await?;
            return Ok(Refreshed::Signed(Box::new(signed(core, user, &session)?)));
        }
        if token.counter == session.counter - 1 && now - session.used_at <= GRACE {
            return Ok(Refreshed::Signed(Box::new(signed(core, user, &session)?)));
        }
        end_session(connection, None, &session).await?;
        Ok(Refreshed::Reused)
    });
    match refreshed.await? {
        Refreshed::Signed(signed) => {
            give_back(core, None, &device.subject).await;
            Ok(*signed)
        }
        Refreshed::Reused => Err(RefreshError::Reused),
    }
}

/// Ends a session of a user whose row is locked. Returns whether it went on until then.
async fn end_session(connection: &mut Transaction, actor: Option<UserId>, session: &Session) -> Result<bool, Error> {
    let goes_on = store::revoke_session(connection, session.id).await? == 1;
    if goes_on {
        let change = Change::deleted(Entity::Session, session.id.0, &serde_json::json!({ "user": session.user_id }));
        changes::record(connection, actor, vec![change]).await?;
    }
    Ok(goes_on)
}

/// Ends the session in which somebody asks, or all of theirs. Returns how many.
pub async fn logout(core: &Arc<Core>, mandate: &Mandate, user: &SignedIn, everywhere: bool) -> Result<usize, Error> {
    let own = user.session()?;
    let ended = core.transact(mandate, async |connection| {
        let before = store::lock(connection, user.id).await?.ok_or(Error::Unauthenticated)?;
        if everywhere {
            let ended = store::revoke_sessions(connection, user.id, None).await?;
            let after = store::revoke_tokens(connection, user.id).await?;
            let change = Change::updated(Entity::User, user.id.0, &before.logged(), &after.logged());
            changes::record(connection, mandate.actor, vec![change]).await?;
            return Ok(ended);
        }
        match store::session(connection, own).await? {
            Some((session, _)) => end_session(connection, mandate.actor, &session).await.map(usize::from),
            None => Ok(0),
        }
    });
    ended.await
}

/// Ends a session: one's own, or for administrators any.
pub async fn revoke_session(
    core: &Arc<Core>,
    mandate: &Mandate,
    user: &SignedIn,
    id: SessionId,
) -> Result<usize, RevokeError> {
    let ended = core.transact(mandate, async |connection| {
        let owner = store::lock_user_of(connection, id).await?.ok_or(RevokeError::NotFound)?;
        if owner.id != user.id && user.role != Role::Admin {
            return Err(RevokeError::NotFound);
        }
        let (session, _) = store::session(connection, id).await?.ok_or(RevokeError::NotFound)?;
        Ok(usize::from(end_session(connection, mandate.actor, &session).await?))
    });
    ended.await
}

/// Gives the user another password, for the current one. All their other sessions end, and this one gets new tokens; a
/// copy of the old ones is worth nothing.
pub async fn change_password(
    core: &Arc<Core>,
    mandate: &Mandate,
    user: &SignedIn,
    current: &SecretString,
    new: &SecretString,
    device: &Device,
) -> Result<Signed, PasswordError> {
    let own = user.session()?;
    let account = user.id.0.simple().to_string();
    core.infra.passwords.room()?;
    attempt(core, Some(&account), &device.subject).await.map_err(PasswordError::TooOften)?;
    let known = store::by_id_with_hash(&mut *core.infra.db.read().await?, user.id).await?;
    let (known, hash) = known.ok_or(Error::Unauthenticated)?;
    check_password("newPassword", new, &known)?;
    if !core.infra.passwords.verify(&model::password_key(current), Some(&hash)).await? {
        return Err(PasswordError::WrongPassword);
    }
    give_back(core, Some(&account), &device.subject).await;
    let new_hash = core.infra.passwords.hash(&model::password_key(new)).await?;
    let changed = core.transact(mandate, async |connection| {
        let before = store::lock(connection, user.id).await?.ok_or(Error::Unauthenticated)?;
        if before.password_changed_at != known.password_changed_at {
            return Err(PasswordError::WrongPassword);
        }
        let (session, _) = store::session(connection, own).await?.ok_or(Error::Unauthenticated)?;
        if session.revoked_at.is_some() {
            return Err(Error::Unauthenticated.into());
        }
        store::revoke_sessions(connection, user.id, Some(own)).await?;
        let session = store::renew_session(connection, own, &random::<32>()?).await?;
        let after = set_password(connection, mandate.actor, &before, &new_hash).await?;
        Ok(signed(core, after, &session)?)
    });
    changed.await
}

/// Whether a password will do for this user.
fn check_password(argument: &str, password: &SecretString, user: &User) -> Result<(), PasswordError> {
    let mut errors = FieldErrors::default();
    let words: Vec<&str> = [Some(user.email.as_str()), user.name.as_deref()].into_iter().flatten().collect();
    let checked = errors.keep(&[argument], model::check_password(password, &words));
    checked.ok_or(PasswordError::Invalid(errors))
}

async fn set_password(
    connection: &mut Transaction,
    actor: Option<UserId>,
    before: &User,
    hash: &str,
) -> Result<User, Error> {
    let after = store::set_password(connection, before.id, hash).await?;
    let change = Change::updated(Entity::User, before.id.0, &before.logged(), &after.logged());
    changes::record(connection, actor, vec![change]).await?;
    Ok(after)
}

/// Sends a link to set another password, if the address has an account. Whether it has makes no difference to the answer,
/// nor to when it comes.
pub async fn request_password_reset(
    core: &Arc<Core>,
    mandate: &Mandate,
    email: &str,
    device: &Device,
) -> Result<(), MailError> {
    attempt_mail(core, &account(email), device).await?;
    if is_first(core, mandate).await? {
        let (core, email_key) = (Arc::clone(core), model::email_key(email).unwrap_or_default());
        tokio::spawn(async move {
            let sent = async {
                // What an account costs is not to be felt by whoever asks meanwhile.
                let [pause] = random()?;
                tokio::time::sleep(Duration::from_millis(pause.into())).await;
                let known = store::with_hash(&mut *core.infra.db.read().await?, &email_key).await?;
                match known {
                    Some((user, _)) => send_link(&core, &user, MailPurpose::ResetPassword).await,
                    None => Ok(()),
                }
            };
            told(sent.await);
        });
    }
    Ok(())
}

/// Sends a link to verify the user's address, unless it is verified.
pub async fn request_email_verification(
    core: &Arc<Core>,
    mandate: &Mandate,
    user: &SignedIn,
    device: &Device,
) -> Result<(), MailError> {
    let account = user.id.0.simple().to_string();
    attempt_mail(core, &account, device).await?;
    let known = store::by_ids(&mut *core.infra.db.read().await?, &[user.id]).await?.pop();
    let known = known.ok_or(Error::Unauthenticated)?;
    if known.email_verified_at.is_none() && is_first(core, mandate).await? {
        send_link(core, &known, MailPurpose::VerifyEmail).await?;
    }
    Ok(())
}

/// Whether nothing was done under the mandate's key yet; from now on something was.
async fn is_first(core: &Core, mandate: &Mandate) -> Result<bool, Error> {
    let ticket = Uuid::new_v4();
    Ok(core.transact(mandate, async |_| Ok::<_, Error>(ticket)).await? == ticket)
}

fn can_send(core: &Core) -> Result<(), Error> {
    if core.infra.mailer.is_configured() { Ok(()) } else { Err(Error::NoMail) }
}

/// Sends a link, which makes void those for the same purpose that were sent before.
async fn send_link(core: &Core, user: &User, purpose: MailPurpose) -> Result<(), Error> {
    can_send(core)?;
    let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let expires_at = Utc::now() + purpose.life();
    let mandate = Mandate::default();
    let kept = core.transact(&mandate, async |connection| {
        store::delete_mail_tokens(connection, user.id, purpose).await?;
        store::insert_mail_token(connection, &hashed(&token), user.id, purpose, expires_at).await?;
        Ok::<_, Error>(())
    });
    kept.await?;
    let (subject, text) = purpose.mail(&core.infra.mailer.link(purpose.page(), &token));
    core.infra.mailer.send(Mail { to: user.email.clone(), subject, text })?;
    Ok(())
}

/// Logs why no link was sent, where nobody else is told.
fn told(sent: Result<(), Error>) {
    match sent {
        Ok(()) | Err(Error::NoMail) => {}
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a link was not sent"),
    }
}

/// Gives a user another password for a link that was sent to them, which shows that the address is theirs. All their
/// sessions end, and another one begins.
pub async fn reset_password(
    core: &Arc<Core>,
    mandate: &Mandate,
    token: &str,
    new: &SecretString,
    device: &Device,
) -> Result<Signed, LinkError> {
    let hash = hashed(token);
    core.infra.passwords.room()?;
    attempt(core, None, &device.subject).await.map_err(LinkError::TooOften)?;
    let known = store::mail_token(&mut *core.infra.db.read().await?, &hash, MailPurpose::ResetPassword).await?;
    // One that was taken may be shown again under its idempotency key.
    if known.is_none() && mandate.once.is_none() {
        return Err(LinkError::Ended);
    }
    if let Some(user) = &known
        && let Err(PasswordError::Invalid(errors)) = check_password("newPassword", new, user)
    {
        return Err(LinkError::Invalid(errors));
    }
    let new_hash = core.infra.passwords.hash(&model::password_key(new)).await?;
    let reset = core.transact(mandate, async |connection| {
        let owner = store::take_mail_token(connection, &hash, MailPurpose::ResetPassword).await?;
        let id = owner.ok_or(LinkError::Ended)?;
        let before = store::lock(connection, id).await?.ok_or(LinkError::Ended)?;
        store::delete_mail_tokens(connection, id, MailPurpose::ResetPassword).await?;
        store::revoke_sessions(connection, id, None).await?;
        if before.email_verified_at.is_none() {
            store::verify_email(connection, id).await?;
        }
        let after = set_password(connection, Some(id), &before, &new_hash).await?;
        Ok::<_, LinkError>(sign_in(core, connection, after, device).await?)
    });
    let signed = reset.await?;
    give_back(core, None, &device.subject).await;
    Ok(signed)
}

/// Takes note that an address is its user's, for a link that was sent there.
pub async fn verify_email(
    core: &Arc<Core>,
    mandate: &Mandate,
    token: &str,
    device: &Device,
) -> Result<User, LinkError> {
    let hash = hashed(token);
    attempt(core, None, &device.subject).await.map_err(LinkError::TooOften)?;
    let verified = core.transact(mandate, async |connection| {
        let owner = store::take_mail_token(connection, &hash, MailPurpose::VerifyEmail).await?;
        let id = owner.ok_or(LinkError::Ended)?;
        let before = store::lock(connection, id).await?.ok_or(LinkError::Ended)?;
        if before.email_verified_at.is_some() {
            return Ok::<_, LinkError>(before);
        }
        let after = store::verify_email(connection, id).await?;
        let change = Change::updated(Entity::User, id.0, &before.logged(), &after.logged());
        changes::record(connection, Some(id), vec![change]).await?;
        Ok(after)
    });
    let verified = verified.await?;
    give_back(core, None, &device.subject).await;
    Ok(verified)
}

/// The name under which attempts on an account are counted, which does not tell its address.
fn account(email: &str) -> String {
    let key = model::email_key(email).unwrap_or_else(|_| email.to_owned());
    let digest = digest(&SHA256, key.as_bytes());
    digest.as_ref().iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Counts an attempt to get in, from somewhere, into an account.
///
/// # Errors
/// When there were too many: the time until the next one may be made. Whether the account exists makes no difference.
async fn attempt(core: &Core, account: Option<&str>, from: &str) -> Result<(), Duration> {
    for (budget, subject) in attempts(core, account, from) {
        spend(core, budget, subject).await?;
    }
    Ok(())
}

/// Counts a wish for a mail to an account's address, whether or not there is such an account.
async fn attempt_mail(core: &Core, account: &str, device: &Device) -> Result<(), MailError> {
    attempt(core, None, &device.subject).await.map_err(MailError::TooOften)?;
    can_send(core)?;
    spend(core, core.infra.budgets.mails, account).await.map_err(MailError::TooOften)
}

async fn spend(core: &Core, budget: Budget, subject: &str) -> Result<(), Duration> {
    match core.infra.limiter.spend(budget, subject, 1).await {
        Some(spent) if !spent.granted => Err(spent.retry_after),
        _ => Ok(()),
    }
}

/// Attempts that succeed do not count.
async fn give_back(core: &Core, account: Option<&str>, from: &str) {
    for (budget, subject) in attempts(core, account, from) {
        core.infra.limiter.give_back(budget, subject, 1).await;
    }
}

/// What an attempt is counted in.
fn attempts<'a>(core: &Core, account: Option<&'a str>, from: &'a str) -> impl Iterator<Item = (Budget, &'a str)> {
    let budgets = core.infra.budgets;
    [(budgets.login_addresses, Some(from)), (budgets.logins, account)]
        .into_iter()
        .filter_map(|(budget, subject)| Some((budget, subject?)))
}

/// Gives a user another role. Access tokens with the old one are refused from then on; sessions go on.
pub async fn set_role(core: &Arc<Core>, mandate: &Mandate, id: UserId, role: Role) -> Result<User, SetRoleError> {
    let changed = core.transact(mandate, async |connection| {
        let locked = store::lock_admins_and(connection, id).await?;
        let is_admin = |user: &&User| user.role == Role::Admin;
        // Whoever was one when they asked need not be one any more.
        if mandate.actor.is_some_and(|actor| !locked.iter().filter(is_admin).any(|user| user.id == actor)) {
            return Err(Error::Forbidden(Role::Admin.as_str()).into());
        }
        let admins = locked.iter().filter(is_admin).count();
        let before = locked.iter().find(|user| user.id == id).ok_or(SetRoleError::NoSuchUser)?;
        if before.role == role {
            return Ok(before.clone());
        }
        if before.role == Role::Admin && admins == 1 {
            return Err(SetRoleError::LastAdmin);
        }
        let after = store::set_role(connection, id, role).await?;
        let change = Change::updated(Entity::User, id.0, &before.logged(), &after.logged());
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok(after)
    });
    changed.await
}

/// Makes an API key. Its secret is told this once.
pub async fn create_api_key(
    core: &Arc<Core>,
    mandate: &Mandate,
    user: &SignedIn,
    draft: ApiKeyDraft,
) -> Result<(ApiKey, String), ApiKeyError> {
    let draft = draft.check(Utc::now()).map_err(ApiKeyError::Invalid)?;
    let created = core.transact(mandate, async |connection| {
        let owner = store::lock(connection, user.id).await?.ok_or(Error::Unauthenticated)?;
        // A key outlives sessions: it must not be made by one that was ended while this waited.
        if owner.token_version != user.token_version {
            return Err(Error::Unauthenticated.into());
        }
        if store::count_api_keys(connection, user.id).await? >= MAX_API_KEYS {
            let mut errors = FieldErrors::default();
            let message = format!("must not be one more than {MAX_API_KEYS} keys; revoke one first");
            errors.add(FieldErrorCode::OutOfRange, &[], message);
            return Err(ApiKeyError::Invalid(errors));
        }
        let secret = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
        let new = NewApiKey {
            id: ApiKeyId::new(),
            user_id: user.id,
            name: draft.name.clone(),
            prefix: secret.chars().take(SHOWN).collect(),
            hash: hashed(&secret),
            scopes: draft.scopes.clone(),
            expires_at: draft.expires_at,
        };
        let key = store::insert_api_key(connection, &new).await?;
        let change = Change::created(Entity::ApiKey, key.id.0, &key.logged());
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok((key, secret))
    });
    created.await
}

/// Ends an API key: one's own, or for administrators any.
pub async fn revoke_api_key(
    core: &Arc<Core>,
    mandate: &Mandate,
    user: &SignedIn,
    id: ApiKeyId,
) -> Result<usize, RevokeError> {
    let revoked = core.transact(mandate, async |connection| {
        let key = store::api_key_by_id(connection, id).await?;
        let key = key.filter(|key| key.user_id == user.id || user.role == Role::Admin).ok_or(RevokeError::NotFound)?;
        let revoked = store::delete_api_key(connection, id).await?;
        if revoked > 0 {
            let change = Change::deleted(Entity::ApiKey, id.0, &key.logged());
            changes::record(connection, mandate.actor, vec![change]).await?;
        }
        Ok(revoked)
    });
    revoked.await
}

/// What is kept of a secret that is random and long.
pub fn hashed(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| Error::internal(anyhow::anyhow!("no random numbers")))
}

/// The user with this address, for the command line.
pub async fn user_by_email(core: &Core, email: &str) -> Result<Option<UserId>, Error> {
    let Ok(email_key) = model::email_key(email) else { return Ok(None) };
    Ok(store::id_by_email_key(&mut *core.infra.db.read().await?, &email_key).await?)
}

/// Forgets sessions and links that have ended, and answers that are kept no longer.
pub async fn prune(core: &Core) -> Result<usize, Error> {
    let (lives, now) = (core.accounts.lives, Utc::now());
    let mut connection = core.infra.db.write().await?;
    let (begun, used) = (now - lives.whole, now - lives.idle);
    let sessions = store::prune_sessions(&mut connection, begun, used, now - REVOKED_KEPT).await?;
    let links = store::prune_mail_tokens(&mut connection).await?;
    let answers = transaction::prune(&mut connection, now - ANSWERS_KEPT).await?;
    Ok(sessions + links + answers)
}

/// Adds customers with these numbers, as far as they are missing.
pub async fn seed_users(core: &Arc<Core>, numbers: std::ops::Range<u64>, password_hash: &str) -> Result<(), Error> {
    let users: Vec<NewUser> = numbers.map(|number| NewUser::numbered(number, password_hash)).collect();
    let mandate = Mandate::default();
    let seeded = core.transact(&mandate, async |connection| {
        store::insert_missing(connection, &users).await?;
        changes::record(connection, None, vec![Change::bulk(Entity::User)]).await?;
        Ok(())
    });
    seeded.await
}
