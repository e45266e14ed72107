//! Writes of accounts, and signing in.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::Utc;
use diesel_async::AsyncConnection;
use secrecy::SecretString;
use uuid::Uuid;

use crate::domain::Core;
use crate::domain::accounts::model::{self, AccountDraft, NewAccount, Role, User};
use crate::domain::accounts::store::{self, NewUser};
use crate::domain::changes::{self, Change, Entity};
use crate::domain::error::{Error, FieldErrors, violated};
use crate::domain::ids::UserId;
use crate::infra::tokens::{Issued, Subject};

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

/// Why nobody was signed in.
#[derive(Debug)]
pub enum LoginError {
    /// There were too many attempts; when the next one may be made.
    TooOften(Duration),
    /// The address is unknown or the password is wrong; which of them is not told.
    WrongCredentials,
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

macro_rules! fail_with {
    ($($name:ident)*) => {$(
        impl<E: Into<Error>> From<E> for $name {
            fn from(error: E) -> Self {
                Self::Failed(error.into())
            }
        }
    )*};
}
fail_with! { RegisterError LoginError SetRoleError }

/// Opens an account for a customer, and signs them in. `from` is where the attempt comes from.
pub async fn register(core: &Arc<Core>, draft: AccountDraft, from: &str) -> Result<(User, Issued), RegisterError> {
    attempt(core, &account(&draft.email), from).await.map_err(RegisterError::TooOften)?;
    let user = create_user(core, draft, Role::Customer).await?;
    let token = issue(core, &user)?;
    Ok((user, token))
}

/// Opens an account with a role.
pub async fn create_user(core: &Arc<Core>, draft: AccountDraft, role: Role) -> Result<User, RegisterError> {
    let NewAccount { email, email_key, password, name } = draft.check().map_err(RegisterError::Invalid)?;
    let password_hash = core.infra.passwords.hash(&model::password_key(&password)).await?;

    let new = NewUser { id: UserId::new(), email, email_key, name, role, password_hash };
    let mut connection = core.infra.db.write().await?;
    let inserted = connection
        .transaction(async |connection| {
            let user = store::insert(connection, &new).await?;
            let change = Change::created(Entity::User, user.id.0, &user.logged());
            changes::record(connection, Some(user.id), vec![change]).await?;
            Ok(user)
        })
        .await;
    match inserted {
        Err(error) if violated(&error) == Some("users_email_key_key") => Err(RegisterError::EmailTaken),
        inserted => Ok(inserted?),
    }
}

/// The user with this address and password, and a token for them. `from` is where the attempt comes from.
pub async fn login(
    core: &Arc<Core>,
    email: &str,
    password: &SecretString,
    from: &str,
) -> Result<(User, Issued), LoginError> {
    // What cannot be an address is looked for in vain all the same: nothing may tell the cases apart.
    let email_key = model::email_key(email).unwrap_or_default();
    let account = account(email);
    attempt(core, &account, from).await.map_err(LoginError::TooOften)?;
    let known = {
        let mut connection = core.infra.db.read().await?;
        store::with_hash(&mut connection, &email_key).await?
    };
    let hash = known.as_ref().map(|(_, hash)| hash.as_str());
    let matches = core.infra.passwords.verify(&model::password_key(password), hash).await?;
    match known {
        Some((user, _)) if matches => {
            let infra = &core.infra;
            infra.limiter.give_back(infra.budgets.logins, &account, 1).await;
            infra.limiter.give_back(infra.budgets.login_addresses, from, 1).await;
            let token = issue(core, &user)?;
            Ok((user, token))
        }
        _ => Err(LoginError::WrongCredentials),
    }
}

/// The name under which attempts on an account are counted, which does not tell its address.
fn account(email: &str) -> String {
    let key = model::email_key(email).unwrap_or_else(|_| email.to_owned());
    let digest = digest(&SHA256, key.as_bytes());
    digest.as_ref().iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Counts an attempt to get in.
///
/// # Errors
/// When there were too many: the time until the next one may be made. Whether the account exists makes no difference.
async fn attempt(core: &Core, account: &str, from: &str) -> Result<(), Duration> {
    let infra = &core.infra;
    for (budget, subject) in [(infra.budgets.login_addresses, from), (infra.budgets.logins, account)] {
        if let Some(spent) = infra.limiter.spend(budget, subject, 1).await
            && !spent.granted
        {
            return Err(spent.retry_after);
        }
    }
    Ok(())
}

/// Gives a user another role.
pub async fn set_role(core: &Arc<Core>, actor: Option<UserId>, id: UserId, role: Role) -> Result<User, SetRoleError> {
    let mut connection = core.infra.db.write().await?;
    connection
        .transaction(async |connection| {
            let locked = store::lock_admins_and(connection, id).await?;
            let admins = locked.iter().filter(|user| user.role == Role::Admin).count();
            let before = locked.iter().find(|user| user.id == id).ok_or(SetRoleError::NoSuchUser)?;
            if before.role == role {
                return Ok(before.clone());
            }
            if before.role == Role::Admin && admins == 1 {
                return Err(SetRoleError::LastAdmin);
            }
            let after = store::set_role(connection, id, role).await?;
            let change = Change::updated(Entity::User, id.0, &before.logged(), &after.logged());
            changes::record(connection, actor, vec![change]).await?;
            Ok(after)
        })
        .await
}

/// The user with this address, for the command line.
pub async fn user_by_email(core: &Core, email: &str) -> Result<Option<UserId>, Error> {
    let Ok(email_key) = model::email_key(email) else { return Ok(None) };
    Ok(store::id_by_email_key(&mut *core.infra.db.read().await?, &email_key).await?)
}

fn issue(core: &Core, user: &User) -> Result<Issued, Error> {
    let subject = Subject { id: user.id.0, session: Uuid::now_v7(), role: user.role.as_str().to_owned() };
    core.infra.tokens.issue(&subject, Utc::now()).map_err(Error::internal)
}

/// Adds customers with these numbers, as far as they are missing.
pub async fn seed_users(core: &Arc<Core>, numbers: std::ops::Range<u64>, password_hash: &str) -> Result<(), Error> {
    let users: Vec<NewUser> = numbers.map(|number| NewUser::numbered(number, password_hash)).collect();
    let mut connection = core.infra.db.write().await?;
    connection
        .transaction(async |connection| {
            store::insert_missing(connection, &users).await?;
            changes::record(connection, None, vec![Change::bulk(Entity::User)]).await?;
            Ok(())
        })
        .await
}
