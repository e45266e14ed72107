//! Log lines, and traces for those who collect them: one subscriber for the process, set up once.
//!
//! A trace follows one request: the request, its operation, and each statement and Redis command that this waits for.
//! Spans of traces have a target of their own, so that log lines know nothing of them; where traces are not collected,
//! no such span exists, and none is paid for.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::field::Empty;
use tracing::{Level, Span, debug_span, span_enabled};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, fmt};
use url::Url;
use uuid::Uuid;

use crate::config::{LogFormat, Settings};
use crate::infra::tls::tls;

/// The target of the spans of traces.
pub const TRACES: &str = "traces";
/// Longest wait at the end for spans to be taken.
const LAST_EXPORT: Duration = Duration::from_secs(2);
/// What a collector may answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Where traces go.
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends what was not sent yet.
    pub async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let last = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_EXPORT)).await;
        if let Ok(Err(error)) = last {
            tracing::warn!(%error, "the last spans were not taken");
        }
    }
}

/// Starts logging to standard error, and traces where they are collected. Needs a runtime.
///
/// # Errors
/// When `LOG` is malformed, or logging was started before.
pub fn start(settings: &Settings) -> anyhow::Result<Traces> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| {
        anyhow::anyhow!("LOG is malformed ({error}); use a level as in `info`, or `info,sql=debug`")
    })?;
    let filter = filter.add_directive(format!("{TRACES}=off").parse()?);
    let provider = match &settings.otel_exporter_otlp_endpoint {
        Some(endpoint) => Some(provider(settings, endpoint)?),
        None => None,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Pretty => {
            let lines = lines.compact().with_target(false).with_ansi(std::io::stderr().is_terminal());
            begin(lines, filter, provider.as_ref())
        }
        LogFormat::Json => begin(lines.json().flatten_event(true).with_span_list(false), filter, provider.as_ref()),
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))?;
    Ok(Traces(provider))
}

fn begin<L>(lines: L, filter: EnvFilter, provider: Option<&SdkTracerProvider>) -> Result<(), TryInitError>
where
    L: Layer<Registry> + Send + Sync,
{
    match provider {
        None => tracing_subscriber::registry().with(lines).with(filter).try_init(),
        Some(provider) => {
            tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces(provider)).try_init()
        }
    }
}

/// What makes spans of OpenTelemetry of the spans of traces.
fn traces<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("stockroom"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TRACES))
}

fn provider(settings: &Settings, endpoint: &Url) -> anyhow::Result<SdkTracerProvider> {
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Post { runtime: Handle::current(), client })
        .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
        .build()
        .context("traces")?;
    let resource = Resource::builder()
        .with_service_name(settings.otel_service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", Uuid::new_v4().to_string()))
        .build();
    // Whoever calls decides for the whole trace, else chance does.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.otel_traces_sampler_arg)));
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).with_sampler(sampler).build())
}

/// Sends spans by the process's own HTTP; they are made ready on a thread that has no runtime.
#[derive(Debug)]
struct Post {
    runtime: Handle,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        });
        sent.await?
    }
}

/// Whether traces are collected.
pub fn is_on() -> bool {
    span_enabled!(target: TRACES, Level::DEBUG)
}

/// The span of a request, where traces are collected, and the id of its trace, if it has one: its sender's, as
/// `traceparent` tells it (<https://www.w3.org/TR/trace-context/>), or its own.
pub fn request(method: &str, path: &str, id: &str, traceparent: Option<&str>) -> (Span, Option<TraceId>) {
    let parent = traceparent.and_then(parse);
    if !is_on() {
        return (Span::none(), parent.map(|parent| parent.trace_id()));
    }
    let span = debug_span!(
        target: TRACES,
        parent: None,
        "request",
        otel.kind = "server",
        otel.name = format!("{method} {path}"),
        otel.status_code = Empty,
        http.request.method = method,
        http.response.status_code = Empty,
        url.path = path,
        stockroom.request_id = id,
    );
    if let Some(parent) = parent {
        // A span that has not begun can always be given a parent.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    let trace = span.context().span().span_context().trace_id();
    (span, Some(trace))
}

/// Notes how a request ended.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of something that a request asks a server for; none for what is nobody's request. The text must not have
/// values in it, and is made only where it is collected.
pub fn call(system: &'static str, text: impl FnOnce() -> String) -> Span {
    if !is_on() || Span::current().is_none() {
        return Span::none();
    }
    let text = text();
    let command = text.split_whitespace().next().unwrap_or_default();
    debug_span!(
        target: TRACES,
        "call",
        otel.kind = "client",
        otel.name = command,
        otel.status_code = Empty,
        db.system.name = system,
        db.operation.name = command,
        db.query.text = text,
    )
}

/// What a `traceparent` says, if it is well-formed.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut parts = traceparent.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may say more.
    let is_known = version == "00" && parts.next().is_none() || version != "00" && version != "ff";
    if !is_known || !is_hex(version, 2) || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::{call, parse};

    #[test]
    fn only_what_is_well_formed_names_a_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let named = |text: &str| parse(text).map(|parent| (parent.trace_id().to_string(), parent.is_sampled()));
        assert_eq!(named(&format!("00-{trace}-00f067aa0ba902b7-01")), Some((trace.to_owned(), true)));
        assert_eq!(named(&format!("00-{trace}-00f067aa0ba902b7-00")), Some((trace.to_owned(), false)));
        assert_eq!(named(&format!("cc-{trace}-00f067aa0ba902b7-01-more")), Some((trace.to_owned(), true)));
        for malformed in [
            String::new(),
            "nonsense".to_owned(),
            format!("00-{trace}-00f067aa0ba902b7"),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-+{}-00f067aa0ba902b7-01", "1".repeat(31)),
        ] {
            assert_eq!(named(&malformed), None, "{malformed}");
        }
    }

    #[test]
    fn where_nobody_collects_traces_no_text_is_made_for_them() {
        assert!(call("postgresql", || panic!("it was made")).is_none());
    }
}
