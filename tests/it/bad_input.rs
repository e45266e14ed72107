//! Bad input, for every argument that there is: a clear error, never a 500, nothing leaked, nothing written.

use serde_json::{Value, json};
use stockroom::domain::accounts::Role;

use crate::support::{Client, TestServer};

/// What no answer may contain.
const LEAKS: [&str; 12] = [
    "SELECT",
    "INSERT",
    "UPDATE ",
    "_key",
    "_fkey",
    "_check",
    "constraint",
    "relation",
    "diesel",
    "panicked",
    "src/",
    "PostgreSQL",
];

/// An operation with one place for a value, and the values that are fine there.
struct Place {
    document: &'static str,
    /// The variables, with [`HERE`] where the value goes.
    variables: Value,
    /// Whether some text is fine, as in a search.
    lenient: bool,
}

const HERE: &str = "<here>";

fn put(template: &Value, value: &Value) -> Value {
    match template {
        Value::String(text) if text == HERE => value.clone(),
        Value::Array(items) => items.iter().map(|item| put(item, value)).collect(),
        Value::Object(members) => members.iter().map(|(name, item)| (name.clone(), put(item, value))).collect(),
        other => other.clone(),
    }
}

/// Every argument that takes text.
fn text_places() -> Vec<Place> {
    const CREATE: &str = "mutation($v: ProductInput!) { createProduct(input: $v) { product { id } errors { ... on UserError { code message path } } } }";
    const UPDATE: &str = "mutation($v: ProductPatch!) { updateProduct(by: { sku: \"KEPT\" }, patch: $v) { product { id } errors { ... on UserError { code message path } } } }";
    const UPDATE_BY: &str = "mutation($v: ProductKey!) { updateProduct(by: $v, patch: { name: \"x\" }) { product { id } errors { ... on UserError { code message path } } } }";
    const DELETE_BY: &str = "mutation($v: ProductKey!) { deleteProduct(by: $v) { deletedId errors { ... on UserError { code message path } } } }";
    const ADJUST_BY: &str = "mutation($v: ProductKey!) { adjustStock(by: $v, delta: 1) { product { id } errors { ... on UserError { code message path } } } }";
    const CATEGORY: &str = "mutation($v: CategoryInput!) { createCategory(input: $v) { category { id } errors { ... on UserError { code message path } } } }";
    const UPDATE_CATEGORY: &str = "mutation($v: ID!) { updateCategory(id: $v, patch: { name: \"x\" }) { category { id } errors { ... on UserError { code message path } } } }";
    const DELETE_CATEGORY: &str =
        "mutation($v: ID!) { deleteCategory(id: $v) { deletedId errors { ... on UserError { code message path } } } }";
    const ROLE: &str = "mutation($v: ID!) { setUserRole(id: $v, role: STAFF) { user { id } errors { ... on UserError { code message path } } } }";
    const REGISTER: &str = "mutation($v: RegisterInput!) { register(input: $v) { user { id } errors { ... on UserError { code message path } } } }";
    const LOGIN: &str = "mutation($v: LoginInput!) { login(input: $v) { user { id } errors { ... on UserError { code message path } } } }";
    const FILTER: &str = "query($v: ProductFilter!) { products(filter: $v) { totalCount } }";
    const PRODUCT: &str = "query($v: ProductKey!) { product(by: $v) { id } }";

    let strict = |document, variables| Place { document, variables: json!({ "v": variables }), lenient: false };
    let lenient = |document, variables| Place { document, variables: json!({ "v": variables }), lenient: true };
    let product = |name: &str, value: Value| {
        let mut input = json!({ "sku": "NEW", "name": "New", "price": { "amount": "1", "currency": "EUR" } });
        input[name] = value;
        input
    };
    let mut places = vec![
        strict("query($v: ID!) { node(id: $v) { id } }", json!(HERE)),
        strict("query($v: ID!) { nodes(ids: [$v]) { id } }", json!(HERE)),
        strict("query($v: ID!) { category(id: $v) { id } }", json!(HERE)),
        lenient("query($v: String!) { category(slug: $v) { id } }", json!(HERE)),
        strict("query($v: ID!) { categories(parent: $v) { id } }", json!(HERE)),
        strict("query($v: String!) { products(after: $v) { totalCount } }", json!(HERE)),
        strict("query($v: String!) { products(before: $v, last: 1) { totalCount } }", json!(HERE)),
        strict("query($v: String!) { users(after: $v) { totalCount } }", json!(HERE)),
        strict("query($v: String!) { users(before: $v) { totalCount } }", json!(HERE)),
        lenient("query($v: String!) { products(search: $v) { totalCount } }", json!(HERE)),
        strict(UPDATE_CATEGORY, json!(HERE)),
        strict(DELETE_CATEGORY, json!(HERE)),
        strict(ROLE, json!(HERE)),
        strict(CATEGORY, json!({ "name": HERE })),
        strict(CATEGORY, json!({ "name": "New", "slug": HERE })),
        strict(CATEGORY, json!({ "name": "New", "parentId": HERE })),
        strict(REGISTER, json!({ "email": HERE, "password": "correct horse" })),
        lenient(REGISTER, json!({ "email": "nobody@nowhere", "password": HERE })),
        lenient(REGISTER, json!({ "email": "nobody@nowhere", "password": "correct horse", "name": HERE })),
        lenient(LOGIN, json!({ "email": HERE, "password": "correct horse" })),
        lenient(LOGIN, json!({ "email": "nobody@nowhere.example", "password": HERE })),
        strict(FILTER, json!({ "price": { "currency": HERE } })),
        strict(FILTER, json!({ "price": { "currency": "EUR", "gte": HERE } })),
        strict(FILTER, json!({ "price": { "currency": "EUR", "lt": HERE } })),
        strict(FILTER, json!({ "createdAt": { "gt": HERE } })),
        strict(FILTER, json!({ "updatedAt": { "lte": HERE } })),
        lenient(FILTER, json!({ "tags": { "anyOf": [HERE] } })),
        lenient(FILTER, json!({ "tags": { "allOf": [HERE] } })),
        lenient(FILTER, json!({ "tags": { "noneOf": [HERE] } })),
        lenient(FILTER, json!({ "attributes": [{ "key": HERE }] })),
        lenient(FILTER, json!({ "attributes": [{ "key": "k", "eq": HERE }] })),
    ];
    for field in ["id", "category"] {
        for condition in ["eq", "in", "notIn"] {
            let value = if condition == "eq" { json!(HERE) } else { json!([HERE]) };
            places.push(strict(FILTER, json!({ field: { condition: value } })));
        }
    }
    for field in ["sku", "slug", "name", "externalReference"] {
        for condition in ["eq", "in", "notIn", "contains", "startsWith"] {
            let value = if matches!(condition, "in" | "notIn") { json!([HERE]) } else { json!(HERE) };
            places.push(lenient(FILTER, json!({ field: { condition: value } })));
        }
    }
    for document in [PRODUCT, UPDATE_BY, DELETE_BY, ADJUST_BY] {
        places.push(strict(document, json!({ "id": HERE })));
        for key in ["slug", "sku", "externalReference"] {
            places.push(lenient(document, json!({ key: HERE })));
        }
    }
    for (name, value) in [
        ("sku", json!(HERE)),
        ("name", json!(HERE)),
        ("slug", json!(HERE)),
        ("categoryId", json!(HERE)),
        ("externalReference", json!(HERE)),
        ("tags", json!([HERE])),
        ("price", json!({ "amount": HERE, "currency": "EUR" })),
        ("price", json!({ "amount": "1", "currency": HERE })),
        ("compareAtPrice", json!({ "amount": HERE, "currency": "EUR" })),
        ("attributes", json!([{ "key": HERE, "value": 1 }])),
        ("media", json!([{ "url": HERE }])),
    ] {
        places.push(strict(CREATE, product(name, value.clone())));
        places.push(strict(UPDATE, json!({ name: value })));
    }
    // Beside a price that cannot be, so that what is fine here is not written.
    for (name, value) in [
        ("description", json!(HERE)),
        ("attributes", json!([{ "key": "k", "value": HERE }])),
        ("media", json!([{ "url": "https://x.example", "alt": HERE }])),
    ] {
        let mut input = product(name, value);
        input["price"]["amount"] = json!("-1");
        places.push(lenient(CREATE, input));
    }
    places
}

/// Checks that an answer is fit for a client: an error with code and advice, or where that may be a harmless answer.
fn check(place: &str, status: u16, text: &str, lenient: bool) {
    assert!(status < 500, "{place}: {status} {text}");
    let body: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{place}: no JSON: {text}"));
    for leak in LEAKS {
        // What the client sent itself may come back.
        assert!(!text.contains(leak), "{place} leaks {leak}: {text}");
    }
    let mut told = 0;
    for error in body["errors"].as_array().into_iter().flatten() {
        told += 1;
        let code = error["extensions"]["code"].as_str().unwrap_or_default();
        assert!(!code.is_empty() && code != "INTERNAL_SERVER_ERROR", "{place}: {text}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{place}: {text}");
        assert!(
            error["path"].is_array() || error["locations"].is_array() || body.get("data").is_none(),
            "{place}: {text}"
        );
    }
    for payload in body["data"].as_object().into_iter().flatten().map(|(_, payload)| payload) {
        for error in payload["errors"].as_array().into_iter().flatten() {
            told += 1;
            assert!(error["code"].is_string() && error["path"].is_array(), "{place}: {text}");
            assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{place}: {text}");
        }
    }
    assert!(lenient || told > 0, "{place} was taken: {text}");
}

async fn raw(client: &Client, body: String) -> (u16, String) {
    let request = client.http.post(&client.url).header("content-type", "application/json");
    let request = request.bearer_auth(client.token.as_deref().unwrap_or_default());
    let response = request.body(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// All that could have been written.
async fn state(server: &TestServer) -> (i64, Vec<i64>) {
    let client = server.database.connect().await;
    let mut counts = Vec::new();
    for table in ["products", "categories", "users", "changes"] {
        counts.push(client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0));
    }
    (server.core.gate.version().await.unwrap(), counts)
}

async fn server_with_a_product() -> (TestServer, Client) {
    let server = TestServer::start_with(&["--body-limit", "2000000"]).await;
    let admin = server.signed_in(Role::Admin).await;
    admin.create_product(json!({ "sku": "KEPT", "name": "Kept" })).await;
    (server, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_breaks_any_argument() {
    let (server, admin) = server_with_a_product().await;
    let before = state(&server).await;
    let million = "x".repeat(1_000_000);
    let bad = [
        ("nothing", json!("")),
        ("a megabyte", json!(million)),
        ("NUL", json!("a\u{0}b")),
        ("bidi controls", json!("a\u{202e}b\u{2066}c")),
        ("a number too large", json!(9_223_372_036_854_775_808_u64)),
        ("a fraction", json!(1.5)),
        ("a list", json!([["x"]])),
        ("an object", json!({ "x": 1 })),
        ("NaN", json!("NaN")),
    ];
    // These are fine as names, SKUs and the like, and of no account elsewhere.
    let sometimes_fine = ["NaN", "a list", "an object", "a number too large", "a fraction"];
    let mut tried = 0;
    for place in text_places() {
        for (what, value) in &bad {
            let variables = put(&place.variables, value);
            let at = format!("{what} in {}", put(&place.variables, &json!("…")));
            // A name like any other: it would be written, and rightly.
            let writes = ["createProduct", "updateProduct", "createCategory"];
            if *what == "NaN" && !place.lenient && writes.iter().any(|name| place.document.contains(name)) {
                continue;
            }
            let (status, text) =
                raw(&admin, json!({ "query": place.document, "variables": variables }).to_string()).await;
            check(&at, status, &text, place.lenient || sometimes_fine.contains(what));
            tried += 1;
        }
        // A lone surrogate cannot be written in Rust's JSON, so it goes by hand; as an escape in the document, too.
        let variables = put(&place.variables, &json!("SURROGATE")).to_string().replace("SURROGATE", "\\ud800");
        let body = format!("{{\"query\":{},\"variables\":{variables}}}", json!(place.document));
        let (status, text) = raw(&admin, body).await;
        check("a lone surrogate", status, &text, false);
    }
    assert!(tried > 600, "{tried}");
    assert_eq!(state(&server).await, before, "something was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn literals_in_the_document_are_no_way_around() {
    let (server, admin) = server_with_a_product().await;
    let before = state(&server).await;
    for literal in [
        "\"\\u0000\"",
        "\"a\\u0000b\"",
        "\"\\uD800\"",
        "\"\\u{110000}\"",
        "\"\"\"\u{1}\"\"\"",
        "1e400",
        "9223372036854775808",
        "NaN",
    ] {
        for document in [
            format!("{{ products(search: {literal}) {{ totalCount }} }}"),
            format!("{{ product(by: {{ sku: {literal} }}) {{ id }} }}"),
            format!("{{ products(filter: {{ tags: {{ anyOf: [{literal}] }} }}) {{ totalCount }} }}"),
            format!(
                "mutation {{ createProduct(input: {{ sku: \"N\", name: {literal}, rating: {literal}, price: {{ amount: {literal}, currency: \"EUR\" }} }}) {{ product {{ id }} }} }}"
            ),
            format!("mutation {{ adjustStock(by: {{ sku: \"KEPT\" }}, delta: {literal}) {{ product {{ id }} }} }}"),
        ] {
            let (status, text) = raw(&admin, json!({ "query": document }).to_string()).await;
            check(&document, status, &text, true);
        }
    }
    assert_eq!(state(&server).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_breaks_any_argument() {
    let (server, admin) = server_with_a_product().await;
    let before = state(&server).await;
    let numbers = [
        json!(0),
        json!(-1),
        json!(101),
        json!(2_147_483_648_i64),
        json!(-2_147_483_649_i64),
        json!(1.5),
        json!("1"),
        json!(true),
        json!([]),
        json!({}),
    ];
    for argument in ["first", "last"] {
        for number in &numbers {
            let query = format!(
                "query($n: Int) {{ products({argument}: $n) {{ nodes {{ id }} }} users({argument}: $n) {{ nodes {{ id }} }} }}"
            );
            let (status, text) = raw(&admin, json!({ "query": query, "variables": { "n": number } }).to_string()).await;
            // A list of nothing is coerced as GraphQL says, so only what is no number of this kind must be told.
            check(&format!("{argument}: {number}"), status, &text, false);
        }
    }
    for (document, value) in [
        ("query($n: Int) { products(offset: $n) { nodes { id } } }", json!(-1)),
        ("query($n: Int) { products(offset: $n) { nodes { id } } }", json!(10_001)),
        ("query($n: Int) { products(offset: $n, last: 1) { nodes { id } } }", json!(1)),
        ("query($n: Int!) { products { count(atMost: $n) { value } } }", json!(0)),
        ("query($n: Int!) { products { count(atMost: $n) { value } } }", json!(100_001)),
        ("query($n: Int) { products(first: $n, last: $n) { nodes { id } } }", json!(1)),
        (
            "mutation($n: Int!) { adjustStock(by: { sku: \"KEPT\" }, delta: $n) { product { id } errors { ... on UserError { code message path } } } }",
            json!(2_147_483_647),
        ),
        (
            "mutation($n: Int!) { adjustStock(by: { sku: \"KEPT\" }, delta: $n) { product { id } errors { ... on UserError { code message path } } } }",
            json!(-2),
        ),
        (
            "mutation($n: Float) { updateProduct(by: { sku: \"KEPT\" }, patch: { rating: $n }) { product { id } errors { ... on UserError { code message path } } } }",
            json!(5.01),
        ),
        (
            "mutation($n: Int) { updateProduct(by: { sku: \"KEPT\" }, patch: { stock: $n }) { product { id } errors { ... on UserError { code message path } } } }",
            json!(-1),
        ),
        (
            "mutation($n: Int) { updateProduct(by: { sku: \"KEPT\" }, patch: { name: \"x\" }, ifVersion: $n) { product { id } errors { ... on UserError { code message path } } } }",
            json!(0),
        ),
        (
            "mutation($n: Decimal!) { updateProduct(by: { sku: \"KEPT\" }, patch: { price: { amount: $n, currency: \"EUR\" } }) { product { id } errors { ... on UserError { code message path } } } }",
            json!("-0.01"),
        ),
        (
            "mutation($n: Decimal!) { updateProduct(by: { sku: \"KEPT\" }, patch: { price: { amount: $n, currency: \"EUR\" } }) { product { id } errors { ... on UserError { code message path } } } }",
            json!("0.001"),
        ),
        (
            "mutation($n: CurrencyCode!) { updateProduct(by: { sku: \"KEPT\" }, patch: { price: { amount: \"1\", currency: $n } }) { product { id } errors { ... on UserError { code message path } } } }",
            json!("EUX"),
        ),
        (
            "mutation($n: CurrencyCode!) { updateProduct(by: { sku: \"KEPT\" }, patch: { price: { amount: \"1\", currency: $n } }) { product { id } errors { ... on UserError { code message path } } } }",
            json!("XAU"),
        ),
    ] {
        let (status, text) = raw(&admin, json!({ "query": document, "variables": { "n": value } }).to_string()).await;
        check(&format!("{value} in {document}"), status, &text, false);
    }
    assert_eq!(state(&server).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_type_is_told_apart_from_none() {
    let (server, admin) = server_with_a_product().await;
    let me = admin.data("{ me { id } product(by: { sku: \"KEPT\" }) { id } }", json!({})).await;
    let (user, product) = (me["me"]["id"].as_str().unwrap(), me["product"]["id"].as_str().unwrap());
    for (document, id) in [
        ("query($id: ID!) { product(by: { id: $id }) { id } }", user),
        ("query($id: ID!) { category(id: $id) { id } }", product),
        ("query($id: ID!) { products(filter: { id: { eq: $id } }) { totalCount } }", user),
        ("query($id: ID!) { products(filter: { category: { in: [$id] } }) { totalCount } }", product),
        ("mutation($id: ID!) { setUserRole(id: $id, role: ADMIN) { user { id } } }", product),
        ("mutation($id: ID!) { deleteCategory(id: $id) { deletedId } }", product),
    ] {
        let body = server.anonymous().send(document, json!({ "id": id })).await;
        let body = if body["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED" {
            admin.send(document, json!({ "id": id })).await
        } else {
            body
        };
        assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{document}: {body}");
        assert!(body["errors"][0]["message"].as_str().unwrap().contains("is the id of something else"), "{body}");
    }
    let capitals = product.to_uppercase();
    for id in [format!("{product}="), product[..product.len() - 1].to_owned(), capitals, "a".repeat(10_000)] {
        let body = admin.send("query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await;
        assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_of_a_good_thing_is_told() {
    let (server, admin) = server_with_a_product().await;
    let before = state(&server).await;
    let many = |count: usize| (0..count).map(|number| format!("t{number}")).collect::<Vec<_>>();
    let nested = (0..30).fold(json!({ "inStock": true }), |inner, _| json!({ "not": inner }));
    for (document, value) in [
        ("query($v: ProductFilter) { products(filter: $v) { totalCount } }", json!({ "tags": { "anyOf": many(101) } })),
        (
            "query($v: ProductFilter) { products(filter: $v) { totalCount } }",
            json!({ "or": vec![json!({ "inStock": true }); 200] }),
        ),
        ("query($v: ProductFilter) { products(filter: $v) { totalCount } }", nested),
        (
            "query($v: [ProductSort!]) { products(sortBy: $v) { totalCount } }",
            json!(vec![json!({ "field": "NAME" }); 8]),
        ),
        ("query($v: [ProductSort!]) { products(sortBy: $v) { totalCount } }", json!([{ "field": "RELEVANCE" }])),
        (
            "query($v: [ProductSort!]) { products(search: \"oak\", sortBy: $v) { totalCount } }",
            json!([{ "field": "NAME" }, { "field": "RELEVANCE" }]),
        ),
        ("query($v: [ID!]!) { nodes(ids: $v) { id } }", json!(many(101))),
        (
            "mutation($v: [String!]) { updateProduct(by: { sku: \"KEPT\" }, patch: { tags: $v }) { product { id } errors { ... on UserError { code message path } } } }",
            json!(many(51)),
        ),
        (
            "mutation($v: JSON) { updateProduct(by: { sku: \"KEPT\" }, patch: { attributes: [{ key: \"k\", value: $v }] }) { product { id } errors { ... on UserError { code message path } } } }",
            json!(many(1_000)),
        ),
    ] {
        let (status, text) = raw(&admin, json!({ "query": document, "variables": { "v": value } }).to_string()).await;
        check(document, status, &text, false);
    }
    assert_eq!(state(&server).await, before);
}
