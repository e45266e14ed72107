//! Rate limits: the generic cell rate algorithm, with its state in Redis for all instances together.
//!
//! A subject's state is one moment: when all it spent will have been restored. It lies in the past for whoever spent
//! nothing lately, and at most the whole restoring time in the future. Redis's clock alone counts, so instances need not
//! agree on the time. Where Redis does not answer, each instance goes on alone with its share of the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use redis::Script;
use uuid::Uuid;

use crate::config::{RateLimit, Settings};
use crate::infra::metrics::{Labels, Metrics};
use crate::infra::redis::Redis;

/// Longest wait for Redis.
const PATIENCE: Duration = Duration::from_millis(15);
/// Subjects remembered in process.
const MAX_SUBJECTS: u64 = 100_000;
/// How often instances tell each other that they are there; one that is silent for three times as long is not.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// KEYS: the subject. ARGV: microseconds to take (negative to give back), microseconds of the whole budget.
/// Returns whether it was granted, and the debt in microseconds.
const SPEND: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debt = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) - now, 0)
local after = math.max(debt + tonumber(ARGV[1]), 0)
if tonumber(ARGV[1]) > 0 and after > tonumber(ARGV[2]) then
    return {0, string.format('%.0f', debt)}
end
if after > 0 then
    redis.call('SET', KEYS[1], string.format('%.0f', now + after), 'PX', math.ceil(after / 1000))
else
    redis.call('DEL', KEYS[1])
end
return {1, string.format('%.0f', after)}";

/// KEYS: the set of instances. ARGV: this one, and milliseconds until it is forgotten. Returns how many there are.
const BEAT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])";

/// Something that restores itself evenly.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// A name of its own in Redis.
    pub name: &'static str,
    pub limit: RateLimit,
    /// Without Redis only half of the share is given.
    pub strict: bool,
}

/// Every budget that there is.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// Cost of operations, for each user, or address of a stranger.
    pub requests: Budget,
    /// Attempts to sign in or to register, for each account.
    pub logins: Budget,
    /// The same for each address.
    pub login_addresses: Budget,
    /// Mails that anybody may ask for, to each account.
    pub mails: Budget,
}

impl Budgets {
    pub fn new(settings: &Settings) -> Self {
        Self {
            requests: Budget { name: "requests", limit: settings.rate_limit, strict: false },
            logins: Budget { name: "logins", limit: settings.login_limit, strict: true },
            login_addresses: Budget { name: "login_addresses", limit: settings.login_address_limit, strict: true },
            mails: Budget { name: "mails", limit: settings.mail_limit, strict: true },
        }
    }
}

/// What became of an attempt to spend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spent {
    pub granted: bool,
    /// What is left.
    pub available: u64,
    /// Of a budget of this size.
    pub burst: u64,
    pub restored_per_second: f64,
    /// The time in which all of it is restored.
    pub window: Duration,
    /// When the whole budget will be there again.
    pub restored_in: Duration,
    /// When as much as was asked for will be there; zero if it was granted.
    pub retry_after: Duration,
}

/// Counts what subjects spend.
pub struct RateLimiter {
    redis: Option<Arc<Redis>>,
    started: Instant,
    /// Until when each is in debt, in microseconds since the start.
    local: Cache<String, u64>,
    /// How many share the budgets, as far as Redis told.
    instances: Arc<AtomicU32>,
    spend: Script,
    /// By budget, decision, and who decided.
    decisions: Family<Labels<3>, Counter>,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self {
            redis: None,
            started: Instant::now(),
            local: Cache::builder().max_capacity(MAX_SUBJECTS).eviction_policy(EvictionPolicy::lru()).build(),
            instances: Arc::new(AtomicU32::new(1)),
            spend: Script::new(SPEND),
            decisions: Family::default(),
        }
    }
}

impl RateLimiter {
    /// The same for all instances on this Redis together.
    pub fn sharing(self, redis: Option<Arc<Redis>>) -> Self {
        Self { redis, ..self }
    }

    /// Shows what is counted.
    pub fn show(&self, metrics: &mut Metrics) {
        metrics.show("limiter_decisions", "Attempts to spend of a budget", &self.decisions);
    }

    fn count(&self, budget: Budget, is_granted: bool, by: &'static str) {
        let decision = if is_granted { "granted" } else { "refused" };
        self.decisions.get_or_create(&[("budget", budget.name), ("decision", decision), ("by", by)]).inc();
    }

    /// Learns how many instances there are, until the limiter is gone. Needs a runtime.
    pub fn count_instances(&self) {
        let Some(redis) = self.redis.clone() else { return };
        let instances = Arc::downgrade(&self.instances);
        tokio::spawn(async move {
            let (script, id) = (Script::new(BEAT), Uuid::new_v4().to_string());
            let forgotten = (HEARTBEAT * 3).as_millis().to_string();
            while let Some(instances) = instances.upgrade() {
                if let Some(count) = redis.run(&script, "instances", &[&id, &forgotten], PATIENCE).await {
                    instances.store(u32::max(count, 1), Ordering::Relaxed);
                }
                drop(instances);
                tokio::time::sleep(HEARTBEAT).await;
            }
        });
    }

    /// Spends `cost` of the subject's budget, if it is there. `None` where there is no limit.
    pub async fn spend(&self, budget: Budget, subject: &str, cost: u64) -> Option<Spent> {
        let RateLimit::Of { burst, restored_in } = budget.limit else { return None };
        let rate = Rate::new(burst, restored_in);
        let added = self.add(budget, rate, subject, rate.price(cost)).await;
        self.count(budget, added.granted, if added.is_shared { "redis" } else { "instance" });
        Some(rate.told(&added))
    }

    /// Gives back what was spent and not used.
    pub async fn give_back(&self, budget: Budget, subject: &str, cost: u64) {
        if let RateLimit::Of { burst, restored_in } = budget.limit
            && cost > 0
        {
            let rate = Rate::new(burst, restored_in);
            self.add(budget, rate, subject, -rate.price(cost)).await;
        }
    }

    /// What a subject is told that has nothing left, as far as is known here: a hint that costs nothing.
    pub fn exhausted(&self, budget: Budget, subject: &str) -> Option<Spent> {
        let RateLimit::Of { burst, restored_in } = budget.limit else { return None };
        let debt = self.local.get(&key(budget, subject))?.saturating_sub(self.now());
        let rate = Rate::new(burst, restored_in);
        let added = Added { granted: false, debt, micros: rate.price(1), is_shared: false };
        (debt.saturating_add_signed(added.micros) > rate.whole).then(|| {
            self.count(budget, false, "instance");
            rate.told(&added)
        })
    }

    /// Adds to the subject's debt, if that stays within the budget.
    async fn add(&self, budget: Budget, rate: Rate, subject: &str, micros: i64) -> Added {
        let key = key(budget, subject);
        if let Some(redis) = &self.redis {
            let arguments = [&*micros.to_string(), &*rate.whole.to_string()];
            let answer: Option<(u8, String)> = redis.run(&self.spend, &key, &arguments, PATIENCE).await;
            if let Some((granted, debt)) = answer {
                let debt = debt.parse().unwrap_or(0);
                // Whoever has spent all does not begin anew when Redis is gone.
                self.local.insert(key, self.now().saturating_add(debt));
                return Added { granted: granted == 1, debt, micros, is_shared: true };
            }
        }
        let shares = match &self.redis {
            Some(_) => i64::from(self.instances.load(Ordering::Relaxed)) * if budget.strict { 2 } else { 1 },
            None => 1,
        };
        // A share may be less than one attempt; it is still given, when the whole share is there.
        let whole = i64::try_from(rate.whole).unwrap_or(i64::MAX);
        let scaled = micros.saturating_mul(shares);
        self.add_locally(key, rate, if micros <= whole { scaled.min(whole) } else { scaled })
    }

    fn add_locally(&self, key: String, rate: Rate, micros: i64) -> Added {
        let now = self.now();
        let mut added = Added { granted: false, debt: 0, micros, is_shared: false };
        self.local.entry(key).and_compute_with(|known| {
            let debt = known.map_or(0, |known| known.into_value().saturating_sub(now));
            let after = debt.saturating_add_signed(micros);
            if micros > 0 && after > rate.whole {
                added.debt = debt;
                return Op::Nop;
            }
            (added.granted, added.debt) = (true, after);
            Op::Put(now.saturating_add(after))
        });
        added
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What became of a debt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Added {
    granted: bool,
    /// Afterwards.
    debt: u64,
    /// What was, or was not, added.
    micros: i64,
    /// Redis knows of it.
    is_shared: bool,
}

/// Where the state of a subject is kept.
fn key(budget: Budget, subject: &str) -> String {
    format!("limit:{}:{subject}", budget.name)
}

/// More than any budget, and exact in the arithmetic of scripts in Redis.
const MAX_PRICE: u64 = 1 << 52;

/// A budget in microseconds of restoring.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u64,
    /// To restore all of it.
    whole: u64,
}

impl Rate {
    fn new(burst: u64, restored_in: Duration) -> Self {
        Self { burst: burst.max(1), whole: u64::try_from(restored_in.as_micros()).unwrap_or(u64::MAX).max(1) }
    }

    /// What restores so much; never less than it takes.
    fn price(self, amount: u64) -> i64 {
        let micros = (u128::from(amount) * u128::from(self.whole)).div_ceil(u128::from(self.burst));
        u64::try_from(micros).unwrap_or(u64::MAX).min(MAX_PRICE).cast_signed()
    }

    /// What became of a debt, in the budget's own measure.
    fn told(self, added: &Added) -> Spent {
        let Added { granted, debt, micros, .. } = *added;
        let missing = debt.saturating_add_signed(micros).saturating_sub(self.whole);
        Spent {
            granted,
            available: self.amount(self.whole.saturating_sub(debt)),
            burst: self.burst,
            restored_per_second: self.per_second(),
            window: Duration::from_micros(self.whole),
            restored_in: Duration::from_micros(debt),
            retry_after: Duration::from_micros(if granted { 0 } else { missing }),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "it is for people")]
    fn per_second(self) -> f64 {
        self.burst as f64 / (self.whole as f64 / 1e6)
    }

    /// What is restored in this time.
    fn amount(self, micros: u64) -> u64 {
        let amount = u128::from(micros) * u128::from(self.burst) / u128::from(self.whole);
        u64::try_from(amount).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Added, MAX_PRICE, Rate, RateLimiter};

    /// A generator of numbers that look random, the same ones each time.
    fn numbers(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 16
        }
    }

    #[test]
    fn no_price_wraps_and_none_is_less_than_its_share() {
        let mut number = numbers(7);
        for _ in 0..100_000 {
            let shift = u32::try_from(number() % 60).unwrap();
            let (amount, burst) = (number() << (number() % 16), (number() >> (shift.min(40))).max(1));
            let rate = Rate::new(burst, Duration::from_micros((number() % 1_000_000_000_000).max(1)));
            let exact = u128::from(amount) * u128::from(rate.whole);
            let price = u128::from(rate.price(amount).unsigned_abs());
            let cap = u128::from(MAX_PRICE);
            assert!(price * u128::from(rate.burst) >= exact || price == cap, "{amount} of {rate:?}");
        }
    }

    #[test]
    fn the_debt_never_exceeds_the_budget_nor_falls_below_nothing() {
        let limiter = RateLimiter::default();
        let rate = Rate::new(1000, Duration::from_hours(1));
        let mut number = numbers(11);
        for _ in 0..20_000 {
            let amount = rate.price(number() % 2_000);
            let micros = if number().is_multiple_of(3) { -amount } else { amount };
            let Added { granted, debt, .. } = limiter.add_locally("subject".to_owned(), rate, micros);
            assert!(debt <= rate.whole);
            assert!(granted || micros > 0, "giving back is never refused");
        }
        let given_back = limiter.add_locally("subject".to_owned(), rate, i64::MIN);
        assert_eq!((given_back.granted, given_back.debt), (true, 0));
        assert!(!limiter.add_locally("subject".to_owned(), rate, i64::MAX).granted);
    }
}
