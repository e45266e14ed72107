//! Users as the API shows them.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, SimpleObject};

use crate::domain::accounts::{self, Credential, queries};
use crate::domain::error::Error;
use crate::domain::ids::UserId;
use crate::graphql::context::OfRequest;
use crate::graphql::directives::{auth, cost, list_size};
use crate::graphql::error::Result;
use crate::graphql::id::NodeId;
use crate::graphql::page::PageInfo;
use crate::graphql::scalars::DateTime;

/// What a user may do; each role may do all that the ones before it may.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "accounts::Role")]
pub enum Role {
    /// Browses, and has an account.
    Customer,
    /// Keeps the catalogue.
    Staff,
    /// Keeps the accounts.
    Admin,
}

/// What an API key may do of what its owner may do.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "accounts::Scope")]
pub enum Scope {
    /// See all of the catalogue that its owner sees.
    CatalogRead,
    /// Change the catalogue.
    CatalogWrite,
    /// See accounts and the audit log.
    AccountsRead,
    /// Give roles.
    AccountsWrite,
}

/// Somebody with an account.
pub enum User {
    Known(Arc<accounts::User>),
    /// Known to the accounts, which are another service.
    Elsewhere(UserId),
}

impl From<Arc<accounts::User>> for User {
    fn from(user: Arc<accounts::User>) -> Self {
        Self::Known(user)
    }
}

impl From<accounts::User> for User {
    fn from(user: accounts::User) -> Self {
        Self::Known(Arc::new(user))
    }
}

impl User {
    fn key(&self) -> UserId {
        match self {
            Self::Known(user) => user.id,
            Self::Elsewhere(id) => *id,
        }
    }

    fn known(&self) -> Result<&accounts::User> {
        match self {
            Self::Known(user) => Ok(user),
            Self::Elsewhere(_) => Err(Error::internal(anyhow::anyhow!("users are another service's")).into()),
        }
    }
}

/// Somebody with an account.
#[Object]
impl User {
    /// Opaque, and unique among all types.
    pub async fn id(&self) -> ID {
        NodeId::User(self.key()).encode()
    }

    /// The e-mail address, as its owner wrote it.
    async fn email(&self) -> Result<&str> {
        Ok(&self.known()?.email)
    }

    /// What to call them.
    async fn name(&self) -> Result<Option<&str>> {
        Ok(self.known()?.name.as_deref())
    }

    /// What they may do.
    async fn role(&self) -> Result<Role> {
        Ok(self.known()?.role.into())
    }

    /// When the account was opened.
    async fn created_at(&self) -> Result<DateTime> {
        Ok(DateTime(self.known()?.created_at))
    }

    /// Whether they showed that the e-mail address is theirs.
    async fn email_verified(&self) -> Result<bool> {
        Ok(self.known()?.email_verified_at.is_some())
    }

    /// Where they are signed in, the last used first, 100 at most; null for others than themselves and administrators.
    #[graphql(directive = cost::apply("10".to_owned()), directive = list_size::apply(Some(10), None, None, None), directive = auth::apply(Role::Admin, Some(Scope::AccountsRead), Some(true)))]
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Option<Vec<Session>>> {
        let request = ctx.request();
        if !request.may_see("User", "sessions", Some(self.key())) {
            return Ok(None);
        }
        let sessions = queries::sessions(&request.core, self.key()).await?;
        request.count_items(sessions.len())?;
        Ok(Some(sessions.into_iter().map(Session).collect()))
    }

    /// The API keys that act for them, the newest first; null for others than themselves and administrators.
    #[graphql(directive = cost::apply("10".to_owned()), directive = list_size::apply(Some(10), None, None, None), directive = auth::apply(Role::Admin, Some(Scope::AccountsRead), Some(true)))]
    async fn api_keys(&self, ctx: &Context<'_>) -> Result<Option<Vec<ApiKey>>> {
        let request = ctx.request();
        if !request.may_see("User", "apiKeys", Some(self.key())) {
            return Ok(None);
        }
        let keys = queries::api_keys(&request.core, self.key()).await?;
        request.count_items(keys.len())?;
        Ok(Some(keys.into_iter().map(ApiKey).collect()))
    }
}

/// A sign-in on one device, for as long as its tokens are refreshed.
pub struct Session(pub accounts::Session);

/// A sign-in on one device, for as long as its tokens are refreshed.
#[Object]
impl Session {
    /// Opaque, and unique among all types.
    pub async fn id(&self) -> ID {
        NodeId::Session(self.0.id).encode()
    }

    /// When it began.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When its tokens were refreshed last.
    async fn last_used_at(&self) -> DateTime {
        DateTime(self.0.used_at)
    }

    /// When it ends, if it is not used until then.
    async fn expires_at(&self, ctx: &Context<'_>) -> DateTime {
        DateTime(self.0.expires_at(ctx.request().core.accounts.lives))
    }

    /// What the program called itself that signed in.
    async fn user_agent(&self) -> Option<&str> {
        self.0.user_agent.as_deref()
    }

    /// The IP address that it began at.
    async fn address(&self) -> &str {
        &self.0.address
    }

    /// Whether it is the one that asks.
    async fn current(&self, ctx: &Context<'_>) -> bool {
        let user = ctx.request().signed_in();
        user.is_ok_and(|user| user.credential == Credential::Session(self.0.id))
    }
}

/// A machine's credential: send its secret as `Authorization: Bearer sk_...`.
pub struct ApiKey(pub accounts::ApiKey);

/// A machine's credential: send its secret as `Authorization: Bearer sk_...`.
#[Object]
impl ApiKey {
    /// Opaque, and unique among all types.
    pub async fn id(&self) -> ID {
        NodeId::ApiKey(self.0.id).encode()
    }

    /// What it is for.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// How its secret begins.
    async fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// What it may do, of what its owner may do.
    async fn scopes(&self) -> Vec<Scope> {
        self.0.scopes.iter().map(|&scope| scope.into()).collect()
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it was used last, to the minute.
    async fn last_used_at(&self) -> Option<DateTime> {
        self.0.last_used_at.map(DateTime)
    }

    /// When it ends by itself.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(DateTime)
    }
}

/// A page of users.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct UserConnection {
    /// The users, each with its place in the list.
    pub edges: Vec<UserEdge>,
    /// Where the page lies.
    pub page_info: PageInfo,
}

/// A user on a page.
#[derive(SimpleObject)]
#[graphql(directive = cost::apply("0".to_owned()))]
pub struct UserEdge {
    /// Its place, for `after` and `before`.
    pub cursor: String,
    /// The user.
    pub node: User,
}
