//! Who may use which field, read from the schema's own `@auth` directives: what is published and what is held cannot
//! differ.

use std::collections::HashMap;
use std::sync::OnceLock;

use async_graphql::Value;
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{ConstDirective, TypeKind, TypeSystemDefinition};

use crate::domain::accounts::{Right, Role, Scope};
use crate::graphql::sdl;

/// What `@auth` says of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    pub right: Right,
    /// Whoever the object belongs to may use it too.
    pub owner: bool,
}

/// What a field takes; `None` where everybody may.
pub fn permission(of: &str, field: &str) -> Option<Permission> {
    static ALL: OnceLock<HashMap<String, HashMap<String, Permission>>> = OnceLock::new();
    ALL.get_or_init(read).get(of)?.get(field).copied()
}

fn read() -> HashMap<String, HashMap<String, Permission>> {
    let mut all: HashMap<_, HashMap<_, _>> = HashMap::new();
    for definition in parse_schema(sdl()).map(|document| document.definitions).unwrap_or_default() {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let TypeKind::Object(object) = definition.node.kind else { continue };
        for field in object.fields {
            let auth = field.node.directives.iter().find(|directive| directive.node.name.node == "auth");
            if let Some(auth) = auth {
                let of = definition.node.name.node.to_string();
                all.entry(of).or_default().insert(field.node.name.node.to_string(), told(&auth.node));
            }
        }
    }
    all
}

/// What cannot be read is for nobody but administrators.
fn told(auth: &ConstDirective) -> Permission {
    let name = |argument| match auth.get_argument(argument).map(|value| &value.node) {
        Some(Value::Enum(name)) => Some(name.as_str()),
        _ => None,
    };
    let role = name("role").and_then(Role::parse).unwrap_or(Role::Admin);
    let owner = matches!(auth.get_argument("owner").map(|value| &value.node), Some(Value::Boolean(true)));
    Permission { right: Right { role, scope: name("scope").and_then(Scope::parse) }, owner }
}
