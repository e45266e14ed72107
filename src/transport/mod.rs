//! Floor 4, HTTP in and HTTP out.
//!
//! [`router`] lists every route; [`serve`] accepts connections until it is told to stop.

mod accept;
mod address;
pub mod admission;
mod csrf;
mod door;
mod graphql;
mod health;
mod kept;
mod negotiation;
mod pages;
mod persisted;
mod places;
mod quick;
mod refusal;
mod request_id;
mod shape;
mod sse;
mod turns;
mod viewer;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT, ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{any, get};
use tokio::sync::watch;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};
use tower_http::cors::CorsLayer;

use crate::config::{Services, Settings};
use crate::domain::Core;
use crate::graphql::Schemas;
use crate::graphql::facts::Facts;
use crate::transport::admission::Documents;
use crate::transport::kept::Kept;
use crate::transport::persisted::Persisted;
use crate::transport::places::Places;
use crate::transport::turns::Turns;

pub use accept::{listen, serve};
pub use pages::are_built as pages_are_built;

/// How far a server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It serves.
    Serving,
    /// It serves whoever comes, but says that it is not ready, and ends each connection with its answer: whoever sends
    /// requests to it is to find another server in time.
    Leaving,
    /// Nobody is let in any more, and what is under way ends.
    Stopping,
}

/// What handlers share.
pub struct App {
    pub core: Arc<Core>,
    pub schemas: Schemas,
    pub settings: Settings,
    /// The database is this project's own, and nobody's secret.
    pub is_private: bool,
    /// How far the server has come.
    pub stage: watch::Receiver<Stage>,
    /// Turns of those who send much, or ask for much.
    turns: Turns,
    /// Places for operations that are executed.
    places: Places,
    facts: Facts,
    documents: Documents,
    kept: Kept,
    persisted: Persisted,
}

impl App {
    /// # Errors
    /// When the trusted documents cannot be read.
    pub fn new(
        core: Arc<Core>,
        schemas: Schemas,
        settings: Settings,
        is_private: bool,
        stage: watch::Receiver<Stage>,
    ) -> anyhow::Result<Self> {
        let (facts, persisted) = (Facts::served(settings.services)?, Persisted::load(&settings)?);
        for name in persisted.operations() {
            core.infra.metrics.name(Some(&name));
        }
        let (documents, kept) = (Documents::default(), Kept::new(settings.response_memory_mib, settings.cache_ttl));
        let (turns, places) = (Turns::new(), Places::new(settings.database_wait));
        Ok(Self { core, schemas, settings, is_private, stage, turns, places, facts, documents, kept, persisted })
    }
}

impl App {
    /// All figures as text, for Prometheus.
    fn figures(&self) -> String {
        let infra = &self.core.infra;
        let (running, waiting) = self.turns.taken();
        for (state, count) in [("running", running), ("waiting", waiting)] {
            infra.metrics.turns.get_or_create(&[("state", state)]).set(count);
        }
        infra.figures()
    }
}

/// Small answers cost more to compress than to send, in bytes.
const COMPRESSED_FROM: usize = 1025;

/// Every route.
pub fn router(app: Arc<App>) -> Router {
    // A stream must not wait for more.
    let compressed = SizeAbove::new(1024)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::SSE)
        .and(NotForContentType::const_new("font/"));
    let compression = CompressionLayer::new().quality(CompressionLevel::Precise(4)).compress_when(compressed);
    let cross_origin = cross_origin(&app.settings);
    // The shop needs all of the API.
    let shop = match app.settings.services {
        Services::All => {
            let front = Router::new().route("/", get(pages::front));
            pages::SHOP.iter().fold(front, |pages, path| pages.route(path, get(pages::shop)))
        }
        Services::Only(_) => Router::new(),
    };
    shop.route("/graphql", any(graphql::graphql))
        .route("/graphiql", get(pages::graphiql))
        .route("/assets/{*path}", get(pages::asset))
        .route("/landing.css", get(pages::landing_css))
        .route("/favicon.svg", get(pages::favicon))
        .route("/favicon.ico", get(pages::favicon))
        .route("/schema.graphql", get(pages::schema))
        .route("/.well-known/jwks.json", get(health::jwks))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(pages::not_found)
        // At once: each that is put around by itself costs every request two boxes more.
        .layer((from_fn(secured), cross_origin, compression))
        .with_state(app)
}

/// Ready once the server is to end.
async fn stopped(mut stage: watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage == Stage::Stopping).await;
}

/// Headers of answers that scripts of other sites may read.
const READ: [&str; 6] = ["etag", "retry-after", "ratelimit", "ratelimit-policy", "x-consistency-token", "x-request-id"];

/// Lets the scripts of exactly the configured sites call; without any, no other site's.
fn cross_origin(settings: &Settings) -> CorsLayer {
    let sent = [
        "apollo-require-preflight",
        "graphql-cost",
        "idempotency-key",
        "last-event-id",
        "x-apollo-operation-name",
        "x-consistency-token",
        "x-request-id",
        "x-requested-with",
    ];
    CorsLayer::new()
        .allow_origin(settings.allowed_origins.clone())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(
            [ACCEPT, AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH]
                .into_iter()
                .chain(sent.map(HeaderName::from_static))
                .collect::<Vec<_>>(),
        )
        .expose_headers(READ.map(HeaderName::from_static))
        .max_age(Duration::from_hours(2))
}

/// What every answer says to browsers, beside its name; pages say more.
async fn secured(request: Request, next: Next) -> Response {
    let is_script = request.headers().contains_key(ORIGIN);
    let mut response = request_id::in_a_span(request, next).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if !is_script {
        // It tells the scripts of other sites, which all have an origin.
        headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    }
    response
}

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
