//! What a request may ask for, looked at before anything of it runs. Whatever it is, that takes a few milliseconds: one
//! look at the bytes, then the parser, then one walk over what it made. A document that ran once need not be looked at
//! again.

mod documents;
mod scan;
mod variables;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{Name, Request};
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;

use crate::config::Limits;
use crate::graphql::catalog::written::Plan;
use crate::graphql::facts::Facts;
use crate::transport::kept;
use crate::transport::refusal::{Code, Refusal};
use crate::transport::shape::{Drawn, Estimate, Shape, fill_empty, shape};

pub use documents::Documents;

/// What was found of an operation that may run.
pub struct Admitted {
    pub kind: OperationType,
    /// What it is called in its document.
    pub name: Option<String>,
    pub document: Arc<Document>,
    pub shape: Arc<Shape>,
    pub estimate: Estimate,
    /// What it asks for, if it is a query: see `transport::kept`.
    pub question: Option<Bytes>,
}

/// A document that may run, as far as that does not depend on who brings it with what variables.
pub struct Document {
    /// The first bits of the SHA-256 of its text.
    name: u128,
    parsed: ExecutableDocument,
    /// For each of its operations, once it was looked at.
    shapes: Vec<Drawn>,
    /// For each of its operations that has one.
    plans: HashMap<Option<Name>, Plan>,
    /// What strangers were answered was for one of them alone.
    pub is_personal: AtomicBool,
}

impl Document {
    /// Looks at a document, and parses it.
    ///
    /// # Errors
    /// What is too much, or wrong, and what to do.
    fn read(text: &str, facts: &Facts, limits: &Limits, steps: &mut usize) -> Result<Self, Refusal> {
        scan::scan(text, limits)?;
        let mut parsed = parse_query(text).map_err(|error| {
            let text = error.to_string();
            let line: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            Refusal::new(Code::ParseFailed, line.join(" "))
        })?;
        walk::walk(&parsed, facts, limits, steps)?;
        let queries = parsed.operations.iter().filter(|(_, operation)| operation.node.ty == OperationType::Query);
        let plans =
            queries.filter_map(|(name, operation)| Some((name.cloned(), Plan::of(&operation.node, &parsed, facts)?)));
        let plans = plans.collect();
        fill_empty(&mut parsed);
        let digest = digest(&SHA256, text.as_bytes());
        let name = u128::from_be_bytes(digest.as_ref().first_chunk().copied().unwrap_or_default());
        let shapes = parsed.operations.iter().map(|_| Drawn::new()).collect();
        Ok(Self { name, parsed, shapes, plans, is_personal: AtomicBool::new(false) })
    }

    /// The document for async-graphql.
    pub fn parsed(&self) -> ExecutableDocument {
        self.parsed.clone()
    }

    /// How the answers of its operation of this name are written, if they can be without async-graphql. It is for documents
    /// that are known to be valid.
    pub fn plan(&self, operation: Option<&str>) -> Option<&Plan> {
        // One that is not named may be alone.
        let mut plans = self.plans.iter();
        let found = match operation {
            Some(name) => plans.find(|(known, _)| known.as_ref().is_some_and(|known| known.as_str() == name)),
            None => plans.next(),
        };
        found.map(|(_, plan)| plan)
    }
}

/// Looks at a request, and at its document if none is `known` for its text. `steps` counts what was looked at, for those who
/// doubt that it is linear in the document.
///
/// # Errors
/// What is too much, or wrong, and what to do.
pub fn admit(
    request: &mut Request,
    known: Option<Arc<Document>>,
    is_signed_in: bool,
    facts: &Facts,
    limits: &Limits,
    steps: &mut usize,
) -> Result<Admitted, Refusal> {
    variables::measure(&request.variables, limits)?;
    let document = match known {
        Some(document) => document,
        None => Arc::new(Document::read(&request.query, facts, limits, steps)?),
    };
    let (name, operation, drawn) = choose(&document, request.operation_name.as_deref())?;
    let name = name.map(Name::to_string);
    variables::check(operation, &request.variables, facts)?;
    variables::complete(operation, &mut request.variables);
    let (shape, estimate) = shape(operation, &document.parsed, &request.variables, facts, drawn, steps)?;
    if estimate.cost > limits.max_cost {
        let message = format!("it costs {}, and may cost {}; ask for less", estimate.cost, limits.max_cost);
        return Err(Refusal::new(Code::CostTooHigh, message));
    }
    if estimate.values > limits.max_response_values {
        let (values, most) = (estimate.values, limits.max_response_values);
        let message = format!("it asks for {values} values, and may ask for {most}; ask for less");
        return Err(Refusal::new(Code::CostTooHigh, message));
    }
    let kind = operation.ty;
    let question = (kind == OperationType::Query && !estimate.introspects).then(|| {
        kept::question(document.name, request.operation_name.as_deref(), operation, &request.variables, is_signed_in)
    });
    Ok(Admitted { kind, name, document, shape, estimate, question })
}

/// The operation of this name, or the only one, with the shape of its answer.
fn choose<'a>(
    document: &'a Document,
    name: Option<&str>,
) -> Result<(Option<&'a Name>, &'a OperationDefinition, &'a Drawn), Refusal> {
    let mut operations = document.parsed.operations.iter().zip(&document.shapes);
    let found = match name {
        Some(name) => operations.find(|((known, _), _)| known.is_some_and(|known| known.as_str() == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    found.map(|((name, operation), shape)| (name, &operation.node, shape)).ok_or_else(|| {
        let message = "the document has several operations, or none of that name; name one in `operationName`";
        Refusal::new(Code::OperationUnclear, message)
    })
}

#[cfg(test)]
mod tests {
    use async_graphql::Request;

    use super::admit;
    use crate::config::Settings;
    use crate::graphql::facts::Facts;

    #[test]
    fn no_document_makes_the_walks_look_at_much() {
        let (facts, settings) = (Facts::read().unwrap(), Settings::from_flags(&[]).unwrap());
        let doubling = |count: usize, times: usize| {
            let spreads = |n: usize| format!("...f{} ", n + 1).repeat(times);
            let parts: Vec<_> = (0..count).map(|n| format!("fragment f{n} on Query {{ {} }}", spreads(n))).collect();
            let parts = parts.join(" ");
            format!("{{ ...f0 }} {parts} fragment f{count} on Query {{ __typename }}")
        };
        let spreads = "...g ".repeat(36);
        let wide: Vec<_> = (0..49).map(|n| format!("fragment f{n} on Query {{ {spreads} }}")).collect();
        let wide = format!("{{ ...f0 ...f48 }} {} fragment g on Query {{ __typename }}", wide.join(" "));
        for document in [
            doubling(30, 2),
            doubling(49, 2),
            doubling(12, 4),
            wide,
            format!("{{ service {{ {} }} }}", "version ".repeat(1_990)),
            format!("{{ {} }}", "{ a ".repeat(30) + &"}".repeat(30)),
            "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }".to_owned(),
        ] {
            let mut steps = 0;
            let _ = admit(&mut Request::new(&document), None, false, &facts, &settings.limits, &mut steps);
            assert!(steps <= 10_000, "{steps} steps: {document}");
        }
    }
}
