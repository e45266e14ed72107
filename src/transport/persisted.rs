//! Documents that clients name instead of sending them.
//!
//! *Automatic persisted queries* (<https://www.apollographql.com/docs/apollo-server/performance/apq>): a client sends the
//! SHA-256 of a document, and the document too if the server answers that it does not know it. Any instance then knows
//! it, through Redis; whatever comes back from there is believed only if it has that hash.
//!
//! *Trusted documents*: what a shop's own front ends ask, known when the server starts, each under an id. Where only
//! those may run, nobody can ask anything else.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, bail};
use async_graphql::parser::parse_query;
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Name, Request, Value};
use aws_lc_rs::digest::{SHA256, digest};
use moka::sync::Cache;
use redis::Script;

use crate::config::{Settings, TrustedDocuments};
use crate::graphql::sdl_of;
use crate::infra::redis::Redis;
use crate::transport::pages::shop_documents;
use crate::transport::refusal::{Code, Refusal};

/// Memory for documents in process, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Documents in Redis, at most.
const MAX_KEPT: &str = "5000";
/// How long Redis keeps them after the last one came, in milliseconds.
const TTL: &str = "86400000";
/// Longest wait for Redis.
const PATIENCE: Duration = Duration::from_millis(20);

/// KEYS: all documents. ARGV: the hash. Returns the document.
static FIND: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('HGET', KEYS[1], ARGV[1])"));
/// KEYS: all documents. ARGV: hash, document, their life in milliseconds, how many there may be.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
        redis.call('PEXPIRE', KEYS[1], ARGV[3])
        while redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) do
            redis.call('HDEL', KEYS[1], redis.call('HRANDFIELD', KEYS[1]))
        end
        return 1",
    )
});

/// The documents that are known.
pub struct Persisted {
    mode: TrustedDocuments,
    trusted: HashMap<String, Arc<str>>,
    seen: Cache<String, Arc<str>>,
    /// Where Redis has them: a schema that changed knows none.
    key: String,
}

/// A document that is not yet known, under its hash.
pub struct Unknown {
    hash: String,
}

impl Persisted {
    /// With the trusted documents of the settings.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn load(settings: &Settings) -> anyhow::Result<Self> {
        let mut trusted = match (settings.trusted_documents, &settings.trusted_documents_path) {
            (TrustedDocuments::Off, _) | (_, None) => HashMap::new(),
            (_, Some(path)) => read(path).with_context(|| format!("TRUSTED_DOCUMENTS_PATH {}", path.display()))?,
        };
        // The shop in this binary names its documents, whatever else may run.
        if let Some(documents) = shop_documents() {
            trusted.extend(listed(&documents)?);
        }
        let weigh = |hash: &String, document: &Arc<str>| u32::try_from(hash.len() + document.len()).unwrap_or(u32::MAX);
        Ok(Self {
            mode: settings.trusted_documents,
            trusted,
            seen: Cache::builder().max_capacity(MAX_BYTES).weigher(weigh).build(),
            key: format!("documents:{}", hex(sdl_of(settings.services))),
        })
    }

    /// Puts the document that the request names into it. Returns its hash if it is to be kept once it proved valid.
    ///
    /// # Errors
    /// When there is no such document, or it may not run.
    pub async fn resolve(
        &self,
        request: &mut Request,
        id: Option<&str>,
        redis: Option<&Redis>,
    ) -> Result<Option<Unknown>, Refusal> {
        let untrusted = |message: &str| Err(Refusal::new(Code::DocumentNotTrusted, message));
        // Where no documents are trusted, an id beside a whole document says nothing.
        let id = id.filter(|_| self.mode != TrustedDocuments::Off || request.query.is_empty());
        if let Some(id) = id {
            let Some(document) = self.trusted(id) else {
                return untrusted("no trusted document has this `documentId`; publish it first");
            };
            if !request.query.is_empty() && *request.query != *document {
                return untrusted("`query` is not the document of this `documentId`; send one of them");
            }
            document.as_ref().clone_into(&mut request.query);
            return Ok(None);
        }
        let hash = asked_hash(request)?;
        if self.mode == TrustedDocuments::Only {
            let given = hash.unwrap_or_else(|| hex(&request.query));
            return match self.trusted(&given) {
                Some(document) if request.query.is_empty() || *request.query == *document => {
                    document.as_ref().clone_into(&mut request.query);
                    Ok(None)
                }
                _ => untrusted("only trusted documents may run here; send the `documentId` of one"),
            };
        }
        let Some(hash) = hash else { return Ok(None) };
        if !request.query.is_empty() {
            if hex(&request.query) != hash {
                let message = "`sha256Hash` is not the SHA-256 of `query`; send the hash of what you send";
                return Err(Refusal::new(Code::PersistedQueryHashMismatch, message));
            }
            return Ok((!self.seen.contains_key(&hash)).then_some(Unknown { hash }));
        }
        let known = match self.trusted(&hash).or_else(|| self.seen.get(&hash)) {
            Some(known) => Some(known),
            None => self.fetch(&hash, redis).await,
        };
        let document = known.ok_or_else(|| Refusal::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound"))?;
        document.as_ref().clone_into(&mut request.query);
        Ok(None)
    }

    /// Remembers a document that was admitted and is valid.
    pub async fn keep(&self, unknown: Unknown, document: &str, redis: Option<&Redis>) {
        let Unknown { hash } = unknown;
        if let Some(redis) = redis {
            redis.run::<i64>(&KEEP, &self.key, &[&hash, document, TTL, MAX_KEPT], PATIENCE).await;
        }
        self.seen.insert(hash, document.into());
    }

    async fn fetch(&self, hash: &str, redis: Option<&Redis>) -> Option<Arc<str>> {
        let kept: Option<String> = redis?.run(&FIND, &self.key, &[hash], PATIENCE).await?;
        let document: Arc<str> = kept.filter(|document| hex(document) == hash)?.into();
        self.seen.insert(hash.to_owned(), Arc::clone(&document));
        Some(document)
    }

    /// The names of the operations in the trusted documents.
    pub fn operations(&self) -> Vec<String> {
        let documents = self.trusted.values().filter_map(|document| parse_query(document).ok());
        let names = |document: ExecutableDocument| {
            document.operations.iter().filter_map(|(name, _)| name.map(Name::to_string)).collect::<Vec<_>>()
        };
        documents.flat_map(names).collect()
    }

    /// Whether ids of documents mean anything here.
    pub fn trusts_documents(&self) -> bool {
        self.mode != TrustedDocuments::Off
    }

    fn trusted(&self, id: &str) -> Option<Arc<str>> {
        self.trusted.get(id.strip_prefix("sha256:").unwrap_or(id)).cloned()
    }
}

/// The hash in `extensions.persistedQuery`, in lower case.
fn asked_hash(request: &Request) -> Result<Option<String>, Refusal> {
    let bad = |message: &str| Err(Refusal::new(Code::BadRequest, message));
    let asked = match request.extensions.get("persistedQuery") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(asked)) => asked,
        Some(_) => return bad("`extensions.persistedQuery` must be an object with `version` and `sha256Hash`"),
    };
    if asked.get("version") != Some(&Value::from(1)) {
        return bad("`extensions.persistedQuery.version` must be 1");
    }
    match asked.get("sha256Hash") {
        Some(Value::String(hash)) if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(Some(hash.to_ascii_lowercase()))
        }
        _ => bad("`extensions.persistedQuery.sha256Hash` must be a SHA-256 in hexadecimal digits"),
    }
}

/// The documents of a folder, by their hashes, or those of a JSON object, by its keys.
fn read(path: &Path) -> anyhow::Result<HashMap<String, Arc<str>>> {
    let mut documents = HashMap::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let file = entry?.path();
            if file.extension().is_some_and(|ending| ending == "graphql" || ending == "gql") {
                let document = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                let document = document.trim_end();
                documents.insert(hex(document), document.into());
            }
        }
    } else {
        documents.extend(listed(&std::fs::read(path)?)?);
    }
    if documents.is_empty() {
        bail!("there are no documents in it");
    }
    Ok(documents)
}

/// The documents of a JSON object, by its keys.
fn listed(json: &[u8]) -> anyhow::Result<impl Iterator<Item = (String, Arc<str>)>> {
    let listed: HashMap<String, String> =
        serde_json::from_slice(json).context("use a JSON object from ids to documents, as code generators write it")?;
    let named =
        |(id, document): (String, String)| (id.strip_prefix("sha256:").unwrap_or(&id).to_owned(), Arc::from(document));
    Ok(listed.into_iter().map(named))
}

/// The SHA-256 of a text, in hexadecimal digits.
fn hex(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
