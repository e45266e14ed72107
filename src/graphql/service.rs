//! What this server is, and what it allows.

use async_graphql::{Object, SimpleObject};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::page;
use crate::graphql::{MAX_COMPLEXITY, MAX_DEPTH, sdl};

/// What this server is, and what it allows.
#[derive(SimpleObject)]
pub struct ServiceInfo {
    /// The server's release.
    version: &'static str,
    /// SHA-256 of `schema.graphql`, in base64url: the same hash, the same API.
    schema_hash: &'static str,
    /// Selections below one another, at most.
    max_depth: i32,
    /// Fields of an operation, at most, each counted as often as its lists may repeat it.
    max_complexity: i32,
    /// Items on a page, at most.
    max_page_size: i32,
    /// Items on a page where `first` and `last` are not given.
    default_page_size: i32,
    /// Largest `offset`.
    max_offset: i32,
}

#[derive(Default)]
pub struct ServiceQueries;

#[Object]
impl ServiceQueries {
    /// What this server is, and what it allows.
    async fn service(&self) -> Option<ServiceInfo> {
        Some(ServiceInfo {
            version: env!("CARGO_PKG_VERSION"),
            schema_hash: schema_hash(),
            max_depth: i32::try_from(MAX_DEPTH).unwrap_or(i32::MAX),
            max_complexity: i32::try_from(MAX_COMPLEXITY).unwrap_or(i32::MAX),
            max_page_size: page::MAX_SIZE,
            default_page_size: page::DEFAULT_SIZE,
            max_offset: page::MAX_OFFSET,
        })
    }
}

fn schema_hash() -> &'static str {
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| URL_SAFE_NO_PAD.encode(digest(&SHA256, sdl().as_bytes()).as_ref()))
}
