//! Floor 3, the graph: names and shapes of the API, and nothing of the business.
//!
//! A resolver reads its arguments, makes one call down, and shapes the answer. Root fields, and fields that ask the
//! database themselves, are nullable: one that fails leaves the rest of the answer whole.

pub mod accounts;
pub mod catalog;
pub mod context;
pub mod directives;
pub mod entities;
pub mod error;
pub mod facts;
pub mod id;
pub mod loader;
pub mod node;
pub mod page;
pub mod permissions;
pub mod scalars;
pub mod service;
pub mod services;

use std::sync::OnceLock;

use async_graphql::{MergedObject, MergedSubscription, SDLExportOptions, ValidationMode};

use crate::config::{Service, Services};
use crate::graphql::accounts::{AccountMutations, AccountQueries, AuditQueries};
use crate::graphql::catalog::{CatalogMutations, CatalogQueries, CatalogSubscriptions};
use crate::graphql::entities::EntityQueries;
use crate::graphql::error::UserError;
use crate::graphql::node::NodeQueries;
use crate::graphql::service::ServiceQueries;

/// What can be asked.
#[derive(MergedObject, Default)]
pub struct Query(NodeQueries, CatalogQueries, AccountQueries, AuditQueries, ServiceQueries, EntityQueries);

/// What can be changed.
#[derive(MergedObject, Default)]
pub struct Mutation(AccountMutations, CatalogMutations);

/// What can be watched.
#[derive(MergedSubscription, Default)]
pub struct Subscription(CatalogSubscriptions);

/// The schema that the server executes.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// The schema, to be finished.
pub type SchemaBuilder = async_graphql::SchemaBuilder<Query, Mutation, Subscription>;

/// The schema twice: async-graphql validates a document each time that it comes, also one that passed before.
#[derive(Clone)]
pub struct Schemas {
    strict: Schema,
    lenient: Schema,
}

impl Schemas {
    /// `build` makes the same schema each time.
    pub fn new(build: impl Fn() -> SchemaBuilder) -> Self {
        Self { strict: build().finish(), lenient: build().validation_mode(ValidationMode::Fast).finish() }
    }

    /// The one for a document that is known to be valid, or for any.
    pub fn of(&self, is_valid: bool) -> &Schema {
        if is_valid { &self.lenient } else { &self.strict }
    }
}

/// The schema of what these services do, to be finished.
pub fn builder(services: Services) -> SchemaBuilder {
    let (query, mutation, subscription) = (Query::default(), Mutation::default(), Subscription::default());
    let whole = Schema::build_with_ignore_name_conflicts(query, mutation, subscription, node::REFERENCES)
        .register_output_type::<UserError>()
        .register_output_type::<node::Node>()
        .directive(directives::idempotent);
    services::cut(whole, services)
}

/// The whole schema in GraphQL's schema language, sorted, as `schema.graphql` has it.
pub fn sdl() -> &'static str {
    sdl_of(Services::All)
}

/// The same of what these services do, with the fields that only a gateway asks for.
pub fn sdl_of(services: Services) -> &'static str {
    static SDLS: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
    let [whole, accounts, catalog] = &SDLS;
    let sdl = match services {
        Services::All => whole,
        Services::Only(Service::Accounts) => accounts,
        Services::Only(Service::Catalog) => catalog,
    };
    sdl.get_or_init(|| export(services, SDLExportOptions::new()))
}

/// What is published: the whole schema, or a service's as composition takes it, with what it needs and no more.
pub fn published_sdl(services: Services) -> String {
    match services {
        Services::All => sdl().to_owned(),
        Services::Only(_) => export(services, SDLExportOptions::new().federation()),
    }
}

fn export(services: Services, options: SDLExportOptions) -> String {
    let options =
        options.sorted_fields().sorted_arguments().sorted_enum_items().include_specified_by().use_space_ident();
    let sdl = builder(services).finish().sdl_with_options(options);
    format!("{}\n", sdl.trim())
}
