//! Traces as a collector gets them (<https://opentelemetry.io/docs/specs/otlp/>).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use crate::support::process::{Server, run, said};
use crate::support::servers::{TestDatabase, servers};

/// Takes spans, and keeps them.
struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = Arc::clone(&taken);
        let take = async move |body: Bytes| {
            kept.lock().unwrap().push(ExportTraceServiceRequest::decode(body).expect("protobuf"));
            StatusCode::OK
        };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, taken }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything as text, however deep it lies.
    fn text(&self) -> String {
        format!("{:?}", self.taken.lock().unwrap())
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let resources = taken.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const WATCHED: &str = "4bf92f3577b34da6a3ce929d0e0e4737";

/// A server on a database of its own, with these flags.
async fn start(flags: &[&str]) -> (Server, TestDatabase) {
    let database = TestDatabase::create().await;
    let (key, redis) = (said(&run(&["keys", "generate"])), servers().redis_url());
    let own = ["--database-url", &database.url, "--jwt-private-key", &key, "--redis-url", &redis];
    let own = [&own[..], &["--redis-prefix", &database.name, "--log", "info", "--log-format", "json"]].concat();
    (Server::start(&[&own, flags].concat()), database)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_down_to_its_statements_and_tells_no_value() {
    let collector = Collector::start().await;
    let (mut server, _database) = start(&["--otel-exporter-otlp-endpoint", &collector.url()]).await;
    let client = server.client();
    let register = "mutation Join($e: String!, $p: String!) {
        register(input: { email: $e, password: $p }) { tokens { accessToken } } }";
    let variables = json!({ "e": "ada.private@example.com", "p": "correct horse" });
    let token = client.data(register, variables).await["register"]["tokens"]["accessToken"].take();
    let ask = async |traceparent: &str| {
        let request = client.http.post(&client.url).bearer_auth(token.as_str().unwrap());
        let request = request.header("traceparent", traceparent).header("x-request-id", "slow-one");
        let query = "query Shelf($s: String) { products(search: $s) { nodes { name } } me { email } }";
        let body = json!({ "query": query, "variables": { "s": "secret wish" } });
        assert!(request.json(&body).send().await.unwrap().status().is_success());
    };
    ask(&format!("00-{TRACE}-00f067aa0ba902b7-01")).await;
    // Whoever sends it decided that this one is not traced.
    ask("00-11111111111111111111111111111111-00f067aa0ba902b7-00").await;
    let watch = client.http.post(&client.url).header("accept", "text/event-stream");
    let watch = watch.header("traceparent", format!("00-{WATCHED}-00f067aa0ba902b7-01"));
    let watch = watch.json(&json!({ "query": "subscription Watch { productEvents { type } }" }));
    let mut events = watch.send().await.unwrap();
    assert!(events.chunk().await.unwrap().is_some(), "it begins");
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(20)).success());

    let spans = collector.spans();
    let traced: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let named = |name: &str| -> &Span {
        traced.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {traced:#?}"))
    };
    let request = named("POST /graphql");
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(attribute(request, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(request, "stockroom.request_id").as_deref(), Some("slow-one"));
    let operation = named("query Shelf");
    assert_eq!(operation.parent_span_id, request.span_id);
    assert_eq!(attribute(operation, "stockroom.outcome").as_deref(), Some("ok"));
    assert_eq!(attribute(operation, "stockroom.cache").as_deref(), Some("Passed"));
    for (name, system) in [("SELECT", "postgresql"), ("version", "postgresql"), ("GET", "redis")] {
        let call = named(name);
        assert_eq!(call.parent_span_id, operation.span_id, "{call:?}");
        assert_eq!(attribute(call, "db.system.name").as_deref(), Some(system));
        assert!(call.start_time_unix_nano >= operation.start_time_unix_nano);
    }
    let watched: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == WATCHED).collect();
    let [watching] = watched.iter().filter(|span| span.name == "subscription Watch").collect::<Vec<_>>()[..] else {
        panic!("one span of the subscription in {watched:#?}")
    };
    let request = watched.iter().find(|span| span.name == "POST /graphql").unwrap();
    assert_eq!(watching.parent_span_id, request.span_id);
    let statement = attribute(named("SELECT"), "db.query.text").unwrap();
    assert!(statement.contains("FROM") && statement.contains("$1"), "{statement}");

    let text = collector.text();
    assert!(!spans.iter().any(|span| hex(&span.trace_id).starts_with("1111")), "{text}");
    assert!(text.contains("mutation Join") && text.contains("INSERT"), "{text}");
    for value in ["ada.private", "correct horse", "secret wish", "argon2id", token.as_str().unwrap()] {
        assert!(!text.contains(value), "{value} is in the traces");
    }
    // The log has the same names for it.
    let log = server.log();
    let line = log.lines().find(|line| line.contains("slow-one")).expect("a line of the request");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert!(line["name"] == "Shelf" && line["micros"].is_u64(), "{line}");
    assert_eq!((&line["span"]["id"], &line["span"]["trace_id"]), (&json!("slow-one"), &json!(TRACE)), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_log_still_has_the_senders_trace() {
    let (mut server, _database) = start(&[]).await;
    let client = server.client();
    let request = client.http.post(&client.url).header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    request.json(&json!({ "query": "{ __typename }" })).send().await.unwrap();
    client.data("{ __typename }", json!({})).await;
    server.signal("INT");
    assert!(server.wait(Duration::from_secs(20)).success());
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("\"graphql\"")).collect();
    assert!(lines[0].contains(TRACE) && !lines[1].contains("trace_id"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_no_request() {
    let nobody = ["--otel-exporter-otlp-endpoint", "http://127.0.0.1:1"];
    let (mut server, _database) = start(&nobody).await;
    for _ in 0..20 {
        server.client().data("{ products { totalCount } }", json!({})).await;
    }
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(20)).success());
}
