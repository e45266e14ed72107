//! Documents that ran once. Most clients send the same few again and again, with other variables.

use std::sync::Arc;

use moka::sync::Cache;

use crate::transport::admission::Document;

/// Memory for all of them, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes that a byte of text becomes when it is parsed, about.
const PARSED: usize = 40;

/// The documents that are known to be valid, by their texts.
pub struct Documents(Cache<Arc<str>, Arc<Document>>);

impl Default for Documents {
    fn default() -> Self {
        let weigh = |text: &Arc<str>, _: &Arc<Document>| u32::try_from(text.len() * PARSED + 512).unwrap_or(u32::MAX);
        Self(Cache::builder().max_capacity(MAX_BYTES).weigher(weigh).build())
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
