//! The Ed25519 key that signs access tokens, and its public half as a JSON Web Key Set (RFC 7517, RFC 8037).

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::infra::postgres::write_secret;

/// A private key, and what the world may know of it.
pub struct SigningKey {
    /// PKCS #8 in PEM.
    pub pem: SecretString,
    /// The public key's 32 bytes, base64url: `x` of its JWK.
    pub public: String,
    /// Its name in tokens: the thumbprint of RFC 7638.
    pub kid: String,
}

impl SigningKey {
    /// A new key.
    pub fn generate() -> anyhow::Result<Self> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new())
            .map_err(|_| anyhow!("the system's random numbers are not available"))?;
        let base64 = STANDARD.encode(pkcs8.as_ref());
        let lines: Vec<&str> =
            base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or("")).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Self::from_pem(&pem.into())
    }

    /// The key in this PEM text.
    ///
    /// # Errors
    /// When it is not an Ed25519 private key in PKCS #8.
    pub fn from_pem(pem: &SecretString) -> anyhow::Result<Self> {
        let text = pem.expose_secret();
        if !text.contains("-----BEGIN PRIVATE KEY-----") {
            bail!("the signing key is not a PEM private key; `stockroom keys generate` prints one");
        }
        let base64: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).context("the signing key's PEM text is damaged")?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|_| anyhow!("the signing key is not an Ed25519 key; `stockroom keys generate` prints one"))?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let thumbprint = digest(&SHA256, format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#).as_bytes());
        Ok(Self { pem: pem.clone(), kid: URL_SAFE_NO_PAD.encode(thumbprint.as_ref()), public })
    }

    /// The key in this file, made there when it does not exist; only its owner may read it.
    pub fn load_or_create(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            let key = Self::generate()?;
            write_secret(path, key.pem.expose_secret())?;
            return Ok(key);
        }
        let pem = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::from_pem(&pem.into()).with_context(|| format!("the key in {}", path.display()))
    }

    /// The JSON Web Key Set with the public key.
    pub fn jwks(&self) -> serde_json::Value {
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": self.public,
        });
        json!({ "keys": [key] })
    }
}
