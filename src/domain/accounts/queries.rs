//! Reads of accounts. They stay in the process: addresses are nobody else's business.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::Core;
use crate::domain::accounts::model::User;
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
