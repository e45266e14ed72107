//! Whole responses, kept as bytes: what anybody would get who asks the same. A response is sent as it is as long as the
//! change log says that nothing it was made of has changed; see [`answers`](crate::domain::answers) for why that is never
//! stale.
//!
//! What a body asks for is kept as well, under its very bytes, so that those who send it again need not be understood again.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_graphql::parser::types::OperationDefinition;
use async_graphql::{Value, Variables};
use axum::body::Bytes;
use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::domain::Core;
use crate::domain::changes::Dependencies;
use crate::domain::error::Error;
use crate::domain::reads::{Moment, Reads};
use crate::infra::metrics::Tally;

/// Memory for bodies whose meaning is known, in bytes.
const MAX_BODIES: usize = 4 * 1024 * 1024;
/// Memory that an entry takes beside its bytes, about.
const OVERHEAD: usize = 1024;
/// The same for each part of a list that it depends on.
const INTEREST: usize = 2 * 1024;
/// Bytes of an entry, about.
const ABOUT: u64 = 8 * 1024;
/// How often somebody who needs a later response than the one that was found waits for the next.
const ROUNDS: usize = 4;
/// How long: whoever finds it may be held up, then one of those who wait takes it on.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a query asks for, and in which life of the database.
type Key = (Bytes, u32);

/// A response that was sent, and may be sent again.
pub struct Response {
    pub body: Bytes,
    /// What it did cost.
    pub cost: u64,
    /// It holds at this version, and at later ones of the same life as long as nothing touches it.
    version: AtomicI64,
    life: u32,
    dependencies: Dependencies,
    tag: OnceLock<HeaderValue>,
    born: Instant,
}

/// A body that was understood before.
pub struct Known {
    pub question: Bytes,
    /// What it may cost.
    pub cost: u64,
    /// What its operation is counted as, and in.
    pub name: &'static str,
    pub tally: Arc<Tally>,
}

/// What is kept.
pub struct Kept {
    responses: Cache<Key, Arc<Response>, ByBytes>,
    ttl: Duration,
    /// Questions that somebody finds the answer to.
    sought: Arc<Mutex<HashMap<Bytes, Sought>>>,
    bodies: Cache<Bytes, Arc<Known>, ByBytes>,
}

/// A question that somebody finds the answer to.
struct Sought {
    /// Others wait for as long.
    until: Instant,
    found: Arc<Notify>,
}

/// What an entry takes, about.
#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Response>> for ByBytes {
    fn weight(&self, (question, _): &Key, response: &Arc<Response>) -> u64 {
        let Dependencies { entities, interests, .. } = &response.dependencies;
        let parts = size_of_val(entities.as_slice()) + interests.len() * INTEREST;
        (question.len() + response.body.len() + parts + OVERHEAD) as u64
    }
}

impl Weighter<Bytes, Arc<Known>> for ByBytes {
    fn weight(&self, body: &Bytes, known: &Arc<Known>) -> u64 {
        (body.len() + known.question.len() + OVERHEAD) as u64
    }
}

impl Kept {
    /// With so much memory for responses, each of which lives so long at most.
    pub fn new(mib: u64, ttl: Duration) -> Self {
        let capacity = mib * 1024 * 1024;
        Self {
            responses: Cache::with_weighter(usize::try_from(capacity / ABOUT).unwrap_or(usize::MAX), capacity, ByBytes),
            ttl,
            sought: Arc::default(),
            bodies: Cache::with_weighter(MAX_BODIES / OVERHEAD, MAX_BODIES as u64, ByBytes),
        }
    }

    /// The response to a question, which may have held once.
    pub fn find(&self, core: &Core, question: &Bytes) -> Option<Arc<Response>> {
        let found = self.responses.get(&(question.clone(), core.gate.life()))?;
        (found.born.elapsed() < self.ttl).then_some(found)
    }

    /// The response to a question that holds at the moment of whoever asks, be it the one that was just found, or that of
    /// somebody who finds it meanwhile; else whoever asks is to find it, for all who ask meanwhile.
    ///
    /// # Errors
    /// When there is none; nobody else waits where too many were waited for in vain.
    pub async fn response(
        &self,
        core: &Core,
        question: &Bytes,
        mut found: Option<Arc<Response>>,
        moment: impl Future<Output = Result<Moment, Error>>,
    ) -> Result<Arc<Response>, Option<Seeking>> {
        let (mut asked, mut known) = (pin!(moment), None);
        for _ in 0..ROUNDS {
            // The gate is asked only where there is something: some questions read nothing.
            if let Some(found) = found {
                let moment = match known {
                    Some(moment) => moment,
                    None => *known.insert(asked.as_mut().await.map_err(|_| None)?),
                };
                if found.holds(core, moment) {
                    return Ok(found);
                }
            }
            match self.seek(question) {
                Ok(seeking) => return Err(Some(seeking)),
                Err((until, found)) => drop(tokio::time::timeout_at(until.into(), found).await),
            }
            found = self.find(core, question);
        }
        Err(None)
    }

    /// Takes it on to find the response to a question for all who ask meanwhile.
    ///
    /// # Errors
    /// When somebody else does who is not held up: until when to wait for them, and for what.
    fn seek(&self, question: &Bytes) -> Result<Seeking, (Instant, OwnedNotified)> {
        let mut all = self.sought.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let sought = all.entry(question.clone()).or_insert_with(|| Sought { until: now, found: Arc::default() });
        let found = Arc::clone(&sought.found);
        if sought.until > now {
            // Enlisted under the lock: the end cannot be missed.
            return Err((sought.until, found.notified_owned()));
        }
        sought.until = now + PATIENCE;
        Ok(Seeking { question: question.clone(), found, all: Arc::clone(&self.sought) })
    }

    /// Keeps a response that was made of these reads.
    pub fn keep(&self, question: Bytes, body: Bytes, cost: u64, reads: &Reads) -> Arc<Response> {
        let (moment, dependencies) = reads.finish().unzip();
        let (version, life) = moment.map_or((0, 0), |moment| (moment.version, moment.life));
        let (version, dependencies) = (AtomicI64::new(version), dependencies.unwrap_or_default());
        let (tag, born) = (OnceLock::new(), Instant::now());
        let response = Arc::new(Response { body, cost, version, life, dependencies, tag, born });
        if let Some(moment) = moment {
            let key = (question, moment.life);
            let is_newer = |kept: Arc<Response>| kept.version.load(Ordering::Acquire) > moment.version;
            if !self.responses.get(&key).is_some_and(is_newer) {
                self.responses.insert(key, Arc::clone(&response));
            }
        }
        response
    }

    /// What a body asks for, if it came before.
    pub fn known(&self, body: &Bytes) -> Option<Arc<Known>> {
        self.bodies.get(body)
    }

    /// Remembers what a body asks for.
    pub fn learn(&self, body: Bytes, known: Known) {
        self.bodies.insert(body, Arc::new(known));
    }
}

/// Others wait for the answer until this is dropped.
pub struct Seeking {
    question: Bytes,
    found: Arc<Notify>,
    all: Arc<Mutex<HashMap<Bytes, Sought>>>,
}

impl Seeking {
    /// Whether it is for this question.
    pub fn is_for(&self, question: &Bytes) -> bool {
        self.question == question
    }
}

impl Drop for Seeking {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever took over may be done already, and somebody else have begun.
        if all.get(&self.question).is_some_and(|sought| Arc::ptr_eq(&sought.found, &self.found)) {
            all.remove(&self.question);
        }
        self.found.notify_waiters();
    }
}

impl Response {
    /// Whether it is known to hold at this moment.
    fn holds(&self, core: &Core, moment: Moment) -> bool {
        let version = self.version.load(Ordering::Acquire);
        let held = core.gate.holds(&self.dependencies, version, moment.version).filter(|_| self.life == moment.life);
        self.version.fetch_max(held.unwrap_or(version), Ordering::AcqRel);
        held.is_some()
    }

    /// Its `ETag`. Weak: the same answer may go out compressed.
    pub fn tag(&self) -> HeaderValue {
        let tag = || {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.body);
            let tag = format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default()));
            HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static(""))
        };
        self.tag.get_or_init(tag).clone()
    }

    /// The body with `extensions`.
    pub fn with_extensions(&self, extensions: &serde_json::Value) -> Vec<u8> {
        let open = self.body.strip_suffix(b"}").unwrap_or_default();
        [open, b",\"extensions\":", extensions.to_string().as_bytes(), b"}"].concat()
    }
}

/// What an operation of a document asks for, with its variables in one form. `document` names the document, and whoever
/// is signed in may see what others do not.
pub fn question(
    document: u128,
    operation_name: Option<&str>,
    operation: &OperationDefinition,
    variables: &Variables,
    is_signed_in: bool,
) -> Bytes {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend(document.to_be_bytes());
    bytes.push(u8::from(is_signed_in));
    write_text(&mut bytes, operation_name.unwrap_or_default());
    for definition in &operation.variable_definitions {
        // Others say nothing.
        match variables.get(&definition.node.name.node) {
            Some(value) => write(&mut bytes, value),
            None => bytes.push(b'-'),
        }
    }
    bytes.into()
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.len().to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn write(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => bytes.push(b'0'),
        Value::Boolean(boolean) => bytes.push(if *boolean { b't' } else { b'f' }),
        Value::Number(number) => {
            bytes.push(b'n');
            write_text(bytes, &number.to_string());
        }
        Value::String(text) => {
            bytes.push(b's');
            write_text(bytes, text);
        }
        Value::Enum(name) => {
            bytes.push(b'e');
            write_text(bytes, name);
        }
        Value::Binary(binary) => {
            bytes.push(b'b');
            bytes.extend(binary.len().to_be_bytes());
            bytes.extend(binary);
        }
        Value::List(items) => {
            bytes.push(b'[');
            bytes.extend(items.len().to_be_bytes());
            for item in items {
                write(bytes, item);
            }
        }
        Value::Object(members) => {
            bytes.push(b'{');
            bytes.extend(members.len().to_be_bytes());
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            for (name, member) in members {
                write_text(bytes, name);
                write(bytes, member);
            }
        }
    }
}
