//! What is written straight from rows against what async-graphql makes of the same.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_graphql::{Request, Response, Variables};
use serde_json::{Value, json};
use stockroom::config::{Services, Settings};
use stockroom::domain::accounts::{Role, Viewer};
use stockroom::domain::catalog::commands::{seed_categories, seed_products};
use stockroom::domain::reads::Reads;
use stockroom::graphql::builder;
use stockroom::graphql::context::{Asker, RequestContext};
use stockroom::graphql::error::{Audience, response_body};
use stockroom::graphql::facts::Facts;
use stockroom::transport::admission::admit;

use crate::support::TestServer;

const AUDIENCE: Audience = Audience { max_errors: 10, suggestions: true };

/// Fields that are left to async-graphql, and one of which nobody is told.
const RESOLVED: [&str; 6] = [
    "Product.createdBy",
    "ProductConnection.count",
    "Category.parent",
    "Category.children",
    "Category.path",
    "Category.products",
];

/// Every other field of a type, and of those below it.
fn all_of(of: &str, facts: &Facts) -> String {
    let Some(composite) = facts.composite(of) else { return String::new() };
    let fields = composite.fields.iter().filter(|(name, _)| !RESOLVED.contains(&format!("{of}.{name}").as_str()));
    let fields = fields.map(|(name, field)| format!("{name} {}", all_of(&field.of, facts)));
    format!("{{ __typename {} }}", fields.collect::<Vec<_>>().join(" "))
}

struct Both<'a> {
    server: &'a TestServer,
    facts: Facts,
    settings: Settings,
}

impl Both<'_> {
    fn context(&self) -> RequestContext {
        let core = self.server.core.noting(Arc::new(Reads::default()));
        RequestContext::new(core, Asker::new(Viewer::Anonymous, IpAddr::V4(Ipv4Addr::LOCALHOST)), 10_000)
    }

    /// Has a document answered in both ways, which must agree; tells what they say.
    async fn answer(&self, document: &str, variables: Value) -> Value {
        let request = || Request::new(document).variables(Variables::from_json(variables.clone())).data(self.context());
        let mut planned = request();
        let admitted = admit(&mut planned, None, false, &self.facts, &self.settings.limits, &mut 0);
        let admitted = admitted.unwrap_or_else(|refusal| panic!("{document}: {}", refusal.message));
        let plan = admitted.document.plan(None).unwrap_or_else(|| panic!("no plan: {document}"));
        let written = plan.answer(&planned).await.unwrap_or_else(|| panic!("not written: {document} {variables}"));

        let mut resolved = request();
        resolved.set_parsed_query(admitted.document.parsed());
        let mut resolved = builder(Services::All).finish().execute(resolved).await;
        admitted.shape.repair(&mut resolved.data, &resolved.errors);

        let body = |response: &Response| String::from_utf8(response_body(response, false, None, AUDIENCE, "")).unwrap();
        let cost = admitted.shape.cost(&resolved.data);
        let (found, found_cost) = match written {
            Ok(written) => (String::from_utf8(written.body).unwrap(), written.cost),
            Err(failure) => {
                let mut failed = Response::from_errors(vec![failure]);
                admitted.shape.repair(&mut failed.data, &failed.errors);
                (body(&failed), cost)
            }
        };
        assert_eq!(found, body(&resolved), "{document} {variables}");
        assert_eq!(found_cost, cost, "{document} {variables}");
        serde_json::from_str(&found).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_from_rows_is_what_resolvers_say() {
    let server = TestServer::start_with(&[]).await;
    seed_categories(&server.core).await.unwrap();
    seed_products(&server.core, 0..120, None).await.unwrap();
    let odd = json!({
        "sku": "ODD \"1\"", "name": "Öd \u{1f600} <b>\\", "slug": "odd", "status": "ACTIVE", "stock": 3,
        "description": "a\ttab, a \"quote\",\nand é", "externalReference": "ext/1", "rating": 4.5,
        "price": { "amount": "1500", "currency": "JPY" }, "compareAtPrice": { "amount": "2000", "currency": "JPY" },
        "tags": ["é", "b\"c"],
        "attributes": [{ "key": "k", "value": { "deep": [1, 2.5, null, "x"] } }, { "key": "a\"b", "value": 1e21 }],
        "media": [{ "url": "https://example.com/a.jpg", "alt": "A \"lamp\"", "width": 3 }],
    });
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(odd).await;
    staff
        .create_product(json!({ "sku": "HIDDEN", "name": "Hidden", "slug": "hidden", "status": "DRAFT", "stock": 0,
        "price": { "amount": "1", "currency": "EUR" } }))
        .await;
    let (facts, settings) = (Facts::read().unwrap(), Settings::from_flags(&[]).unwrap());
    let all = all_of("ProductConnection", &facts);
    let product = all_of("Product", &facts);
    assert!(all.contains("fractionDigits") && all.contains("score") && product.contains("alt"));
    let both = Both { server: &server, facts, settings };

    let list = format!(
        "query($first: Int, $after: String, $last: Int, $before: String, $offset: Int, $search: String,
            $filter: ProductFilter, $sortBy: [ProductSort!]) {{
            products(first: $first, after: $after, last: $last, before: $before, offset: $offset, search: $search,
                filter: $filter, sortBy: $sortBy) {all} }}"
    );
    let newest = both.answer(&list, json!({ "first": 7 })).await;
    let page = &newest["data"]["products"]["pageInfo"];
    for variables in [
        json!({}),
        json!({ "first": null, "filter": null, "sortBy": null }),
        json!({ "first": 5, "after": page["endCursor"] }),
        json!({ "last": 5, "before": page["endCursor"] }),
        json!({ "last": 3 }),
        json!({ "first": 4, "offset": 100 }),
        json!({ "first": 4, "offset": 5000 }),
        json!({ "search": "lamp" }),
        json!({ "search": "öd" }),
        json!({ "filter": { "slug": { "eq": "odd" } } }),
        json!({ "filter": { "slug": { "eq": "nothing" } } }),
        json!({ "filter": { "or": [{ "stock": { "gte": 40 } }, { "not": { "price": { "currency": "EUR" } } }] } }),
        json!({ "sortBy": [{ "field": "RATING", "direction": "DESC" }, { "field": "NAME" }] }),
        json!({ "sortBy": { "field": "PRICE" } }),
        // What cannot be worked with is refused in the same words.
        json!({ "after": "nonsense" }),
        json!({ "offset": 10_001 }),
        json!({ "last": 3, "offset": 3 }),
        json!({ "search": "x".repeat(201) }),
        json!({ "sortBy": [{ "field": "RELEVANCE" }] }),
        json!({ "filter": { "category": { "eq": "nonsense" } } }),
    ] {
        both.answer(&list, variables).await;
    }

    let one = format!("query($by: ProductKey!) {{ product(by: $by) {product} }}");
    let id = newest["data"]["products"]["nodes"][0]["id"].clone();
    for by in [
        json!({ "id": id }),
        json!({ "slug": "odd" }),
        json!({ "externalReference": "ext/1" }),
        json!({ "sku": "HIDDEN" }),
        json!({ "sku": "nothing" }),
        json!({ "id": "nonsense" }),
    ] {
        both.answer(&one, json!({ "by": by })).await;
    }

    for document in [
        "{ some: products(first: 2) { nodes { called: name, price { __typename } ...Shown } } }
            fragment Shown on Product { id category { ...Named } } fragment Named on Category { name }",
        "query Named($first: Int = 3) { products(first: $first, filter: { inStock: true }) {
            ... { edges { ... on ProductEdge { node { ... on Product { sku } } } } } } }",
        "{ products(first: 9) { nodes { sku createdBy { id name role } } } }",
        // What is shown of a category in one place is not what is shown of it in another.
        "{ products(first: 100, sortBy: { field: NAME }) { nodes { category { id } in: category { name slug } } } }",
        "{ products(first: 100) { nodes { category { slug } } edges { node { category { position } } } } }",
        "{ products(first: 1) { ...Only } } fragment Only on ProductConnection { nodes { ...Id } }
            fragment Id on Product { id }",
    ] {
        both.answer(document, json!({})).await;
    }
}

#[test]
fn what_is_not_only_rows_has_no_plan() {
    let (facts, settings) = (Facts::read().unwrap(), Settings::from_flags(&[]).unwrap());
    for document in [
        "{ products { nodes { category { path } } } }",
        "{ products { count { value } } }",
        "{ products { nodes { id } } service { version } }",
        "{ products { nodes { price { amount } price { currency } } } }",
        "query($b: Boolean!) { products { nodes { id name @skip(if: $b) } } }",
        "query($b: Boolean!) { products @include(if: $b) { nodes { id } } }",
        "{ product(by: { sku: \"A\" }) { ... on Node { id } } }",
        "{ categories { id } }",
    ] {
        let request = &mut Request::new(document).variables(Variables::from_json(json!({ "b": true })));
        let admitted = admit(request, None, false, &facts, &settings.limits, &mut 0);
        let admitted = admitted.unwrap_or_else(|refusal| panic!("{document}: {}", refusal.message));
        assert!(admitted.document.plan(None).is_none(), "{document}");
    }
}
