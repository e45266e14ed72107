//! What the process counts, in the text format of OpenMetrics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Every figure of `/metrics`.
pub struct Metrics {
    registry: Registry,
    /// Requests to `/graphql` by kind of operation and outcome.
    pub requests: Family<Labels<2>, Counter>,
    /// Seconds from a request's last byte to its answer.
    pub request_seconds: Histogram,
    /// Cache decisions by kind of answer and decision.
    pub cache: Family<Labels<2>, Counter>,
    /// Responses by where they came from: made by resolvers, or kept.
    pub responses: Family<Labels<1>, Counter>,
    /// SELECTs of the version register.
    pub gate_reads: Counter,
    /// Reads by who answered, where there are replicas: one of them, one that had to catch up, or the primary.
    pub replica_reads: Family<Labels<1>, Counter>,
    /// Redis commands that failed or took too long, and entries that were not what they should be.
    pub redis_faults: Family<Labels<1>, Counter>,
    /// Times that the outside issuer was asked for its keys, by outcome.
    pub jwks_refreshes: Family<Labels<1>, Counter>,
    /// Passwords hashed.
    pub password_hashes: Counter,
    /// Seconds since revocations were read last; beyond five tokens may outlive them.
    pub revocations_age_seconds: Gauge<f64, AtomicU64>,
    /// Passwords that are being hashed.
    pub password_hashes_running: Gauge,
    /// Mails by outcome.
    pub mails: Family<Labels<1>, Counter>,
    /// Resolvers that panicked.
    pub panics: Counter,
    /// Seconds by which a task that should have run ran late.
    pub runtime_stall_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stockroom");
        let requests = Family::default();
        registry.register("requests", "GraphQL requests by operation and outcome", requests.clone());
        let request_seconds = Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        registry.register("request_seconds", "Time to answer a GraphQL request", request_seconds.clone());
        let cache = Family::default();
        registry.register("cache", "Cache decisions by kind of answer", cache.clone());
        let responses = Family::default();
        registry.register("responses", "Responses by where they came from", responses.clone());
        let gate_reads = Counter::default();
        registry.register("gate_reads", "SELECTs of the version register", gate_reads.clone());
        let replica_reads = Family::default();
        registry.register("replica_reads", "Reads by who answered, with replicas", replica_reads.clone());
        let redis_faults = Family::default();
        registry.register("redis_faults", "Redis failures and unusable entries", redis_faults.clone());
        let jwks_refreshes = Family::default();
        registry.register("jwks_refreshes", "Requests for the outside issuer's keys", jwks_refreshes.clone());
        let password_hashes = Counter::default();
        registry.register("password_hashes", "Passwords hashed or verified", password_hashes.clone());
        let revocations_age_seconds = Gauge::default();
        let about = "Time since revocations were read last";
        registry.register("revocations_age_seconds", about, revocations_age_seconds.clone());
        let password_hashes_running = Gauge::default();
        registry.register("password_hashes_running", "Passwords being hashed", password_hashes_running.clone());
        let mails = Family::default();
        registry.register("mails", "Mails by outcome", mails.clone());
        let panics = Counter::default();
        registry.register("panics", "Resolvers that panicked", panics.clone());
        let runtime_stall_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 12));
        registry.register("runtime_stall_seconds", "How late a task ran that was due", runtime_stall_seconds.clone());
        Self {
            registry,
            requests,
            request_seconds,
            cache,
            responses,
            gate_reads,
            replica_reads,
            redis_faults,
            jwks_refreshes,
            password_hashes,
            revocations_age_seconds,
            password_hashes_running,
            mails,
            panics,
            runtime_stall_seconds,
        }
    }
}

/// How often the heartbeat beats.
const HEARTBEAT: Duration = Duration::from_millis(20);

impl Metrics {
    /// Measures how late tasks run, until the metrics are gone. Needs a runtime.
    pub fn feel_the_pulse(self: &Arc<Self>) {
        let metrics = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let due = Instant::now() + HEARTBEAT;
                tokio::time::sleep_until(due).await;
                let Some(metrics) = metrics.upgrade() else { return };
                metrics.runtime_stall_seconds.observe(due.elapsed().as_secs_f64());
            }
        });
    }

    /// All figures as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_or_else(|error| error.to_string(), |()| text)
    }
}
