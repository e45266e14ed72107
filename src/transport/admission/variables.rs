//! Variables, before anything runs: not too many, not too deep, and of the types that the operation declares
//! (<https://spec.graphql.org/draft/#sec-Coercing-Variable-Values>).

use async_graphql::parser::types::{BaseType, OperationDefinition, Type};
use async_graphql::{Value, Variables};

use crate::config::Limits;
use crate::graphql::facts::{Facts, TypeFacts};
use crate::graphql::scalars;
use crate::transport::refusal::{Code, Refusal};

/// Refuses variables that are too large to look at.
///
/// # Errors
/// What to do.
pub fn measure(variables: &Variables, limits: &Limits) -> Result<(), Refusal> {
    let mut nodes = 0;
    variables.values().try_for_each(|value| measure_value(value, limits.max_variables_depth, &mut nodes, limits))
}

fn measure_value(value: &Value, levels: usize, nodes: &mut usize, limits: &Limits) -> Result<(), Refusal> {
    let too_large = |what: &str| Err(Refusal::new(Code::QueryTooLarge, format!("the variables {what}; send less")));
    *nodes += 1;
    if *nodes > limits.max_variables_nodes {
        return too_large(&format!("have more than {} values", limits.max_variables_nodes));
    }
    if levels == 0 {
        return too_large(&format!("are nested more than {} deep", limits.max_variables_depth));
    }
    match value {
        // PostgreSQL keeps none.
        Value::String(text) if text.contains('\0') => {
            Err(Refusal::new(Code::BadUserInput, "a variable contains the character NUL; leave it out"))
        }
        Value::List(items) => items.iter().try_for_each(|item| measure_value(item, levels - 1, nodes, limits)),
        Value::Object(fields) => fields.values().try_for_each(|field| measure_value(field, levels - 1, nodes, limits)),
        _ => Ok(()),
    }
}

/// Refuses variables that are missing or of another type than the operation declares.
///
/// # Errors
/// What to do.
pub fn check(operation: &OperationDefinition, variables: &Variables, facts: &Facts) -> Result<(), Refusal> {
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        let name = &definition.name.node;
        let ty = &definition.var_type.node;
        let wrong = match variables.get(name) {
            None if definition.default_value.is_some() || ty.nullable => continue,
            None => Err(Wrong::new("is missing")),
            Some(value) => check_value(value, ty, facts),
        };
        wrong.map_err(|Wrong { path, message }| {
            let place: String = std::iter::once(name.to_string()).chain(path.into_iter().rev()).collect();
            Refusal::new(Code::BadUserInput, format!("variable `${place}` {message}"))
        })?;
    }
    Ok(())
}

/// Puts the default where a variable is not given: async-graphql 7 forgets it in the conditions of `@skip` and `@include`.
pub fn complete(operation: &OperationDefinition, variables: &mut Variables) {
    for definition in &operation.variable_definitions {
        if let Some(default) = &definition.node.default_value {
            variables.entry(definition.node.name.node.clone()).or_insert_with(|| default.node.clone());
        }
    }
}

/// What is wrong, and where: the innermost step first.
struct Wrong {
    path: Vec<String>,
    message: String,
}

impl Wrong {
    fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into() }
    }

    fn below(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }
}

fn check_value(value: &Value, ty: &Type, facts: &Facts) -> Result<(), Wrong> {
    match (value, &ty.base) {
        (Value::Null, _) if ty.nullable => Ok(()),
        (Value::Null, _) => Err(Wrong::new(format!("must not be null, but of type `{ty}`"))),
        (Value::List(items), BaseType::List(item)) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(place, value)| {
                check_value(value, item, facts).map_err(|wrong| wrong.below(format!("[{place}]")))
            })
        }
        // One value stands for a list of one.
        (value, BaseType::List(item)) => check_value(value, item, facts),
        (value, BaseType::Named(name)) => check_named(value, name, facts),
    }
}

fn check_named(value: &Value, name: &str, facts: &Facts) -> Result<(), Wrong> {
    let expected = || Err(Wrong::new(format!("must be of type `{name}`")));
    match (facts.of(name), value) {
        (Some(TypeFacts::Enum(names)), Value::Enum(given)) if names.contains(given) => Ok(()),
        (Some(TypeFacts::Enum(names)), Value::String(given)) if names.contains(given.as_str()) => Ok(()),
        (Some(TypeFacts::Enum(_)), _) => Err(Wrong::new(format!("must be one of the values of `{name}`"))),
        (Some(TypeFacts::Input(input)), Value::Object(given)) => {
            if let Some(unknown) = given.keys().find(|field| !input.fields.contains_key(*field)) {
                return Err(
                    Wrong::new(format!("has no field of this name; `{name}` has others")).below(format!(".{unknown}"))
                );
            }
            if input.one_of && (given.len() != 1 || given.values().any(|value| *value == Value::Null)) {
                return Err(Wrong::new(format!("must have exactly one of the fields of `{name}`")));
            }
            input.fields.iter().try_for_each(|(field, (ty, has_default))| {
                let checked = match given.get(field) {
                    None if ty.nullable || *has_default => Ok(()),
                    None => Err(Wrong::new(format!("is missing; `{name}` needs it"))),
                    Some(value) => check_value(value, ty, facts),
                };
                checked.map_err(|wrong| wrong.below(format!(".{field}")))
            })
        }
        // A variable of an output type, or of one that does not exist, is the validation's business.
        (Some(TypeFacts::Composite(_)), _) => Ok(()),
        (Some(TypeFacts::Input(_)), _) => expected(),
        (Some(TypeFacts::Scalar), value) => scalars::check(name, value).map_err(Wrong::new),
        (None, value) => match (name, value) {
            ("Int", Value::Number(number)) if number.as_i64().is_some_and(|int| i32::try_from(int).is_ok()) => Ok(()),
            ("Float", Value::Number(_)) | ("String" | "ID", Value::String(_)) | ("Boolean", Value::Boolean(_)) => {
                Ok(())
            }
            ("ID", Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
            ("Int", _) => Err(Wrong::new("must be a whole number of 32 bits, type `Int`")),
            ("Float" | "String" | "ID" | "Boolean", _) => expected(),
            _ => Ok(()),
        },
    }
}
