//! What machines ask of a server: whether it lives, whether it is of use, what it counts, how to verify its tokens.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::transport::{App, Stage};

/// The process runs. Asks nobody else.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests are to be sent here: PostgreSQL must be there, Redis need not, and it must not be about to end.
pub async fn readyz(State(app): State<Arc<App>>) -> impl IntoResponse {
    let patience = Duration::from_secs(1);
    let postgres = tokio::time::timeout(patience, app.core.gate.version()).await;
    let postgres = match postgres {
        Ok(Ok(version)) => json!({ "ok": true, "catalogVersion": version }),
        Ok(Err(error)) => json!({ "ok": false, "message": error.to_string() }),
        Err(_) => json!({ "ok": false, "message": format!("no answer within {patience:?}") }),
    };
    let redis = match &app.core.infra.redis {
        None => json!({ "ok": true, "message": "not configured; the cache is in process" }),
        Some(redis) => match tokio::time::timeout(patience, redis.check()).await {
            Ok(Ok(version)) => json!({ "ok": true, "version": version }),
            Ok(Err(error)) => json!({ "ok": false, "message": format!("{error:#}; requests go on without it") }),
            Err(_) => json!({ "ok": false, "message": "no answer; requests go on without it" }),
        },
    };
    let is_leaving = *app.stage.borrow() != Stage::Serving;
    let ready = postgres.get("ok") == Some(&Value::Bool(true)) && !is_leaving;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "leaving": is_leaving, "postgres": postgres, "redis": redis })))
}

/// All figures, for Prometheus.
pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, media_type)], app.figures())
}

/// The public keys of our tokens.
pub async fn jwks(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CACHE_CONTROL, "public, max-age=60")], Json(app.core.infra.tokens.jwks()))
}
