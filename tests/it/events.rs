//! Events: every one once, in order, whatever breaks on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use stockroom::domain::feed::prune_old;

use crate::support::process::Server;
use crate::support::servers::{TestDatabase, servers};
use crate::support::{Client, TestServer};

const EVENTS: &str = "subscription($filter: ProductFilter, $types: [ProductEventType!], $after: String) {
    productEvents(filter: $filter, types: $types, after: $after) {
        cursor type productId changedFields product { sku stock { available } } } }";
const ADJUST: &str = "mutation($sku: String!, $delta: Int!) { adjustStock(by: { sku: $sku }, delta: $delta) {
    product { version } errors { ... on UserError { message } } } }";

/// A stream of server-sent events, read as they come.
struct Stream {
    bytes: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
    last_id: Option<String>,
}

impl Stream {
    async fn open(client: &Client, variables: &Value, last_id: Option<&str>) -> Self {
        let request = client.http.post(&client.url).header("accept", "text/event-stream");
        let request = request.json(&json!({ "query": EVENTS, "variables": variables }));
        let request = match last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let request = match &client.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        Self { bytes: response.bytes_stream().boxed(), text: String::new(), last_id: last_id.map(str::to_owned) }
    }

    /// The next response; `None` when the stream ends, in whatever way.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(id) = event.lines().find_map(|line| line.strip_prefix("id: ")) {
                    self.last_id = Some(id.to_owned());
                }
                if event.starts_with("event: next") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
                    return Some(serde_json::from_str(data).unwrap());
                }
                if event.starts_with("event: complete") {
                    return None;
                }
                continue;
            }
            let bytes = tokio::time::timeout(Duration::from_secs(20), self.bytes.next()).await.expect("an event");
            self.text += std::str::from_utf8(&bytes?.ok()?).unwrap();
        }
    }

    async fn event(&mut self) -> Value {
        let mut response = self.next().await.expect("the stream goes on");
        assert!(response.get("errors").is_none(), "{response}");
        response["data"]["productEvents"].take()
    }
}

/// Changes of one product while instances are killed.
const CHANGES: i64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_or_doubled_when_instances_are_killed() {
    let database = TestDatabase::create().await;
    let redis = servers().redis_url();
    let key = crate::support::process::signing_key();
    let flags = crate::support::process::instance_flags(&database, &redis, &key);
    let writer = Server::start(&flags);
    let staff = crate::support::process::sign_in(&writer, &database, &redis).await;
    staff.create_product(json!({ "sku": "COUNTED", "stock": 0 })).await;

    let writing = tokio::spawn(async move {
        for _ in 0..CHANGES {
            let data = staff.data(ADJUST, json!({ "sku": "COUNTED", "delta": 1 })).await;
            assert_eq!(data["adjustStock"]["errors"], json!([]));
        }
        (staff, writer)
    });
    // The reader's instance is killed again and again, in the middle of whatever it does.
    let mut seen: Vec<i64> = Vec::new();
    let mut last_id: Option<String> = None;
    let (mut lives, mut at_birth) = (0, 0);
    while seen.last() != Some(&CHANGES) {
        let mut instance = Some(Server::start(&flags));
        lives += 1;
        let variables = json!({ "filter": { "sku": { "eq": "COUNTED" } } });
        let mut stream = Stream::open(&instance.as_ref().unwrap().client(), &variables, last_id.as_deref()).await;
        // The very first life begins somewhere; from there on nothing may be missing.
        while let Some(response) = stream.next().await {
            let event = &response["data"]["productEvents"];
            assert_ne!(*event, Value::Null, "{response}");
            seen.push(event["product"]["stock"]["available"].as_i64().unwrap());
            if seen.last() == Some(&CHANGES) {
                break;
            }
            if seen.len() - at_birth > 60 && lives < 6 {
                // What it has sent meanwhile is lost with the connection.
                drop(instance.take());
                at_birth = seen.len();
                break;
            }
        }
        last_id = stream.last_id.clone();
    }
    assert!(lives >= 3, "{lives} lives");
    let first = seen[0];
    assert_eq!(seen, (first..=CHANGES).collect::<Vec<_>>());
    drop(writing.await.unwrap());
    println!("{} events in {lives} lives, each once", seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_appear_and_vanish_for_those_who_do_not_see_them() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let mut public = Stream::open(&server.anonymous(), &json!({}), None).await;
    let mut inside = Stream::open(&staff, &json!({}), None).await;
    let update = "mutation($patch: ProductPatch!) { updateProduct(by: { sku: \"LAMP\" }, patch: $patch) { errors { __typename } } }";
    staff.create_product(json!({ "sku": "LAMP", "status": "DRAFT" })).await;
    for patch in [
        json!({ "name": "Secret" }),
        json!({ "status": "ACTIVE" }),
        json!({ "name": "Lamp", "stock": 0 }),
        json!({ "stock": 4 }),
        json!({ "status": "ARCHIVED" }),
    ] {
        staff.data(update, json!({ "patch": patch })).await;
    }
    let seen = async |stream: &mut Stream, count: usize| {
        let mut events = Vec::new();
        for _ in 0..count {
            let event = stream.event().await;
            events.push((
                event["type"].as_str().unwrap().to_owned(),
                event["changedFields"].clone(),
                event["product"] == Value::Null,
            ));
        }
        events
    };
    let of = |kind: &str, fields: &[&str], is_gone: bool| (kind.to_owned(), json!(fields), is_gone);
    assert_eq!(
        seen(&mut public, 4).await,
        [
            of("CREATED", &[], false),
            of("STOCK_CHANGED", &["name", "stock"], false),
            of("BACK_IN_STOCK", &["stock"], false),
            of("DELETED", &[], true),
        ]
    );
    assert_eq!(
        seen(&mut inside, 6).await,
        [
            of("CREATED", &[], false),
            of("UPDATED", &["name"], false),
            of("UPDATED", &["status"], false),
            of("STOCK_CHANGED", &["name", "stock"], false),
            of("BACK_IN_STOCK", &["stock"], false),
            of("UPDATED", &["status"], false),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_events_passes_what_the_same_filter_of_a_list_passes() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let category = "mutation($name: String!, $parent: ID) { createCategory(input: { name: $name, parentId: $parent }) { category { id } } }";
    let above = staff.data(category, json!({ "name": "Above" })).await["createCategory"]["category"]["id"].clone();
    let below =
        staff.data(category, json!({ "name": "Below", "parent": above })).await["createCategory"]["category"]["id"]
            .clone();
    let mut start = Stream::open(&staff, &json!({}), None).await;
    staff.create_product(json!({ "sku": "START" })).await;
    let start = start.event().await["cursor"].clone();
    for n in 0..40 {
        let attributes = match n % 5 {
            0 => json!([]),
            1 => json!([{ "key": "size", "value": n % 3 }]),
            2 => json!([{ "key": "size", "value": 1.0 }]),
            3 => json!([{ "key": "size", "value": { "w": [1, 2.50] } }]),
            _ => json!([{ "key": "Colour", "value": "Réd" }]),
        };
        staff
            .create_product(json!({
                "sku": format!("Sku-{n:02}_%\\{}", ["É", "ß", "i", "I"][n % 4]),
                "name": format!("{} {n}", ["Ärger", "STRASSE", "ﬁle", "İstanbul", "naïve"][n % 5]),
                "externalReference": if n % 3 == 0 { Value::Null } else { json!(format!("ERP-{n}-Ö")) },
                "status": (["ACTIVE", "DRAFT", "ARCHIVED"][n % 3]),
                "stock": n % 7,
                "price": { "amount": format!("{}.5", n % 11), "currency": (["EUR", "USD"][n % 2]) },
                "categoryId": ([Value::Null, above.clone(), below.clone()][n % 3]),
                "tags": ([json!([]), json!(["red"]), json!(["red", "Blue"]), json!(["blue"])][n % 4]),
                "attributes": attributes,
            }))
            .await;
    }
    staff.create_product(json!({ "sku": "END" })).await;
    let mut compared = 0;
    for filter in [
        json!({}),
        json!({ "sku": { "startsWith": "sku-0" } }),
        json!({ "sku": { "contains": "_%\\" } }),
        json!({ "sku": { "contains": "é" } }),
        json!({ "sku": { "contains": "ß" } }),
        json!({ "sku": { "eq": "Sku-04_%\\É" } }),
        json!({ "sku": { "notIn": ["Sku-04_%\\É", "START"] } }),
        json!({ "name": { "contains": "arger" } }),
        json!({ "name": { "startsWith": "Strasse" } }),
        json!({ "name": { "contains": "istanbul" } }),
        json!({ "name": { "contains": "FILE" } }),
        json!({ "name": { "contains": "naive" } }),
        json!({ "slug": { "contains": "STRASSE" } }),
        json!({ "externalReference": { "isNull": true } }),
        json!({ "externalReference": { "contains": "ö" } }),
        json!({ "not": { "externalReference": { "contains": "-1" } } }),
        json!({ "status": { "in": ["DRAFT", "ARCHIVED"] } }),
        json!({ "price": { "currency": "EUR", "gte": "3.00", "lt": "8" } }),
        json!({ "price": { "currency": "USD" } }),
        json!({ "stock": { "in": [0, 5] } }),
        json!({ "stock": { "gt": 2, "lte": 5 } }),
        json!({ "inStock": false }),
        json!({ "category": { "eq": above } }),
        json!({ "category": { "eq": below } }),
        json!({ "category": { "isNull": true } }),
        json!({ "tags": { "anyOf": ["red", "blue"] } }),
        json!({ "tags": { "allOf": ["red", "Blue"] } }),
        json!({ "tags": { "noneOf": ["red"] } }),
        json!({ "attributes": [{ "key": "size", "exists": true }] }),
        json!({ "attributes": [{ "key": "size", "eq": 1 }] }),
        json!({ "attributes": [{ "key": "size", "in": [2, { "w": [1.0, 2.5] }] }] }),
        json!({ "attributes": [{ "key": "Colour", "eq": "Réd" }] }),
        json!({ "or": [{ "stock": { "eq": 1 } }, { "and": [{ "inStock": true }, { "tags": { "anyOf": ["red"] } }] }] }),
        json!({ "not": { "or": [{ "stock": { "eq": 1 } }, { "category": { "eq": above } }] } }),
        json!({ "createdAt": { "gt": "2026-01-01T00:00:00Z" } }),
        json!({ "updatedAt": { "gt": "2126-01-01T00:00:00Z" } }),
    ] {
        let list = "query($filter: ProductFilter) { products(first: 100, filter: $filter) { nodes { id sku } } }";
        let listed = staff.data(list, json!({ "filter": filter })).await;
        let names = |product: &Value| product["sku"].as_str().unwrap().to_owned();
        let listed: BTreeSet<String> = listed["products"]["nodes"].as_array().unwrap().iter().map(names).collect();
        let or_end = json!({ "or": [filter, { "sku": { "eq": "END" } }] });
        let mut stream = Stream::open(&staff, &json!({ "filter": or_end, "after": start }), None).await;
        let mut told = BTreeSet::new();
        loop {
            let event = stream.event().await;
            let name = names(&event["product"]);
            if name == "END" {
                break;
            }
            told.insert(name);
        }
        let expected: BTreeSet<String> = listed.into_iter().filter(|name| name != "END" && name != "START").collect();
        assert_eq!(told, expected, "{filter}");
        compared += told.len();
    }
    assert!(compared > 300, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_outside_the_window_is_told_and_one_inside_is_not_missed() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let mut stream = Stream::open(&staff, &json!({}), None).await;
    for n in 0..6 {
        staff.create_product(json!({ "sku": format!("P{n}") })).await;
    }
    let mut cursors = Vec::new();
    for _ in 0..6 {
        cursors.push(stream.event().await["cursor"].clone());
    }
    // All but the last two were made long ago.
    let aged = "UPDATE changes SET at = at - interval '1 day' WHERE v <= (SELECT max(v) - 2 FROM changes)";
    server.database.connect().await.batch_execute(aged).await.unwrap();
    assert!(prune_old(&server.core, Duration::from_hours(1)).await.unwrap() >= 4);
    let expired = async |after: &Value| {
        let mut stream = Stream::open(&staff, &json!({ "after": after }), None).await;
        let response = stream.next().await.unwrap();
        response["errors"][0]["extensions"]["code"].clone()
    };
    for cursor in &cursors[..3] {
        assert_eq!(expired(cursor).await, "CURSOR_EXPIRED");
    }
    for (from, next) in [(3, "P4"), (4, "P5")] {
        let mut stream = Stream::open(&staff, &json!({ "after": cursors[from] }), None).await;
        assert_eq!(stream.event().await["product"]["sku"], next);
    }
    // A listener who has all events, and one who listens on, notice nothing.
    let mut last = Stream::open(&staff, &json!({ "after": cursors[5] }), None).await;
    staff.create_product(json!({ "sku": "P6" })).await;
    assert_eq!(last.event().await["product"]["sku"], "P6");
    assert_eq!(stream.event().await["product"]["sku"], "P6");
    // Another database has other events.
    let other = TestServer::start_with(&[]).await;
    let mut foreign = Stream::open(&other.anonymous(), &json!({ "after": cursors[5] }), None).await;
    assert_eq!(foreign.next().await.unwrap()["errors"][0]["extensions"]["code"], "CURSOR_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_listener_gets_every_event_from_the_log() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "sku": "COUNTED", "stock": 0 })).await;
    let mut stream = Stream::open(&server.anonymous(), &json!({}), None).await;
    for _ in 0..900 {
        staff.data(ADJUST, json!({ "sku": "COUNTED", "delta": 1 })).await;
    }
    for expected in 1..=900 {
        assert_eq!(stream.event().await["product"]["stock"]["available"], expected);
    }
}
