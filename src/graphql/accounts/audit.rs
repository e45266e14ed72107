//! Who did what.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::accounts::{Audited, queries};
use crate::domain::changes::{self, Place};
use crate::domain::ids::{ApiKeyId, CategoryId, ProductId, SessionId, UserId};
use crate::domain::page::PageArguments;
use crate::graphql::accounts::types::{Role, Scope, User};
use crate::graphql::context::OfRequest;
use crate::graphql::directives::{auth, cost, list_size, names};
use crate::graphql::error::{ApiError, Result};
use crate::graphql::id::NodeId;
use crate::graphql::page::PageInfo;
use crate::graphql::scalars::{DateTime, Json};

/// What something was done to.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "changes::Entity")]
pub enum AuditSubject {
    /// A product.
    Product,
    /// A category.
    Category,
    /// An account: its name, role, password or address.
    User,
    /// A session, which was ended.
    Session,
    /// An API key.
    ApiKey,
}

/// What was done to it.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "changes::Kind")]
pub enum AuditKind {
    /// It is new.
    Created,
    /// It is other than before.
    Updated,
    /// It is no more.
    Deleted,
    /// Many at once, by the command line.
    Bulk,
}

/// Which entries of the audit log.
#[derive(InputObject, Default)]
pub struct AuditFilter {
    /// Of what this user did.
    actor: Option<ID>,
    /// Of what was done to these.
    subject: Option<AuditSubject>,
    /// Of what was done to the one with this id.
    subject_id: Option<ID>,
    /// From then on.
    since: Option<DateTime>,
    /// Until then.
    until: Option<DateTime>,
}

/// Something that was done.
pub struct AuditEntry(Audited);

/// Something that was done.
#[Object]
impl AuditEntry {
    /// When.
    async fn at(&self) -> DateTime {
        DateTime(self.0.at)
    }

    /// The id of whoever did it; null for the command line, and for what the server did by itself.
    async fn actor_id(&self) -> Option<ID> {
        self.0.actor_id.map(|id| NodeId::User(id).encode())
    }

    /// Whoever did it, if the account exists still.
    async fn actor(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        match self.0.actor_id {
            Some(id) => Ok(ctx.request().users.load(id).await?.map(User::from)),
            None => Ok(None),
        }
    }

    /// What it was done to.
    async fn subject(&self) -> AuditSubject {
        self.0.entity.into()
    }

    /// The id of what it was done to; null for many at once.
    async fn subject_id(&self) -> Option<ID> {
        let id = self.0.entity_id?;
        let node = match self.0.entity {
            changes::Entity::Product => NodeId::Product(ProductId(id)),
            changes::Entity::Category => NodeId::Category(CategoryId(id)),
            changes::Entity::User => NodeId::User(UserId(id)),
            changes::Entity::Session => NodeId::Session(SessionId(id)),
            changes::Entity::ApiKey => NodeId::ApiKey(ApiKeyId(id)),
        };
        Some(node.encode())
    }

    /// What was done.
    async fn kind(&self) -> AuditKind {
        self.0.kind.into()
    }

    /// The fields that are other than before.
    async fn changed(&self) -> Vec<String> {
        let fields = |logged: &Option<serde_json::Value>| logged.as_ref().and_then(|value| value.as_object().cloned());
        match (fields(&self.0.before), fields(&self.0.after)) {
            (Some(before), Some(after)) => after
                .into_iter()
                .filter(|(name, value)| before.get(name) != Some(value))
                .map(|(name, _)| name)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What was kept of it before: no secret, no address.
    async fn before(&self) -> Option<Json> {
        self.0.before.clone().map(Json)
    }

    /// The same, afterwards.
    async fn after(&self) -> Option<Json> {
        self.0.after.clone().map(Json)
    }
}

/// A page of the audit log.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct AuditConnection {
    /// The entries, each with its place.
    edges: Vec<AuditEdge>,
    /// Where the page lies.
    page_info: PageInfo,
}

/// An entry on a page.
#[derive(SimpleObject)]
#[graphql(directive = cost::apply("0".to_owned()))]
pub struct AuditEdge {
    /// Its place, for `after` and `before`.
    cursor: String,
    /// The entry.
    node: AuditEntry,
}

#[async_graphql::ComplexObject]
impl AuditConnection {
    /// The entries without their cursors.
    async fn nodes(&self) -> Vec<&AuditEntry> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }
}

#[derive(Default)]
pub struct AuditQueries;

#[Object]
impl AuditQueries {
    /// Who did what to accounts and the catalogue, the latest first, as far back as changes are kept. For administrators.
    #[graphql(directive = cost::apply("10".to_owned()), directive = list_size::apply(Some(20), names(["first", "last"]), names(["edges", "nodes"]), Some(false)), directive = auth::apply(Role::Admin, Some(Scope::AccountsRead), None))]
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, from the start or after `after`: 1 to 100, 20 if neither is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "A page's `endCursor`: what follows it.")] after: Option<String>,
        #[graphql(desc = "How many, from the end or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A page's `startCursor`: what precedes it.")] before: Option<String>,
        #[graphql(desc = "Which entries.")] filter: Option<AuditFilter>,
    ) -> Result<Option<AuditConnection>> {
        ctx.permitted()?;
        let window = PageArguments { first, after, last, before, offset: None }.check(read_cursor)?;
        let filter = filter.unwrap_or_default().read()?;

        let page = queries::audit(&ctx.request().core, &filter, &window).await?;

        let edge = |entry: Audited| AuditEdge { cursor: cursor(entry.place()), node: AuditEntry(entry) };
        let edges: Vec<AuditEdge> = page.items.into_iter().map(edge).collect();
        let page_info = PageInfo {
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: edges.last().map(|edge| edge.cursor.clone()),
        };
        Ok(Some(AuditConnection { edges, page_info }))
    }
}

impl AuditFilter {
    fn read(self) -> Result<queries::AuditFilter> {
        let actor = self.actor.map(|id| crate::graphql::id::user("filter.actor", &id)).transpose()?;
        let one = self.subject_id.map(|id| NodeId::read("filter.subjectId", &id)).transpose()?.map(named);
        let kind = self.subject.map(changes::Entity::from);
        if let (Some(kind), Some((of, _))) = (kind, one)
            && kind != of
        {
            return Err(ApiError::bad_input("filter.subjectId", "is not the id of a `subject` of that kind"));
        }
        Ok(queries::AuditFilter {
            actor,
            entity: kind.or(one.map(|(of, _)| of)),
            entity_id: one.map(|(_, id)| id),
            since: self.since.map(|at| at.0),
            until: self.until.map(|at| at.0),
        })
    }
}

/// What the log calls a node.
fn named(id: NodeId) -> (changes::Entity, uuid::Uuid) {
    match id {
        NodeId::Product(id) => (changes::Entity::Product, id.0),
        NodeId::Category(id) => (changes::Entity::Category, id.0),
        NodeId::User(id) => (changes::Entity::User, id.0),
        NodeId::Session(id) => (changes::Entity::Session, id.0),
        NodeId::ApiKey(id) => (changes::Entity::ApiKey, id.0),
    }
}

fn cursor((version, number): Place) -> String {
    let bytes = [b"a".as_slice(), &version.to_be_bytes(), &number.to_be_bytes()].concat();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read_cursor(text: &str) -> std::result::Result<Place, String> {
    let read = || {
        let bytes = (text.len() < 64).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
        let (version, number) = bytes.strip_prefix(b"a")?.split_first_chunk::<8>()?;
        Some((i64::from_be_bytes(*version), i32::from_be_bytes(number.try_into().ok()?)))
    };
    read().ok_or_else(|| "is not a cursor of this list; pass an `endCursor` or `startCursor` of it".to_owned())
}
