//! What of the graph is served: all of it, or one service's part as a subgraph of Apollo Federation 2.
//!
//! There is one graph of resolvers. What a service is not to do is cut out of its registry before the schema is finished,
//! and from there validation, introspection, prices and SDL are made: what was cut out is unknown, by whatever way a
//! document asks for it.

use std::borrow::Cow;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::Field;
use async_graphql::registry::{MetaDirectiveInvocation, MetaField, MetaType, MetaTypeName, Registry};
use async_graphql::{ContextSelectionSet, OutputType, Positioned, ServerResult, SubscriptionType, Value};

use crate::config::{Service, Services};
use crate::graphql::accounts::{AccountMutations, AccountQueries, AuditQueries};
use crate::graphql::catalog::{CatalogMutations, CatalogQueries, CatalogSubscriptions};
use crate::graphql::entities::{self, EntityQueries};
use crate::graphql::node::{self, NodeQueries};
use crate::graphql::{Query, SchemaBuilder};

/// The types whose objects the other service knows by their ids, and nothing else of them.
const ENTITIES: [(&str, Service); 3] =
    [("Category", Service::Catalog), ("Product", Service::Catalog), ("User", Service::Accounts)];

/// The root fields that a service has alone. All others are everybody's.
fn own(service: Service) -> Vec<String> {
    match service {
        // Nodes are of both services; this one knows the catalogue's by their ids.
        Service::Accounts => [
            fields(NodeQueries::create_type_info),
            fields(AccountQueries::create_type_info),
            fields(AuditQueries::create_type_info),
            fields(AccountMutations::create_type_info),
        ]
        .concat(),
        Service::Catalog => [
            fields(CatalogQueries::create_type_info),
            fields(CatalogMutations::create_type_info),
            fields(CatalogSubscriptions::create_type_info),
        ]
        .concat(),
    }
}

/// The names of the fields of the type that registers itself like this.
fn fields(register: fn(&mut Registry) -> String) -> Vec<String> {
    let ignore_name_conflicts = node::REFERENCES.map(str::to_owned).into();
    let mut registry = Registry { ignore_name_conflicts, ..Registry::default() };
    let of = register(&mut registry);
    let fields = registry.types.get_mut(MetaTypeName::concrete_typename(&of)).and_then(fields_of);
    fields.map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

fn fields_of(ty: &mut MetaType) -> Option<&mut IndexMap<String, MetaField>> {
    match ty {
        MetaType::Object { fields, .. } => Some(fields),
        _ => None,
    }
}

/// Cuts out of the schema what these services do not do.
pub fn cut(whole: SchemaBuilder, services: Services) -> SchemaBuilder {
    match services {
        Services::All => whole.register_output_type::<Whole>(),
        Services::Only(Service::Accounts) => whole.register_output_type::<Accounts>(),
        Services::Only(Service::Catalog) => whole.register_output_type::<Catalog>(),
    }
}

/// async-graphql shows its registry to types alone, when they register. These are none, and cut.
macro_rules! cuts {
    ($($name:ident, $services:expr;)*) => {$(
        struct $name;

        impl OutputType for $name {
            fn type_name() -> Cow<'static, str> {
                Query::type_name()
            }

            fn create_type_info(registry: &mut Registry) -> String {
                keep(registry, $services);
                Query::qualified_type_name()
            }

            async fn resolve(&self, _: &ContextSelectionSet<'_>, _: &Positioned<Field>) -> ServerResult<Value> {
                Ok(Value::Null)
            }
        }
    )*};
}

cuts! {
    Whole, Services::All;
    Accounts, Services::Only(Service::Accounts);
    Catalog, Services::Only(Service::Catalog);
}

/// Keeps what these services do.
fn keep(registry: &mut Registry, services: Services) {
    let others: Vec<String> = match services {
        // Nobody composes it with others.
        Services::All => fields(EntityQueries::create_type_info),
        Services::Only(Service::Accounts) => own(Service::Catalog),
        Services::Only(Service::Catalog) => own(Service::Accounts),
    };
    for root in roots(registry) {
        if let Some(fields) = registry.types.get_mut(&root).and_then(fields_of) {
            fields.retain(|name, _| !others.contains(name));
        }
    }
    if let Services::Only(service) = services {
        link(registry, service);
    }
    // Interfaces stay, as far as what has them does: only their objects name them, which does not count as use.
    let interfaces = registry.types.values().filter(|ty| matches!(ty, MetaType::Interface { .. }));
    let interfaces: Vec<MetaType> = interfaces.cloned().collect();
    registry.remove_unused_types();
    for interface in interfaces {
        registry.types.entry(interface.name().to_owned()).or_insert(interface);
    }
    let names: Vec<String> = registry.types.keys().cloned().collect();
    for ty in registry.types.values_mut() {
        if let MetaType::Interface { possible_types, .. } | MetaType::Union { possible_types, .. } = ty {
            possible_types.retain(|name| names.contains(name));
        }
    }
}

fn roots(registry: &Registry) -> Vec<String> {
    let roots = [Some(&registry.query_type), registry.mutation_type.as_ref(), registry.subscription_type.as_ref()];
    roots.into_iter().flatten().cloned().collect()
}

/// Says what a gateway must know to join this service with the other.
fn link(registry: &mut Registry, service: Service) {
    registry.federation_subscription = service == Service::Catalog;
    if service == Service::Accounts {
        registry.subscription_type = None;
    }
    for (name, owner) in ENTITIES {
        if owner != service
            && let Some(fields) = registry.types.get_mut(name).and_then(fields_of)
        {
            fields.retain(|name, _| name == "id");
        }
    }
    if let Some(MetaType::Union { possible_types, .. }) = registry.types.get_mut(entities::NAME) {
        possible_types.retain(|name| ENTITIES.contains(&(name.as_str(), service)));
    }
    let subscription = registry.subscription_type.clone();
    for (name, ty) in &mut registry.types {
        let MetaType::Object { directive_invocations, .. } = ty else { continue };
        let entity = ENTITIES.into_iter().find(|(entity, _)| entity == name);
        match entity {
            Some((_, owner)) => {
                let mut args = IndexMap::from([("fields".to_owned(), Value::from("id"))]);
                if owner != service {
                    args.insert("resolvable".to_owned(), false.into());
                }
                directive_invocations.push(MetaDirectiveInvocation { name: "key".to_owned(), args });
            }
            // What both services have, both have from here.
            None if Some(name) != subscription.as_ref() => {
                let args = IndexMap::new();
                directive_invocations.push(MetaDirectiveInvocation { name: "shareable".to_owned(), args });
            }
            None => {}
        }
    }
}
