//! Reads of accounts. They stay in the process: addresses are nobody else's business.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::domain::Core;
use crate::domain::accounts::model::{SignedIn, User};
use crate::domain::accounts::store;
use crate::domain::answers::{Reach, Region};
use crate::domain::changes::Entity;
use crate::domain::error::Error;
use crate::domain::ids::UserId;
use crate::domain::page::{Page, Window};

const USERS: Region = Region { name: "user", reach: Reach::Process };

/// Of these users those that exist.
pub async fn users_by_ids(core: &Arc<Core>, ids: &[UserId]) -> Result<HashMap<UserId, Arc<User>>, Error> {
    core.answer_each(USERS, Entity::User, ids, async |core, missing| {
        let users = store::by_ids(&mut *core.infra.db.read().await?, &missing).await?;
        Ok(users.into_iter().map(|user| (user.id, user)).collect())
    })
    .await
}

/// All users, the newest first.
pub async fn users(core: &Core, window: &Window<UserId>) -> Result<Page<User>, Error> {
    Ok(window.page(store::page(&mut *core.infra.db.read().await?, window).await?))
}

/// How many there are.
pub async fn user_count(core: &Core) -> Result<i64, Error> {
    Ok(store::count(&mut *core.infra.db.read().await?).await?)
}

/// Ready once the user has no longer the role that the token says, or is no more.
pub async fn until_revoked(core: &Arc<Core>, user: SignedIn) {
    while let Err(error) = watch(core, user).await {
        // Whatever happens meanwhile is looked at first when it works again.
        tracing::debug!(%error, "nothing is known of a user's role");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn watch(core: &Arc<Core>, user: SignedIn) -> Result<(), Error> {
    let mut changes = std::pin::pin!(core.changes_after(None).await?);
    loop {
        // Also at first: the token may be older than the last change.
        let now = users_by_ids(core, &[user.id]).await?;
        if now.get(&user.id).is_none_or(|now| now.role != user.role) {
            return Ok(());
        }
        loop {
            let change = changes.next().await.ok_or(Error::Busy)??;
            if change.entity == Entity::User && change.entity_id.is_none_or(|id| id == user.id.0) {
                break;
            }
        }
    }
}
