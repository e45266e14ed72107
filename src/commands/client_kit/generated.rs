//! What the schema says, in the forms in which clients read it.

use std::collections::BTreeMap;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{BaseType, FieldDefinition, Type, TypeDefinition, TypeKind, TypeSystemDefinition};
use async_graphql::{Name, Positioned};
use serde_json::{Map, Value, json};

use crate::graphql::sdl;

/// Arguments that choose a page, not a list. `offset` is none of them: numbered pages are not joined.
const OF_PAGES: [&str; 4] = ["after", "before", "first", "last"];

/// The types of the schema, sorted by their names.
pub struct Types(BTreeMap<Name, TypeDefinition>);

impl Types {
    pub fn read() -> anyhow::Result<Self> {
        let definitions = parse_schema(sdl())?.definitions.into_iter().filter_map(|definition| match definition {
            TypeSystemDefinition::Type(definition) => Some((definition.node.name.node.clone(), definition.node)),
            _ => None,
        });
        Ok(Self(definitions.collect()))
    }

    /// `api.ts`: what the other files need to know.
    pub fn typescript(&self) -> String {
        let scalars = self.0.values().filter(|definition| matches!(definition.kind, TypeKind::Scalar));
        let scalars: Vec<(&Name, &str)> =
            scalars.map(|scalar| (&scalar.name.node, as_json(&scalar.name.node))).collect();
        let types = scalars.iter().map(|(name, form)| format!("  {name}: {form};\n"));
        let names = scalars.iter().map(|(name, form)| format!("  {name}: '{form}',\n"));
        let keyless = self.0.iter().filter(|(name, definition)| !is_root(name) && is_keyless(definition));
        let keyless = keyless.map(|(name, _)| format!("  '{name}',\n"));
        let lists = self.0.iter().filter_map(|(name, definition)| {
            let lists = fields(definition).iter().filter(|field| self.is_connection(innermost(&field.node.ty.node)));
            let lists: Vec<String> = lists.map(|field| format!("    {},\n", key_arguments(&field.node))).collect();
            (!lists.is_empty()).then(|| format!("  {name}: {{\n{}  }},\n", lists.concat()))
        });
        format!(
            "// From `stockroom client-kit`, which writes it anew when the schema changes.\n\n\
             /** Every scalar of the API, as JSON brings it. */\n\
             export interface Scalars {{\n{}}}\n\n\
             /** The same for code generators. */\n\
             export const scalars: Record<keyof Scalars, string> = {{\n{}}};\n\n\
             /** What has no id is part of what it belongs to. */\n\
             export const keyless: readonly string[] = [\n{}];\n\n\
             /** Fields that have pages, each with the arguments that make another list of it. */\n\
             export const lists: Record<string, Record<string, readonly string[]>> = {{\n{}}};\n",
            types.collect::<String>(),
            names.collect::<String>(),
            keyless.collect::<String>(),
            lists.collect::<String>(),
        )
    }

    /// `possibleTypes.json`: what interfaces and unions may turn out to be.
    pub fn possible_types(&self) -> anyhow::Result<String> {
        let all = self.0.iter().filter_map(|(name, definition)| {
            let is_abstract = matches!(definition.kind, TypeKind::Interface(_) | TypeKind::Union(_));
            is_abstract.then(|| (name, self.possible(definition)))
        });
        Ok(format!("{}\n", serde_json::to_string_pretty(&all.collect::<BTreeMap<_, _>>())?))
    }

    /// `introspection.json`: what a normalised cache must know: no inputs, no descriptions. A line a type.
    pub fn introspection(&self) -> String {
        let types = self.0.iter().filter_map(|(name, definition)| {
            let kind = composite(definition)?;
            let mut told =
                Map::from_iter([("kind".to_owned(), kind.into()), ("name".to_owned(), name.as_str().into())]);
            if kind != "UNION" {
                let fields = fields(definition).iter().map(|field| self.field(&field.node));
                let interfaces = implements(definition).iter().map(|name| self.named(&name.node));
                told.insert("fields".to_owned(), fields.collect());
                told.insert("interfaces".to_owned(), interfaces.collect());
            }
            if kind != "OBJECT" {
                let possible = self.possible(definition);
                told.insert("possibleTypes".to_owned(), possible.iter().map(|name| self.named(name)).collect());
            }
            Some(Value::Object(told))
        });
        let types: Vec<String> = types.chain([any()]).map(|told| told.to_string()).collect();
        let root = |name: &str| json!({ "kind": "OBJECT", "name": name });
        format!(
            "{{\"__schema\":{{\"queryType\":{},\"mutationType\":{},\"subscriptionType\":{},\"directives\":[],\"types\":[\n\
             {}\n]}}}}\n",
            root("Query"),
            root("Mutation"),
            root("Subscription"),
            types.join(",\n"),
        )
    }

    fn field(&self, field: &FieldDefinition) -> Value {
        let arguments = field.arguments.iter().map(|argument| &argument.node);
        let arguments = arguments.map(|one| json!({ "name": one.name.node, "type": self.reference(&one.ty.node) }));
        json!({
            "name": field.name.node,
            "type": self.reference(&field.ty.node),
            "args": arguments.collect::<Vec<_>>(),
        })
    }

    fn reference(&self, ty: &Type) -> Value {
        let base = match &ty.base {
            BaseType::Named(name) => self.named(name),
            BaseType::List(item) => json!({ "kind": "LIST", "ofType": self.reference(item) }),
        };
        if ty.nullable { base } else { json!({ "kind": "NON_NULL", "ofType": base }) }
    }

    fn named(&self, name: &Name) -> Value {
        match self.0.get(name).and_then(composite) {
            Some(kind) => json!({ "kind": kind, "name": name }),
            None => any(),
        }
    }

    /// The objects that something of this type may be.
    fn possible(&self, definition: &TypeDefinition) -> Vec<Name> {
        if let TypeKind::Union(union) = &definition.kind {
            return union.members.iter().map(|member| member.node.clone()).collect();
        }
        let named = |other: &TypeDefinition| implements(other).iter().any(|name| name.node == definition.name.node);
        let objects = self.0.iter().filter(|(_, other)| composite(other) == Some("OBJECT") && named(other));
        objects.map(|(name, _)| name.clone()).collect()
    }

    fn is_connection(&self, name: &Name) -> bool {
        self.0.get(name).is_some_and(|definition| has_field(definition, "edges") && has_field(definition, "pageInfo"))
    }
}

/// What stands for every scalar, enum and input: a cache does not look into it.
fn any() -> Value {
    json!({ "kind": "SCALAR", "name": "Any" })
}

/// How JSON brings a scalar, in TypeScript's words.
fn as_json(scalar: &str) -> &'static str {
    match scalar {
        "CurrencyCode" | "DateTime" | "Decimal" | "URL" => "string",
        _ => "unknown",
    }
}

fn key_arguments(field: &FieldDefinition) -> String {
    let names = field.arguments.iter().map(|argument| argument.node.name.node.as_str());
    let names: Vec<String> = names.filter(|name| !OF_PAGES.contains(name)).map(|name| format!("'{name}'")).collect();
    format!("{}: [{}]", field.name.node, names.join(", "))
}

/// The kind of a type, if fields can be selected of it.
fn composite(definition: &TypeDefinition) -> Option<&'static str> {
    match definition.kind {
        TypeKind::Object(_) => Some("OBJECT"),
        TypeKind::Interface(_) => Some("INTERFACE"),
        TypeKind::Union(_) => Some("UNION"),
        TypeKind::Scalar | TypeKind::Enum(_) | TypeKind::InputObject(_) => None,
    }
}

fn fields(definition: &TypeDefinition) -> &[Positioned<FieldDefinition>] {
    match &definition.kind {
        TypeKind::Object(object) => &object.fields,
        TypeKind::Interface(interface) => &interface.fields,
        _ => &[],
    }
}

fn implements(definition: &TypeDefinition) -> &[Positioned<Name>] {
    match &definition.kind {
        TypeKind::Object(object) => &object.implements,
        TypeKind::Interface(interface) => &interface.implements,
        _ => &[],
    }
}

fn has_field(definition: &TypeDefinition, name: &str) -> bool {
    fields(definition).iter().any(|field| field.node.name.node == name)
}

fn innermost(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => innermost(item),
    }
}

fn is_keyless(definition: &TypeDefinition) -> bool {
    composite(definition) == Some("OBJECT") && !has_field(definition, "id")
}

fn is_root(name: &str) -> bool {
    matches!(name, "Query" | "Mutation" | "Subscription")
}
