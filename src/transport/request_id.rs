//! A name for each request: in every log line of it, in its errors, and in the header of its answer.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::infra::telemetry;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The request's name.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Names the request, by what the client or a proxy calls it if that can be logged, and begins its trace.
pub async fn in_a_span(mut request: Request, next: Next) -> Response {
    let id = of(request.headers());
    let span = tracing::info_span!("request", id, trace_id = Empty);
    let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    // Nobody asks why a probe or a picture took its time.
    let (trace, trace_id) = match request.uri().path() {
        path @ "/graphql" => telemetry::request(request.method().as_str(), path, &id, traceparent),
        _ => (Span::none(), None),
    };
    if let Some(trace_id) = trace_id {
        span.record("trace_id", display(trace_id));
    }
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).instrument(span).instrument(trace.clone()).await;
    telemetry::answered(&trace, response.status().as_u16());
    put(response.headers_mut(), &id);
    response
}

/// The name of a request with these headers.
pub fn of(headers: &HeaderMap) -> String {
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|text| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    });
    given.map_or_else(new, str::to_owned)
}

/// Puts the name into the headers of the answer.
pub fn put(headers: &mut HeaderMap, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(HEADER, value);
    }
}

/// A name that no other request has: the time, so that names sort, the process, and a number.
fn new() -> String {
    static PROCESS: LazyLock<u32> = LazyLock::new(|| Uuid::new_v4().as_fields().0);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (time, number) = (UNIX_EPOCH.elapsed().unwrap_or_default(), NEXT.fetch_add(1, Ordering::Relaxed));
    let parts = time.as_millis() << 80 | u128::from(*PROCESS) << 48 | u128::from(number & 0xffff_ffff_ffff);
    Uuid::from_u128(parts).simple().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}
