//! The catalogue in the graph.

mod inputs;
mod mutations;
mod queries;
mod types;

pub use mutations::{CatalogMutations, VersionConflictError};
pub use queries::CatalogQueries;
pub use types::{Category, Product};
