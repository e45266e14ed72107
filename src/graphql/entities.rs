//! What the gateway asks of a service that is one of several: what it does, and the objects that others refer to
//! (<https://www.apollographql.com/docs/graphos/schema-design/federated-schemas/reference/subgraph-spec>).

use async_graphql::{Any, Context, Object, SimpleObject, Union, Value};
use futures_util::future::join_all;

use crate::config::Service;
use crate::graphql::accounts::User;
use crate::graphql::catalog::{Category, Product};
use crate::graphql::context::OfRequest;
use crate::graphql::directives::{cost, list_size, names};
use crate::graphql::error::{ApiError, Result};
use crate::graphql::id::NodeId;
use crate::graphql::node::{Node, find};
use crate::graphql::published_sdl;

/// The name of [`Entity`], which Federation gives it.
pub const NAME: &str = "_Entity";
/// Representations in one `_entities`, at most.
const MAX_REPRESENTATIONS: usize = 1_000;

/// An object that other services refer to by its id.
#[derive(Union)]
#[graphql(name = "_Entity")]
pub enum Entity {
    Category(Category),
    Product(Product),
    User(User),
}

/// What this service does.
#[derive(SimpleObject)]
#[graphql(name = "_Service", directive = cost::apply("0".to_owned()))]
struct Subgraph {
    /// The subgraph in GraphQL's schema language.
    sdl: String,
}

#[derive(Default)]
pub struct EntityQueries;

#[Object]
impl EntityQueries {
    /// What this service does, for composition. Shown to whom the schema is.
    #[graphql(name = "_service", directive = cost::apply("50".to_owned()))]
    async fn subgraph(&self, ctx: &Context<'_>) -> Subgraph {
        Subgraph { sdl: published_sdl(ctx.request().core.services) }
    }

    /// The objects that these stand for, in their order; null for each that does not exist, or not for this viewer.
    #[graphql(name = "_entities", directive = list_size::apply(None, names(["representations"]), None, Some(false)))]
    async fn entities(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most 1000, each with `__typename` and `id`.")] representations: Vec<Any>,
    ) -> Result<Vec<Option<Result<Entity>>>> {
        if representations.len() > MAX_REPRESENTATIONS {
            let advice = format!("must be at most {MAX_REPRESENTATIONS}");
            return Err(ApiError::bad_input("representations", advice));
        }
        // All at once, so that the loaders see them together.
        let found =
            representations.iter().map(async |Any(representation)| entity(ctx, representation).await.transpose());
        Ok(join_all(found).await)
    }
}

async fn entity(ctx: &Context<'_>, representation: &Value) -> Result<Option<Entity>> {
    let services = ctx.request().core.services;
    let id = read(representation).filter(|id| services.include(owner(*id))).ok_or_else(|| {
        ApiError::bad_input("representations", "must be of types of this service, each with `__typename` and `id`")
    })?;
    Ok(match id {
        // Whoever may be told who made a product may be told by this service, too.
        NodeId::User(id) if ctx.request().may_see("Product", "createdBy", None) => {
            ctx.request().users.load(id).await?.map(|user| Entity::User(User::from(user)))
        }
        id => match find(ctx, id).await? {
            Some(Node::Category(category)) => Some(Entity::Category(category)),
            Some(Node::Product(product)) => Some(Entity::Product(product)),
            Some(Node::User(user)) => Some(Entity::User(user)),
            _ => None,
        },
    })
}

/// The service whose entity has this id.
fn owner(id: NodeId) -> Service {
    match id {
        NodeId::Category(_) | NodeId::Product(_) => Service::Catalog,
        NodeId::User(_) | NodeId::Session(_) | NodeId::ApiKey(_) => Service::Accounts,
    }
}

/// The id in a representation of a type that it is the id of.
fn read(representation: &Value) -> Option<NodeId> {
    let Value::Object(members) = representation else { return None };
    let (Value::String(name), Value::String(id)) = (members.get("__typename")?, members.get("id")?) else {
        return None;
    };
    match (name.as_str(), NodeId::decode(id)?) {
        ("Category", id @ NodeId::Category(_))
        | ("Product", id @ NodeId::Product(_))
        | ("User", id @ NodeId::User(_)) => Some(id),
        _ => None,
    }
}
