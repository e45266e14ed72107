//! Floor 4, HTTP in and HTTP out.
//!
//! [`router`] lists every route; [`serve`] accepts connections until it is told to stop.

mod accept;
mod admission;
mod graphql;
mod health;
mod negotiation;
mod pages;
mod repair;
mod request_id;
mod viewer;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use axum::routing::{any, get};

use crate::config::Settings;
use crate::domain::Core;
use crate::graphql::Schema;

pub use accept::serve;
pub use pages::graphiql_is_built;

/// What handlers share.
pub struct App {
    pub core: Arc<Core>,
    pub schema: Schema,
    pub settings: Settings,
}

/// Every route.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/graphql", any(graphql::graphql))
        .route("/graphiql", get(pages::graphiql))
        .route("/assets/{*path}", get(pages::asset))
        .route("/", get(pages::landing))
        .route("/landing.css", get(pages::landing_css))
        .route("/favicon.svg", get(pages::favicon))
        .route("/favicon.ico", get(pages::favicon))
        .route("/schema.graphql", get(pages::schema))
        .route("/.well-known/jwks.json", get(health::jwks))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(pages::not_found)
        .layer(map_response(secured))
        .layer(from_fn(request_id::in_a_span))
        .with_state(app)
}

/// What every answer says to browsers.
async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
