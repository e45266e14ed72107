//! Accounts: who there is, and who asks.

pub mod commands;
mod guessing;
pub mod model;
pub mod queries;
mod refresh;
mod revocations;
mod store;

use std::time::Duration;

use crate::config::Settings;
use crate::domain::ids::ApiKeyId;

pub use model::{
    AccountDraft, ApiKey, ApiKeyDraft, Credential, Device, Lives, MailPurpose, Right, Role, Scope, Session, SignedIn,
    User, Viewer,
};
pub use revocations::Revocations;
pub use store::Audited;

/// How often it is noted that an API key was used.
const USE_NOTED: Duration = Duration::from_mins(1);
/// API keys whose use was noted lately, at most.
const MAX_USED: u64 = 10_000;

/// What the process knows of accounts between requests. All of it is in the database.
pub struct Accounts {
    pub revocations: Revocations,
    pub lives: Lives,
    /// Whether accounts must have verified their e-mail address before they may change anything but themselves.
    pub require_verified_email: bool,
    /// Keys whose use was noted lately.
    used_keys: moka::sync::Cache<ApiKeyId, ()>,
}

impl Accounts {
    pub fn new(settings: &Settings) -> Self {
        Self {
            revocations: Revocations::new(settings.access_token_ttl),
            lives: Lives { idle: settings.session_idle, whole: settings.session_life },
            require_verified_email: settings.require_verified_email,
            used_keys: moka::sync::Cache::builder().max_capacity(MAX_USED).time_to_live(USE_NOTED).build(),
        }
    }
}
