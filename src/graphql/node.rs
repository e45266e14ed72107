//! Anything that has a global id.

use async_graphql::{Context, ID, Interface, Object};

use crate::config::Service;
use crate::domain::accounts::{Right, queries};
use crate::graphql::accounts::{ApiKey, Session, User};
use crate::graphql::catalog::{Category, Product, is_visible};
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
    ProductReference(ProductReference),
    CategoryReference(CategoryReference),
}

/// The types of which there are references beside the objects.
pub const REFERENCES: [&str; 2] = ["Category", "Product"];

/// A product where the catalogue is another service.
pub struct ProductReference(NodeId);

#[Object(name = "Product")]
impl ProductReference {
    pub async fn id(&self) -> ID {
        self.0.encode()
    }
}

/// A category, likewise.
pub struct CategoryReference(NodeId);

#[Object(name = "Category")]
impl CategoryReference {
    pub async fn id(&self) -> ID {
        self.0.encode()
    }
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

/// The object with this id, if there is one for this viewer.
pub async fn find(ctx: &Context<'_>, id: NodeId) -> Result<Option<Node>> {
    let request = ctx.request();
    let has_catalog = request.core.services.include(Service::Catalog);
    if !has_catalog {
        // What is not remembered cannot tell when it no longer holds.
        request.notes.is_personal();
    }
    Ok(match id {
        NodeId::Product(key) if !has_catalog => {
            let status = request.statuses.load(key).await?.filter(|status| is_visible(**status, request));
            status.map(|_| Node::ProductReference(ProductReference(id)))
        }
        NodeId::Category(key) if !has_catalog => {
            let exists = request.existing_categories.load(key).await?;
            exists.map(|_| Node::CategoryReference(CategoryReference(id)))
        }
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
