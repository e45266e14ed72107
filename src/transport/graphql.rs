//! `/graphql`: GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>).
//!
//! In order: method, Accept, credentials, content type, size, shape; then the [door], which every
//! transport shares.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_graphql::parser::types::OperationType;
use async_graphql_axum::GraphQLRequest;
use async_graphql_axum::rejection::GraphQLRejection;
use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::config::StatusCodes;
use crate::graphql::context::Asker;
use crate::graphql::error::{postponed, refusal, response_body};
use crate::infra::metrics::Counted;
use crate::infra::rate_limit::Spent;
use crate::transport::App;
use crate::transport::address::{Peer, address};
use crate::transport::door::{self, Answer, CONSISTENCY_TOKEN, Entered, Entrance, Given, Recalled, seconds};
use crate::transport::kept::Seeking;
use crate::transport::negotiation::MediaType;
use crate::transport::quick::NotKept;
use crate::transport::refusal::{Code, Refusal};
use crate::transport::request_id::RequestId;
use crate::transport::viewer::asker;
use crate::transport::{csrf, kept, sse, websocket};

/// Longest time for the bytes of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds after which whoever found no room may try again.
const SOON: HeaderValue = HeaderValue::from_static("1");
/// A body of more bytes than this is large.
const LARGE: usize = 8 * 1024;
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `GraphQL-Cost: report` asks for `extensions` with cost, budget, the cache's decision and the time that it took.
pub const COST: HeaderName = HeaderName::from_static("graphql-cost");
/// In a mutation's response, and from whoever is to see what it did.
pub const X_CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("x-consistency-token");
/// See <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Answers one request.
pub async fn graphql(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    if websocket::is_asked_for(request.headers()) {
        return websocket::upgrade(app, peer, id, request).await;
    }
    let started = Instant::now();
    let _runs = Counted::by(&app.core.infra.metrics.requests_running);
    let media_type = MediaType::wanted(request.headers());
    let (mut response, told) = match answer(&app, &id, media_type, peer, request, started).await {
        Ok(answered) => answered,
        Err(refused) => sent_away(&app, &refused, media_type, &id),
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Authorization"));
    count(&app, told, &response, started);
    response
}

/// What metrics and log are told of a request.
#[derive(Clone, Copy)]
pub struct Told {
    /// The kind of its operation.
    pub operation: &'static str,
    /// What that is counted as.
    pub name: &'static str,
    /// How it went.
    pub outcome: &'static str,
}

/// Tells metrics and log of an answered request.
pub fn count(app: &App, told: Told, response: &Response, started: Instant) {
    let Told { operation, name, outcome } = told;
    let elapsed = started.elapsed();
    app.core.infra.metrics.count_request(operation, outcome, elapsed);
    let (status, micros) = (response.status().as_u16(), micros(elapsed));
    tracing::info!(operation, name, outcome, status, micros, "graphql");
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

type Answered = (Response, Told);

async fn answer(
    app: &Arc<App>,
    id: &str,
    media_type: Option<MediaType>,
    peer: IpAddr,
    request: Request,
    started: Instant,
) -> Result<Answered, Refusal> {
    let by_get = match *request.method() {
        Method::GET => true,
        Method::POST => false,
        _ => {
            let code = Code::MethodNotAllowed { allowed: "GET, POST" };
            return Err(Refusal::new(code, "use POST, or GET for queries"));
        }
    };
    let media_type = media_type.ok_or_else(|| {
        let message = "accept application/graphql-response+json, application/json or text/event-stream";
        Refusal::new(Code::NotAcceptable, message)
    })?;
    let (mut parts, body) = request.into_parts();
    let not_kept = parts.extensions.remove::<NotKept>();
    let headers = &parts.headers;
    let mut asker = asker(app, headers, address(peer, headers, &app.settings.trusted_proxies)).await?;
    if let Some(token) = headers.get(X_CONSISTENCY_TOKEN) {
        asker.seen = Some(door::seen(token.to_str().unwrap_or_default())?);
    }

    let body = if by_get {
        csrf::check(headers)?;
        Bytes::from(read_query_string(parts.uri.query().unwrap_or_default()))
    } else {
        check_content(headers)?;
        read_body(body, app.settings.body_limit as usize).await?
    };
    let audience = app.audience(asker.viewer());
    let recalled = match not_kept {
        Some(NotKept(seeking)) => Recalled::Missing(Arc::into_inner(seeking)),
        None => door::recall(app, &body, &asker).await,
    };
    let (operation, answer) = match recalled {
        Recalled::Found(found) => ("query", found.answer(app, &asker, started).await?),
        Recalled::Missing(seeking) => match execute(app, body, asker, by_get, headers, seeking).await? {
            Executed::Answered(operation, answer) => (operation, answer),
            Executed::Streams(entered) => {
                let told = |outcome| Told { operation: "subscription", name: "", outcome };
                return Ok(match sse::subscription(app, *entered, audience, id.to_owned()) {
                    Ok(response) => (response, told("streams")),
                    Err(body) => {
                        let status = Code::ValidationFailed.status(media_type, app.settings.status_codes);
                        let headers = [(CACHE_CONTROL, UNSHARED), (CONTENT_TYPE, media_type.header())];
                        ((status, headers, body).into_response(), told("invalid"))
                    }
                });
            }
        },
    };

    let outcome = answer.given.outcome();
    let reports = headers.get(COST).is_some_and(|asked| asked == "report");
    let reported = extensions(&answer, reports.then_some(started));
    let body = match (&answer.given, &reported) {
        (Given::Kept(kept), None) => kept.body.clone(),
        (Given::Kept(kept), Some(extensions)) => kept.with_extensions(extensions).into(),
        (Given::Made { response, refused }, _) => {
            response_body(response, *refused, reported.as_ref(), audience, id).into()
        }
    };
    let response = if media_type == MediaType::EventStream && outcome != "invalid" {
        sse::single(&body)
    } else {
        let status = answer.given.status(media_type, app.settings.status_codes);
        let mut response = match &answer.given {
            Given::Kept(kept) if by_get && reported.is_none() => cacheable(kept, headers, app.settings.http_max_age),
            _ => {
                let mut response = (status, [(CACHE_CONTROL, UNSHARED)], body).into_response();
                // What one may spend is nobody else's business.
                rate_headers(response.headers_mut(), answer.spent);
                if let Some(token) = answer.token.and_then(|token| HeaderValue::from_str(&token.to_string()).ok()) {
                    response.headers_mut().insert(X_CONSISTENCY_TOKEN, token);
                }
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    response.headers_mut().insert(RETRY_AFTER, SOON);
                }
                response
            }
        };
        response.headers_mut().insert(CONTENT_TYPE, media_type.header());
        response
    };
    Ok((response, Told { operation, name: answer.name, outcome }))
}

/// What became of a request that had to be understood.
enum Executed {
    Answered(&'static str, Answer),
    /// It is a subscription, and goes on.
    Streams(Box<Entered>),
}

async fn execute(
    app: &Arc<App>,
    body: Bytes,
    asker: Asker,
    by_get: bool,
    headers: &HeaderMap,
    seeking: Option<Seeking>,
) -> Result<Executed, Refusal> {
    let (request, document_id) = {
        let _turn = match body.len() > LARGE {
            true => app.turns.next().await,
            false => None,
        };
        read(body.clone(), app.persisted.trusts_documents()).await?
    };
    let entrance = Entrance { mutations: !by_get, subscriptions: MediaType::streams(headers) };
    let key = idempotency_key(headers)?;
    let mut entered = door::enter(app, request, document_id.as_deref(), key, asker, entrance).await?;
    entered.seeking = seeking;
    let operation = match entered.kind {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => return Ok(Executed::Streams(Box::new(entered))),
    };
    let answer = entered.execute(app).await?;
    if let (Given::Kept(_), Some(question), None) = (&answer.given, entered.question.take(), entered.viewer.id()) {
        let (cost, name) = (answer.requested, answer.name);
        app.kept.learn(body, kept::Known { question, cost, name, tally: app.core.infra.metrics.tally(name) });
    }
    Ok(Executed::Answered(operation, answer))
}

/// The GraphQL request in a JSON body, and the id of a trusted document in it.
async fn read(body: Bytes, trusts_documents: bool) -> Result<(async_graphql::Request, Option<String>), Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        document_id: Option<String>,
    }

    let request = Request::post("/").header(CONTENT_TYPE, "application/json").body(Body::from(body.clone()));
    let request = request.map_err(|_| Refusal::new(Code::Malformed, "the request cannot be read"))?;
    let refused = |_| {
        // What is JSON all the same is a mistake of another kind.
        let code = if serde_json::from_slice::<IgnoredAny>(&body).is_ok() { Code::BadRequest } else { Code::Malformed };
        let message = "send a JSON object with `query`, and if needed `operationName`, `variables` and `extensions`";
        Refusal::new(code, message)
    };
    let request = GraphQLRequest::<GraphQLRejection>::from_request(request, &()).await.map_err(refused)?.into_inner();
    // Most requests bring their document, and beside it an id matters only where documents are trusted.
    let id = match request.query.is_empty() || trusts_documents {
        true => serde_json::from_slice::<Named>(&body).ok().and_then(|named| named.document_id),
        false => None,
    };
    Ok((request, id))
}

/// The key under which the request's mutations are to happen once
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>), with or without its quotes.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().map_err(|_| Refusal::new(Code::BadRequest, "Idempotency-Key must be ASCII"))?;
    Ok(Some(key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key)))
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

pub fn check_content(headers: &HeaderMap) -> Result<(), Refusal> {
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
        return Err(Refusal::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`, in UTF-8"));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::new(Code::UnsupportedMediaType, "send the body as it is, without Content-Encoding"));
    }
    Ok(())
}

async fn read_body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Code::BodyTooLarge, format!("the body has more than {limit} bytes; send less"));
    // What is announced need not be read.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, limit)).await.map_err(|_| {
        Refusal::new(Code::BodyTooSlow, format!("the body did not arrive within {BODY_TIMEOUT:?}; send it faster"))
    })?;
    read.map_err(|error| {
        let source = std::error::Error::source(&error);
        // The limit is the only reason that has a source which says so.
        match source.is_some_and(|source| source.to_string().contains("length limit")) {
            true => too_large(),
            false => Refusal::new(Code::Malformed, "the body ended too soon"),
        }
    })
}

pub const UNSHARED: HeaderValue = HeaderValue::from_static("private, no-store");

impl Given {
    /// How it went.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Made { refused: true, .. } => "invalid",
            Self::Made { response, .. } if !response.errors.is_empty() => postponed(response).unwrap_or("errors"),
            _ => "ok",
        }
    }

    fn status(&self, media_type: MediaType, codes: StatusCodes) -> StatusCode {
        match (self.outcome(), codes) {
            ("invalid", _) => Code::ValidationFailed.status(media_type, codes),
            ("BUSY" | "UNAVAILABLE", _) => StatusCode::SERVICE_UNAVAILABLE,
            ("errors", StatusCodes::Draft) => StatusCode::from_u16(294).unwrap_or(StatusCode::OK),
            _ => StatusCode::OK,
        }
    }
}

/// What anybody may see may be kept by anybody, as long as they ask whether it still holds.
fn cacheable(kept: &kept::Response, headers: &HeaderMap, max_age: Option<Duration>) -> Response {
    let tag = kept.tag();
    let asked = headers.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let is_known = asked.flat_map(|tags| tags.split(',')).map(str::trim).any(|known| tag == *known || known == "*");
    let policy =
        max_age.map_or_else(|| "public, no-cache".to_owned(), |age| format!("public, max-age={}", age.as_secs()));
    let headers = [(CACHE_CONTROL, HeaderValue::from_str(&policy).unwrap_or(UNSHARED)), (ETAG, tag)];
    match is_known {
        true => (StatusCode::NOT_MODIFIED, headers).into_response(),
        false => (StatusCode::OK, headers, kept.body.clone()).into_response(),
    }
}

/// The `extensions` of an answer, if it has any: where a mutation has come to, and for those who ask what it did cost.
pub fn extensions(answer: &Answer, started: Option<Instant>) -> Option<serde_json::Value> {
    let mut extensions = started.map(|started| report(answer, started));
    if let Some(token) = &answer.token {
        extensions.get_or_insert_with(|| json!({}))[CONSISTENCY_TOKEN] = token.to_string().into();
    }
    extensions
}

fn report(answer: &Answer, started: Instant) -> serde_json::Value {
    let mut report = json!({
        "cost": { "requested": answer.requested, "actual": answer.cost },
        "cache": answer.cache,
        "timing": { "micros": micros(started.elapsed()) },
    });
    if let (Some(spent), Some(report)) = (answer.spent, report.as_object_mut()) {
        report.insert("rateLimit".to_owned(), rate_limit(&spent));
    }
    report
}

fn rate_limit(spent: &Spent) -> serde_json::Value {
    json!({
        "capacity": spent.burst,
        "available": spent.available,
        "restorePerSecond": spent.restored_per_second,
        "retryAfterSeconds": (!spent.granted).then(|| seconds(spent.retry_after)),
    })
}

pub fn rate_headers(headers: &mut HeaderMap, spent: Option<Spent>) {
    let Some(spent) = spent else { return };
    let policy = format!("\"cost\";q={};w={}", spent.burst, seconds(spent.window));
    let left = format!("\"cost\";r={};t={}", spent.available, spent.restored_in.as_secs_f64().ceil());
    for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// The answer to a request that is refused.
pub fn sent_away(app: &App, refused: &Refusal, media_type: Option<MediaType>, id: &str) -> (Response, Told) {
    let Refusal { code, message, spent } = refused;
    let media_type = media_type.unwrap_or(MediaType::Json);
    let status = code.status(media_type, app.settings.status_codes);
    let mut body = refusal(code.as_str(), message, Some(id));
    if let (Some(spent), Some(extensions)) = (spent, body.pointer_mut("/errors/0/extensions")) {
        extensions["rateLimit"] = rate_limit(spent);
    }
    let mut response = (status, [(CACHE_CONTROL, UNSHARED)], body.to_string()).into_response();
    let sent = response.headers_mut();
    sent.insert(CONTENT_TYPE, media_type.header());
    rate_headers(sent, spent.as_deref().copied());
    match code {
        Code::MethodNotAllowed { allowed } => {
            sent.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        Code::Unauthenticated => {
            sent.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
        }
        Code::RateLimited | Code::Busy | Code::Timeout | Code::Unavailable => {
            sent.insert(RETRY_AFTER, seconds(spent.as_ref().map_or(Duration::ZERO, |spent| spent.retry_after)).into());
        }
        // The rest of the body is not waited for.
        Code::BodyTooLarge | Code::BodyTooSlow => {
            sent.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    (response, Told { operation: "none", name: "", outcome: code.as_str() })
}
