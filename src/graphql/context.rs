//! What the resolvers of one request share, and no other request sees.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Context;
use futures_util::FutureExt;

use crate::domain::accounts::{self, Role, SignedIn, Viewer};
use crate::domain::changes::Version;
use crate::domain::error::Error;
use crate::domain::ids::{ProductId, UserId};
use crate::domain::{Core, catalog};
use crate::graphql::loader::Loader;
use crate::infra::rate_limit::Spent;

/// The request, to its resolvers.
pub struct RequestContext {
    pub core: Arc<Core>,
    pub asker: Asker,
    pub notes: Arc<Notes>,
    /// Items that lists may still have.
    items_left: AtomicU64,
    pub users: Loader<UserId, accounts::User>,
    pub products: Loader<ProductId, catalog::Product>,
}

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub struct Asker {
    viewer: Viewer,
    pub address: IpAddr,
    /// What is left of their budget, if it is limited.
    pub spent: Option<Spent>,
    /// The last event that they have seen, if they say so beside the document.
    pub last_event: Option<String>,
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
        Self { viewer, address, spent: None, last_event: None, since: None }
    }

    /// The viewer, for what is no part of an answer.
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
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
            notes: Arc::default(),
            users: Loader::new(&core, |core, ids| {
                async move { accounts::queries::users_by_ids(&core, &ids).await }.boxed()
            }),
            products: Loader::new(&core, |core, ids| {
                async move { catalog::queries::products_by_ids(&core, &ids).await }.boxed()
            }),
            core,
        }
    }

    /// Counts the items of a list that is as long as it is.
    ///
    /// # Errors
    /// When the lists of the request have more than they may.
    pub fn count_items(&self, items: usize) -> Result<(), Error> {
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

    /// The user who asks, who may do what `role` may.
    ///
    /// # Errors
    /// For nobody, and for a lesser role.
    pub fn require(&self, role: Role) -> Result<SignedIn, Error> {
        self.notes.is_personal();
        self.asker.viewer.require(role)
    }

    /// Whether the viewer may do what `role` may. What nobody in particular sees stays public.
    pub fn may(&self, role: Role) -> bool {
        match self.asker.viewer {
            Viewer::Anonymous => false,
            Viewer::User(_) => self.require(role).is_ok(),
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
