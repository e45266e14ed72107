//! What the schema tells of its fields beside their types: what they cost
//! (<https://ibm.github.io/graphql-specs/cost-spec.html>) and which of them test credentials. The server itself reads it
//! from there, see [`crate::graphql::facts`].

use async_graphql::{CustomDirective, Directive, TypeDirective};

use crate::graphql::accounts::{Role, Scope};

/// What a field, or an object of a type, costs; an object costs 1 and a plain value 0 where it is not said.
#[TypeDirective(location = "FieldDefinition", location = "Object")]
pub fn cost(weight: String) {}

/// How many items a list may have, so that what it costs is known before it is read.
#[TypeDirective(name = "listSize", location = "FieldDefinition")]
pub fn list_size(
    #[graphql(desc = "So many, where no argument says it.")] assumed_size: Option<i32>,
    #[graphql(desc = "The arguments that say it.")] slicing_arguments: Option<Vec<String>>,
    #[graphql(desc = "The lists that have this size, where the field itself is none.")] sized_fields: Option<
        Vec<String>,
    >,
    #[graphql(desc = "Whether one of the arguments must be given.")] require_one_slicing_argument: Option<bool>,
) {
}

/// The field tests or changes credentials: a request may have one such field, and may not try too often.
#[TypeDirective(location = "FieldDefinition")]
pub fn credentials() {}

/// Who may use the field: whoever has at least this role, and an API key also the scope. Without a scope no API key may.
#[TypeDirective(location = "FieldDefinition")]
pub fn auth(
    #[graphql(desc = "The least role.")] role: Role,
    #[graphql(desc = "What an API key must be good for; without it, only a session will do.")] scope: Option<Scope>,
    #[graphql(desc = "Whoever the object belongs to may use it too, in a session.")] owner: Option<bool>,
) {
}

/// Does a mutation at most once: the same again under the same key gives the first answer, for 24 hours. Something else
/// under the same key is refused. A key is a random text of at most 255 characters, such as a UUID; the header
/// `Idempotency-Key` does the same for all mutations of a request.
#[Directive(location = "Field")]
pub fn idempotent(#[graphql(desc = "A random text, new for each thing to do.")] key: String) -> impl CustomDirective {
    let _ = key;
    Idempotent
}

/// The name of [`idempotent`] in documents.
pub const IDEMPOTENT: &str = "idempotent";

/// It does nothing by itself: the mutation reads its key.
struct Idempotent;

impl CustomDirective for Idempotent {}

/// Names, as [`list_size`] takes them.
pub fn names<const N: usize>(names: [&str; N]) -> Option<Vec<String>> {
    Some(names.map(str::to_owned).to_vec())
}
