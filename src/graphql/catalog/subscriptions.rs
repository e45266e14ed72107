//! What happens in the catalogue, as it happens.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, SimpleObject, Subscription};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{Stream, StreamExt};
use uuid::Uuid;

use crate::domain::accounts::Right;
use crate::domain::catalog::events::{self, EventFilter, EventKind};
use crate::domain::changes::Place;
use crate::graphql::catalog::inputs::ProductFilter;
use crate::graphql::catalog::types::Product;
use crate::graphql::context::OfRequest;
use crate::graphql::error::{ApiError, Result};
use crate::graphql::id::NodeId;
use crate::graphql::scalars::DateTime;

/// Something that happened to a product.
#[derive(SimpleObject)]
pub struct ProductEvent {
    /// Pass it as `after`, and what comes next goes on from here, on any instance.
    cursor: String,
    /// What happened; what says most, of what was asked for.
    #[graphql(name = "type")]
    kind: ProductEventType,
    /// When it happened.
    at: DateTime,
    /// The product's id.
    product_id: ID,
    /// The product as it was right afterwards; null for `DELETED`.
    product: Option<Product>,
    /// The product's fields that changed; empty for `CREATED` and `DELETED`.
    changed_fields: Vec<String>,
}

/// What can happen to a product.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "EventKind")]
pub enum ProductEventType {
    /// It came into the catalogue, or into sight.
    Created,
    /// It left the catalogue, or sight.
    Deleted,
    /// There are pieces of it again.
    BackInStock,
    /// Its price changed.
    PriceChanged,
    /// The number of pieces changed.
    StockChanged,
    /// Anything of it changed.
    Updated,
}

#[derive(Default)]
pub struct CatalogSubscriptions;

#[Subscription]
impl CatalogSubscriptions {
    /// What happens to products, in order, none lost and none doubled. Many at once, as an import makes them, are not
    /// told one by one.
    async fn product_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Of which products, as they were before or are afterwards.")] filter: Option<ProductFilter>,
        #[graphql(desc = "Of which types; of all if it is not given.")] types: Option<Vec<ProductEventType>>,
        #[graphql(desc = "An event's `cursor`: what followed it; what happens from now on if it is not given.")]
        after: Option<String>,
    ) -> Result<impl Stream<Item = Result<Option<ProductEvent>>> + use<>> {
        let request = ctx.request();
        let history = request.core.gate.history();
        // A stream that was cut off goes on where it was cut off.
        let after = match (&request.asker.last_event, after) {
            (Some(last), _) => Some(decode(history, "Last-Event-ID", last)?),
            (None, Some(after)) => Some(decode(history, "after", &after)?),
            (None, None) => request.asker.since.map(|version| (version, i32::MAX)),
        };
        let which = EventFilter {
            filter: filter.unwrap_or_default().read()?.check()?,
            kinds: types.map(|types| types.into_iter().map(EventKind::from).collect()),
            all_states: request.may(Right::STAFF),
        };
        let events = events::product_events(&request.core, which, after).await?;
        let notes = Arc::clone(&request.notes);
        Ok(events.map(move |event| {
            let event = event?;
            let cursor = encode(history, event.place);
            notes.reached(cursor.clone());
            Ok(Some(ProductEvent {
                cursor,
                kind: event.kind.into(),
                at: DateTime(event.at),
                product_id: NodeId::Product(event.id).encode(),
                product: event.product.map(Product::from),
                changed_fields: event.changed.into_iter().map(str::to_owned).collect(),
            }))
        }))
    }
}

/// A place in the log of this database.
fn encode(history: Uuid, (version, n): Place) -> String {
    URL_SAFE_NO_PAD.encode([history.as_bytes().as_slice(), &version.to_be_bytes(), &n.to_be_bytes()].concat())
}

fn decode(history: Uuid, argument: &str, text: &str) -> Result<Place> {
    let read = || {
        let bytes = (text.len() < 64).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
        let (of, rest) = bytes.split_first_chunk()?;
        let (version, n) = rest.split_first_chunk()?;
        let place = (i64::from_be_bytes(*version), i32::from_be_bytes(n.try_into().ok()?));
        (place.0 >= 0 && place.1 >= 0).then_some((Uuid::from_bytes(*of), place))
    };
    match read() {
        Some((of, place)) if of == history => Ok(place),
        // Of another database, or another life of this one.
        Some(_) => Err(crate::domain::error::Error::CursorExpired.into()),
        None => Err(ApiError::bad_input(argument, "is not the cursor of an event; pass one that an event had")),
    }
}
