//! The short way: a query whose bytes came before, from nobody in particular, and whose answer is kept. It is answered
//! where the connection is served, past the router and its layers; and there, too, whoever would only be told that there
//! is no room is told so. Whatever is not as plain as that takes the long way, and what is sent is the same on both.

use std::future::{poll_fn, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN, UPGRADE, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use futures_util::FutureExt;
use futures_util::stream::{StreamExt, once};
use hyper::body::{Frame, Incoming};

use crate::domain::accounts::Viewer;
use crate::graphql::context::Asker;
use crate::infra::telemetry;
use crate::transport::address::address;
use crate::transport::door::{self, Answer, Recalled};
use crate::transport::graphql::{
    COST, IDEMPOTENCY_KEY, Told, UNSHARED, X_CONSISTENCY_TOKEN, check_content, count, rate_headers, sent_away,
};
use crate::transport::kept::Seeking;
use crate::transport::negotiation::MediaType;
use crate::transport::{App, COMPRESSED_FROM, NOSNIFF, request_id};

/// Bytes of a body, at most.
const MAX_BODY: u64 = 8 * 1024;
/// Whoever sends one of these may get something else.
const UNUSUAL: [HeaderName; 7] =
    [AUTHORIZATION, ORIGIN, UPGRADE, CONTENT_ENCODING, COST, IDEMPOTENCY_KEY, request_id::TRACEPARENT];

/// In the extensions of a request: its answer is not kept, and others wait for it.
#[derive(Clone)]
pub struct NotKept(pub Arc<Seeking>);

/// The answer, or the request for the long way.
pub async fn answer(app: &Arc<App>, peer: IpAddr, request: Request<Incoming>) -> Result<Response<Body>, Request<Body>> {
    let is_small = request.body().size_hint().exact().is_some_and(|size| size <= MAX_BODY);
    let media_type = MediaType::wanted(request.headers());
    let (Some(media_type @ (MediaType::Json | MediaType::Response)), true) =
        (media_type, is_small && is_plain(&request))
    else {
        return Err(request.map(Body::new));
    };
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let bytes = match whole(body) {
        Ok(bytes) => bytes,
        Err(body) => return Err(Request::from_parts(parts, body)),
    };
    let mut asker = Asker::new(Viewer::Anonymous, address(peer, &parts.headers, &app.settings.trusted_proxies));
    if let Some(token) = parts.headers.get(X_CONSISTENCY_TOKEN) {
        let Some(seen) = token.to_str().ok().and_then(|token| door::seen(token).ok()) else {
            return Err(Request::from_parts(parts, Body::from(bytes)));
        };
        asker.seen = Some(seen);
    }
    let kept = match door::recall(app, &bytes, &asker).await {
        Recalled::Found(found) if goes_uncompressed(&found.response.body, &parts.headers) => {
            let kept = Arc::clone(&found.response);
            match found.answer(app, &asker, started).await {
                Ok(Answer { spent, name, .. }) => Some((kept, spent, name)),
                Err(_) => return Err(Request::from_parts(parts, Body::from(bytes))),
            }
        }
        Recalled::Missing(_) if app.places.are_crowded() => None,
        recalled => {
            if let Recalled::Missing(Some(seeking)) = recalled {
                parts.extensions.insert(NotKept(Arc::new(seeking)));
            }
            return Err(Request::from_parts(parts, Body::from(bytes)));
        }
    };
    let id = request_id::of(&parts.headers);
    let (mut response, told, varies) = if let Some((kept, spent, name)) = kept {
        let mut response = Response::new(Body::from(kept.body.clone()));
        let headers = response.headers_mut();
        headers.reserve(8);
        headers.insert(CONTENT_TYPE, media_type.header());
        headers.insert(CACHE_CONTROL, UNSHARED);
        rate_headers(headers, spent);
        let varies = if kept.body.len() < COMPRESSED_FROM { VARIES } else { VARIES_COMPRESSED };
        (response, Told { operation: "query", name, outcome: "ok" }, varies)
    } else {
        let (response, told) = sent_away(app, &door::too_much(), Some(media_type), &id);
        (response, told, VARIES)
    };
    let headers = response.headers_mut();
    headers.insert(VARY, varies);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    request_id::put(headers, &id);
    tracing::info_span!("request", id).in_scope(|| count(app, told, &response, started));
    Ok(response)
}

const VARIES: HeaderValue = HeaderValue::from_static("Accept, Authorization, origin");
const VARIES_COMPRESSED: HeaderValue = HeaderValue::from_static("Accept, Authorization, origin, accept-encoding");

fn is_plain(request: &Request<Incoming>) -> bool {
    // What is traced is traced from its beginning.
    !telemetry::is_on()
        && request.method() == Method::POST
        && request.uri().path() == "/graphql"
        && !request.headers().keys().any(|name| UNUSUAL.contains(name))
        && check_content(request.headers()).is_ok()
}

/// Whether nothing would compress a body for whoever sends these headers.
fn goes_uncompressed(body: &[u8], headers: &HeaderMap) -> bool {
    body.len() < COMPRESSED_FROM || headers.get(ACCEPT_ENCODING).is_none_or(|accepted| accepted == "identity")
}

/// The bytes of a body that came together with its head, as those of small requests do; else the body.
fn whole(mut body: Incoming) -> Result<Bytes, Body> {
    let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).now_or_never().flatten();
    match next.map(|frame| frame.map(Frame::into_data)) {
        None | Some(Ok(Err(_))) => Err(Body::new(body)),
        Some(Ok(Ok(bytes))) if body.is_end_stream() => Ok(bytes),
        Some(Ok(Ok(bytes))) => {
            let rest = Body::new(body).into_data_stream();
            Err(Body::from_stream(once(ready(Ok(bytes))).chain(rest)))
        }
        Some(Err(error)) => Err(Body::from_stream(once(ready(Err::<Bytes, _>(error))))),
    }
}
