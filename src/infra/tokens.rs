//! Access tokens: short-lived JSON Web Tokens (RFC 7519, RFC 9068), signed with Ed25519 and verified by signature alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
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
        let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok()).ok_or(Refused)?;
        let header: OwnHeader = serde_json::from_slice(&header).map_err(|_| Refused)?;
        if header.typ != TYPE {
            return Err(Refused);
        }
        let decode = |key: &DecodingKey| jsonwebtoken::decode::<Claims>(token, key, &self.validation);
        let decoded = match &self.keys {
            OwnKeys::Here(keys) => decode(&keys.find(&header.kid).await.ok_or(Refused)?.public_half),
            OwnKeys::Published(keys) => decode(&keys.find(&header.kid).await.ok_or(Refused)?.public),
        };
        let claims = decoded.map_err(|_| Refused)?.claims;
        if claims.iat > Utc::now().timestamp() + LEEWAY.cast_signed() {
            return Err(Refused);
        }
        let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or(Refused)?;
        let subject = Subject { id: claims.sub, session: claims.sid, role: claims.role, version: claims.ver };
        Ok(Bearer::Own(subject, expires_at))
    }
}
