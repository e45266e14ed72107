//! Users as the API shows them.

use std::sync::Arc;

use async_graphql::{Enum, ID, Object, SimpleObject};

use crate::domain::accounts;
use crate::graphql::directives::cost;
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

/// Somebody with an account.
pub struct User(Arc<accounts::User>);

impl From<Arc<accounts::User>> for User {
    fn from(user: Arc<accounts::User>) -> Self {
        Self(user)
    }
}

impl From<accounts::User> for User {
    fn from(user: accounts::User) -> Self {
        Self(Arc::new(user))
    }
}

/// Somebody with an account.
#[Object]
impl User {
    /// Opaque, and unique among all types.
    pub async fn id(&self) -> ID {
        NodeId::User(self.0.id).encode()
    }

    /// The e-mail address, as its owner wrote it.
    async fn email(&self) -> &str {
        &self.0.email
    }

    /// What to call them.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// What they may do.
    async fn role(&self) -> Role {
        self.0.role.into()
    }

    /// When the account was opened.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
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
