//! One walk over a parsed document, before anything validates it.
//!
//! A document of a kilobyte can name 2^30 fields through fragments that spread each other, and async-graphql's own limits
//! walk them all. This walk measures each fragment once and saturates, so it is linear in the document.

use std::collections::HashMap;

use async_graphql::parser::types::{Directive, ExecutableDocument, OperationType, Selection, SelectionSet};
use async_graphql::{Name, Positioned};

use crate::config::Limits;
use crate::graphql::facts::Facts;
use crate::transport::refusal::{Code, Refusal};

/// Lists of the introspection that can lead round in a circle.
const CIRCULAR: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];
/// How many of them may lie in one another: GraphiQL's query needs two.
const MAX_CIRCULAR: usize = 2;
/// All lists of the introspection, and how many of them an operation may have: GraphiQL's query has thirteen.
const LISTS: [&str; 9] =
    ["args", "directives", "enumValues", "fields", "inputFields", "interfaces", "locations", "possibleTypes", "types"];
const MAX_LISTS: usize = 20;

/// Refuses a document that is too large once its fragments are in place. `steps` counts the selections that were looked at.
///
/// # Errors
/// What to do.
pub fn walk(document: &ExecutableDocument, facts: &Facts, limits: &Limits, steps: &mut usize) -> Result<(), Refusal> {
    let too_large = |what: &str, most: usize| {
        let message = format!("the document has more than {most} {what}; use fewer");
        Err(Refusal::new(Code::QueryTooLarge, message))
    };
    if document.fragments.len() > limits.max_fragments {
        return too_large("fragments", limits.max_fragments);
    }
    let operations = document.operations.iter().count();
    if operations > limits.max_operations {
        return too_large("operations", limits.max_operations);
    }
    let mut walk = Walk { document, facts, limits, fragments: HashMap::new(), steps };
    let mut fields = 0_usize;
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let mut size = walk.selections(&operation.selection_set.node)?;
        size.directives = size.directives.saturating_add(walk.directives(&operation.directives)?);
        for variable in &operation.variable_definitions {
            size.directives = size.directives.saturating_add(walk.directives(&variable.node.directives)?);
        }
        // async-graphql 7 looks for the field of a subscription only where it stands.
        let is_field = |selection: &Positioned<Selection>| matches!(selection.node, Selection::Field(_));
        if operation.ty == OperationType::Subscription && !operation.selection_set.node.items.iter().all(is_field) {
            let message = "put the field of the subscription into the operation itself, not into a fragment";
            return Err(Refusal::new(Code::ValidationFailed, message));
        }
        let (what, roots) = match operation.ty {
            OperationType::Query => ("fields at the top of a query", limits.max_root_fields),
            OperationType::Mutation => ("fields at the top of a mutation", limits.max_mutations),
            OperationType::Subscription => ("fields at the top of a subscription", 1),
        };
        for (what, found, most) in [
            (what, size.roots, roots),
            ("aliases", size.aliases, limits.max_aliases),
            ("directives", size.directives, limits.max_directives),
            ("fields that sign in or change credentials", size.credentials, 1),
            ("introspected lists", size.introspection_lists, MAX_LISTS),
        ] {
            if found > most {
                return too_large(what, most);
            }
        }
        let (depth, most) = match size.introspection_depth {
            0 => (size.depth, limits.max_depth),
            // What lies below `__schema` is deep by nature, and read from memory.
            introspection => (introspection.max(size.depth), limits.max_nesting),
        };
        if depth > most || size.depth > limits.max_depth {
            let message = format!("fields lie more than {} deep; ask for fewer levels", limits.max_depth);
            return Err(Refusal::new(Code::QueryTooDeep, message));
        }
        if size.circles > MAX_CIRCULAR {
            let message = format!("the introspection nests more than {MAX_CIRCULAR} lists; ask for fewer levels");
            return Err(Refusal::new(Code::QueryTooDeep, message));
        }
        fields = fields.saturating_add(size.fields);
    }
    // Also those that nothing spreads: they are validated all the same.
    for name in document.fragments.keys() {
        fields = fields.saturating_add(walk.fragment(name)?.fields);
    }
    if fields > limits.max_fields {
        return too_large("fields, with its fragments in place", limits.max_fields);
    }
    Ok(())
}

/// What a selection amounts to with its fragments in place.
#[derive(Clone, Copy, Default)]
struct Size {
    fields: usize,
    /// Fields of the selection itself.
    roots: usize,
    depth: usize,
    aliases: usize,
    directives: usize,
    credentials: usize,
    /// [`CIRCULAR`] lists in one another, below `__schema` and `__type`.
    circles: usize,
    introspection_depth: usize,
    introspection_lists: usize,
    /// The same of what may lie below them.
    circles_here: usize,
    lists_here: usize,
}

impl Size {
    fn add(&mut self, other: Self) {
        for (mine, others) in [
            (&mut self.fields, other.fields),
            (&mut self.roots, other.roots),
            (&mut self.aliases, other.aliases),
            (&mut self.directives, other.directives),
            (&mut self.credentials, other.credentials),
            (&mut self.introspection_lists, other.introspection_lists),
            (&mut self.lists_here, other.lists_here),
        ] {
            *mine = mine.saturating_add(others);
        }
        for (mine, others) in [
            (&mut self.depth, other.depth),
            (&mut self.circles, other.circles),
            (&mut self.introspection_depth, other.introspection_depth),
            (&mut self.circles_here, other.circles_here),
        ] {
            *mine = (*mine).max(others);
        }
    }
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    facts: &'a Facts,
    limits: &'a Limits,
    /// The size of each fragment that was measured; `None` while it is.
    fragments: HashMap<&'a Name, Option<Size>>,
    steps: &'a mut usize,
}

impl<'a> Walk<'a> {
    fn selections(&mut self, selections: &'a SelectionSet) -> Result<Size, Refusal> {
        let mut size = Size::default();
        for selection in &selections.items {
            *self.steps += 1;
            let directives = self.directives(selection.node.directives())?;
            let mut one = match &selection.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    let below = self.selections(&field.selection_set.node)?;
                    self.field(&field.name.node, field.alias.is_some(), below)
                }
                Selection::InlineFragment(fragment) => {
                    let inside = self.selections(&fragment.node.selection_set.node)?;
                    Size { fields: inside.fields.saturating_add(1), ..inside }
                }
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            };
            one.directives = one.directives.saturating_add(directives);
            size.add(one);
        }
        Ok(size)
    }

    fn field(&self, name: &Name, has_alias: bool, below: Size) -> Size {
        let takes_credentials = self.facts.field("Mutation", name).is_some_and(|field| field.takes_credentials);
        let mut size = Size {
            fields: below.fields.saturating_add(1),
            roots: 1,
            depth: below.depth.saturating_add(1),
            aliases: below.aliases.saturating_add(usize::from(has_alias)),
            credentials: below.credentials.saturating_add(usize::from(takes_credentials)),
            circles_here: below.circles_here.saturating_add(usize::from(CIRCULAR.contains(&name.as_str()))),
            lists_here: below.lists_here.saturating_add(usize::from(LISTS.contains(&name.as_str()))),
            ..below
        };
        if matches!(name.as_str(), "__schema" | "__type") {
            size = Size {
                depth: 1,
                circles: size.circles_here,
                introspection_depth: size.depth,
                introspection_lists: size.lists_here.max(1),
                ..size
            };
        }
        size
    }

    fn fragment(&mut self, name: &Name) -> Result<Size, Refusal> {
        // One that does not exist is the validation's business.
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            return Ok(Size { fields: 1, roots: 1, ..Size::default() });
        };
        match self.fragments.get(name) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => {
                let message = format!("the fragment `{name}` contains itself; take it out");
                return Err(Refusal::new(Code::ValidationFailed, message));
            }
            None => {}
        }
        self.fragments.insert(name, None);
        let mut size = self.selections(&fragment.node.selection_set.node)?;
        size.fields = size.fields.saturating_add(1);
        size.directives = size.directives.saturating_add(self.directives(&fragment.node.directives)?);
        self.fragments.insert(name, Some(size));
        Ok(size)
    }

    /// How many there are in one place.
    fn directives(&self, directives: &[Positioned<Directive>]) -> Result<usize, Refusal> {
        let most = self.limits.max_directives_in_place;
        if directives.len() > most {
            let message = format!("more than {most} directives stand in one place; use fewer");
            return Err(Refusal::new(Code::QueryTooLarge, message));
        }
        Ok(directives.len())
    }
}
