//! Floor 3, the graph: names and shapes of the API, and nothing of the business.
//!
//! A resolver reads its arguments, makes one call down, and shapes the answer. Root fields, and fields that ask the
//! database themselves, are nullable: one that fails leaves the rest of the answer whole.

pub mod accounts;
pub mod catalog;
pub mod context;
pub mod error;
pub mod id;
pub mod loader;
pub mod node;
pub mod page;
pub mod scalars;
pub mod service;

use std::sync::OnceLock;

use async_graphql::{EmptySubscription, MergedObject, SDLExportOptions};

use crate::graphql::accounts::{AccountMutations, AccountQueries};
use crate::graphql::catalog::{CatalogMutations, CatalogQueries};
use crate::graphql::error::UserError;
use crate::graphql::node::NodeQueries;
use crate::graphql::service::ServiceQueries;

/// Selections below one another, at most; introspection included.
pub const MAX_DEPTH: usize = 15;
/// Fields of an operation, each counted as often as its lists may repeat it.
pub const MAX_COMPLEXITY: usize = 10_000;
/// Brackets and fragments inside one another, at most.
pub const MAX_NESTING: usize = 32;
/// Directives in one place, at most.
pub const MAX_DIRECTIVES: usize = 3;

/// What can be asked.
#[derive(MergedObject, Default)]
pub struct Query(NodeQueries, CatalogQueries, AccountQueries, ServiceQueries);

/// What can be changed.
#[derive(MergedObject, Default)]
pub struct Mutation(AccountMutations, CatalogMutations);

/// The schema that the server executes.
pub type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// Builds the schema.
pub fn schema() -> Schema {
    Schema::build(Query::default(), Mutation::default(), EmptySubscription)
        .register_output_type::<UserError>()
        .register_output_type::<node::Node>()
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY)
        .limit_recursive_depth(MAX_NESTING)
        .limit_directives(MAX_DIRECTIVES)
        .finish()
}

/// The schema in GraphQL's schema language, sorted, as `schema.graphql` has it.
pub fn sdl() -> &'static str {
    static SDL: OnceLock<String> = OnceLock::new();
    SDL.get_or_init(export)
}

fn export() -> String {
    let options = SDLExportOptions::new()
        .sorted_fields()
        .sorted_arguments()
        .sorted_enum_items()
        .include_specified_by()
        .use_space_ident();
    let sdl = schema().sdl_with_options(options);
    format!("{}\n", sdl.trim())
}
