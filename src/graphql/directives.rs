//! What the schema tells of its fields beside their types: what they cost
//! (<https://ibm.github.io/graphql-specs/cost-spec.html>) and which of them test credentials. The server itself reads it
//! from there, see [`crate::graphql::facts`].

use async_graphql::TypeDirective;

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

/// Names, as [`list_size`] takes them.
pub fn names<const N: usize>(names: [&str; N]) -> Option<Vec<String>> {
    Some(names.map(str::to_owned).to_vec())
}
