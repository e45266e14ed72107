//! Documents that ran once. Most clients send the same few again and again, with other variables.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::transport::admission::Document;

/// Memory for all of them, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// How many there are, about. The fewer, the fewer parts the cache has; with this, each has room for two megabytes.
const COUNT: usize = 256;
/// What one weighs at most, so that it finds room in its part.
const MAX_WEIGHT: usize = 1024 * 1024;
/// Bytes that a byte of text becomes when it is parsed, about.
const PARSED: usize = 40;

/// The documents that are known to be valid, by their texts.
pub struct Documents(Cache<Arc<str>, Arc<Document>, ByBytes>);

/// What one takes, about.
#[derive(Clone)]
struct ByBytes;

impl Weighter<Arc<str>, Arc<Document>> for ByBytes {
    fn weight(&self, text: &Arc<str>, _: &Arc<Document>) -> u64 {
        (text.len() * PARSED + 512).min(MAX_WEIGHT) as u64
    }
}

impl Default for Documents {
    fn default() -> Self {
        Self(Cache::with_weighter(COUNT, MAX_BYTES, ByBytes))
    }
}

impl Documents {
    /// The document of this text, if it ran before.
    pub fn known(&self, text: &str) -> Option<Arc<Document>> {
        self.0.get(text)
    }

    /// Remembers a document that was validated.
    pub fn keep(&self, text: &str, document: Arc<Document>) {
        self.0.insert(text.into(), document);
    }
}
