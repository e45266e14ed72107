//! The catalogue in the graph.

mod inputs;
mod mutations;
mod queries;
mod subscriptions;
mod types;
pub mod written;

pub use mutations::{CatalogMutations, VersionConflictError};
pub use queries::CatalogQueries;
pub use subscriptions::CatalogSubscriptions;
pub use types::{Category, Product, is_visible};
