//! What `/metrics` tells: each figure moves when what it counts happens.

use serde_json::json;
use stockroom::domain::accounts::Role;

use crate::support::servers::RedisServer;
use crate::support::{TestServer, eventually};

const LIST: &str = "query Shelf { products { nodes { name } } }";

/// What a server counts.
struct Figures(String);

impl Figures {
    async fn of(server: &TestServer) -> Self {
        let url = format!("http://{}/metrics", server.address);
        Self(reqwest::get(url).await.unwrap().text().await.unwrap())
    }

    /// The figure of this name and these labels; what was never counted is 0.
    fn get(&self, name: &str) -> f64 {
        let value =
            self.0.lines().find_map(|line| line.strip_prefix("stockroom_")?.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Whether it is so much more than before.
    #[expect(clippy::float_cmp, reason = "counts are exact")]
    fn grew(&self, before: &Self, name: &str, by: f64) -> bool {
        self.get(name) - before.get(name) == by
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_counted_by_name_and_outcome_and_names_that_are_made_up_as_one() {
    let server = TestServer::start().await;
    let client = server.anonymous();
    client.data(LIST, json!({})).await;
    client.data("{ __typename }", json!({})).await;
    client.refusal(&json!({ "query": "query Invalid { nothing }" })).await;
    client.send("query Failing { node(id: \"nonsense\") { id } }", json!({})).await;
    let figures = Figures::of(&server).await;
    let count =
        |name: &str, outcome: &str| figures.get(&format!("operations_total{{name=\"{name}\",outcome=\"{outcome}\"}}"));
    assert!(count("Shelf", "ok") > 0.5 && count("anonymous", "ok") > 0.5, "{}", figures.0);
    assert!(count("Failing", "errors") > 0.5 && count("other", "invalid") > 0.5, "{}", figures.0);
    assert!(!figures.0.contains("Invalid"), "{}", figures.0);
    assert!(figures.get("operation_seconds_count{name=\"Shelf\"}") > 0.5);

    // The same bytes again take the short way, and are the same operation.
    client.data(LIST, json!({})).await;
    client.data(LIST, json!({})).await;
    let again = Figures::of(&server).await;
    assert!(again.grew(&figures, "operations_total{name=\"Shelf\",outcome=\"ok\"}", 2.0), "{}", again.0);
    assert!(again.grew(&figures, "responses_total{from=\"kept\"}", 2.0), "{}", again.0);

    for number in 0..150 {
        client.data(&format!("query MadeUp{number} {{ __typename }}"), json!({})).await;
    }
    client.data(LIST, json!({})).await;
    let after = Figures::of(&server).await;
    let named = after.0.lines().filter(|line| line.starts_with("stockroom_operation_seconds_count")).count();
    assert!((50..=102).contains(&named), "{named} names");
    assert!(after.get("operations_total{name=\"other\",outcome=\"ok\"}") > 40.0, "{}", after.0);
    assert!(after.grew(&again, "operations_total{name=\"Shelf\",outcome=\"ok\"}", 1.0), "{}", after.0);
    assert!(after.get("requests_running") < 0.5 && after.get("connections") > 0.5, "{}", after.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_request_waits_for_is_measured() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let before = Figures::of(&server).await;
    staff.create_product(json!({})).await;
    let written = Figures::of(&server).await;
    staff.data(LIST, json!({})).await;
    let read = Figures::of(&server).await;
    let grew = |from: &Figures, to: &Figures, name: &str| to.get(name) > from.get(name);
    for name in ["database_wait_seconds_count{pool=\"write\"}", "gate_seconds_count"] {
        assert!(grew(&before, &written, name), "{name}: {}", written.0);
    }
    for name in [
        "database_wait_seconds_count{pool=\"read\"}",
        "redis_seconds_count{command=\"GET\"}",
        "flights_total{role=\"leader\"}",
        "cache_total{region=\"products\",decision=\"database\"}",
        "change_log_version",
    ] {
        assert!(grew(&before, &read, name), "{name}: {}", read.0);
    }
    assert!(read.get("database_connections{pool=\"read\",state=\"idle\"}") > 0.5, "{}", read.0);

    // A pool that is empty for too long.
    let busy = server.another(&["--database-pool-size", "1", "--database-wait", "20ms"]).await;
    let held = busy.core.infra.db.read().await.unwrap();
    let in_use = "database_connections{pool=\"read\",state=\"in_use\"}";
    assert!(Figures::of(&busy).await.get(in_use) > 0.5);
    assert_eq!(busy.anonymous().refusal(&json!({ "query": "{ products { totalCount } }" })).await.1, "BUSY");
    drop(held);
    let figures = Figures::of(&busy).await;
    assert!(figures.get("database_refusals_total{pool=\"read\",reason=\"busy\"}") > 0.5, "{}", figures.0);
    assert!(figures.get(in_use) < 0.5, "{}", figures.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_being_loaded_is_counted_as_joining() {
    let server = TestServer::start().await;
    let asked = (0..40).map(|number| {
        let client = server.anonymous();
        let document = format!("{{ number{number}: products(search: \"nothing has this name\") {{ totalCount }} }}");
        async move { client.data(&document, json!({})).await }
    });
    futures_util::future::join_all(asked).await;
    let figures = Figures::of(&server).await;
    // Their documents are others, and they meet at the parts of the answer.
    let loads = figures.get("flights_total{role=\"leader\"}");
    assert!((1.0..20.0).contains(&loads), "{}", figures.0);
    assert!(figures.get("flights_total{role=\"joined\"}") > 0.5, "{}", figures.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_redis_is_left_alone_is_shown_and_who_decides_on_budgets() {
    let redis = RedisServer::start();
    let server = TestServer::start_with(&["--redis-url", &redis.url(), "--rate-limit", "10/1h"]).await;
    let client = server.anonymous();
    let decisions = |decision: &str, by: &str| {
        format!("limiter_decisions_total{{budget=\"requests\",decision=\"{decision}\",by=\"{by}\"}}")
    };
    client.data("{ __typename }", json!({})).await;
    let figures = Figures::of(&server).await;
    assert!(figures.get(&decisions("granted", "redis")) > 0.5, "{}", figures.0);
    assert!(figures.get("redis_breaker_open") < 0.5, "{}", figures.0);

    redis.kill();
    eventually("Redis is left alone", async || {
        client.send("{ __typename }", json!({})).await;
        Figures::of(&server).await.get("redis_breaker_open") > 0.5
    })
    .await;
    assert!(Figures::of(&server).await.get(&decisions("granted", "instance")) > 0.5);
    // There are ten at most.
    for _ in 0..10 {
        client.post("{ __typename }", &json!({})).await;
    }
    assert!(Figures::of(&server).await.get(&decisions("refused", "instance")) > 0.5);

    redis.start_again();
    eventually("it is used again", async || {
        client.post("{ __typename }", &json!({})).await;
        // Whoever is exhausted is told without asking: the heartbeat asks.
        Figures::of(&server).await.get("redis_breaker_open") < 0.5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_to_the_change_log_are_counted_for_as_long_as_they_listen() {
    let server = TestServer::start().await;
    let client = server.anonymous();
    let request = client.http.post(&client.url).header("accept", "text/event-stream");
    let events = request.json(&json!({ "query": "subscription { productEvents { cursor } }" })).send().await.unwrap();
    assert!(events.status().is_success());
    eventually("it is counted", async || Figures::of(&server).await.get("feed_listeners") > 0.5).await;
    let lag = Figures::of(&server).await.get("feed_lag_seconds");
    assert!((0.0..5.0).contains(&lag), "{lag}");
    drop(events);
    eventually("it is gone", async || Figures::of(&server).await.get("feed_listeners") < 0.5).await;
}
