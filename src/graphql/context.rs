//! What the resolvers of one request share, and no other request sees.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::{Context, Value};
use futures_util::FutureExt;
use tokio::sync::OnceCell;

use crate::domain::accounts::{self, Device, Right, SignedIn, Viewer};
use crate::domain::changes::Version;
use crate::domain::error::Error;
use crate::domain::ids::{CategoryId, ProductId, UserId};
use crate::domain::reads::Token;
use crate::domain::transaction::{Mandate, Once};
use crate::domain::{Core, catalog};
use crate::graphql::directives::IDEMPOTENT;
use crate::graphql::error::{ApiError, Result};
use crate::graphql::loader::Loader;
use crate::graphql::permissions::{Permission, permission};
use crate::infra::rate_limit::Spent;

/// Characters of what a program calls itself that are kept.
const MAX_USER_AGENT: usize = 200;
/// Characters of an idempotency key, at most.
const MAX_KEY: usize = 255;

/// The request, to its resolvers.
pub struct RequestContext {
    pub core: Arc<Core>,
    pub asker: Asker,
    pub notes: Arc<Notes>,
    /// Items that lists may still have.
    items_left: AtomicU64,
    /// Mutations that have begun.
    begun: AtomicU64,
    pub users: Loader<UserId, accounts::User>,
    pub products: Loader<ProductId, catalog::Product>,
    /// What is known of the catalogue where that is another service.
    pub statuses: Loader<ProductId, catalog::Status>,
    pub existing_categories: Loader<CategoryId, ()>,
    tree: OnceCell<Arc<catalog::Tree>>,
}

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub struct Asker {
    viewer: Viewer,
    pub address: IpAddr,
    /// What their program calls itself.
    pub user_agent: Option<String>,
    /// The request's idempotency key, with what is asked for.
    pub once: Option<(String, Vec<u8>)>,
    /// What is left of their budget, if it is limited.
    pub spent: Option<Spent>,
    /// The last event that they have seen, if they say so beside the document.
    pub last_event: Option<String>,
    /// What they have seen before, if they say so.
    pub seen: Option<Token>,
    /// The version when a subscription was let in: where it begins, if nothing else is said.
    pub since: Option<Version>,
}

/// What resolvers leave for whoever sends the answer.
#[derive(Debug, Default)]
pub struct Notes {
    /// Somebody else might get another answer.
    is_personal: AtomicBool,
    /// Where the stream of events has come to.
    cursor: Mutex<Option<String>>,
}

impl Asker {
    pub fn new(viewer: Viewer, address: IpAddr) -> Self {
        Self { viewer, address, user_agent: None, once: None, spent: None, last_event: None, seen: None, since: None }
    }

    /// They turn out to be this one.
    pub fn is(&mut self, viewer: Viewer) {
        self.viewer = viewer;
    }

    /// The viewer, for what is no part of an answer.
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// Where they sign in.
    pub fn device(&self) -> Device {
        let user_agent = self.user_agent.as_ref().map(|name| name.chars().take(MAX_USER_AGENT).collect());
        Device { address: self.address.to_string(), user_agent, subject: self.subject() }
    }

    /// The name under which their address is limited: whoever has one address of an IPv6 /64 has them all.
    pub fn subject(&self) -> String {
        match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string()
            }
        }
    }
}

impl Notes {
    /// Whether anybody would get the same answer.
    pub fn is_public(&self) -> bool {
        !self.is_personal.load(Ordering::Relaxed)
    }

    /// Somebody else might get another answer.
    pub fn is_personal(&self) {
        self.is_personal.store(true, Ordering::Relaxed);
    }

    /// The stream of events has come to here.
    pub fn reached(&self, cursor: String) {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = Some(cursor);
    }

    /// Where the stream of events has come to, once.
    pub fn cursor(&self) -> Option<String> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl RequestContext {
    /// `max_items` is how many items all lists whose length nothing else bounds may have together.
    pub fn new(core: Arc<Core>, asker: Asker, max_items: u64) -> Self {
        Self {
            asker,
            items_left: AtomicU64::new(max_items),
            begun: AtomicU64::new(0),
            notes: Arc::default(),
            users: Loader::new(&core, |core, ids| {
                async move { accounts::queries::users_by_ids(&core, &ids).await }.boxed()
            }),
            products: Loader::new(&core, |core, ids| {
                async move { catalog::queries::products_by_ids(&core, &ids).await }.boxed()
            }),
            statuses: Loader::new(&core, |core, ids| {
                async move { catalog::queries::statuses(&core, &ids).await }.boxed()
            }),
            existing_categories: Loader::new(&core, |core, ids| {
                async move { catalog::queries::existing_categories(&core, &ids).await }.boxed()
            }),
            tree: OnceCell::new(),
            core,
        }
    }

    /// All categories; a query looks them up once.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn categories(&self) -> std::result::Result<Arc<catalog::Tree>, Error> {
        let find = || catalog::queries::categories(&self.core);
        match self.core.reads_at_once() {
            true => self.tree.get_or_try_init(find).await.cloned(),
            false => find().await,
        }
    }

    /// Counts the items of a list that is as long as it is.
    ///
    /// # Errors
    /// When the lists of the request have more than they may.
    pub fn count_items(&self, items: usize) -> std::result::Result<(), Error> {
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        let counted =
            self.items_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(items));
        counted.map(|_| ()).map_err(|_| Error::TooMuch)
    }

    /// The user who asks, if it is one.
    pub fn user(&self) -> Option<UserId> {
        self.notes.is_personal();
        self.asker.viewer.id()
    }

    /// The user who asks.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for nobody.
    pub fn signed_in(&self) -> std::result::Result<SignedIn, Error> {
        self.notes.is_personal();
        match self.asker.viewer {
            Viewer::Anonymous => Err(Error::Unauthenticated),
            Viewer::User(user) => Ok(user),
        }
    }

    /// The user who asks, who has this right.
    ///
    /// # Errors
    /// For nobody, and for whoever has not.
    pub fn require(&self, right: Right) -> std::result::Result<SignedIn, Error> {
        self.notes.is_personal();
        self.asker.viewer.require(right)
    }

    /// Whether the viewer has this right. What nobody in particular sees stays public.
    pub fn may(&self, right: Right) -> bool {
        match self.asker.viewer {
            Viewer::Anonymous => false,
            Viewer::User(_) => self.require(right).is_ok(),
        }
    }

    /// Whether the viewer may use this field of an object, as its `@auth` says, if it belongs to `owner`.
    pub fn may_see(&self, of: &str, field: &str, owner: Option<UserId>) -> bool {
        let Some(Permission { right, owner: is_for_owner }) = permission(of, field) else { return true };
        let owns = is_for_owner && owner.is_some() && self.user() == owner;
        (owns && self.signed_in().and_then(|user| user.session()).is_ok()) || self.may(right)
    }
}

/// Finds the request in async-graphql's context.
pub trait OfRequest {
    /// The request that is being answered.
    fn request(&self) -> &RequestContext;

    /// The user who asks, who may use this field of the query, as its `@auth` says.
    ///
    /// # Errors
    /// For whoever may not.
    fn permitted(&self) -> Result<SignedIn>;

    /// Whoever asks for this mutation, who may, as its `@auth` says, with the idempotency key if there is one.
    ///
    /// # Errors
    /// For whoever may not, or may not any more since a moment ago, and for a malformed key.
    fn mandate(&self) -> impl Future<Output = Result<Mandate>> + Send;
}

impl OfRequest for Context<'_> {
    fn request(&self) -> &RequestContext {
        self.data_unchecked()
    }

    fn permitted(&self) -> Result<SignedIn> {
        match permission("Query", self.field().name()) {
            Some(permission) => Ok(self.request().require(permission.right)?),
            None => Err(Error::internal(anyhow::anyhow!("a field without @auth asks for a permission")).into()),
        }
    }

    async fn mandate(&self) -> Result<Mandate> {
        let request = self.request();
        let core = &request.core;
        if let Some(Permission { right, .. }) = permission("Mutation", self.field().name()) {
            let user = request.require(right)?;
            accounts::queries::assure(core, &user).await?;
            // Without a scope it is about the account itself.
            if core.accounts.require_verified_email && right.scope.is_some() {
                accounts::queries::assure_verified(core, user.id).await?;
            }
        }
        Ok(Mandate { actor: request.user(), once: once(self)? })
    }
}

/// The idempotency key of this mutation: its own, or else the request's.
fn once(ctx: &Context<'_>) -> Result<Option<Once>> {
    let request = ctx.request();
    let number = request.begun.fetch_add(1, Ordering::Relaxed);
    let asker = request.user().map_or_else(String::new, |id| id.0.to_string());
    let unreadable = |error: async_graphql::ServerError| Error::internal(anyhow::anyhow!(error.message));
    let directives = ctx.field().directives().map_err(unreadable)?;
    let own = directives.iter().find(|directive| directive.name.node == IDEMPOTENT);
    if let Some(Value::String(key)) = own.and_then(|own| own.get_argument("key")).map(|key| &key.node) {
        check_key(key)?;
        let arguments = ctx.field().arguments().map_err(unreadable)?;
        let arguments: BTreeMap<_, _> = arguments.into_iter().collect();
        let wish = serde_json::to_vec(&(ctx.field().name(), arguments)).map_err(Error::internal)?;
        return Ok(Some(Once::new(&asker, key, "field", &wish)));
    }
    let whole = request.asker.once.as_ref();
    whole.map(|(key, wish)| check_key(key).map(|()| Once::new(&asker, key, &number.to_string(), wish))).transpose()
}

fn check_key(key: &str) -> Result<()> {
    let is_fit = (1..=MAX_KEY).contains(&key.len()) && key.chars().all(|character| character.is_ascii_graphic());
    let advice = "must be 1 to 255 printable ASCII characters, such as a UUID";
    if is_fit { Ok(()) } else { Err(ApiError::bad_input("idempotencyKey", advice)) }
}

#[cfg(test)]
mod tests {
    use super::Asker;
    use crate::domain::accounts::Viewer;

    #[test]
    fn addresses_of_one_network_are_one_subject() {
        let subject = |text: &str| Asker::new(Viewer::Anonymous, text.parse().unwrap()).subject();
        assert_eq!(subject("2001:db8:1:2::1"), subject("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(subject("2001:db8:1:2::1"), subject("2001:db8:1:3::1"));
        assert_ne!(subject("192.0.2.1"), subject("192.0.2.2"));
    }
}
