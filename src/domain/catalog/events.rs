//! What happens to products, as somebody may see it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt};
use serde_json::Value;

use crate::domain::Core;
use crate::domain::catalog::filter::Filter;
use crate::domain::catalog::model::{Product, Status};
use crate::domain::catalog::queries;
use crate::domain::changes::{Entity, Logged, Place};
use crate::domain::error::Error;
use crate::domain::ids::ProductId;

/// The rest after the categories could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// What happened to a product. What comes first says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    Created,
    Deleted,
    BackInStock,
    PriceChanged,
    StockChanged,
    /// Any change.
    Updated,
}

/// Something that happened to a product.
#[derive(Clone, Debug)]
pub struct ProductEvent {
    pub place: Place,
    /// The one that says most, of those that were asked for.
    pub kind: EventKind,
    pub at: DateTime<Utc>,
    pub id: ProductId,
    /// As it was right afterwards; `None` if it is gone, for whoever looks.
    pub product: Option<Product>,
    /// The fields that are other than before, as the API calls them.
    pub changed: Vec<&'static str>,
}

/// Which events.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// Of products that pass this, before or afterwards.
    pub filter: Filter,
    /// All, if it is not given.
    pub kinds: Option<Vec<EventKind>>,
    /// Also of drafts and archived products. Whoever does not see them sees a product appear and vanish.
    pub all_states: bool,
}

/// The events after a place, or from now on.
///
/// # Errors
/// [`Error::CursorExpired`]
pub async fn product_events(
    core: &Arc<Core>,
    which: EventFilter,
    after: Option<Place>,
) -> Result<impl Stream<Item = Result<ProductEvent, Error>> + Send + use<>, Error> {
    let changes = core.changes_after(after).await?;
    let (core, which) = (Arc::clone(core), Arc::new(which));
    Ok(changes.filter_map(move |change| {
        let (core, which) = (Arc::clone(&core), Arc::clone(&which));
        async move {
            match change {
                Ok(change) => which.seen(&core, &change).await.map(Ok),
                Err(error) => Some(Err(error)),
            }
        }
    }))
}

impl EventFilter {
    /// The event that a change is, if it is one for whoever looks.
    async fn seen(&self, core: &Arc<Core>, change: &Logged) -> Option<ProductEvent> {
        let id = change.entity_id.filter(|_| change.entity == Entity::Product)?;
        let tree = match self.filter.depends_on_categories() {
            true => loop {
                match queries::categories(core).await {
                    Ok(tree) => break tree,
                    // Nothing can be said without the tree, and no event may be lost.
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            },
            false => Arc::default(),
        };
        let before = self.visible(change.before.as_ref());
        let after = self.visible(change.after.as_ref());
        let passes = |product: &Option<Product>| product.as_ref().is_some_and(|it| self.filter.matches(it, &tree));
        if !passes(&before) && !passes(&after) {
            return None;
        }
        let changed = match (&before, &after) {
            (Some(before), Some(after)) => changed(before, after),
            _ => Vec::new(),
        };
        let kinds = kinds(before.as_ref(), after.as_ref(), &changed);
        let kind = kinds.into_iter().find(|kind| self.kinds.as_ref().is_none_or(|wanted| wanted.contains(kind)))?;
        Some(ProductEvent { place: change.place(), kind, at: change.at, id: ProductId(id), product: after, changed })
    }

    fn visible(&self, logged: Option<&Value>) -> Option<Product> {
        let product: Product = serde_json::from_value(logged?.clone()).ok()?;
        (self.all_states || product.status == Status::Active).then_some(product)
    }
}

/// All that happened, what says most first.
fn kinds(before: Option<&Product>, after: Option<&Product>, changed: &[&str]) -> Vec<EventKind> {
    let (Some(before), Some(after)) = (before, after) else {
        return vec![if after.is_some() { EventKind::Created } else { EventKind::Deleted }];
    };
    let happened = [
        (EventKind::BackInStock, before.stock == 0 && after.stock > 0),
        (EventKind::PriceChanged, changed.contains(&"price")),
        (EventKind::StockChanged, changed.contains(&"stock")),
        (EventKind::Updated, true),
    ];
    happened.into_iter().filter(|(_, happened)| *happened).map(|(kind, _)| kind).collect()
}

fn changed(before: &Product, after: &Product) -> Vec<&'static str> {
    let fields = [
        ("sku", before.sku != after.sku),
        ("slug", before.slug != after.slug),
        ("name", before.name != after.name),
        ("description", before.description != after.description),
        ("status", before.status != after.status),
        ("price", (before.price_amount, &before.price_currency) != (after.price_amount, &after.price_currency)),
        ("compareAtPrice", before.compare_at_amount != after.compare_at_amount),
        ("stock", before.stock != after.stock),
        ("category", before.category_id != after.category_id),
        ("tags", before.tags != after.tags),
        ("attributes", before.attributes != after.attributes),
        ("media", before.media != after.media),
        ("rating", before.rating != after.rating),
        ("externalReference", before.external_reference != after.external_reference),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}
