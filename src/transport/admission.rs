//! What a document may ask for, looked at before anything of it runs.
//!
//! A document of a kilobyte can name 2^30 fields through fragments that spread each other, and async-graphql's own limits
//! walk them all. This walk measures each fragment once and saturates, so it is linear in the document.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

/// Fragments in a document, at most.
const MAX_FRAGMENTS: usize = 50;
/// Fields of a document after its fragments are put in place, at most.
const MAX_FIELDS: usize = 5_000;

/// Refuses a document that is too large once its fragments are in place.
///
/// # Errors
/// What to do.
pub fn check(document: &ExecutableDocument) -> Result<(), String> {
    if document.fragments.len() > MAX_FRAGMENTS {
        return Err(format!("the document has more than {MAX_FRAGMENTS} fragments; use fewer"));
    }
    let mut walk = Walk { document, fragments: HashMap::new() };
    let mut fields = 0_usize;
    for (_, operation) in document.operations.iter() {
        fields = fields.saturating_add(walk.size(&operation.node.selection_set.node)?);
    }
    // Also those that nothing spreads: they are validated all the same.
    for name in document.fragments.keys() {
        fields = fields.saturating_add(walk.fragment(name)?);
    }
    if fields > MAX_FIELDS {
        return Err(format!("the document asks for more than {MAX_FIELDS} fields; ask for fewer"));
    }
    Ok(())
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    /// The size of each fragment that was measured; `None` while it is.
    fragments: HashMap<&'a str, Option<usize>>,
}

impl<'a> Walk<'a> {
    fn size(&mut self, selections: &'a SelectionSet) -> Result<usize, String> {
        let mut size = 0_usize;
        for selection in &selections.items {
            let more = match &selection.node {
                Selection::Field(field) => self.size(&field.node.selection_set.node)?.saturating_add(1),
                Selection::InlineFragment(fragment) => self.size(&fragment.node.selection_set.node)?.saturating_add(1),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            };
            size = size.saturating_add(more);
        }
        Ok(size)
    }

    fn fragment(&mut self, name: &str) -> Result<usize, String> {
        // One that does not exist is the validation's business.
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else { return Ok(1) };
        match self.fragments.get(name.as_str()) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(format!("the fragment `{name}` contains itself; take it out")),
            None => {}
        }
        self.fragments.insert(name, None);
        let size = self.size(&fragment.node.selection_set.node)?.saturating_add(1);
        self.fragments.insert(name, Some(size));
        Ok(size)
    }
}
