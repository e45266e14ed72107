//! What the process counts, in the text format of OpenMetrics.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use tokio::time::Instant;

/// Names with their values.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
/// A histogram for each value of a label.
pub type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// Operations that are counted by their own names; all others are one.
const MAX_NAMES: usize = 100;
/// What all others are counted as.
pub const OTHER: &str = "other";
/// What can be wrong with Redis.
const REDIS_FAULTS: [&str; 7] =
    ["broken", "no_connection", "not_connected", "refused", "timeout", "too_large", "unusable_entry"];
/// Bytes of a name that is counted by itself.
const MAX_NAME: usize = 64;

/// Every figure of `/metrics`.
pub struct Metrics {
    registry: Registry,
    /// Requests to `/graphql` by kind of operation and outcome.
    pub requests: Family<Labels<2>, Counter>,
    /// The commonest of them, queries that succeed: to look a counter up takes longer than to count.
    queries: Counter,
    /// Seconds from a request's last byte to its answer.
    request_seconds: Histogram,
    /// Requests to `/graphql` that are under way.
    pub requests_running: Gauge,
    /// Operations by name and outcome, whatever brought them.
    pub operations: Family<Labels<2>, Counter>,
    /// Seconds of an operation by name.
    pub operation_seconds: Histograms,
    names: RwLock<HashSet<&'static str>>,
    tallies: RwLock<HashMap<&'static str, Arc<Tally>>>,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that went so that others find room, by how.
    pub connections_shed: Family<Labels<1>, Counter>,
    /// Large pieces of work, by state.
    pub turns: Family<Labels<1>, Gauge>,
    /// Cache decisions by kind of answer and decision.
    pub cache: Family<Labels<2>, Counter>,
    /// Those who wanted what was not remembered: one of them loads it, the others join.
    pub flights: Family<Labels<1>, Counter>,
    /// Responses by where they came from: made by resolvers, or kept.
    pub responses: Family<Labels<1>, Counter>,
    /// SELECTs of the version register.
    pub gate_reads: Counter,
    /// Reads by who answered, where there are replicas: one of them, one that had to catch up, or the primary.
    pub replica_reads: Family<Labels<1>, Counter>,
    /// Seconds that a request waits for the version.
    pub gate_seconds: Histogram,
    /// The latest version of the change log that was seen.
    pub change_log_version: Gauge,
    /// Seconds since listeners were last told all that there is; zero while nobody listens.
    pub feed_lag_seconds: Gauge<f64, AtomicU64>,
    /// Subscriptions that listen to the change log.
    pub feed_listeners: Gauge,
    /// Connections to PostgreSQL by pool and state.
    pub database_connections: Family<Labels<2>, Gauge>,
    /// Redis commands that failed or took too long, and entries that were not what they should be.
    pub redis_faults: Family<Labels<1>, Counter>,
    /// Seconds of a Redis command, however it ends.
    pub redis_seconds: Histograms,
    /// 1 while Redis is left alone, because it did not answer.
    pub redis_breaker_open: Gauge,
    /// Times that the outside issuer was asked for its keys, by outcome.
    pub jwks_refreshes: Family<Labels<1>, Counter>,
    /// Passwords hashed.
    pub password_hashes: Counter,
    /// Seconds since revocations were read last; beyond five tokens may outlive them.
    pub revocations_age_seconds: Gauge<f64, AtomicU64>,
    /// Passwords that are being hashed.
    pub password_hashes_running: Gauge,
    pub password_hashes_waiting: Gauge,
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
        let all = &mut registry;
        let requests = Family::<Labels<2>, Counter>::default();
        Self {
            queries: requests.get_or_create_owned(&[("operation", "query"), ("outcome", "ok")]),
            requests: shown(all, "requests", "GraphQL requests by operation and outcome", requests),
            request_seconds: shown(all, "request_seconds", "Time to answer a GraphQL request", seconds()),
            requests_running: shown(all, "requests_running", "GraphQL requests under way", Gauge::default()),
            operations: shown(all, "operations", "Operations by name and outcome", Family::default()),
            operation_seconds: shown(all, "operation_seconds", "Time of an operation by name", histograms()),
            names: RwLock::default(),
            tallies: RwLock::default(),
            connections: shown(all, "connections", "Connections that are open", Gauge::default()),
            connections_shed: shown(
                all,
                "connections_shed",
                "Connections that made room",
                counters("how", &["evicted", "refused"]),
            ),
            turns: shown(all, "turns", "Large pieces of work by state", Family::default()),
            cache: shown(all, "cache", "Cache decisions by kind of answer", Family::default()),
            flights: shown(
                all,
                "flights",
                "Loads of what was not remembered, and who joined",
                counters("role", &["leader", "joined"]),
            ),
            responses: shown(all, "responses", "Responses by where they came from", Family::default()),
            gate_reads: shown(all, "gate_reads", "SELECTs of the version register", Counter::default()),
            gate_seconds: shown(all, "gate_seconds", "Time that a request waits for the version", seconds()),
            change_log_version: shown(all, "change_log_version", "Latest version that was seen", Gauge::default()),
            feed_lag_seconds: shown(all, "feed_lag_seconds", "Time since listeners knew everything", Gauge::default()),
            feed_listeners: shown(all, "feed_listeners", "Listeners to the change log", Gauge::default()),
            database_connections: shown(all, "database_connections", "Connections to PostgreSQL", Family::default()),
            replica_reads: shown(
                all,
                "replica_reads",
                "Reads by who answered, with replicas",
                counters("from", &["replica", "late_replica", "primary"]),
            ),
            redis_faults: shown(
                all,
                "redis_faults",
                "Redis failures and unusable entries",
                counters("kind", &REDIS_FAULTS),
            ),
            redis_seconds: shown(all, "redis_seconds", "Time of a Redis command", histograms()),
            redis_breaker_open: shown(all, "redis_breaker_open", "Whether Redis is left alone", Gauge::default()),
            jwks_refreshes: shown(
                all,
                "jwks_refreshes",
                "Requests for the outside issuer's keys",
                counters("outcome", &["ok", "failed"]),
            ),
            password_hashes: shown(all, "password_hashes", "Passwords hashed or verified", Counter::default()),
            revocations_age_seconds: shown(
                all,
                "revocations_age_seconds",
                "Time since revocations were read last",
                Gauge::default(),
            ),
            password_hashes_running: shown(all, "password_hashes_running", "Passwords being hashed", Gauge::default()),
            password_hashes_waiting: shown(all, "password_hashes_waiting", "Passwords that wait", Gauge::default()),
            mails: shown(all, "mails", "Mails by outcome", counters("outcome", &["sent", "failed", "refused"])),
            panics: shown(all, "panics", "Resolvers that panicked", Counter::default()),
            runtime_stall_seconds: shown(
                all,
                "runtime_stall_seconds",
                "How late a task ran that was due",
                Histogram::new(exponential_buckets(0.001, 2.0, 12)),
            ),
            registry,
        }
    }
}

/// A metric that is registered.
fn shown<M: Metric + Clone>(registry: &mut Registry, name: &str, about: &str, metric: M) -> M {
    registry.register(name, about, metric.clone());
    metric
}

/// A counter for each of these values of a label. They are shown before anything happens: an alert sees only a step from
/// what was there.
fn counters(label: &'static str, values: &[&'static str]) -> Family<Labels<1>, Counter> {
    let family = Family::default();
    for value in values {
        drop(family.get_or_create(&[(label, *value)]));
    }
    family
}

/// From a quarter of a millisecond to eight seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// One for each value of a label.
pub fn histograms() -> Histograms {
    Family::new_with_constructor(seconds)
}

/// How often the heartbeat beats.
const HEARTBEAT: Duration = Duration::from_millis(20);

impl Metrics {
    /// Shows what somebody else counts.
    pub fn show<M: Metric + Clone>(&mut self, name: &str, about: &str, metric: &M) {
        self.registry.register(name, about, metric.clone());
    }

    /// What an operation is counted as: its name, if it is one of the first so many. Whoever makes up names cannot make
    /// the process remember them all.
    pub fn name(&self, name: Option<&str>) -> &'static str {
        let Some(name) = name else { return "anonymous" };
        let known = self.names.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(name) {
            return name;
        }
        if known.len() >= MAX_NAMES || name.len() > MAX_NAME {
            return OTHER;
        }
        drop(known);
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        match names.get(name) {
            Some(name) => name,
            None if names.len() >= MAX_NAMES => OTHER,
            None => {
                // Never freed, which is why they are few.
                let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
                names.insert(name);
                name
            }
        }
    }

    /// Counts a request that took so long.
    pub fn count_request(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        match (operation, outcome) {
            ("query", "ok") => self.queries.inc(),
            _ => self.requests.get_or_create(&[("operation", operation), ("outcome", outcome)]).inc(),
        };
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// Counts an operation that took so long.
    pub fn count_operation(&self, name: &'static str, outcome: &'static str, took: Duration) {
        let tally = self.tally(name);
        match outcome {
            "ok" => tally.operations.inc(),
            _ => self.operations.get_or_create(&[("name", name), ("outcome", outcome)]).inc(),
        };
        tally.operation_seconds.observe(took.as_secs_f64());
    }

    /// The counters of an operation that goes well.
    pub fn tally(&self, name: &'static str) -> Arc<Tally> {
        if let Some(tally) = self.tallies.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(tally);
        }
        let mut tallies = self.tallies.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tallies.entry(name).or_insert_with(|| {
            Arc::new(Tally {
                responses: self.responses.get_or_create_owned(&[("from", "kept")]),
                operations: self.operations.get_or_create_owned(&[("name", name), ("outcome", "ok")]),
                operation_seconds: self.operation_seconds.get_or_create_owned(&[("name", name)]),
            })
        }))
    }

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

/// What the good answers of an operation are counted in: looking that up takes longer than counting.
pub struct Tally {
    responses: Counter,
    operations: Counter,
    operation_seconds: Histogram,
}

impl Tally {
    /// Counts a kept answer that took so long.
    pub fn count(&self, took: Duration) {
        self.responses.inc();
        self.operations.inc();
        self.operation_seconds.observe(took.as_secs_f64());
    }
}

/// Counts something for as long as it is there.
pub struct Counted(Gauge);

impl Counted {
    pub fn by(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
