//! Questions about accounts.

use async_graphql::{ComplexObject, Context, Object};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::accounts::queries;
use crate::domain::ids::UserId;
use crate::domain::page::PageArguments;
use crate::graphql::accounts::types::{Role, Scope, User, UserConnection, UserEdge};
use crate::graphql::context::OfRequest;
use crate::graphql::directives::{auth, cost, list_size, names};
use crate::graphql::error::Result;
use crate::graphql::page::PageInfo;

#[derive(Default)]
pub struct AccountQueries;

#[Object]
impl AccountQueries {
    /// Whoever asks; null without an access token.
    async fn me(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        let request = ctx.request();
        match request.user() {
            Some(id) => Ok(request.users.load(id).await?.map(User::from)),
            None => Ok(None),
        }
    }

    /// All users, the newest first. For administrators.
    #[graphql(directive = cost::apply("10".to_owned()), directive = list_size::apply(Some(20), names(["first", "last"]), names(["edges", "nodes"]), Some(false)), directive = auth::apply(Role::Admin, Some(Scope::AccountsRead), None))]
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, from the start or after `after`: 1 to 100, 20 if neither is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "A page's `endCursor`: what follows it.")] after: Option<String>,
        #[graphql(desc = "How many, from the end or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A page's `startCursor`: what precedes it.")] before: Option<String>,
    ) -> Result<Option<UserConnection>> {
        ctx.permitted()?;
        let request = ctx.request();
        let window = PageArguments { first, after, last, before, offset: None }.check(read_cursor)?;

        let page = queries::users(&request.core, &window).await?;

        let edges: Vec<UserEdge> =
            page.items.into_iter().map(|user| UserEdge { cursor: cursor(user.id), node: User::from(user) }).collect();
        let page_info = PageInfo {
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: edges.last().map(|edge| edge.cursor.clone()),
        };
        Ok(Some(UserConnection { edges, page_info }))
    }
}

#[ComplexObject]
impl UserConnection {
    /// The users without their cursors.
    async fn nodes(&self) -> Vec<&User> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// How many users there are.
    #[graphql(directive = cost::apply("10".to_owned()))]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<Option<i32>> {
        let count = queries::user_count(&ctx.request().core).await?;
        Ok(i32::try_from(count).ok())
    }
}

fn cursor(id: UserId) -> String {
    URL_SAFE_NO_PAD.encode([b"u".as_slice(), id.0.as_bytes()].concat())
}

fn read_cursor(text: &str) -> std::result::Result<UserId, String> {
    let read = || {
        let bytes = (text.len() < 64).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
        Uuid::from_slice(bytes.strip_prefix(b"u")?).ok().map(UserId)
    };
    read().ok_or_else(|| "is not a cursor of this list; pass an `endCursor` or `startCursor` of it".to_owned())
}
