//! GraphQL over HTTP, and the other routes.

use std::collections::HashMap;

use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::TestServer;

const GRAPHQL: &str = "application/graphql-response+json";

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_has_the_type_that_the_client_likes_best() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    for (accept, status, content_type) in [
        (None, 200, "application/json; charset=utf-8"),
        (Some("*/*"), 200, "application/json; charset=utf-8"),
        (Some("application/json"), 200, "application/json; charset=utf-8"),
        (Some(GRAPHQL), 200, "application/graphql-response+json; charset=utf-8"),
        (
            Some("application/json;q=0.5, application/graphql-response+json"),
            200,
            "application/graphql-response+json; charset=utf-8",
        ),
        (Some("text/html"), 406, "application/json; charset=utf-8"),
    ] {
        let mut request = client.http.post(&client.url).json(&json!({ "query": "{ __typename }" }));
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{accept:?}");
        assert_eq!(response.headers()["content-type"], content_type, "{accept:?}");
        assert_eq!(response.headers()["vary"], "Accept, Authorization");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_executed_says_why_and_what_to_do() {
    let server = TestServer::start_with(&["--body-limit", "2048"]).await;
    let client = server.anonymous();
    let json_body = "application/json";
    let query = |text: &str| json!({ "query": text }).to_string();
    for (content_type, body, status, code) in [
        (json_body, String::new(), 400, "BAD_REQUEST"),
        (json_body, "{".to_owned(), 400, "BAD_REQUEST"),
        (json_body, "[]".to_owned(), 400, "BAD_REQUEST"),
        (json_body, format!("[{}]", query("{ __typename }")), 400, "BAD_REQUEST"),
        (json_body, "\"{ __typename }\"".to_owned(), 400, "BAD_REQUEST"),
        (json_body, "{}".to_owned(), 400, "BAD_REQUEST"),
        (json_body, "{\"query\": 1}".to_owned(), 400, "BAD_REQUEST"),
        (json_body, "{\"query\": \"{ __typename }\", \"variables\": [1]}".to_owned(), 400, "BAD_REQUEST"),
        (json_body, "{\"query\": \"{ __typename }\", \"operationName\": {}}".to_owned(), 400, "BAD_REQUEST"),
        (json_body, query("{ __typename"), 400, "GRAPHQL_PARSE_FAILED"),
        (json_body, query("{ nothing }"), 400, "GRAPHQL_VALIDATION_FAILED"),
        (json_body, query("query A { __typename } query B { __typename }"), 400, "OPERATION_RESOLUTION_FAILURE"),
        (json_body, query("query($a: Int!) { products(first: $a) { totalCount } }"), 400, "BAD_USER_INPUT"),
        (json_body, query(&" ".repeat(3000)), 413, "BAD_REQUEST"),
        ("text/plain", query("{ __typename }"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("application/json; charset=latin1", query("{ __typename }"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("application/x-www-form-urlencoded", "query=x".to_owned(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("multipart/form-data; boundary=x", "--x--".to_owned(), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ] {
        let request = client.http.post(&client.url).header("content-type", content_type).header("accept", GRAPHQL);
        let response = request.body(body.clone()).send().await.unwrap();
        assert_eq!(response.status(), status, "{body}");
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{body}: {answer}");
        assert_eq!(answer["errors"][0]["extensions"]["requestId"], id.as_str());
        assert!(!answer["errors"][0]["message"].as_str().unwrap().contains('\n'));
        assert_eq!(answer.get("data"), None, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn null_members_and_unknown_ones_are_as_if_absent() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    let body =
        json!({ "query": "{ __typename }", "variables": null, "operationName": null, "extensions": null, "x": 1 });
    let response = client.http.post(&client.url).json(&body).send().await.unwrap();
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "data": { "__typename": "Query" } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn get_runs_queries_and_nothing_else() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    let get = async |parameters: &[(&str, &str)]| {
        client.http.get(&client.url).query(parameters).header("accept", GRAPHQL).send().await.unwrap()
    };
    let answer =
        get(&[("query", "query($n: Int!) { products(first: $n) { totalCount } }"), ("variables", "{\"n\":1}")]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "data": { "products": { "totalCount": 0 } } }));
    let two = "query A { __typename } mutation B { deleteProduct(by: { sku: \"x\" }) { deletedId } }";
    assert_eq!(get(&[("query", two), ("operationName", "A")]).await.status(), 200);
    let refused = get(&[("query", two), ("operationName", "B")]).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(get(&[]).await.status(), 400);
    let put = client.http.put(&client.url).send().await.unwrap();
    assert_eq!((put.status().as_u16(), put.headers()["allow"].to_str().unwrap()), (405, "GET, POST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_come_in_the_order_in_which_they_were_asked_for() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "name": "One" })).await;
    let query = "{ products { nodes { createdBy { name } sku ...f } pageInfo { hasNextPage } totalCount } service { version maxOffset }
        b: __typename a: __typename } fragment f on Product { stock { state available } createdAt }";
    let text = staff.post(query, &json!({})).await.text().await.unwrap();
    let names = [
        "products",
        "nodes",
        "createdBy",
        "sku",
        "stock",
        "state",
        "available",
        "createdAt",
        "pageInfo",
        "totalCount",
        "service",
        "version",
        "maxOffset",
        "b",
        "a",
    ];
    let places: Vec<_> = names.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    let response = server
        .anonymous()
        .post("{ service { version maxOffset defaultPageSize } b: __typename a: __typename }", &json!({}))
        .await;
    let text = response.text().await.unwrap();
    let places: Vec<_> = ["version", "maxOffset", "defaultPageSize", "\"b\"", "\"a\""]
        .iter()
        .map(|name| text.find(name).unwrap())
        .collect();
    assert!(places.is_sorted(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_asks_for_too_much_is_refused() {
    let server = TestServer::start_with(&[]).await;
    let deep = format!("{{ categories {{ {} name {} }} }}", "children { ".repeat(20), "}".repeat(20));
    let wide = "{ products(first: 100) { nodes { category { products(first: 100) { nodes { category { products(first: 100) { nodes { id } } } } } } } } }";
    // Fragments that spread each other: a kilobyte that names 2^40 fields.
    let bomb: String = (0..40).map(|n| format!("fragment f{n} on Query {{ ...f{} ...f{} }} ", n + 1, n + 1)).collect();
    let bomb = format!("{{ ...f0 }} {bomb} fragment f40 on Query {{ __typename }}");
    let circle = "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }";
    let unused = format!("{{ __typename }} {}", bomb.trim_start_matches("{ ...f0 }"));
    let overflow = "{ nodes(ids: [\"a\", \"b\", \"c\"]) { ... on Category { products(first: 100) { nodes { category { products(first: 100)
        { nodes { category { products(first: 100) { nodes { id } } } } } } } } } } }";
    for (document, code) in [
        (deep.as_str(), "QUERY_TOO_DEEP"),
        (wide, "COST_TOO_HIGH"),
        (&bomb, "QUERY_TOO_LARGE"),
        (circle, "GRAPHQL_VALIDATION_FAILED"),
        (&unused, "QUERY_TOO_LARGE"),
        (overflow, "COST_TOO_HIGH"),
    ] {
        let response = server
            .anonymous()
            .http
            .post(server.anonymous().url)
            .header("accept", GRAPHQL)
            .json(&json!({ "query": document }))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{document}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["errors"][0]["extensions"]["code"], code, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_inside_stays_inside() {
    let server = TestServer::start_with(&["--database-wait", "200ms"]).await;
    let staff = server.signed_in(Role::Staff).await;

    // A database without its tables: every statement fails.
    let admin = server.core.infra.db.write().await;
    {
        admin.unwrap().batch_execute("DROP TABLE products").await.unwrap();
    }
    let body = staff.send("{ products(search: \"s3cret\") { totalCount } service { version } }", json!({})).await;
    let text = body.to_string();
    assert_eq!(body["errors"][0]["extensions"]["code"], "INTERNAL_SERVER_ERROR");
    assert_eq!(body["errors"][0]["message"], "internal error");
    assert_eq!(body["errors"][0]["path"], json!(["products"]));
    for leak in ["relation", "SELECT", "127.0.0.1", "postgres", "s3cret"] {
        assert!(!text.contains(leak), "{text}");
    }
    assert!(body["data"]["service"]["version"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_request_id_is_kept_if_it_can_be_logged() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    for (given, kept) in [("abc-1.2_3", true), ("a b", false), (&"x".repeat(65), false)] {
        let request =
            client.http.post(&client.url).header("x-request-id", given).json(&json!({ "query": "{ __typename }" }));
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["x-request-id"] == given, kept, "{given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_there_with_its_type_and_its_policy() {
    let server = TestServer::start().await;
    let http = reqwest::Client::new();
    let get = async |path: &str| http.get(format!("http://{}{path}", server.address)).send().await.unwrap();
    for (path, content_type, contains) in [
        ("/", "text/html; charset=utf-8", "Stockroom"),
        ("/landing.css", "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/favicon.svg", "image/svg+xml", "<svg"),
        ("/graphiql", "text/html; charset=utf-8", "GraphiQL"),
        ("/schema.graphql", "text/plain; charset=utf-8", "type Product implements Node"),
        ("/livez", "text/plain; charset=utf-8", "ok"),
        ("/readyz", "application/json", "\"ready\":true"),
        ("/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8", "stockroom_gate_reads_total"),
        ("/.well-known/jwks.json", "application/json", "Ed25519"),
    ] {
        let response = get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], content_type, "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        if content_type.starts_with("text/html") {
            let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            assert_eq!(response.headers()["x-frame-options"], "DENY");
            assert_eq!(response.headers()["referrer-policy"], "no-referrer");
            assert_eq!(response.headers()["cross-origin-opener-policy"], "same-origin");
        }
        let body = response.text().await.unwrap();
        assert!(body.contains(contains), "{path}: {body}");
    }
    assert_eq!(get("/nothing").await.status(), 404);
    assert_eq!(get("/assets/../Cargo.toml").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_is_at_its_own_addresses_and_lets_nothing_else_run() {
    assert!(stockroom::transport::pages_are_built(), "build the pages first: make web");
    let server = TestServer::start_with(&[]).await;
    let get = async |path: &str| reqwest::get(format!("http://{}{path}", server.address)).await.unwrap();
    for path in ["/", "/product/oak-chair", "/sign-in", "/reset-password?token=x", "/account", "/staff/product/abc"] {
        let response = get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert!(response.text().await.unwrap().contains("<div id=\"root\">"), "{path}");
    }
    for path in ["/product", "/product/oak/chair", "/staff/nothing", "/shop/index.html", "/assets/nothing.js"] {
        assert_eq!(get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_pages_come_in_the_smallest_form_that_is_taken_and_may_be_kept_for_ever() {
    let server = TestServer::start_with(&[]).await;
    let http = reqwest::Client::new();
    let page = http.get(format!("http://{}/", server.address)).send().await.unwrap().text().await.unwrap();
    let (_, script) = page.split_once("src=\"").expect("the page has a script");
    let script = script.split('"').next().unwrap();
    let mut sizes = Vec::new();
    for (accepts, encoding) in
        [("identity", None), ("gzip", Some("gzip")), ("gzip, br", Some("br")), ("br;q=0, gzip", Some("gzip"))]
    {
        let request = http.get(format!("http://{}{script}", server.address)).header("accept-encoding", accepts);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        assert_eq!(headers.get("content-encoding").map(|value| value.to_str().unwrap()), encoding, "{accepts}");
        assert_eq!(headers["content-type"], "text/javascript; charset=utf-8");
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
        let varies =
            |value: &reqwest::header::HeaderValue| value.to_str().unwrap().eq_ignore_ascii_case("accept-encoding");
        assert!(headers.get_all("vary").iter().any(varies), "{headers:?}");
        sizes.push(response.bytes().await.unwrap().len());
    }
    assert!(sizes[2] < sizes[1] && sizes[1] < sizes[0] && sizes[3] == sizes[1], "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_names_its_documents_also_where_nothing_else_may_run() {
    let documents = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/shop/documents.json"));
    let documents: HashMap<String, String> = serde_json::from_str(&documents.expect("make web")).unwrap();
    let (hash, _) = documents.iter().find(|(_, document)| document.contains("query Aisles")).unwrap();
    let others = std::env::temp_dir().join(format!("stockroom-documents-{}.json", std::process::id()));
    std::fs::write(&others, json!({ "mine": "{ __typename }" }).to_string()).unwrap();
    let only = ["--trusted-documents", "only", "--trusted-documents-path", others.to_str().unwrap()];
    for (flags, refused) in [(&[][..], ""), (&only, "DOCUMENT_NOT_TRUSTED")] {
        let server = TestServer::start_with(flags).await;
        let client = server.anonymous();
        let named = client.http.post(&client.url).json(&json!({ "documentId": hash })).send().await.unwrap();
        assert_eq!(named.json::<Value>().await.unwrap(), json!({ "data": { "categories": [] } }));
        assert_eq!(client.refusal(&json!({ "query": "{ service { version } }" })).await.1, refused);
    }
    std::fs::remove_file(others).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_a_database_that_is_gone_and_liveness_does_not_care() {
    let server = TestServer::start_with(&["--database-wait", "200ms"]).await;
    let get = async |path: &str| reqwest::get(format!("http://{}{path}", server.address)).await.unwrap();
    assert_eq!(get("/readyz").await.status(), 200);
    {
        let mut connection = server.core.infra.db.write().await.unwrap();
        connection.batch_execute("DROP TABLE catalog_version").await.unwrap();
    }
    let response = get("/readyz").await;
    assert_eq!(response.status(), 503);
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["ready"], &body["postgres"]["ok"]), (&json!(false), &json!(false)));
    assert_eq!(get("/livez").await.status(), 200);
    // Balancers learn of it from any answer, and alerts from the metrics.
    let response = server.anonymous().post("{ products { nodes { id } } }", &json!({})).await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        (&body["data"]["products"], &body["errors"][0]["extensions"]["code"]),
        (&Value::Null, &json!("UNAVAILABLE"))
    );
    let figures = get("/metrics").await.text().await.unwrap();
    assert!(figures.contains("stockroom_requests_total{operation=\"query\",outcome=\"UNAVAILABLE\"} 1"), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_undo_its_mutation() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let body = json!({
        "query": "mutation { createProduct(input: { sku: \"HANG\", name: \"Hang\", status: ACTIVE, price: { amount: \"1\", currency: \"EUR\" } }) { product { id } } }"
    })
    .to_string();
    // The insert waits for this lock, so that the client surely hangs up in the middle of it.
    let mut other = server.core.infra.db.write().await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        staff.token.clone().unwrap(),
        body.len()
    );
    let hung_up: diesel::QueryResult<()> = other
        .transaction(async |other| {
            other.batch_execute("LOCK TABLE products IN EXCLUSIVE MODE").await?;
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            drop(stream);
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            Ok(())
        })
        .await;
    hung_up.unwrap();
    crate::support::eventually("the product is there", async || {
        let data = staff.data("{ product(by: { sku: \"HANG\" }) { name } }", json!({})).await;
        data["product"]["name"] == "Hang"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_the_next_request() {
    let server = TestServer::start_with(&[]).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK"));
    }
}
