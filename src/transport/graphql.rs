//! `/graphql`: GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>).
//!
//! In order: method, Accept, credentials, content type, size, shape, parse, operation, GET's rule; then the operation
//! runs in a task of its own, under a deadline.

use std::sync::Arc;
use std::time::Instant;

use async_graphql::Value;
use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql_axum::GraphQLRequest;
use async_graphql_axum::rejection::GraphQLRejection;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::Instrument;

use crate::graphql::context::RequestContext;
use crate::graphql::error::{refusal, shown};
use crate::transport::App;
use crate::transport::admission;
use crate::transport::negotiation::MediaType;
use crate::transport::repair::Shape;
use crate::transport::request_id::RequestId;
use crate::transport::viewer::viewer;

/// Why a request was not executed.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

/// Answers one request.
pub async fn graphql(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let media_type = MediaType::wanted(request.headers());
    let timeout = app.settings.request_timeout;
    let answered = tokio::time::timeout(timeout, answer(&app, &id, media_type, request)).await;
    let answered = answered.unwrap_or_else(|_| {
        let message = format!("it took longer than {timeout:?}; ask for less, or try again");
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT", message))
    });
    let (response, operation, outcome) = match answered {
        Ok(answered) => answered,
        Err(refused) => {
            let outcome = refused.code;
            (refuse(refused, media_type.unwrap_or(MediaType::Json), &id), "none", outcome)
        }
    };
    let elapsed = started.elapsed();
    let metrics = &app.core.infra.metrics;
    metrics.requests.get_or_create(&[("operation", operation), ("outcome", outcome)]).inc();
    metrics.request_seconds.observe(elapsed.as_secs_f64());
    tracing::info!(operation, outcome, status = response.status().as_u16(), micros = elapsed.as_micros(), "graphql");
    response
}

type Answered = (Response, &'static str, &'static str);

async fn answer(
    app: &Arc<App>,
    id: &str,
    media_type: Option<MediaType>,
    request: Request,
) -> Result<Answered, Refusal> {
    let by_get = match *request.method() {
        Method::GET => true,
        Method::POST => false,
        _ => {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "use POST, or GET for queries",
            ));
        }
    };
    let media_type = media_type.ok_or_else(|| {
        let message = "accept application/graphql-response+json or application/json";
        Refusal::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message)
    })?;
    let viewer = viewer(request.headers(), &app.core.infra.tokens).map_err(|_| {
        let message = "the access token is not valid, or not any more; sign in again, or send no Authorization header";
        Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    })?;

    let mut request = read(request, by_get, app.settings.body_limit as usize).await?;
    let (operation, shape) = operation(&mut request)?;
    if by_get && operation != OperationType::Query {
        let message = "GET runs queries only; use POST";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message));
    }

    let request = request.data(RequestContext::new(Arc::clone(&app.core), viewer));
    let schema = app.schema.clone();
    // Owned: a client who hangs up cannot stop a command between two statements, nor return a busy connection.
    let executed = tokio::spawn(async move { schema.execute(request).await }.in_current_span()).await;
    let response = executed.map_err(|crash| {
        app.core.infra.metrics.panics.inc();
        tracing::error!(%crash, "a resolver panicked");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", "internal error")
    })?;
    let operation = match operation {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    };
    Ok(respond(response, &shape, operation, media_type, id))
}

/// The GraphQL request in an HTTP request.
async fn read(request: Request, by_get: bool, limit: usize) -> Result<async_graphql::Request, Refusal> {
    let bad_request = |message: &str| Refusal::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message);
    let body = if by_get {
        Bytes::from(read_query_string(request.uri().query().unwrap_or_default()))
    } else {
        check_content(request.headers())?;
        read_body(request.into_body(), limit).await?
    };
    let request = Request::post("/").header(CONTENT_TYPE, "application/json").body(Body::from(body));
    let request = request.map_err(|_| bad_request("the request cannot be read"))?;
    let request = GraphQLRequest::<GraphQLRejection>::from_request(request, &()).await.map_err(|_| {
        bad_request("send a JSON object with `query`, and if needed `operationName`, `variables` and `extensions`")
    })?;
    let request = request.into_inner();
    if request.query.trim().is_empty() {
        return Err(bad_request("`query` is missing; send a JSON object with the document in `query`"));
    }
    Ok(request)
}

/// The JSON body that says the same as a query string.
fn read_query_string(query: &str) -> String {
    let members = url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| {
        let name = serde_json::Value::from(&*name).to_string();
        // These two are JSON already; what is not makes the body none.
        let value = match name.as_str() {
            r#""variables""# | r#""extensions""# if !value.is_empty() => value.into_owned(),
            _ => serde_json::Value::from(&*value).to_string(),
        };
        format!("{name}:{value}")
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn check_content(headers: &HeaderMap) -> Result<(), Refusal> {
    let unsupported =
        |message: &str| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message);
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if !json || !utf8 {
        return Err(unsupported("send `Content-Type: application/json`, in UTF-8"));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(unsupported("send the body as it is, without Content-Encoding"));
    }
    Ok(())
}

async fn read_body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        // The limit is the only reason that has a source which says so.
        match source.is_some_and(|source| source.to_string().contains("length limit")) {
            true => {
                let message = format!("the body has more than {limit} bytes; send less");
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST", message)
            }
            false => Refusal::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", "the body ended too soon"),
        }
    })
}

/// The kind of the operation that the request asks for, and the shape of its answer.
fn operation(request: &mut async_graphql::Request) -> Result<(OperationType, Shape), Refusal> {
    let name = request.operation_name.clone();
    let document: &ExecutableDocument = request.parsed_query().map_err(|error| {
        let line = error.message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        Refusal::new(StatusCode::BAD_REQUEST, "GRAPHQL_PARSE_FAILED", line)
    })?;
    admission::check(document)
        .map_err(|message| Refusal::new(StatusCode::BAD_REQUEST, "QUERY_TOO_COMPLEX", message))?;
    let mut operations = document.operations.iter();
    let found = match &name {
        Some(name) => operations.find(|(known, _)| known.is_some_and(|known| known.as_str() == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    let found =
        found.map(|(_, operation)| (operation.node.ty, Shape::of(&operation.node.selection_set.node, document)));
    found.ok_or_else(|| {
        let message = "the document has several operations, or none of that name; name one in `operationName`";
        Refusal::new(StatusCode::BAD_REQUEST, "OPERATION_RESOLUTION_FAILURE", message)
    })
}

/// Shapes what the execution gave.
fn respond(
    mut response: async_graphql::Response,
    shape: &Shape,
    operation: &'static str,
    media_type: MediaType,
    id: &str,
) -> Answered {
    // Every root field is nullable, so only what was never executed has neither data nor an error with a path.
    let refused = response.data == Value::Null && response.errors.iter().all(|error| error.path.is_empty());
    if !refused {
        shape.repair(&mut response.data, &response.errors);
    }
    let status = match (refused, media_type) {
        (true, MediaType::Response) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let outcome = match (refused, response.errors.is_empty()) {
        (true, _) => "invalid",
        (false, true) => "ok",
        (false, false) => "errors",
    };
    let body = ResponseBody {
        errors: (!response.errors.is_empty()).then(|| shown(&response.errors, refused, id)),
        data: (!refused).then_some(&response.data),
    };
    let mut response = (status, serde_json::to_vec(&body).unwrap_or_default()).into_response();
    headers(response.headers_mut(), media_type);
    (response, operation, outcome)
}

/// A response; a request that was not executed has no `data`, not even null.
#[derive(Serialize)]
struct ResponseBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

fn refuse(refused: Refusal, media_type: MediaType, id: &str) -> Response {
    let Refusal { status, code, message } = refused;
    // A well-formed request gets 200 from those who know only JSON: the status says nothing of the document.
    let about_the_document =
        matches!(code, "GRAPHQL_PARSE_FAILED" | "OPERATION_RESOLUTION_FAILURE" | "QUERY_TOO_COMPLEX");
    let status = if about_the_document && media_type == MediaType::Json { StatusCode::OK } else { status };
    let mut response = (status, refusal(code, &message, Some(id)).to_string()).into_response();
    let sent = response.headers_mut();
    headers(sent, media_type);
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = if message.starts_with("GET") { "POST" } else { "GET, POST" };
            sent.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        StatusCode::UNAUTHORIZED => {
            sent.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            sent.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

fn headers(headers: &mut HeaderMap, media_type: MediaType) {
    headers.insert(CONTENT_TYPE, media_type.header());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept, Authorization"));
}
