//! Access tokens: short-lived JSON Web Tokens (RFC 7519, RFC 9068), signed with Ed25519 and verified by signature alone.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Settings;
use crate::infra::keys::SigningKey;

/// `typ` of an access token's header (RFC 9068, section 2.1): no other token passes for one.
const TYPE: &str = "at+jwt";
/// Clocks may differ by this many seconds.
const LEEWAY: u64 = 5;
/// A longer token is refused unread.
const MAX_BYTES: usize = 4096;

/// Issues and verifies access tokens.
pub struct Tokens {
    header: Header,
    private: EncodingKey,
    public: DecodingKey,
    validation: Validation,
    issuer: String,
    audience: String,
    ttl: TimeDelta,
    jwks: serde_json::Value,
}

/// Whom a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub id: Uuid,
    pub session: Uuid,
    pub role: String,
    /// The user's token version.
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
    pub fn new(settings: &Settings, key: &SigningKey) -> anyhow::Result<Self> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        Ok(Self {
            header,
            private: EncodingKey::from_ed_pem(key.pem.expose_secret().as_bytes())?,
            public: DecodingKey::from_ed_components(&key.public)?,
            validation,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            ttl: TimeDelta::from_std(settings.access_token_ttl)?,
            jwks: key.jwks(),
        })
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
        Ok(Issued { token: jsonwebtoken::encode(&self.header, &claims, &self.private)?, expires_at })
    }

    /// The subject of a valid token, and when it ends. Which check failed is nobody's business.
    pub fn verify(&self, token: &str) -> Result<(Subject, DateTime<Utc>), Refused> {
        if token.len() > MAX_BYTES {
            return Err(Refused);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused)?;
        if header.typ.as_deref() != Some(TYPE) || header.kid != self.header.kid {
            return Err(Refused);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.public, &self.validation).map_err(|_| Refused)?.claims;
        if claims.iat > Utc::now().timestamp() + LEEWAY.cast_signed() {
            return Err(Refused);
        }
        let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or(Refused)?;
        Ok((Subject { id: claims.sub, session: claims.sid, role: claims.role, version: claims.ver }, expires_at))
    }

    /// The public keys, for whoever verifies our tokens.
    pub fn jwks(&self) -> &serde_json::Value {
        &self.jwks
    }
}
