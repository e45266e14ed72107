//! Passwords by Argon2id, off the async threads: a bounded number at once, a bounded number in the queue.

use std::sync::Arc;

use anyhow::anyhow;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::config::Settings;
use crate::infra::metrics::Metrics;

/// Memory in KiB, passes and lanes: OWASP's first choice for Argon2id.
const PARAMS: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Hashes and verifies passwords.
pub struct Passwords {
    argon2: Argon2<'static>,
    running: Arc<Semaphore>,
    /// Running or waiting: beyond this, callers are turned away.
    admitted: Arc<Semaphore>,
    /// Verified in place of an unknown user's, so that both cost the same.
    decoy: String,
    metrics: Arc<Metrics>,
}

/// Why a password was not looked at.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords are waiting to be checked")]
    Busy,
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl Passwords {
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let (memory, passes, lanes) = PARAMS;
        let params = Params::new(memory, passes, lanes, None).map_err(|error| anyhow!("{error}"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash(&argon2, b"nobody has this password")?;
        let at_once = settings.password_hashes();
        Ok(Self {
            argon2,
            running: Arc::new(Semaphore::new(at_once)),
            admitted: Arc::new(Semaphore::new(at_once + settings.password_queue as usize)),
            decoy,
            metrics,
        })
    }

    /// The password's hash in PHC form.
    pub async fn hash(&self, password: &SecretString) -> Result<String, PasswordError> {
        let (argon2, password) = (self.argon2.clone(), password.clone());
        self.run(move || hash(&argon2, password.expose_secret().as_bytes())).await
    }

    /// Whether the password has this hash; without one it costs as much and is false.
    pub async fn verify(&self, password: &SecretString, hash: Option<&str>) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let (argon2, password) = (self.argon2.clone(), password.clone());
        let hash = hash.unwrap_or(&self.decoy).to_owned();
        self.run(move || {
            let hash = PasswordHash::new(&hash).map_err(|error| anyhow!("a stored password hash: {error}"))?;
            let matches = argon2.verify_password(password.expose_secret().as_bytes(), &hash).is_ok();
            Ok(matches && known)
        })
        .await
    }

    pub fn needs_upgrade(&self, _hash: &str) -> bool {
        false
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(anyhow::Error::from)?;
        let metrics = Arc::clone(&self.metrics);
        // The permits move into the blocking task: a caller who goes away does not free what still runs.
        let done = tokio::task::spawn_blocking(move || {
            let _held = (admitted, turn);
            metrics.password_hashes.inc();
            work()
        });
        Ok(done.await.map_err(anyhow::Error::from)??)
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> anyhow::Result<String> {
    Ok(argon2.hash_password(password).map_err(|error| anyhow!("{error}"))?.to_string())
}
