//! Access tokens: short-lived JSON Web Tokens (RFC 7519, RFC 9068), signed with Ed25519 and verified by signature alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::config::Settings;
use crate::infra::jwks::{ASK_EVERY, Identity, Issuer, KeySet};
use crate::infra::keys::Keys;
use crate::infra::metrics::Metrics;

/// `typ` of an access token's header (RFC 9068, section 2.1): no other token passes for one.
const TYPE: &str = "at+jwt";
/// Clocks may differ by this many seconds.
pub const LEEWAY: u64 = 5;
/// A longer token is refused unread.
const MAX_BYTES: usize = 8192;
/// How often another service is asked for the keys: the end of one is to be known soon.
const OWN_ASK_EVERY: Duration = Duration::from_secs(1);

/// Tokens that are known to be signed by us, at most. Whoever is signed in sends the same one again and again, and a
/// signature takes longer to verify than all the rest of a simple request.
const MAX_KNOWN: usize = 10_000;

/// The keys of our own tokens.
enum OwnKeys {
    /// They are here, and sign.
    Here(Arc<Keys>),
    /// They are another service's, which publishes what verifies.
    Published(Arc<KeySet>),
}

/// Issues and verifies access tokens.
pub struct Tokens {
    keys: OwnKeys,
    /// By the SHA-256 of each.
    known: Cache<[u8; 32], Arc<Known>>,
    validation: Validation,
    issuer: String,
    audience: String,
    ttl: TimeDelta,
    outside: Option<Arc<Issuer>>,
}

/// Whom a valid token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// A user of ours, until the token ends.
    Own(Subject, DateTime<Utc>),
    /// A user of the outside issuer's.
    Outside(Identity),
}

/// What a token says that was found to be one of ours.
struct Known {
    /// The key that has signed it, and its name.
    key: DecodingKey,
    kid: String,
    subject: Subject,
    expires_at: DateTime<Utc>,
}

/// Whom a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub id: Uuid,
    pub session: Uuid,
    pub role: String,
    /// The user's token version when the token was issued.
    pub version: i32,
}

/// A signed token.
pub struct Issued {
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

/// The token is not one of ours, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A header of ours, which has no room for keys or places of keys. The `kid` is looked up among the keys that we know,
/// and means nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnHeader {
    typ: String,
    kid: String,
    #[serde(rename = "alg")]
    _alg: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    role: String,
    ver: i32,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Tokens {
    /// Without keys, tokens are verified by those that the accounts service publishes, and none can be issued.
    pub fn new(settings: &Settings, keys: Option<Arc<Keys>>, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let keys = match (keys, settings.accounts_jwks_url.clone()) {
            (Some(keys), _) => OwnKeys::Here(keys),
            (None, url) => {
                let url = url.context("there are neither keys nor a place where they are published")?;
                OwnKeys::Published(Arc::new(KeySet::new(url, OWN_ASK_EVERY, Arc::clone(metrics))?))
            }
        };
        let outside = settings.outside_issuer();
        if outside.as_ref().is_some_and(|outside| outside.issuer == settings.issuer) {
            bail!("OIDC_ISSUER and ISSUER are the same; set ISSUER to a name of this server's own");
        }
        let outside = outside.map(|outside| Issuer::new(outside, ASK_EVERY, Arc::clone(metrics))).transpose()?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        Ok(Self {
            keys,
            known: Cache::new(MAX_KNOWN),
            validation,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            ttl: TimeDelta::from_std(settings.access_token_ttl)?,
            outside: outside.map(Arc::new),
        })
    }

    /// Follows the keys as they change, as long as anybody has them. Needs a runtime.
    pub fn keep_reading(&self) {
        match &self.keys {
            OwnKeys::Here(keys) => keys.keep_reading(),
            OwnKeys::Published(keys) => keys.keep_reading(),
        }
    }

    /// Whether there is any key to verify by.
    pub fn can_be_verified(&self) -> bool {
        match &self.keys {
            OwnKeys::Here(_) => true,
            OwnKeys::Published(keys) => keys.are_known(),
        }
    }

    /// The JSON Web Key Set of what is signed here.
    pub fn jwks(&self) -> Value {
        match &self.keys {
            OwnKeys::Here(keys) => keys.ring().jwks(),
            OwnKeys::Published(_) => json!({ "keys": [] }),
        }
    }

    /// A token for this subject, valid from `now`.
    pub fn issue(&self, subject: &Subject, now: DateTime<Utc>) -> anyhow::Result<Issued> {
        let expires_at = now + self.ttl;
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: subject.id,
            sid: subject.session,
            role: subject.role.clone(),
            ver: subject.version,
            jti: Uuid::now_v7(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: expires_at.timestamp(),
        };
        let OwnKeys::Here(keys) = &self.keys else { bail!("another service issues the tokens") };
        let ring = keys.ring();
        let key = &ring.signing(now).key;
        let header = Header { typ: Some(TYPE.to_owned()), kid: Some(key.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        Ok(Issued { token: jsonwebtoken::encode(&header, &claims, &key.private_half)?, expires_at })
    }

    /// Whom a valid token speaks for. Which check failed is nobody's business.
    pub async fn verify(&self, token: &str) -> Result<Bearer, Refused> {
        if token.len() > MAX_BYTES {
            return Err(Refused);
        }
        match self.outside.as_ref().filter(|outside| outside.is_named_by(token)) {
            Some(outside) => outside.verify(token).await.map(Bearer::Outside),
            None => self.verify_own(token).await,
        }
    }

    async fn verify_own(&self, token: &str) -> Result<Bearer, Refused> {
        let hash = digest(&SHA256, token.as_bytes()).as_ref().try_into().map_err(|_| Refused)?;
        let known = if let Some(known) = self.known.get(&hash)
            && self.counts(&known).await
        {
            known
        } else {
            let known = Arc::new(self.decode(token).await?);
            self.known.insert(hash, Arc::clone(&known));
            known
        };
        // Later it is no less valid, until it ends.
        if known.expires_at.timestamp() + LEEWAY.cast_signed() < Utc::now().timestamp() {
            return Err(Refused);
        }
        Ok(Bearer::Own(known.subject.clone(), known.expires_at))
    }

    async fn decode(&self, token: &str) -> Result<Known, Refused> {
        let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok()).ok_or(Refused)?;
        let OwnHeader { typ, kid, .. } = serde_json::from_slice(&header).map_err(|_| Refused)?;
        if typ != TYPE {
            return Err(Refused);
        }
        let key = self.key(&kid).await.ok_or(Refused)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &self.validation).map_err(|_| Refused)?.claims;
        if claims.iat > Utc::now().timestamp() + LEEWAY.cast_signed() {
            return Err(Refused);
        }
        let subject = Subject { id: claims.sub, session: claims.sid, role: claims.role, version: claims.ver };
        Ok(Known { key, kid, subject, expires_at: DateTime::from_timestamp(claims.exp, 0).ok_or(Refused)? })
    }

    /// Whether the key still counts, and under its name is no other.
    async fn counts(&self, Known { key: then, kid, .. }: &Known) -> bool {
        let now = self.key(kid).await;
        let now = now.as_ref().and_then(|now| now.try_get_as_bytes().ok());
        now.is_some_and(|now| then.try_get_as_bytes().is_ok_and(|then| then == now))
    }

    /// The key of this name, if it counts.
    async fn key(&self, kid: &str) -> Option<DecodingKey> {
        match &self.keys {
            OwnKeys::Here(keys) => keys.find(kid).await.map(|key| key.public_half.clone()),
            OwnKeys::Published(keys) => keys.find(kid).await.map(|key| key.public),
        }
    }
}
