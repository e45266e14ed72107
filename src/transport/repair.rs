//! What the specification asks of a response and async-graphql 7 does not give: null where a field failed (it leaves the
//! key out), and fields in the order in which they were asked for (they come in the order in which they were ready).
//! See <https://spec.graphql.org/draft/#sec-Serialized-Map-Ordering> and `#sec-Handling-Execution-Errors`.

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, PathSegment, ServerError, Value};

/// The response keys of a selection in their order, each with those below it.
#[derive(Debug, Default)]
pub struct Shape(IndexMap<Name, Shape>);

impl Shape {
    /// The shape of an answer to this selection. The document has no fragment that contains itself.
    pub fn of(selections: &SelectionSet, document: &ExecutableDocument) -> Self {
        let mut shape = Self::default();
        shape.add(selections, document);
        shape
    }

    fn add(&mut self, selections: &SelectionSet, document: &ExecutableDocument) {
        for selection in &selections.items {
            match &selection.node {
                Selection::Field(field) => {
                    let below = self.0.entry(field.node.response_key().node.clone()).or_default();
                    below.add(&field.node.selection_set.node, document);
                }
                Selection::InlineFragment(fragment) => self.add(&fragment.node.selection_set.node, document),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                        self.add(&fragment.node.selection_set.node, document);
                    }
                }
            }
        }
    }

    /// The data of a response of this shape, as it should be. Whatever can fail is nullable, so null is always right.
    pub fn repair(&self, data: &mut Value, errors: &[ServerError]) {
        for error in errors {
            put_null(data, &error.path);
        }
        self.sort(data);
    }

    fn sort(&self, data: &mut Value) {
        match data {
            Value::List(items) => items.iter_mut().for_each(|item| self.sort(item)),
            Value::Object(members) => {
                let place = |name: &Name| self.0.get_index_of(name);
                if !members.keys().is_sorted_by_key(place) {
                    members.sort_by_key(|name, _| place(name));
                }
                for (name, member) in members {
                    if let Some(below) = self.0.get(name) {
                        below.sort(member);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Makes the place of a failed field null, where it is missing. An object that lost all its fields was left out, too.
fn put_null(data: &mut Value, path: &[PathSegment]) {
    let Some((segment, rest)) = path.split_first() else { return };
    match segment {
        PathSegment::Field(name) => {
            if *data == Value::Null {
                *data = Value::Object(IndexMap::new());
            }
            if let Value::Object(members) = data {
                put_null(members.entry(Name::new(name)).or_insert(Value::Null), rest);
            }
        }
        PathSegment::Index(index) => {
            if let Value::List(items) = data
                && let Some(item) = items.get_mut(*index)
            {
                put_null(item, rest);
            }
        }
    }
}
