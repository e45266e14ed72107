//! What people look at: the landing page, GraphiQL, and the schema. All of it is in the binary.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::graphql::error::refusal;
use crate::transport::App;
use crate::transport::address::{Peer, address};
use crate::transport::viewer::asker;

/// What Vite built; only a marker where Node.js was absent.
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/dist"]
struct Built;

/// Nothing but our own files runs, loads or frames our pages. Monaco styles its lines by attribute.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self' data:; connect-src 'self'; worker-src 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";
/// The same for the page that loads GraphiQL from elsewhere.
const CDN_POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline' https://unpkg.com \
                          https://cdn.jsdelivr.net; style-src 'self' 'unsafe-inline' https://unpkg.com \
                          https://cdn.jsdelivr.net; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; \
                          frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const HTML: &str = "text/html; charset=utf-8";

/// Whether GraphiQL works without the internet.
pub fn graphiql_is_built() -> bool {
    Built::get("graphiql/index.html").is_some()
}

pub async fn landing() -> Response {
    page(include_str!("../../web/pages/landing.html"), POLICY)
}

pub async fn landing_css() -> Response {
    file("text/css; charset=utf-8", "no-cache", include_str!("../../web/pages/landing.css").as_bytes().to_vec())
}

pub async fn favicon() -> Response {
    file("image/svg+xml", "max-age=86400", include_str!("../../web/pages/favicon.svg").as_bytes().to_vec())
}

pub async fn graphiql() -> Response {
    match Built::get("graphiql/index.html") {
        Some(built) => {
            let headers = [(CONTENT_TYPE, HTML), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, POLICY)];
            (headers, built.data).into_response()
        }
        None => page(include_str!("../../web/pages/graphiql-cdn.html"), CDN_POLICY),
    }
}

/// A file of the build, whose name changes with its content.
pub async fn asset(Path(path): Path<String>) -> Response {
    match Built::get(&format!("assets/{path}")) {
        Some(EmbeddedFile { data, .. }) => {
            let forever = "public, max-age=31536000, immutable";
            let headers =
                [(CONTENT_TYPE, media_type(&path)), (CACHE_CONTROL, forever), (CONTENT_SECURITY_POLICY, POLICY)];
            (headers, data).into_response()
        }
        None => not_found().await,
    }
}

/// The API in GraphQL's schema language, for whoever may see it.
pub async fn schema(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let asker = asker(&app, &headers, address(peer, &headers, &app.settings.trusted_proxies)).await;
    if !asker.is_ok_and(|asker| app.shows_schema(asker.viewer())) {
        return not_found().await;
    }
    file("text/plain; charset=utf-8", "no-cache", crate::graphql::sdl().as_bytes().to_vec())
}

pub async fn not_found() -> Response {
    let message = "there is nothing here; the API is at /graphql, its explorer at /graphiql";
    (StatusCode::NOT_FOUND, axum::Json(refusal("NOT_FOUND", message, None))).into_response()
}

fn page(html: &'static str, policy: &'static str) -> Response {
    ([(CONTENT_TYPE, HTML), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, policy)], html).into_response()
}

fn file(media_type: &'static str, caching: &'static str, bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, caching)], bytes).into_response()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        Some("woff2") => "font/woff2",
        Some("ttf") => "font/ttf",
        _ => "application/octet-stream",
    }
}
