//! The shape of an answer, known before anything runs: what it will cost, and how async-graphql 7's response is put right
//! afterwards. That leaves the key of a failed field out, and puts fields in the order in which they were ready. See
//! <https://spec.graphql.org/draft/#sec-Serialized-Map-Ordering> and `#sec-Handling-Execution-Errors`.

use std::sync::{Arc, OnceLock};

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, PathSegment, Positioned, ServerError, Value, Variables};

use crate::domain::page::MAX_SIZE;
use crate::graphql::facts::{Facts, ListSize};
use crate::transport::refusal::{Code, Refusal};

/// Looking at the schema itself costs this, whatever is asked of it.
const INTROSPECTION: u64 = 50;

/// The response keys of a selection in their order, each with those below it.
#[derive(Debug, Default)]
pub struct Shape {
    /// What the field costs if it is there at all, and each of its objects.
    weight: u64,
    object_weight: u64,
    fields: IndexMap<Name, Shape>,
}

/// The shape of an operation's answers, from its first look on.
pub type Drawn = OnceLock<FirstLook>;

/// What an operation may amount to depends on the variables that say how long lists are, which mostly say the same again.
#[derive(Debug)]
pub struct FirstLook {
    shape: Arc<Shape>,
    /// `None` if it depended on others than numbers and nulls.
    variables: Option<Vec<(Name, Value)>>,
    estimate: Estimate,
}

/// The alias of a field that the server adds where a selection may turn out empty: async-graphql 7 takes an object without
/// fields for null. No answer shows it.
const PRESENCE: &str = "__presence";

/// What an operation may amount to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    pub cost: u64,
    /// Values in the response.
    pub values: u64,
    /// It asks for the schema.
    pub introspects: bool,
}

/// Adds a field to each selection of the document that may turn out empty, because of what its parts depend on.
pub fn fill_empty(document: &mut ExecutableDocument) {
    let operations: Box<dyn Iterator<Item = &mut Positioned<OperationDefinition>>> = match &mut document.operations {
        DocumentOperations::Single(operation) => Box::new(std::iter::once(operation)),
        DocumentOperations::Multiple(operations) => Box::new(operations.values_mut()),
    };
    for operation in operations {
        match operation.node.ty {
            OperationType::Subscription => fill_below(&mut operation.node.selection_set.node),
            _ => fill(&mut operation.node.selection_set.node),
        }
    }
    for fragment in document.fragments.values_mut() {
        fill_below(&mut fragment.node.selection_set.node);
    }
}

fn fill(selections: &mut SelectionSet) {
    fill_below(selections);
    let is_certain = |selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(field) => field.node.directives.is_empty(),
        _ => false,
    };
    if let Some(at) = selections.items.first().map(|first| first.pos)
        && !selections.items.iter().any(is_certain)
    {
        let field = Field {
            alias: Some(Positioned::new(Name::new(PRESENCE), at)),
            name: Positioned::new(Name::new("__typename"), at),
            arguments: Vec::new(),
            directives: Vec::new(),
            selection_set: Positioned::new(SelectionSet::default(), at),
        };
        selections.items.push(Positioned::new(Selection::Field(Positioned::new(field, at)), at));
    }
}

fn is_presence(field: &Field) -> bool {
    field.name.node == "__typename" && field.alias.as_ref().is_some_and(|alias| alias.node == PRESENCE)
}

fn fill_below(selections: &mut SelectionSet) {
    for selection in &mut selections.items {
        match &mut selection.node {
            Selection::Field(field) => fill(&mut field.node.selection_set.node),
            Selection::InlineFragment(fragment) => fill_below(&mut fragment.node.selection_set.node),
            Selection::FragmentSpread(_) => {}
        }
    }
}

/// The shape of the answer to an operation, and the most that it may cost. The shape does not depend on variables, and is
/// drawn once. The document was walked before: its fragments are few and have no circle.
///
/// # Errors
/// For a page of an impossible size.
pub fn shape(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    variables: &Variables,
    facts: &Facts,
    drawn: &Drawn,
    steps: &mut usize,
) -> Result<(Arc<Shape>, Estimate), Refusal> {
    if let Some(FirstLook { shape, variables: Some(then), estimate }) = drawn.get()
        && then.iter().all(|(name, value)| variables.get(name).unwrap_or(&Value::Null) == value)
    {
        return Ok((Arc::clone(shape), *estimate));
    }
    let root = match operation.ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    };
    let mut draw = Draw { document, variables, facts, steps, looked_at: Some(Vec::new()) };
    let mut drawing = drawn.get().is_none().then(Shape::default);
    let mut estimate = draw.selections(drawing.as_mut(), &operation.selection_set.node, root, None)?;
    estimate.cost = estimate.cost.max(1);
    let looked_at = draw.looked_at;
    let first = drawn.get_or_init(|| FirstLook {
        shape: Arc::new(drawing.unwrap_or_default()),
        variables: looked_at,
        estimate,
    });
    Ok((Arc::clone(&first.shape), estimate))
}

struct Draw<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    facts: &'a Facts,
    steps: &'a mut usize,
    /// Variables, and what they were found to be, as long as those are numbers and nulls.
    looked_at: Option<Vec<(Name, Value)>>,
}

impl Draw<'_> {
    /// Adds a selection on a type to the shape, where one is drawn. `page` says how long some of its lists are.
    fn selections(
        &mut self,
        mut shape: Option<&mut Shape>,
        selections: &SelectionSet,
        of: &str,
        page: Option<(&ListSize, u64)>,
    ) -> Result<Estimate, Refusal> {
        let mut estimate = Estimate::default();
        for selection in &selections.items {
            *self.steps += 1;
            let shape = shape.as_deref_mut();
            let one = match &selection.node {
                Selection::Field(field) => self.field(shape, &field.node, of, page)?,
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref().map(|on| on.node.on.node.as_str());
                    self.selections(shape, &fragment.node.selection_set.node, condition.unwrap_or(of), page)?
                }
                Selection::FragmentSpread(spread) => {
                    match self.document.fragments.get(&spread.node.fragment_name.node) {
                        Some(fragment) => {
                            let condition = fragment.node.type_condition.node.on.node.as_str();
                            self.selections(shape, &fragment.node.selection_set.node, condition, page)?
                        }
                        None => Estimate::default(),
                    }
                }
            };
            estimate.cost = estimate.cost.saturating_add(one.cost);
            estimate.values = estimate.values.saturating_add(one.values);
            estimate.introspects |= one.introspects;
        }
        Ok(estimate)
    }

    fn field(
        &mut self,
        shape: Option<&mut Shape>,
        field: &Field,
        of: &str,
        page: Option<(&ListSize, u64)>,
    ) -> Result<Estimate, Refusal> {
        let name = &field.name.node;
        if is_presence(field) {
            return Ok(Estimate::default());
        }
        let mut below = shape.map(|shape| shape.fields.entry(field.response_key().node.clone()).or_default());
        let Some(facts) = self.facts.field(of, name) else {
            let introspects = matches!(name.as_str(), "__schema" | "__type");
            let weight = if introspects { INTROSPECTION } else { 0 };
            if let Some(below) = &mut below {
                below.weight = below.weight.saturating_add(weight);
            }
            let inside = self.selections(below, &field.selection_set.node, "", None)?;
            let introspects = introspects || inside.introspects;
            return Ok(Estimate { cost: inside.cost.saturating_add(weight), introspects, ..inside });
        };
        // The same in another form.
        let introspects = of == "Query" && name == "_service";
        let own = match &facts.size {
            Some(size) => Some((size, self.items(field, size)?)),
            None => None,
        };
        let items = match (facts.is_list, own, page) {
            (true, Some((_, items)), _) => items,
            (true, None, Some((size, items))) if size.fields.contains(name) => items,
            _ => 1,
        };
        let object_weight = self.facts.composite(&facts.of).map_or(0, |composite| composite.weight);
        if let Some(below) = &mut below {
            below.weight = below.weight.saturating_add(facts.weight);
            below.object_weight = below.object_weight.saturating_add(object_weight);
        }
        // An edge has no list of its own: its node is one of the page's.
        let inside = self.selections(below, &field.selection_set.node, &facts.of, own.filter(|_| !facts.is_list))?;
        let each = object_weight.saturating_add(inside.cost);
        Ok(Estimate {
            cost: facts.weight.saturating_add(items.saturating_mul(each)),
            values: items.saturating_mul(inside.values).saturating_add(1),
            introspects: introspects || inside.introspects,
        })
    }

    /// How long the list is, by its arguments.
    fn items(&mut self, field: &Field, size: &ListSize) -> Result<u64, Refusal> {
        let mut items = None;
        for argument in &size.arguments {
            let Some(value) = field.get_argument(argument) else { continue };
            let value = value.node.clone().into_const_with(|name| Ok::<_, ()>(self.variable(name)));
            let given = match value {
                Ok(Value::Number(number)) => {
                    let fits = number.as_i64().filter(|number| (1..=i64::from(MAX_SIZE)).contains(number));
                    let fits = fits.and_then(|number| u64::try_from(number).ok());
                    fits.ok_or_else(|| {
                        let message = format!("`{argument}` must be between 1 and {MAX_SIZE}");
                        Refusal::new(Code::BadUserInput, message)
                    })?
                }
                Ok(Value::List(items)) => items.len() as u64,
                // One value stands for a list of one; null for no argument, and anything else does not pass validation.
                Ok(Value::String(_)) => 1,
                _ => continue,
            };
            items = items.max(Some(given));
        }
        Ok(items.unwrap_or(size.assumed))
    }

    fn variable(&mut self, name: Name) -> Value {
        let value = self.variables.get(&name).cloned().unwrap_or_default();
        match (&mut self.looked_at, &value) {
            (Some(looked_at), Value::Number(_) | Value::Null) => {
                if !looked_at.iter().any(|(known, _)| *known == name) {
                    looked_at.push((name, value.clone()));
                }
            }
            (looked_at, _) => *looked_at = None,
        }
        value
    }
}

impl Shape {
    /// What an answer did cost.
    pub fn cost(&self, data: &Value) -> u64 {
        self.cost_of(data).max(1)
    }

    fn cost_of(&self, value: &Value) -> u64 {
        match value {
            Value::List(items) => items.iter().fold(0, |sum: u64, item| sum.saturating_add(self.cost_of(item))),
            Value::Object(members) => members.iter().fold(self.object_weight, |sum, (name, member)| {
                let below = self.fields.get(name);
                sum.saturating_add(below.map_or(0, |below| below.weight.saturating_add(below.cost_of(member))))
            }),
            _ => 0,
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
                members.shift_remove(PRESENCE);
                let place = |name: &Name| self.fields.get_index_of(name);
                if !members.keys().is_sorted_by_key(place) {
                    members.sort_by_key(|name, _| place(name));
                }
                for (name, member) in members {
                    if let Some(below) = self.fields.get(name) {
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
