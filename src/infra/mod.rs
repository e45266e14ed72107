//! Floor 1, what the process talks to: PostgreSQL, Redis, mail servers, keys, clocks of its own. It knows no user and no product.

pub mod db;
pub mod grants;
pub mod jwks;
pub mod keys;
pub mod mail;
pub mod metrics;
pub mod migrations;
pub mod passwords;
pub mod pooler;
pub mod postgres;
pub mod rate_limit;
pub mod redis;
pub mod schema;
pub mod telemetry;
pub mod tls;
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
    pub fn new(
        settings: &Settings,
        db: Database,
        keys: Option<Arc<Keys>>,
        outbox: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let (mut metrics, limiter) = (Metrics::default(), RateLimiter::default());
        db.show(&mut metrics);
        limiter.show(&mut metrics);
        let metrics = Arc::new(metrics);
        let redis = match &settings.redis_url {
            Some(url) => Some(Arc::new(Redis::new(url, settings, Arc::clone(&metrics))?)),
            None => None,
        };
        Ok(Self {
            db,
            budgets: Budgets::new(settings),
            limiter: limiter.sharing(redis.clone()),
            redis,
            tokens: Tokens::new(settings, keys, &metrics)?,
            passwords: Passwords::new(settings, Arc::clone(&metrics))?,
            mailer: Mailer::new(settings, outbox, Arc::clone(&metrics))?,
            metrics,
        })
    }

    /// All figures as text, for Prometheus.
    pub fn figures(&self) -> String {
        self.db.count(&self.metrics);
        let is_open = self.redis.as_ref().is_some_and(|redis| redis.is_left_alone());
        self.metrics.redis_breaker_open.set(is_open.into());
        self.metrics.text()
    }
}
