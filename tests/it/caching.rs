//! What browsers and caches between may keep, who may call from where, and what is sent in what form.

use reqwest::Response;
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;

use crate::support::{Client, GRAPHQL, TestServer};

async fn get(client: &Client, query: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = client.http.get(&client.url).query(&[("query", query)]).header("accept", GRAPHQL);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match &client.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
    .send()
    .await
    .unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anybody_may_see_can_be_kept_and_what_depends_on_the_viewer_cannot() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let customer = server.signed_in(Role::Customer).await;
    let stranger = server.anonymous();
    let product = staff.create_product(json!({ "name": "Lamp", "sku": "LAMP" })).await;
    let by_id = format!("{{ node(id: {}) {{ ... on Product {{ name }} }} }}", product["id"]);
    let kept = "public, no-cache";
    let unkept = "private, no-store";
    for (client, query, expected) in [
        (&stranger, "{ products { nodes { name createdBy { name } } } }", kept),
        (&stranger, "{ product(by: { sku: \"LAMP\" }) { name } }", kept),
        (&stranger, &by_id, kept),
        (&stranger, "{ categories { name } service { version } }", kept),
        (&stranger, "{ me { name } }", unkept),
        (&stranger, "{ products { nodes { name } } me { name } }", unkept),
        (&stranger, "{ service { rateLimit { available } } }", unkept),
        (&stranger, "{ users { totalCount } }", unkept),
        (&stranger, "{ node(id: \"x\") { id } products { totalCount } }", unkept),
        (&customer, "{ product(by: { sku: \"LAMP\" }) { name } }", kept),
        (&customer, "{ products { nodes { name } } }", unkept),
        (&customer, "{ product(by: { sku: \"LAMP\" }) { name createdBy { name } } }", unkept),
        (&staff, "{ product(by: { sku: \"LAMP\" }) { createdBy { name } } }", unkept),
    ] {
        let response = get(client, query, &[]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "cache-control"), expected, "{query}");
        assert_eq!(response.headers().contains_key("etag"), expected == kept, "{query}");
        let vary: Vec<_> = response.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        for name in ["Accept", "Authorization"] {
            assert!(vary.join(", ").split(", ").any(|given| given == name), "{name}: {vary:?}");
        }
    }
    let posted = stranger.post("{ products { totalCount } }", &json!({})).await;
    assert_eq!(header(&posted, "cache-control"), unkept);
    // Reports of the cost are about the one who asks.
    let reported = get(&stranger, "{ products { totalCount } }", &[("graphql-cost", "report")]).await;
    assert_eq!(header(&reported, "cache-control"), unkept);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_are_told_what_the_cache_did() {
    let server = TestServer::start_with(&[]).await;
    let (staff, stranger) = (server.signed_in(Role::Staff).await, server.anonymous());
    let decision = async |client: &Client, query: &str| {
        let body: Value = get(client, query, &[("graphql-cost", "report")]).await.json().await.unwrap();
        assert!(body["extensions"]["timing"]["micros"].as_u64().is_some_and(|micros| micros > 0), "{body}");
        body["extensions"]["cache"].as_str().unwrap().to_owned()
    };
    let query = "{ products { totalCount } }";
    assert_eq!(decision(&stranger, query).await, "STORED");
    assert_eq!(decision(&stranger, query).await, "HIT");
    staff.create_product(json!({})).await;
    assert_eq!(decision(&stranger, query).await, "STORED");
    assert_eq!(decision(&staff, "{ me { name } }").await, "PASSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_answer_already_is_told_so_until_it_changes() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let stranger = server.anonymous();
    let query = "{ products { totalCount } }";
    let first = get(&stranger, query, &[]).await;
    let tag = header(&first, "etag").to_owned();
    assert!(tag.starts_with("W/\""));
    for known in [tag.as_str(), &format!("\"other\", {tag}"), "*"] {
        let again = get(&stranger, query, &[("if-none-match", known)]).await;
        assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, tag.as_str()), "{known}");
        assert_eq!(header(&again, "cache-control"), "public, no-cache");
        assert_eq!(again.bytes().await.unwrap().len(), 0);
    }
    staff.create_product(json!({})).await;
    let changed = get(&stranger, query, &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status(), 200);
    assert_ne!(header(&changed, "etag"), tag);
    assert_eq!(changed.json::<Value>().await.unwrap(), json!({ "data": { "products": { "totalCount": 1 } } }));

    let patient = TestServer::start_with(&["--http-max-age", "30s"]).await;
    let response = get(&patient.anonymous(), query, &[]).await;
    assert_eq!(header(&response, "cache-control"), "public, max-age=30");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_by_get_needs_what_no_link_can_send() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    for (headers, status) in [
        (vec![], 400),
        (vec![("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")], 400),
        (vec![("accept", "*/*"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-site", "cross-site")], 400),
        (vec![("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "cross-site")], 400),
        (vec![("accept", "*/*"), ("sec-fetch-mode", "cors")], 200),
        (vec![("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")], 200),
        (vec![("accept", "application/json")], 200),
        (vec![("accept", GRAPHQL)], 200),
        (vec![("apollo-require-preflight", "1")], 200),
        (vec![("x-apollo-operation-name", "Q")], 200),
        (vec![("content-type", "application/json")], 200),
    ] {
        let mut request = client.http.get(&client.url).query(&[("query", "{ __typename }")]);
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{headers:?}");
        let body: Value = response.json().await.unwrap();
        if status == 400 {
            assert_eq!(body["errors"][0]["extensions"]["code"], "CSRF_PREVENTION");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_allowed_sites_may_call_from_browsers() {
    let server = TestServer::start_with(&["--allowed-origins", "https://shop.example,http://localhost:3000"]).await;
    let client = server.anonymous();
    let preflight = async |origin: &str| {
        let request = client.http.request(reqwest::Method::OPTIONS, &client.url);
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization,content-type").send().await.unwrap()
    };
    for origin in ["https://shop.example", "http://localhost:3000"] {
        let response = preflight(origin).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "access-control-allow-origin"), origin);
        assert_eq!(header(&response, "access-control-max-age"), "7200");
        assert!(header(&response, "access-control-allow-headers").contains("authorization"));
        assert_eq!(header(&response, "access-control-allow-credentials"), "");
        let request = client.http.post(&client.url).header("origin", origin);
        let response = request.json(&json!({ "query": "{ __typename }" })).send().await.unwrap();
        assert_eq!(header(&response, "access-control-allow-origin"), origin);
        assert!(header(&response, "access-control-expose-headers").contains("ratelimit"));
    }
    for origin in ["https://evil.example", "https://shop.example.evil.example", "null", "http://shop.example"] {
        assert_eq!(header(&preflight(origin).await, "access-control-allow-origin"), "", "{origin}");
    }
    let closed = TestServer::start_with(&[]).await;
    let request = closed.anonymous().http.post(closed.anonymous().url).header("origin", "https://shop.example");
    let response = request.json(&json!({ "query": "{ __typename }" })).send().await.unwrap();
    assert_eq!(header(&response, "access-control-allow-origin"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_compressed_and_small_ones_are_not() {
    let server = TestServer::start_with(&[]).await;
    let client = server.anonymous();
    let large = "{ __schema { types { name description } } }";
    for (query, accepts, expected) in [
        (large, "gzip", "gzip"),
        (large, "br", "br"),
        (large, "gzip, deflate, br", "br"),
        (large, "identity", ""),
        ("{ __typename }", "gzip, br", ""),
    ] {
        let response = get(&client, query, &[("accept-encoding", accepts)]).await;
        assert_eq!(header(&response, "content-encoding"), expected, "{accepts}");
        let varies = response.headers().get_all("vary").iter().any(|value| value == "accept-encoding");
        assert_eq!(varies, query == large);
        let bytes = response.bytes().await.unwrap();
        if expected.is_empty() {
            assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        } else {
            assert!(bytes.len() < 15_000, "{} bytes", bytes.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_documents_run_by_their_ids_and_nothing_else_where_only_they_may() {
    let document = "{ products { totalCount } }";
    let named = "query Version { service { version } }";
    let hash = |text: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let folder = crate::support::servers::scratch("documents");
    std::fs::write(folder.join("count.graphql"), format!("{document}\n")).unwrap();
    let list = folder.join("persisted-documents.json");
    std::fs::write(&list, json!({ hash(document): document, "version-1": named }).to_string()).unwrap();
    let from_folder =
        TestServer::start_with(&["--trusted-documents", "only", "--trusted-documents-path", folder.to_str().unwrap()])
            .await;
    let from_list = async |mode: &str| {
        TestServer::start_with(&["--trusted-documents", mode, "--trusted-documents-path", list.to_str().unwrap()]).await
    };
    let (only, allow) = (from_list("only").await, from_list("allow").await);
    let id = format!("sha256:{}", hash(document));
    let apq = |query: Option<&str>, text: &str| {
        let mut body = json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash(text) } } });
        if let Some(query) = query {
            body["query"] = json!(query);
        }
        body
    };
    let refused = "DOCUMENT_NOT_TRUSTED";
    for (server, body, code) in [
        (&from_folder, json!({ "documentId": id }), ""),
        (&from_folder, json!({ "documentId": hash(document) }), ""),
        (&from_folder, json!({ "query": document }), ""),
        (&from_folder, json!({ "query": named }), refused),
        (&only, json!({ "documentId": id }), ""),
        (&only, json!({ "documentId": "version-1" }), ""),
        (&only, json!({ "documentId": "version-2" }), refused),
        (&only, json!({ "documentId": "version-1", "query": document }), refused),
        (&only, json!({ "query": "{ __typename }" }), refused),
        (&only, apq(Some("{ __typename }"), "{ __typename }"), refused),
        (&only, apq(None, document), ""),
        (&allow, json!({ "documentId": "version-1" }), ""),
        (&allow, json!({ "query": "{ __typename }" }), ""),
        (&allow, json!({ "documentId": "nothing" }), refused),
    ] {
        let (status, found) = server.anonymous().refusal(&body).await;
        assert_eq!((status, found.as_str()), (if code.is_empty() { 200 } else { 400 }, code), "{body}");
    }
    let off = TestServer::start_with(&[]).await;
    assert_eq!(off.anonymous().refusal(&json!({ "documentId": id })).await.1, refused);
    let by_get = only.anonymous().http.get(only.anonymous().url).query(&[("documentId", "version-1")]);
    let response = by_get.header("accept", GRAPHQL).send().await.unwrap();
    assert_eq!(response.json::<Value>().await.unwrap()["data"]["service"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persisted_query_is_known_to_every_instance_and_a_poisoned_store_to_none() {
    let redis = crate::support::servers::RedisServer::start();
    let url = redis.url();
    let server = TestServer::start_with(&["--redis-url", &url]).await;
    let other = server.another(&["--redis-url", &url]).await;
    let document = "{ service { version } }";
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document.as_bytes());
    let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let extensions = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
    let by_hash = json!({ "extensions": extensions });
    let unknown = (200, "PERSISTED_QUERY_NOT_FOUND".to_owned());
    assert_eq!(server.anonymous().refusal(&by_hash).await, unknown);
    let whole = json!({ "query": document, "extensions": extensions });
    assert_eq!(server.anonymous().refusal(&whole).await, (200, String::new()));
    for instance in [&server, &other] {
        assert_eq!(instance.anonymous().refusal(&by_hash).await, (200, String::new()));
    }
    // What is not valid is not kept.
    let invalid = "{ nothing }";
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, invalid.as_bytes());
    let bad: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let extensions = json!({ "persistedQuery": { "version": 1, "sha256Hash": bad } });
    assert_eq!(server.anonymous().refusal(&json!({ "query": invalid, "extensions": extensions })).await.0, 400);
    assert_eq!(server.anonymous().refusal(&json!({ "extensions": extensions })).await, unknown);
    // Somebody writes another document under the hash: nobody runs it.
    let key = redis.keys().await.into_iter().find(|key| key.contains("documents")).unwrap();
    redis.set_field(&key, &hash, "mutation { deleteProduct(by: { sku: \"x\" }) { deletedId } }").await;
    let third = server.another(&["--redis-url", &url]).await;
    assert_eq!(third.anonymous().refusal(&by_hash).await, unknown);
    redis.kill();
    let fourth = server.another(&["--redis-url", &url]).await;
    assert_eq!(fourth.anonymous().refusal(&by_hash).await, unknown);
    assert_eq!(server.anonymous().refusal(&by_hash).await, (200, String::new()), "it is still known in process");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_is_told_the_same_by_the_short_way_until_it_changes() {
    let server = TestServer::start_with(&["--rate-limit", "1000/1h"]).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "name": "Lamp", "description": "x".repeat(2_000) })).await;
    let executed = async || {
        let metrics = reqwest::get(format!("http://{}/metrics", server.address)).await.unwrap().text().await.unwrap();
        let line = "stockroom_responses_total{from=\"resolvers\"} ";
        metrics.lines().find_map(|told| told.strip_prefix(line)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let counted = || -> u64 {
        let figures = server.core.infra.figures();
        let lines = figures.lines().filter_map(|line| line.strip_prefix("stockroom_operations_total{"));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    };
    // What it says of everything but itself.
    let told = async |headers: &[(&str, &str)], body: &str| {
        let client = server.anonymous();
        let mut request = client.http.post(&client.url).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_owned()).send().await.unwrap();
        let mut seen: Vec<(String, String)> = Vec::new();
        for (name, value) in response.headers() {
            match name.as_str() {
                "date" | "x-request-id" | "ratelimit" => seen.push((name.to_string(), String::new())),
                "vary" => {
                    let names = value.to_str().unwrap().split(',').map(|name| name.trim().to_lowercase());
                    seen.extend(names.map(|vary| (name.to_string(), vary)));
                }
                _ => seen.push((name.to_string(), value.to_str().unwrap().to_owned())),
            }
        }
        seen.sort();
        (response.status(), seen, response.text().await.unwrap())
    };
    for document in ["{ products { nodes { name } } }", "{ products { nodes { name description } } }"] {
        let body = json!({ "query": document }).to_string();
        for headers in [vec![], vec![("accept", GRAPHQL)], vec![("accept", "*/*"), ("accept-encoding", "identity")]] {
            // As long as it is not the very same body it is answered the long way.
            let long = told(&headers, &format!("{body} ")).await;
            told(&headers, &body).await;
            let before = executed().await;
            assert_eq!(told(&headers, &body).await, long, "{document} {headers:?}");
            assert_eq!(executed().await, before, "it was kept");
        }
        // Those who may get something else go the long way, and are told what holds for them.
        let signed_in = json!({ "query": document });
        assert_eq!(staff.refusal(&signed_in).await, (200, String::new()));
        let reported = told(&[("graphql-cost", "report")], &body).await.2;
        assert!(reported.contains("\"extensions\":{\"cache\":\"HIT\",\"cost\":{"), "{reported}");
        let before = counted();
        let packed = server.anonymous().http.post(server.anonymous().url).header("accept-encoding", "gzip");
        let packed = packed.header("content-type", "application/json").body(body.clone()).send().await.unwrap();
        assert_eq!(packed.headers().contains_key("content-encoding"), document.contains("description"));
        assert_eq!(counted() - before, 1, "whichever way it went, it is one operation");
        staff.create_product(json!({ "name": "Chair" })).await;
        let changed = told(&[], &body).await.2;
        assert!(changed.contains("Chair"), "{changed}");
    }
    let strict = TestServer::start_with(&["--rate-limit", "30/1h"]).await;
    let body = json!({ "query": "{ products { totalCount } }" });
    assert_eq!(strict.anonymous().refusal(&body).await, (200, String::new()));
    let mut last = (200, String::new());
    for _ in 0..30 {
        last = strict.anonymous().refusal(&body).await;
    }
    assert_eq!(last, (429, "RATE_LIMITED".to_owned()), "what is kept is paid for, too");
}
