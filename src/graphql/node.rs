//! Anything that has a global id.

use async_graphql::{Context, ID, Interface, Object};

use crate::domain::accounts::{Right, queries};
use crate::graphql::accounts::{ApiKey, Session, User};
use crate::graphql::catalog::{Category, Product};
use crate::graphql::context::OfRequest;
use crate::graphql::directives::{list_size, names};
use crate::graphql::error::{ApiError, Result};
use crate::graphql::id::NodeId;

/// Ids in one `nodes`, at most.
const MAX_IDS: usize = 100;

/// Something with an id that is unique among all types.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Opaque, and unique among all types."))]
pub enum Node {
    Product(Product),
    Category(Category),
    User(User),
    Session(Session),
    ApiKey(ApiKey),
}

#[derive(Default)]
pub struct NodeQueries;

#[Object]
impl NodeQueries {
    /// The object with this id; null if there is none, or none for this viewer.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "An `id` that this API gave.")] id: ID,
    ) -> Result<Option<Node>> {
        find(ctx, NodeId::read("id", &id)?).await
    }

    /// The objects with these ids, in their order; null for each that does not exist, or not for this viewer.
    #[graphql(directive = list_size::apply(None, names(["ids"]), None, Some(false)))]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most 100 ids that this API gave.")] ids: Vec<ID>,
    ) -> Result<Option<Vec<Option<Node>>>> {
        if ids.len() > MAX_IDS {
            return Err(ApiError::bad_input("ids", format!("must be at most {MAX_IDS}")));
        }
        let ids = ids.iter().map(|id| NodeId::read("ids", id)).collect::<Result<Vec<_>>>()?;
        let found = futures_util::future::join_all(ids.into_iter().map(|id| find(ctx, id))).await;
        found.into_iter().collect::<Result<_>>().map(Some)
    }
}

async fn find(ctx: &Context<'_>, id: NodeId) -> Result<Option<Node>> {
    let request = ctx.request();
    Ok(match id {
        NodeId::Product(id) => {
            let product = request.products.load(id).await?.map(Product::from);
            product.filter(|product| product.is_visible_in(request)).map(Node::Product)
        }
        NodeId::Category(id) => Category::find(ctx, id).await?.map(Node::Category),
        // Others' accounts are for administrators.
        NodeId::User(id) if request.user() == Some(id) || request.may(Right::ADMIN) => {
            request.users.load(id).await?.map(|user| Node::User(User::from(user)))
        }
        NodeId::Session(id) if request.user().is_some() => {
            let session = queries::session(&request.core, id).await?;
            let session = session.filter(|session| request.may_see("User", "sessions", Some(session.user_id)));
            session.map(|session| Node::Session(Session(session)))
        }
        NodeId::ApiKey(id) if request.user().is_some() => {
            let key = queries::api_key(&request.core, id).await?;
            let key = key.filter(|key| request.may_see("User", "apiKeys", Some(key.user_id)));
            key.map(|key| Node::ApiKey(ApiKey(key)))
        }
        NodeId::User(_) | NodeId::Session(_) | NodeId::ApiKey(_) => None,
    })
}
