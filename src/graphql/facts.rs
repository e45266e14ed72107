//! The schema as tables, read from its own SDL: all that must be known of a document's fields and variables before they
//! run. What is published and what is reckoned with cannot differ.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, ConstDirective, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition,
};
use async_graphql::{Name, Positioned, Value};

use crate::config::Services;
use crate::graphql::sdl_of;

/// What is said of each type.
pub struct Facts(HashMap<Name, TypeFacts>);

/// One type. Scalars that every schema has are not among them.
pub enum TypeFacts {
    Scalar,
    Enum(HashSet<Name>),
    Input(InputFacts),
    /// An object, an interface or a union.
    Composite(CompositeFacts),
}

/// An input object.
pub struct InputFacts {
    /// Exactly one field must be given.
    pub one_of: bool,
    /// Each with its type, and whether it has a default.
    pub fields: HashMap<Name, (Type, bool)>,
}

/// What fields can be selected of.
pub struct CompositeFacts {
    /// What one of them costs.
    pub weight: u64,
    pub fields: HashMap<Name, FieldFacts>,
}

/// A field that can be selected.
pub struct FieldFacts {
    /// The type, without its wrappings.
    pub of: Name,
    pub is_list: bool,
    /// What it costs beside its objects.
    pub weight: u64,
    pub size: Option<ListSize>,
    /// It tests or changes credentials.
    pub takes_credentials: bool,
}

/// How long a list is, by its arguments.
pub struct ListSize {
    pub assumed: u64,
    pub arguments: Vec<Name>,
    /// The fields below that are so long; none if it is the field itself.
    pub fields: Vec<Name>,
}

impl Facts {
    /// The facts of the whole schema.
    ///
    /// # Errors
    /// If its SDL cannot be read.
    pub fn read() -> anyhow::Result<Self> {
        Self::served(Services::All)
    }

    /// The facts of what these services do.
    ///
    /// # Errors
    /// If their SDL cannot be read.
    pub fn served(services: Services) -> anyhow::Result<Self> {
        let mut types = HashMap::new();
        for definition in parse_schema(sdl_of(services))?.definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let definition = definition.node;
            let weight = weight(&definition.directives).unwrap_or(1);
            let facts = match definition.kind {
                TypeKind::Scalar => TypeFacts::Scalar,
                TypeKind::Enum(values) => {
                    TypeFacts::Enum(values.values.into_iter().map(|value| value.node.value.node).collect())
                }
                TypeKind::InputObject(input) => TypeFacts::Input(InputFacts {
                    one_of: directive(&definition.directives, "oneOf").is_some(),
                    fields: input.fields.into_iter().map(|field| input_field(field.node)).collect(),
                }),
                TypeKind::Object(object) => composite(weight, object.fields),
                TypeKind::Interface(interface) => composite(weight, interface.fields),
                TypeKind::Union(_) => composite(weight, Vec::new()),
            };
            types.insert(definition.name.node, facts);
        }
        Ok(Self(types))
    }

    /// What is said of this type, if it is the schema's own.
    pub fn of(&self, name: &str) -> Option<&TypeFacts> {
        self.0.get(name)
    }

    /// The type, if fields can be selected of it.
    pub fn composite(&self, name: &str) -> Option<&CompositeFacts> {
        match self.of(name) {
            Some(TypeFacts::Composite(facts)) => Some(facts),
            _ => None,
        }
    }

    /// The field of this type.
    pub fn field(&self, of: &str, name: &str) -> Option<&FieldFacts> {
        self.composite(of)?.fields.get(name)
    }
}

fn composite(weight: u64, fields: Vec<Positioned<FieldDefinition>>) -> TypeFacts {
    let fields = fields.into_iter().map(|field| {
        let FieldDefinition { name, ty, directives, .. } = field.node;
        let facts = FieldFacts {
            is_list: matches!(ty.node.base, BaseType::List(_)),
            of: innermost(ty.node),
            weight: self::weight(&directives).unwrap_or(0),
            size: list_size(&directives),
            takes_credentials: directive(&directives, "credentials").is_some(),
        };
        (name.node, facts)
    });
    TypeFacts::Composite(CompositeFacts { weight, fields: fields.collect() })
}

fn input_field(field: InputValueDefinition) -> (Name, (Type, bool)) {
    (field.name.node, (field.ty.node, field.default_value.is_some()))
}

fn innermost(ty: Type) -> Name {
    match ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => innermost(*item),
    }
}

fn directive<'a>(directives: &'a [Positioned<ConstDirective>], name: &str) -> Option<&'a ConstDirective> {
    directives.iter().map(|directive| &directive.node).find(|directive| directive.name.node == name)
}

fn weight(directives: &[Positioned<ConstDirective>]) -> Option<u64> {
    match &directive(directives, "cost")?.get_argument("weight")?.node {
        async_graphql::Value::String(weight) => weight.parse().ok(),
        _ => None,
    }
}

fn list_size(directives: &[Positioned<ConstDirective>]) -> Option<ListSize> {
    let list_size = directive(directives, "listSize")?;
    let names = |argument| match list_size.get_argument(argument).map(|value| &value.node) {
        Some(Value::List(names)) => names.iter().filter_map(name).collect(),
        _ => Vec::new(),
    };
    let assumed = match list_size.get_argument("assumedSize").map(|value| &value.node) {
        Some(Value::Number(size)) => size.as_u64(),
        _ => None,
    };
    Some(ListSize { assumed: assumed.unwrap_or(1), arguments: names("slicingArguments"), fields: names("sizedFields") })
}

fn name(value: &Value) -> Option<Name> {
    match value {
        Value::String(name) => Some(Name::new(name)),
        _ => None,
    }
}
