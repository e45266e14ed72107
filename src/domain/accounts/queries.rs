//! Reads of accounts. They stay in the process: addresses are nobody else's business.

use std::collections::HashMap;
use std::sync::Arc;

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
pub async fn until_revoked(core: &Core, user: SignedIn) {
    while let Ok(changes) = core.changes_after(None).await {
        let mut changes = std::pin::pin!(changes);
        while let Some(Ok(change)) = changes.next().await {
            let role = change.after.as_ref().and_then(|after| after.get("role")?.as_str());
            if change.entity == Entity::User && change.entity_id == Some(user.id.0) && role != Some(user.role.as_str())
            {
                return;
            }
        }
    }
    // Nothing can be known for now; the token's own end is near.
    std::future::pending::<()>().await;
}
