//! Floor 1, what the process talks to: PostgreSQL, Redis, mail servers, keys, clocks of its own. It knows no user and no product.

pub mod db;
pub mod keys;
pub mod mail;
pub mod metrics;
pub mod migrations;
pub mod passwords;
pub mod postgres;
pub mod rate_limit;
pub mod redis;
pub mod schema;
pub mod telemetry;
pub mod tokens;

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Settings;
use crate::infra::db::Database;
use crate::infra::keys::Keys;
use crate::infra::mail::Mailer;
use crate::infra::metrics::Metrics;
use crate::infra::passwords::Passwords;
use crate::infra::rate_limit::{Budgets, RateLimiter};
use crate::infra::redis::Redis;
use crate::infra::tokens::Tokens;

/// The outside world in one handle.
pub struct Infra {
    pub db: Database,
    pub redis: Option<Arc<Redis>>,
    pub limiter: RateLimiter,
    pub budgets: Budgets,
    pub tokens: Tokens,
    pub passwords: Passwords,
    pub mailer: Mailer,
    pub metrics: Arc<Metrics>,
}

impl Infra {
    /// Builds the pools; connections are made when they are first needed. Mails that no server is configured for go into
    /// the outbox. Needs a runtime.
    pub fn new(settings: &Settings, db: Database, keys: Arc<Keys>, outbox: Option<PathBuf>) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let redis = match &settings.redis_url {
            Some(url) => Some(Arc::new(Redis::new(url, settings, Arc::clone(&metrics))?)),
            None => None,
        };
        Ok(Self {
            db,
            budgets: Budgets::new(settings),
            limiter: RateLimiter::new(redis.clone()),
            redis,
            tokens: Tokens::new(settings, keys)?,
            passwords: Passwords::new(settings, Arc::clone(&metrics))?,
            mailer: Mailer::new(settings, outbox, Arc::clone(&metrics))?,
            metrics,
        })
    }
}
