//! Keys that others publish as a JSON Web Key Set, and the tokens of an outside issuer (OpenID Connect) that they verify.
//!
//! The keys come from the configured address and from nowhere else, whatever a token says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use crate::config::OutsideIssuer;
use crate::infra::metrics::Metrics;
use crate::infra::tls::tls;
use crate::infra::tokens::{LEEWAY, Refused};

/// However many tokens name unknown keys, the issuer is asked no more often.
pub const ASK_EVERY: Duration = Duration::from_secs(30);
/// Keys that are known this long are asked for again: some may have been taken back.
const FRESH_FOR: Duration = Duration::from_mins(10);
/// Longest wait for the issuer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A larger key set is refused.
const MAX_BYTES: usize = 256 * 1024;
/// Smallest modulus of an RSA key.
const MIN_RSA_BITS: usize = 2048;
/// Characters of the longest subject.
const MAX_SUBJECT: usize = 255;

/// The keys at one address.
pub struct KeySet {
    url: Url,
    ask_every: Duration,
    http: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    known: RwLock<Arc<Known>>,
    /// When they were asked for last. Whoever holds it asks, all others wait for what comes of it.
    asked: Arc<Mutex<Option<Instant>>>,
    /// They could not be read the last time.
    is_ill: AtomicBool,
    metrics: Arc<Metrics>,
}

/// An issuer whose tokens count as ours.
pub struct Issuer {
    settings: OutsideIssuer,
    keys: Arc<KeySet>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Key>,
    since: Option<Instant>,
}

/// A key verifies by one algorithm only, which it decides, not the token.
#[derive(Clone)]
pub struct Key {
    pub public: DecodingKey,
    pub algorithm: Algorithm,
}

/// Whom an outside issuer's token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    /// Its name there: of all users that the issuer ever had, one.
    pub subject: String,
    pub email: Option<String>,
    /// Whether the issuer knows that the address is theirs.
    pub email_verified: bool,
    pub name: Option<String>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct OutsideHeader {
    alg: Algorithm,
    kid: String,
    typ: Option<String>,
    /// Whatever must be understood here is not.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    iat: Option<i64>,
    email: Option<String>,
    email_verified: Option<serde_json::Value>,
    name: Option<String>,
}

impl Issuer {
    /// One that is asked at most this often, [`ASK_EVERY`] outside of tests.
    pub fn new(settings: OutsideIssuer, ask_every: Duration, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let keys = Arc::new(KeySet::new(settings.jwks_url.clone(), ask_every, metrics)?);
        Ok(Self { settings, keys })
    }

    /// Whether a token says that it is of this issuer, which is yet to be verified.
    pub fn is_named_by(&self, token: &str) -> bool {
        #[derive(Deserialize)]
        struct Named {
            iss: String,
        }
        let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok()).unwrap_or_default();
        serde_json::from_slice::<Named>(&claims).is_ok_and(|named| named.iss == self.settings.issuer)
    }

    /// Whom a valid token speaks for.
    pub async fn verify(&self, token: &str) -> Result<Identity, Refused> {
        let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok()).ok_or(Refused)?;
        let header: OutsideHeader = serde_json::from_slice(&header).map_err(|_| Refused)?;
        let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
        if header.crit.is_some() || !matches!(typ.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt")) {
            return Err(Refused);
        }
        let key = self.keys.find(&header.kid).await.filter(|key| key.algorithm == header.alg).ok_or(Refused)?;
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.public, &validation).map_err(|_| Refused)?.claims;
        let not_yet = claims.iat.is_some_and(|iat| iat > Utc::now().timestamp() + LEEWAY.cast_signed());
        if not_yet || claims.sub.is_empty() || claims.sub.chars().count() > MAX_SUBJECT || claims.sub.contains('\0') {
            return Err(Refused);
        }
        Ok(Identity {
            issuer: self.settings.issuer.clone(),
            subject: claims.sub,
            email: claims.email,
            email_verified: claims.email_verified == Some(true.into()),
            name: claims.name,
            expires_at: DateTime::from_timestamp(claims.exp, 0).ok_or(Refused)?,
        })
    }
}

impl KeySet {
    /// The keys at this address, which is asked at most this often.
    pub fn new(url: Url, ask_every: Duration, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_http1().build();
        let http = Client::builder(TokioExecutor::new()).build(connector);
        let (known, asked, is_ill) = (RwLock::default(), Arc::default(), AtomicBool::new(false));
        Ok(Self { url, ask_every, http, known, asked, is_ill, metrics })
    }

    /// Asks for the keys as often as may be, as long as anybody has them. Needs a runtime.
    pub fn keep_reading(self: &Arc<Self>) {
        let (keys, every) = (Arc::downgrade(self), self.ask_every);
        tokio::spawn(async move {
            while let Some(keys) = keys.upgrade() {
                let asked = Arc::clone(&keys.asked).lock_owned().await;
                keys.ask(asked);
                drop(keys);
                tokio::time::sleep(every).await;
            }
        });
    }

    /// Whether they could be read at all.
    pub fn are_known(&self) -> bool {
        self.known().since.is_some()
    }

    /// How many there are.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn count(&self) -> anyhow::Result<usize> {
        let fetched = timeout(PATIENCE, self.fetch()).await;
        Ok(fetched.with_context(|| format!("{} does not answer within {PATIENCE:?}", self.url))??.len())
    }

    /// The key of this name; for one that nobody knows they are asked for, if that was not just done.
    pub async fn find(self: &Arc<Self>, kid: &str) -> Option<Key> {
        let known = self.known();
        match known.keys.get(kid) {
            Some(key) if known.since.is_some_and(|since| since.elapsed() < FRESH_FOR) => return Some(key.clone()),
            Some(key) => {
                // It holds until the issuer has said otherwise; nobody waits for that.
                if let Ok(asked) = Arc::clone(&self.asked).try_lock_owned() {
                    self.ask(asked);
                }
                return Some(key.clone());
            }
            None => {}
        }
        let asked = Arc::clone(&self.asked).lock_owned().await;
        if let Some(asking) = self.ask(asked) {
            let _ = asking.await;
        }
        self.known().keys.get(kid).cloned()
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for the keys, unless that was done lately, in a task of its own: whoever waits may go away.
    fn ask(self: &Arc<Self>, mut asked: OwnedMutexGuard<Option<Instant>>) -> Option<JoinHandle<()>> {
        if asked.is_some_and(|asked| asked.elapsed() < self.ask_every) {
            return None;
        }
        *asked = Some(Instant::now());
        let keys = Arc::clone(self);
        Some(tokio::spawn(async move {
            let fetched = timeout(PATIENCE, keys.fetch()).await;
            let fetched = fetched.unwrap_or_else(|_| Err(anyhow!("there is no answer within {PATIENCE:?}")));
            let outcome = if fetched.is_ok() { "ok" } else { "failed" };
            keys.metrics.jwks_refreshes.get_or_create(&[("outcome", outcome)]).inc();
            let was_ill = keys.is_ill.swap(fetched.is_err(), Ordering::Relaxed);
            match fetched {
                Ok(found) => {
                    tracing::debug!(url = %keys.url, kids = ?found.keys(), "published keys were read");
                    let known = Arc::new(Known { keys: found, since: Some(Instant::now()) });
                    *keys.known.write().unwrap_or_else(PoisonError::into_inner) = known;
                }
                // Once, however long it lasts.
                Err(error) if !was_ill => tracing::warn!(
                    url = %keys.url,
                    error = format!("{error:#}"),
                    "published keys cannot be read; those that are known hold on"
                ),
                Err(_) => {}
            }
            drop(asked);
        }))
    }

    async fn fetch(&self) -> anyhow::Result<HashMap<String, Key>> {
        let request = Request::get(self.url.as_str()).header(ACCEPT, "application/json");
        let response = self.http.request(request.body(Empty::new())?).await?;
        // Elsewhere is not where the setting says.
        if response.status() != StatusCode::OK {
            bail!("it answers with the status {}", response.status().as_u16());
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| anyhow!("it answers in part, or with more than {MAX_BYTES} bytes: {error}"))?;
        read(&body.to_bytes())
    }
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

/// The members of a JSON Web Key that tell whether and how it verifies.
#[derive(Deserialize)]
struct PublicKey {
    kid: String,
    kty: String,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that verify by algorithms of ours; issuers may have others beside them.
fn read(body: &[u8]) -> anyhow::Result<HashMap<String, Key>> {
    let set: Published = serde_json::from_slice(body).context("it answers with something else than a key set")?;
    let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
    let keys: HashMap<String, Key> = keys.filter_map(|key: PublicKey| Some((key.kid.clone(), fit(&key)?))).collect();
    if keys.is_empty() {
        bail!("in its key set there is none for RS256, ES256 or EdDSA");
    }
    Ok(keys)
}

fn fit(key: &PublicKey) -> Option<Key> {
    let signs = key.r#use.as_deref().is_none_or(|purpose| purpose == "sig")
        && key.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    let (algorithm, public) = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", None) => {
            let (n, e) = (key.n.as_deref()?, key.e.as_deref()?);
            (bits(n)? >= MIN_RSA_BITS).then_some(())?;
            (Algorithm::RS256, DecodingKey::from_rsa_components(n, e))
        }
        ("EC", Some("P-256")) => {
            (Algorithm::ES256, DecodingKey::from_ec_components(key.x.as_deref()?, key.y.as_deref()?))
        }
        ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, DecodingKey::from_ed_components(key.x.as_deref()?)),
        _ => return None,
    };
    let named = match algorithm {
        Algorithm::RS256 => &["RS256"][..],
        Algorithm::ES256 => &["ES256"],
        _ => &["EdDSA", "Ed25519"],
    };
    let fits = signs && key.alg.as_deref().is_none_or(|alg| named.contains(&alg));
    public.ok().filter(|_| fits).map(|public| Key { public, algorithm })
}

/// The length of a number in base64url.
fn bits(number: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(number).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let first = bytes.get(zeros)?;
    Some((bytes.len() - zeros) * 8 - first.leading_zeros() as usize)
}
