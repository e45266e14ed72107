//! What the resolvers of one request share, and no other request sees.

use std::sync::Arc;

use async_graphql::Context;
use futures_util::FutureExt;

use crate::domain::accounts::{self, Viewer};
use crate::domain::ids::{ProductId, UserId};
use crate::domain::{Core, catalog};
use crate::graphql::loader::Loader;

/// The request, to its resolvers.
pub struct RequestContext {
    pub core: Arc<Core>,
    pub viewer: Viewer,
    pub users: Loader<UserId, accounts::User>,
    pub products: Loader<ProductId, catalog::Product>,
}

impl RequestContext {
    pub fn new(core: Arc<Core>, viewer: Viewer) -> Self {
        Self {
            viewer,
            users: Loader::new(&core, |core, ids| {
                async move { accounts::queries::users_by_ids(&core, &ids).await }.boxed()
            }),
            products: Loader::new(&core, |core, ids| {
                async move { catalog::queries::products_by_ids(&core, &ids).await }.boxed()
            }),
            core,
        }
    }
}

/// Finds the request in async-graphql's context.
pub trait OfRequest {
    /// The request that is being answered.
    fn request(&self) -> &RequestContext;
}

impl OfRequest for Context<'_> {
    fn request(&self) -> &RequestContext {
        self.data_unchecked()
    }
}
