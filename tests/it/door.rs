//! The front door: what may come in, what may not, and that nobody notices those who try.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo};
use async_graphql::{ServerResult, Value as GraphqlValue};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::support::{Client, GRAPHQL, TestServer};

fn query(document: &str) -> Value {
    json!({ "query": document })
}

fn fields(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        let _ = write!(text, " f{n}: __typename");
        text
    })
}

fn names(count: usize) -> String {
    " __typename".repeat(count)
}

/// A document at each limit, and the code of its refusal one step beyond.
fn limits() -> Vec<(&'static str, String, String, &'static str)> {
    let nested = |levels: usize| format!("{{ a(x: {}{}) }}", "[".repeat(levels), "]".repeat(levels));
    let parents = |levels: usize| {
        format!("{{ category(slug: \"x\") {{ {} name {} }} }}", "parent { ".repeat(levels), "}".repeat(levels))
    };
    let mutations = |count: usize| {
        let one = |n| format!(" m{n}: deleteProduct(by: {{ sku: \"x\" }}) {{ deletedId }}");
        format!("mutation {{ {} }}", (0..count).map(one).collect::<String>())
    };
    let directives = |places: usize| {
        let place = "... @include(if: true) @skip(if: false) { __typename } ";
        format!("{{ {} }}", place.repeat(places))
    };
    let in_place = |count: usize| format!("{{ __typename {} }}", "@include(if: true) ".repeat(count));
    let fragments = |count: usize| {
        let spreads: String = (0..count).map(|n| format!(" ...f{n}")).collect();
        let parts: String = (0..count).map(|n| format!(" fragment f{n} on ServiceInfo {{ version }}")).collect();
        format!("{{ service {{ {spreads} }} }} {parts}")
    };
    let operations = |count: usize| (0..count).map(|n| format!("query q{n} {{ __typename }} ")).collect::<String>();
    let padded = |bytes: usize| format!("{:<1$}", "{ __typename }", bytes);
    // Each of 18 spreads is 251 fields, and so is the fragment itself; the root is one.
    let expanded = |more: usize| {
        let spreads = "...f ".repeat(18);
        let many = " id".repeat(250);
        format!("{{ nodes(ids: []) {{ {spreads} {} }} }} fragment f on Node {{ {many} }}", " id".repeat(more))
    };
    vec![
        ("bytes", padded(16_384), padded(16_385), "QUERY_TOO_LARGE"),
        ("root fields", format!("{{ {} }}", names(20)), format!("{{ {} }}", names(21)), "QUERY_TOO_LARGE"),
        ("nesting", nested(30), nested(31), "QUERY_TOO_DEEP"),
        ("depth", parents(10), parents(11), "QUERY_TOO_DEEP"),
        ("aliases", many_aliases(30), many_aliases(31), "QUERY_TOO_LARGE"),
        ("mutations", mutations(5), mutations(6), "QUERY_TOO_LARGE"),
        ("directives", directives(15), directives(16), "QUERY_TOO_LARGE"),
        ("directives in place", in_place(3), in_place(4), "QUERY_TOO_LARGE"),
        ("fragments", fragments(50), fragments(51), "QUERY_TOO_LARGE"),
        ("operations", operations(10), operations(11), "QUERY_TOO_LARGE"),
        ("fields", expanded(230), expanded(231), "QUERY_TOO_LARGE"),
        ("tokens", tokens(2_000), tokens(2_001), "QUERY_TOO_LARGE"),
    ]
}

/// Aliases on two levels, since there may be 20 fields at the top.
fn many_aliases(count: usize) -> String {
    format!("{{ service {{ {} }} }}", fields(count))
}

/// A document of so many tokens.
fn tokens(count: usize) -> String {
    format!("{{ service {{ {} }} }}", " version".repeat(count - 5))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_lets_in_what_is_at_it_and_nothing_beyond() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    for (limit, within, beyond, code) in limits() {
        let (status, found) = client.refusal(&query(&within)).await;
        assert!(
            !["QUERY_TOO_LARGE", "QUERY_TOO_DEEP", "COST_TOO_HIGH"].contains(&found.as_str()),
            "{limit}: {status} {found}"
        );
        let (status, found) = client.refusal(&query(&beyond)).await;
        assert_eq!((status, found.as_str()), (400, code), "{limit}: {beyond}");
    }
    let body = |bytes: usize| {
        let text = query("{ __typename }").to_string();
        let rest = " ".repeat(bytes - text.len());
        text + &rest
    };
    for (bytes, expected) in [(262_144, 200), (262_145, 413)] {
        let request = client.http.post(&client.url).header("content-type", "application/json").body(body(bytes));
        assert_eq!(request.send().await.unwrap().status(), expected, "{bytes}");
    }
    let nested = |levels: usize| {
        let value: Value = serde_json::from_str(&("[".repeat(levels) + &"]".repeat(levels))).unwrap();
        json!({ "query": "query($v: [[String]]) { __typename }", "variables": { "v": value } })
    };
    assert_eq!(client.refusal(&nested(33)).await, (400, "QUERY_TOO_LARGE".to_owned()));
    assert_ne!(client.refusal(&nested(32)).await.1, "QUERY_TOO_LARGE");
    let wide = |nodes: usize| json!({ "query": "{ __typename }", "variables": { "v": vec![1; nodes - 1] } });
    assert_eq!(client.refusal(&wide(4_001)).await, (400, "QUERY_TOO_LARGE".to_owned()));
    assert_eq!(client.refusal(&wide(4_000)).await, (200, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_is_published_and_a_setting() {
    let limits =
        "{ service { limits { bodyBytes documentBytes tokens nesting depth aliases rootFields mutations directives
        directivesInPlace fragments operations fields variablesDepth variablesNodes cost responseValues errors } } }";
    let server = TestServer::start_with(&[]).await;
    let data = server.anonymous().data(limits, json!({})).await;
    assert_eq!(
        data["service"]["limits"],
        json!({
            "bodyBytes": 262_144, "documentBytes": 16_384, "tokens": 2_000, "nesting": 32, "depth": 12, "aliases": 30,
            "rootFields": 20, "mutations": 5, "directives": 30, "directivesInPlace": 3, "fragments": 50,
            "operations": 10, "fields": 5_000, "variablesDepth": 32, "variablesNodes": 4_000, "cost": 1_000,
            "responseValues": 20_000, "errors": 10,
        })
    );
    let server = TestServer::start_with(&["--max-aliases", "2", "--max-cost", "15", "--max-tokens", "40"]).await;
    let client = server.anonymous();
    assert_eq!(client.refusal(&query(&format!("{{ {} }}", fields(3)))).await.1, "QUERY_TOO_LARGE");
    assert_eq!(client.refusal(&query("{ products(first: 5) { nodes { id } } }")).await.1, "COST_TOO_HIGH");
    assert_eq!(client.refusal(&query("{ products(first: 4) { nodes { id } } }")).await.1, "");
    assert_eq!(client.refusal(&query(limits)).await.1, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_that_grow_without_end_are_refused_at_once() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    let doubling = |count: usize, times: usize| {
        let spread = |n: usize| format!("...f{} ", n + 1).repeat(times);
        let parts: String = (0..count).map(|n| format!("fragment f{n} on Query {{ {} }} ", spread(n))).collect();
        format!("{{ ...f0 }} {parts} fragment f{count} on Query {{ __typename }}")
    };
    let wide: String = {
        let spreads = "...g ".repeat(30);
        let parts: String = (0..49).map(|n| format!("fragment f{n} on Query {{ {spreads} }} ")).collect();
        let all: String = (0..49).map(|n| format!("...f{n} ")).collect();
        format!("{{ {all} }} {parts} fragment g on Query {{ {} }}", " __typename".repeat(10))
    };
    for document in [doubling(30, 2), doubling(12, 4), wide, doubling(40, 2).replacen("{ ...f0 }", "{ __typename }", 1)]
    {
        assert_eq!(client.refusal(&query(&document)).await, (400, "QUERY_TOO_LARGE".to_owned()), "{document}");
    }
    for circle in [
        "{ ...a } fragment a on Query { ...a }",
        "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        "{ __typename } fragment a on Query { ...a }",
        "{ ...nowhere }",
        "{ __typename } fragment unused on Query { __typename }",
    ] {
        assert_eq!(client.refusal(&query(circle)).await, (400, "GRAPHQL_VALIDATION_FAILED".to_owned()), "{circle}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_any_size_costs_what_it_may_have_or_is_refused() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    let page = "query($n: Int) { products(first: $n) { nodes { id } } }";
    let with = |n: Value| json!({ "query": page, "variables": { "n": n } });
    for (n, code) in [
        (json!(1), ""),
        (json!(100), ""),
        (Value::Null, ""),
        (json!(0), "BAD_USER_INPUT"),
        (json!(-1), "BAD_USER_INPUT"),
        (json!(101), "BAD_USER_INPUT"),
        (json!(i32::MAX), "BAD_USER_INPUT"),
        (json!(i64::MAX), "BAD_USER_INPUT"),
        (json!(1.5), "BAD_USER_INPUT"),
        (json!("5"), "BAD_USER_INPUT"),
    ] {
        let (status, found) = client.refusal(&with(n.clone())).await;
        assert_eq!((status, found.as_str()), (if code.is_empty() { 200 } else { 400 }, code), "{n}");
    }
    let cubed = |n: &str| {
        format!(
            "{{ products(first: {n}) {{ nodes {{ category {{ products(first: {n}) {{ nodes {{ category {{ \
             products(first: {n}) {{ nodes {{ id }} }} }} }} }} }} }} }} }}"
        )
    };
    assert_eq!(client.refusal(&query(&cubed("100"))).await.1, "COST_TOO_HIGH");
    assert_eq!(client.refusal(&query(&cubed("1073741824"))).await.1, "BAD_USER_INPUT");
    assert_eq!(client.refusal(&query(&cubed("2147483648"))).await.0, 400);
    let defaults =
        "query($n: Int = 100) { products(first: $n) { nodes { category { products(first: $n) { nodes { id } } } } } }";
    assert_eq!(client.refusal(&query(defaults)).await.1, "COST_TOO_HIGH");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_is_what_the_schema_says_and_is_told_to_those_who_ask() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let mut product = Value::Null;
    for _ in 0..3 {
        product = staff.create_product(json!({})).await;
    }
    let report = async |document: &str, variables: Value| {
        let request = staff.http.post(&staff.url).bearer_auth(staff.token.clone().unwrap());
        let body = json!({ "query": document, "variables": variables });
        let request = request.header("graphql-cost", "report").json(&body);
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(body.get("errors").is_none(), "{body}");
        (body["extensions"]["cost"]["requested"].clone(), body["extensions"]["cost"]["actual"].clone())
    };
    for (document, requested, actual) in [
        ("{ __typename }", 1, 1),
        // The connection, and a product for each place.
        ("{ products { nodes { id name } } }", 31, 14),
        (
            "{ products(first: 2) { edges { cursor node { id stock { available } } } pageInfo { hasNextPage } } }",
            13,
            13,
        ),
        ("{ products(first: 10) { nodes { createdBy { name } category { name } } totalCount } }", 41, 27),
        ("{ nodes(ids: []) { id } }", 1, 1),
        (
            "{ a: products(first: 5) { nodes { id } } b: products(last: 6) { ...f } } fragment f on ProductConnection { nodes { id } }",
            33,
            28,
        ),
        ("{ __schema { queryType { name } } }", 50, 50),
    ] {
        assert_eq!(report(document, json!({})).await, (json!(requested), json!(actual)), "{document}");
    }
    // Documents that were looked at before, with other sizes.
    let (sized, ids) =
        ("query($n: Int) { products(first: $n) { nodes { id } } }", "query($ids: [ID!]!) { nodes(ids: $ids) { id } }");
    for n in [json!(2), json!(10), json!(2), Value::Null, json!(5)] {
        let (requested, _) = report(sized, json!({ "n": n })).await;
        assert_eq!(requested, json!(11 + n.as_i64().unwrap_or(20)), "{n}");
    }
    for n in [3, 1, 3] {
        let (requested, _) = report(ids, json!({ "ids": vec![&product["id"]; n] })).await;
        assert_eq!(requested, json!(n), "{n} ids");
    }
    let silent: Value = staff.send("{ __typename }", json!({})).await;
    assert!(silent.get("extensions").is_none());
}

#[test]
fn every_list_of_objects_has_a_size_in_the_schema() {
    let schema = include_str!("../../schema.graphql");
    let (mut composites, mut lists) = (Vec::new(), 0);
    for line in schema.lines() {
        for keyword in ["type ", "interface ", "union "] {
            if let Some(rest) = line.strip_prefix(keyword) {
                composites.push(rest.split([' ', '{']).next().unwrap());
            }
        }
    }
    for line in schema.lines().filter(|line| line.starts_with("  ")) {
        let Some((field, ty)) = line.trim().trim_start_matches(')').split_once(": ") else { continue };
        let is_list = ty.starts_with('[');
        let name: String = ty.chars().skip_while(|it| *it == '[').take_while(char::is_ascii_alphanumeric).collect();
        if is_list && composites.contains(&name.as_str()) {
            lists += 1;
            assert!(["edges", "nodes"].contains(&field) || ty.contains("@listSize("), "{line}");
        }
    }
    assert!(lists > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_what_the_operation_declares_or_nothing_runs() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let create = "mutation($input: ProductInput!) { createProduct(input: $input) { product { id } } }";
    let price = json!({ "amount": "1", "currency": "EUR" });
    let good = json!({ "sku": "GOOD", "name": "Good", "price": price });
    let with = |change: &dyn Fn(&mut Value)| {
        let mut input = good.clone();
        change(&mut input);
        json!({ "query": create, "variables": { "input": input } })
    };
    let refused = [
        json!({ "query": create }),
        json!({ "query": create, "variables": null }),
        json!({ "query": create, "variables": { "input": null } }),
        json!({ "query": create, "variables": { "input": [] } }),
        json!({ "query": create, "variables": { "input": "x" } }),
        with(&|input| input["nothing"] = json!(1)),
        with(&|input| input["sku"] = Value::Null),
        with(&|input| input["sku"] = json!(5)),
        with(&|input| input["stock"] = json!(2_147_483_648_i64)),
        with(&|input| input["stock"] = json!(9_223_372_036_854_775_807_i64)),
        with(&|input| input["stock"] = json!("5")),
        with(&|input| input["stock"] = json!(1.5)),
        with(&|input| input["status"] = json!("SOLD")),
        with(&|input| input["tags"] = json!([1])),
        with(&|input| input["tags"] = json!([null])),
        with(&|input| input["price"]["amount"] = json!(1.5)),
        with(&|input| input["price"]["amount"] = json!("not a number\u{0}")),
        with(&|input| input["name"] = json!("nul \u{0}")),
        with(&|input| input["attributes"] = json!([{ "key": "k", "value": "\u{0}" }])),
        json!({ "query": "query($by: ProductKey!) { product(by: $by) { id } }", "variables": { "by": {} } }),
        json!({ "query": "query($by: ProductKey!) { product(by: $by) { id } }", "variables": { "by": { "sku": "a", "slug": "b" } } }),
        json!({ "query": "query($by: ProductKey!) { product(by: $by) { id } }", "variables": { "by": { "sku": null } } }),
        json!({ "query": "query($f: ProductFilter) { products(filter: $f) { totalCount } }",
            "variables": { "f": { "createdAt": { "gt": "yesterday" } } } }),
        query("{ product(by: { sku: \"nul \\u0000\" }) { id } }"),
    ];
    let refuses_all = async || {
        for body in &refused {
            let (found, statements) = server.statements(staff.refusal(body)).await;
            assert_eq!(found, (400, "BAD_USER_INPUT".to_owned()), "{body}");
            assert_eq!(statements, 0, "{body}");
        }
    };
    refuses_all().await;
    for text in [
        r#"{"query":"query($s: String) { products(search: $s) { totalCount } }","variables":{"s":"\ud800"}}"#,
        r#"{"query":"query($s: Float) { __typename }","variables":{"s":1e400}}"#,
        r#"{"query":"query($s: Float) { __typename }","variables":{"s":NaN}}"#,
    ] {
        let request = staff.http.post(&staff.url).header("content-type", "application/json").body(text);
        assert_eq!(request.send().await.unwrap().status(), 400, "{text}");
    }
    // What the specification lets pass: one for a list of one, a number as an id, what nobody declared.
    let lenient = json!({
        "query": "query($t: [String!], $id: ID!) { products(filter: { tags: { anyOf: $t } }) { totalCount } category(slug: \"x\") { id } n: node(id: $id) { id } }",
        "variables": { "t": "one", "id": 5, "undeclared": true },
    });
    assert_eq!(staff.refusal(&lenient).await, (200, "BAD_USER_INPUT".to_owned()), "5 is no id of ours, says the field");
    // Documents that ran with other variables before are looked at less, and what is wrong is still refused.
    let by_sku = json!({ "query": "query($by: ProductKey!) { product(by: $by) { id } }", "variables": { "by": { "sku": "a" } } });
    let all = json!({ "query": "query($f: ProductFilter) { products(filter: $f) { totalCount } }" });
    for body in [&with(&|_| ()), &by_sku, &all] {
        assert_eq!(staff.refusal(body).await, (200, String::new()));
    }
    refuses_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_tests_one_password_at_most_and_batches_none() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    let login = |n: usize| {
        format!(
            " l{n}: login(input: {{ email: \"a{n}@b.example\", password: \"correct horse\" }}) {{ errors {{ __typename }} }}"
        )
    };
    let aliased = |count: usize| format!("mutation {{ {} }}", (0..count).map(login).collect::<String>());
    let in_fragments = |count: usize| {
        let parts: String = (0..count).map(|n| format!(" fragment f{n} on Mutation {{ {} }}", login(n))).collect();
        format!("mutation {{ {} }} {parts}", (0..count).map(|n| format!(" ...f{n}")).collect::<String>())
    };
    let repeated = format!("mutation {{ ...f ...f }} fragment f on Mutation {{ {} }}", login(0));
    let mixed = format!(
        "mutation {{ {} register(input: {{ email: \"c@d.example\", password: \"correct horse\" }}) {{ errors {{ __typename }} }} }}",
        login(0)
    );
    let hashes = || server.core.infra.metrics.password_hashes.get();
    let before = hashes();
    for document in [aliased(2), aliased(5), aliased(99), in_fragments(2), in_fragments(30), repeated, mixed] {
        assert_eq!(client.refusal(&query(&document)).await, (400, "QUERY_TOO_LARGE".to_owned()), "{document}");
    }
    let two = format!("mutation A {{ {} }} mutation B {{ {} }}", login(0), login(1));
    assert_eq!(client.refusal(&query(&two)).await.1, "OPERATION_RESOLUTION_FAILURE");
    for count in [1, 2, 5_000] {
        let batch = Value::Array(vec![query(&aliased(1)); count]);
        let (status, code) = client.refusal(&batch).await;
        assert!((status, code.as_str()) == (400, "BAD_REQUEST") || status == 413, "{status} {code}");
    }
    assert_eq!(hashes(), before, "nothing was hashed");
    assert_eq!(client.refusal(&query(&aliased(1))).await, (200, String::new()));
    assert_eq!(hashes(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mistakes_make_a_short_answer() {
    let server = TestServer::start_with(&[]).await;
    let unknown: String = (0..1_000).map(|n| format!(" x{n}")).collect();
    let response = server.anonymous().post(&format!("{{ service {{ {unknown} }} }}"), &json!({})).await;
    let text = response.text().await.unwrap();
    assert!(text.len() <= 8 * 1024, "{} bytes", text.len());
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["errors"].as_array().unwrap().len(), 10);
    let long = format!("{{ {} }}", "a".repeat(10_000));
    let body = server.anonymous().send(&long, json!({})).await;
    assert!(body["errors"][0]["message"].as_str().unwrap().chars().count() <= 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_see_the_schema_of_a_configured_server_and_the_staff_does() {
    let closed = TestServer::start_with(&["--introspection", "false"]).await;
    let (stranger, staff) = (closed.anonymous(), closed.signed_in(Role::Staff).await);
    let customer = closed.signed_in(Role::Customer).await;
    let asks = query("{ __schema { queryType { name } } }");
    let hidden = query("{ ... on Query { ...f } } fragment f on Query { t: __type(name: \"User\") { name } }");
    for client in [&stranger, &customer] {
        for body in [&asks, &hidden] {
            assert_eq!(client.refusal(body).await, (400, "INTROSPECTION_DISABLED".to_owned()));
        }
        let typo = client.send("{ product { id } productz { id } }", json!({})).await.to_string();
        assert!(!typo.contains("Did you mean") && !typo.contains("products"), "{typo}");
        assert_eq!(client.refusal(&query("{ products { __typename } }")).await, (200, String::new()));
    }
    assert_eq!(staff.refusal(&asks).await, (200, String::new()));
    let typo = staff.send("{ productz { id } }", json!({})).await.to_string();
    assert!(typo.contains("Did you mean"), "{typo}");

    let schema = |client: &Client| {
        let request = client.http.get(format!("http://{}/schema.graphql", closed.address));
        match &client.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    assert_eq!(schema(&stranger).send().await.unwrap().status(), 404);
    assert_eq!(schema(&staff).send().await.unwrap().status(), 200);
    let open = TestServer::start_with(&[]).await;
    assert_eq!(open.anonymous().refusal(&asks).await, (200, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_introspection_cannot_run_in_circles() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    let circle = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } }";
    let interfaces = "{ __type(name: \"Node\") { possibleTypes { interfaces { possibleTypes { name } } } } }";
    for document in [format!("{circle} }}"), interfaces.to_owned()] {
        assert_eq!(client.refusal(&query(&document)).await, (400, "QUERY_TOO_DEEP".to_owned()), "{document}");
    }
    let many: String =
        (0..7).map(|n| format!(" a{n}: __schema {{ types {{ fields {{ args {{ name }} }} }} }}")).collect();
    assert_eq!(client.refusal(&query(&format!("{{ {many} }}"))).await, (400, "QUERY_TOO_LARGE".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_codes_of_the_newer_draft_are_a_setting() {
    let server = TestServer::start_with(&["--status-codes", "draft"]).await;
    let client = server.anonymous();
    let status = async |body: Value, accept: &str| {
        let request = client.http.post(&client.url).header("accept", accept).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    for accept in [GRAPHQL, "application/json"] {
        for (body, expected) in [
            (query("{ __typename }"), 200),
            (query("{"), 400),
            (query("{ nothing }"), 422),
            (query("query A { __typename } query B { __typename }"), 422),
            (query("query($n: Int!) { products(first: $n) { totalCount } }"), 422),
            (json!({ "query": 5 }), 422),
            (json!([]), 422),
            (query("{ node(id: \"x\") { id } }"), 294),
        ] {
            assert_eq!(status(body.clone(), accept).await, expected, "{body}");
        }
        let request = client.http.post(&client.url).header("accept", accept).header("content-type", "application/json");
        assert_eq!(request.body("{").send().await.unwrap().status(), 400);
    }
}

/// Makes fields misbehave as their aliases say: `boom` panics, what begins with `slow` waits until there is a permit for it,
/// and `stuck` takes eight seconds the first time.
pub struct Misbehaves;

static PERMITS: Semaphore = Semaphore::const_new(0);

impl ExtensionFactory for Misbehaves {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for Misbehaves {
    async fn resolve(
        &self,
        context: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<GraphqlValue>> {
        static STUCK: AtomicBool = AtomicBool::new(false);
        match info.alias.unwrap_or_default() {
            // As a panic, but without the noise.
            "boom" => std::panic::resume_unwind(Box::new("as told")),
            "stuck" if !STUCK.swap(true, Ordering::Relaxed) => tokio::time::sleep(Duration::from_secs(8)).await,
            alias if alias.starts_with("slow") => PERMITS.acquire().await.unwrap().forget(),
            _ => {}
        }
        next.run(context, info).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_for_which_there_is_no_place_are_sent_away_before_they_begin() {
    let places = 64 * std::thread::available_parallelism().unwrap().get();
    // Some wait in vain, others in time; and for some there is no room to wait.
    for (patience, waiting) in [("300ms", 0), ("20s", places / 2)] {
        let flags = ["--database-wait", patience, "--request-timeout", "60s"];
        let server = TestServer::start_built(&flags, |builder| builder.extension(Misbehaves)).await;
        let client = server.anonymous();
        let ask = async |number: usize| {
            let response = client.post(&format!("{{ slow{number}: service {{ version }} }}"), &json!({})).await;
            let head = (response.status().as_u16(), response.headers().get("retry-after").cloned());
            (head, response.json::<Value>().await.unwrap())
        };
        let mut answers: FuturesUnordered<_> = (0..places + waiting + 20).map(ask).collect();
        // Who looks whether there is room at the same moment may find the same.
        let surely = if waiting > 0 { 10 } else { 20 };
        for _ in 0..surely {
            let ((status, retry_after), body) = answers.next().await.unwrap();
            assert_eq!((status, retry_after.unwrap().to_str().unwrap()), (503, "1"), "with {patience}: {body}");
            assert_eq!((body.get("data"), &body["errors"][0]["extensions"]["code"]), (None, &json!("BUSY")));
        }
        if waiting > 0 {
            // They are told the same the short way and the long one.
            let told = async |header: &str| {
                let request = client.http.post(&client.url).header("content-type", "application/json");
                let body = json!({ "query": "{ slow: service { version } }" }).to_string();
                let response = request.header(header, "x").body(body).send().await.unwrap();
                let lasting = |name: &str| !["date", "x-request-id"].contains(&name);
                let headers = response.headers().iter().filter(|(name, _)| lasting(name.as_str()));
                // One `Vary` of two names is two of one.
                let parts = headers.flat_map(|(name, value)| {
                    value.to_str().unwrap().split(", ").map(move |part| format!("{name}: {part}").to_lowercase())
                });
                let mut parts: Vec<_> = parts.collect();
                parts.sort();
                (response.status(), parts)
            };
            assert_eq!(told("x-anything").await, told("idempotency-key").await);
        }
        PERMITS.add_permits(places + waiting + 20);
        let mut done = 0;
        while let Some(((status, _), body)) = answers.next().await {
            assert!(status == 200 || status == 503, "with {patience}: {body}");
            done += usize::from(status == 200);
        }
        assert!((places + waiting..=places + waiting + 20 - surely).contains(&done), "with {patience}: {done}");
        PERMITS.forget_permits(places);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_long_for_somebody_who_is_held_up() {
    let server = TestServer::start_built(&[], |builder| builder.extension(Misbehaves)).await;
    let document = "{ stuck: products(first: 1) { nodes { id } } }";
    let (first, second) = (server.anonymous(), server.anonymous());
    let first = tokio::spawn(async move { first.data(document, json!({})).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answer = second.data(document, json!({})).await;
    assert_eq!(first.await.unwrap(), answer);
    // The second went and found it.
    assert_eq!(server.core.infra.metrics.responses.get_or_create(&[("from", "resolvers")]).get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_panics_fails_its_request_alone() {
    let server = TestServer::start_built(&[], |builder| builder.extension(Misbehaves)).await;
    // One connection for all.
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    for (document, status, code) in
        [("{ boom: service { version } }", 500, "INTERNAL_SERVER_ERROR"), ("{ service { version } }", 200, "")]
    {
        for _ in 0..1_000 {
            let body = query(document).to_string();
            let head = format!(
                "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"}") || !answer.windows(4).any(|window| window == b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the connection lives");
            }
            let text = String::from_utf8(answer).unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
            let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!(body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default(), code);
            if status == 500 {
                assert_eq!(body["errors"][0]["message"], "internal error");
                assert!(body["errors"][0]["extensions"]["requestId"].is_string());
            }
        }
    }
    assert_eq!(server.core.infra.metrics.panics.get(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = TestServer::start_with(&[]).await;
    let head = "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    // Nothing of 20 MB is sent but the announcement; of the chunks little more than the limit.
    let announced = format!("{head}content-length: 20000000\r\n\r\n");
    let chunk = format!("{:x}\r\n{}\r\n", 65_536, " ".repeat(65_536));
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(5));
    let zipped = format!("{head}content-encoding: gzip\r\ncontent-length: 20000000\r\n\r\n");
    for (request, status) in [(announced, "413"), (chunked, "413"), (zipped, "415")] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "an answer");
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_turns_out_empty_is_an_object_without_fields_and_no_null() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let product = staff.create_product(json!({})).await["id"].clone();
    let by_id = |part: &str| format!("{{ node(id: {product}) {{ {part} }} }}");
    for (document, expected) in [
        ("{ service @skip(if: true) { version } }".to_owned(), json!({})),
        ("{ ... @include(if: false) { service { version } } }".to_owned(), json!({})),
        (by_id("... on Category { name }"), json!({ "node": {} })),
        (by_id("... on Product { version }"), json!({ "node": { "version": 1 } })),
        ("{ products { nodes { id @skip(if: true) } } }".to_owned(), json!({ "products": { "nodes": [{}] } })),
        (
            "query($yes: Boolean = true) { service @include(if: $yes) { maxOffset } products @skip(if: $yes) { totalCount } }".to_owned(),
            json!({ "service": { "maxOffset": 10_000 } }),
        ),
        (
            "mutation { createProduct(input: { sku: \"\", name: \"N\", price: { amount: \"1\", currency: \"EUR\" } }) {
                errors { ... on TakenError { message } } } }".to_owned(),
            json!({ "createProduct": { "errors": [{}] } }),
        ),
    ] {
        assert_eq!(staff.data(&document, json!({})).await, expected, "{document}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_longer_than_they_look_end_where_the_answer_is_too_large() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let create = "mutation($input: CategoryInput!) { createCategory(input: $input) { category { id } } }";
    let wide = staff.data(create, json!({ "input": { "name": "Wide" } })).await;
    let wide = wide["createCategory"]["category"]["id"].clone();
    for n in 0..60 {
        staff.data(create, json!({ "input": { "name": format!("C {n}"), "parentId": wide } })).await;
    }
    let circles = "{ category(slug: \"wide\") { children { parent { children { parent { children { parent { children { id } } } } } } } } }";
    let body = server.anonymous().send(circles, json!({})).await;
    assert_eq!(body["errors"][0]["extensions"]["code"], "COST_TOO_HIGH", "{}", body["errors"][0]);
    assert!(body["errors"].as_array().unwrap().len() <= 10);
    let one_round = "{ category(slug: \"wide\") { children { parent { children { id } } } } }";
    let data = server.anonymous().data(one_round, json!({})).await;
    assert_eq!(data["category"]["children"][59]["parent"]["children"].as_array().unwrap().len(), 60);
}
