//! What people look at: the shop, GraphiQL, and the schema. All of it is in the binary.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::graphql::error::refusal;
use crate::graphql::published_sdl;
use crate::transport::App;
use crate::transport::address::{Peer, address};
use crate::transport::viewer::asker;

/// What Vite built; only a marker where Node.js was absent.
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/dist"]
struct Built;

/// The shop's pages beside its front: all of them are one file, which looks at its address.
pub const SHOP: [&str; 11] = [
    "/product/{slug}",
    "/sign-in",
    "/register",
    "/forgot-password",
    "/reset-password",
    "/verify-email",
    "/account",
    "/staff",
    "/staff/new",
    "/staff/product/{id}",
    "/staff/categories",
];
const SHOP_PAGE: &str = "shop/index.html";
const GRAPHIQL_PAGE: &str = "graphiql/index.html";

/// Nothing but our own files runs, loads or frames the shop; pictures of products may be anywhere.
const SHOP_POLICY: &str = "default-src 'self'; img-src 'self' data: https:; object-src 'none'; frame-ancestors 'none'; \
                           base-uri 'none'; form-action 'none'";
/// The same for the other pages. Monaco styles its lines by attribute.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self' data:; connect-src 'self'; worker-src 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";
/// The same for the page that loads GraphiQL from elsewhere.
const CDN_POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline' https://unpkg.com \
                          https://cdn.jsdelivr.net; style-src 'self' 'unsafe-inline' https://unpkg.com \
                          https://cdn.jsdelivr.net; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; \
                          frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const HTML: &str = "text/html; charset=utf-8";

/// Whether Vite built the pages: there is a shop, and GraphiQL works without the internet.
pub fn are_built() -> bool {
    Built::get(SHOP_PAGE).is_some()
}

/// What the shop asks, by the hashes under which it asks: the server knows it from its start.
pub fn shop_documents() -> Option<Cow<'static, [u8]>> {
    Built::get("shop/documents.json").map(|file| file.data)
}

/// The shop, or where Node.js was absent the landing page.
pub async fn front(headers: HeaderMap) -> Response {
    match built(SHOP_PAGE, &headers) {
        Some(shop) => (page_headers(SHOP_POLICY), shop).into_response(),
        None => page(include_str!("../../web/pages/landing.html"), POLICY),
    }
}

/// Any other page of the shop.
pub async fn shop(headers: HeaderMap) -> Response {
    match built(SHOP_PAGE, &headers) {
        Some(shop) => (page_headers(SHOP_POLICY), shop).into_response(),
        None => not_found().await,
    }
}

pub async fn landing_css() -> Response {
    file("text/css; charset=utf-8", "no-cache", include_str!("../../web/pages/landing.css").as_bytes().to_vec())
}

pub async fn favicon() -> Response {
    file("image/svg+xml", "max-age=86400", include_str!("../../web/pages/favicon.svg").as_bytes().to_vec())
}

pub async fn graphiql(headers: HeaderMap) -> Response {
    match built(GRAPHIQL_PAGE, &headers) {
        Some(graphiql) => (page_headers(POLICY), graphiql).into_response(),
        None => page(include_str!("../../web/pages/graphiql-cdn.html"), CDN_POLICY),
    }
}

/// A file of the build, whose name changes with its content.
pub async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    match built(&format!("assets/{path}"), &headers) {
        Some(asset) => {
            let forever = "public, max-age=31536000, immutable";
            let headers =
                [(CONTENT_TYPE, media_type(&path)), (CACHE_CONTROL, forever), (CONTENT_SECURITY_POLICY, POLICY)];
            (headers, asset).into_response()
        }
        None => not_found().await,
    }
}

/// A file of the build, in the smallest form that there is of it and that the client takes.
fn built(path: &str, headers: &HeaderMap) -> Option<Response> {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let accepted: Vec<_> = accepted.flat_map(|value| value.split(',')).map(str::trim).collect();
    let takes = |encoding: &str| {
        accepted.iter().any(|one| {
            let (name, quality) = one.split_once(';').unwrap_or((one, ""));
            let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
            name.trim().eq_ignore_ascii_case(encoding) && !refused
        })
    };
    let smaller = [("br", "br"), ("gzip", "gz")].into_iter().find_map(|(encoding, ending)| {
        let file = takes(encoding).then(|| Built::get(&format!("{path}.{ending}")))??;
        Some(([(CONTENT_ENCODING, encoding)], file.data).into_response())
    });
    let mut response = smaller.or_else(|| Some(Built::get(path)?.data.into_response()))?;
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    Some(response)
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
    file("text/plain; charset=utf-8", "no-cache", published_sdl(app.settings.services).into_bytes())
}

pub async fn not_found() -> Response {
    let message = "there is nothing here; the API is at /graphql, its explorer at /graphiql";
    (StatusCode::NOT_FOUND, axum::Json(refusal("NOT_FOUND", message, None))).into_response()
}

fn page(html: &'static str, policy: &'static str) -> Response {
    (page_headers(policy), html).into_response()
}

fn page_headers(policy: &'static str) -> [(HeaderName, &'static str); 6] {
    [
        (CONTENT_TYPE, HTML),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ]
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
