//! What is remembered, what it costs, and that it is never stale.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockroom::domain::accounts::Role;
use stockroom::domain::catalog::commands::{seed_categories, seed_products};

use crate::support::process::{Server, instance_flags, sign_in, signing_key};
use crate::support::servers::{RedisServer, TestDatabase, servers};
use crate::support::{Client, TestServer, eventually};

/// Searches of a flood; a million take a quarter of an hour.
const SEARCHES: usize = 3_000;
const LIST: &str = "{ products(first: 100) { nodes { name category { name } createdBy { name } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_list_of_a_hundred_takes_three_statements_and_a_warm_one_none() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let other = server.signed_in(Role::Staff).await;
    let categories = ["Chairs", "Lamps", "Pans"];
    let create = "mutation($name: String!) { createCategory(input: { name: $name }) { category { id } } }";
    let mut ids = Vec::new();
    for name in categories {
        ids.push(staff.data(create, json!({ "name": name })).await["createCategory"]["category"]["id"].take());
    }
    for number in 0..100_usize {
        let client = if number % 2 == 0 { &staff } else { &other };
        client.create_product(json!({ "name": format!("P {number}"), "categoryId": ids[number % 3] })).await;
    }
    // An instance that has seen none of it.
    let server = server.another(&[]).await;
    let staff = Client { url: server.anonymous().url, ..staff };
    let (cold, statements) = server.statements(staff.data(LIST, json!({}))).await;
    let nodes = cold["products"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 100);
    assert!(nodes.iter().all(|node| node["category"]["name"].is_string() && node["createdBy"]["name"] == "A STAFF"));
    assert_eq!(statements, 3, "the products, the categories, the creators");
    let (warm, statements) = server.statements(staff.data(LIST, json!({}))).await;
    assert_eq!((warm, statements), (cold, 0));
    // A list of another length costs its own statement, and shares the rest.
    let (_, statements) = server.statements(staff.data(&LIST.replace("100", "99"), json!({}))).await;
    assert_eq!(statements, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_mean_the_same_have_one_answer() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "name": "Lamp", "tags": ["a", "b"] })).await;
    let list = async |arguments: &str| {
        let query = format!("{{ products({arguments}) {{ nodes {{ name }} }} }}");
        server.statements(staff.data(&query, json!({}))).await
    };
    let (first, statements) =
        list("filter: { tags: { anyOf: [\"a\", \"b\"] }, and: [{ inStock: true }] }, search: \"Lamp\"").await;
    assert_eq!(statements, 1);
    for same in [
        "filter: { inStock: true, tags: { anyOf: [\"b\", \"a\", \"a\"] } }, search: \"lamp\"",
        "first: 20, search: \" LAMP \", filter: { not: { not: { stock: { gte: 1 } } }, tags: { anyOf: [\"a\", \"b\"] } }",
        "filter: { and: [{ and: [{ stock: { gt: 0 } }] }, { tags: { anyOf: [\"a\", \"b\"] } }], or: [{}] }, search: \"lamp\", sortBy: [{ field: RELEVANCE }]",
    ] {
        assert_eq!(list(same).await, (first.clone(), 0), "{same}");
    }
    let (_, statements) = list("filter: { inStock: true, tags: { allOf: [\"a\", \"b\"] } }, search: \"lamp\"").await;
    assert_eq!(statements, 1, "another meaning is another question");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_with_a_typo_is_made_anew_when_a_draft_brings_a_word_that_is_closer() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    // A word with a typo is taken for twenty others at most.
    for letter in 'a'..='t' {
        staff.create_product(json!({ "name": format!("lantern{letter}") })).await;
    }
    let query = "{ products(search: \"lanternzz\") { totalCount } }";
    let count = async || server.anonymous().data(query, json!({})).await["products"]["totalCount"].clone();
    assert_eq!(count().await, 20);
    staff.create_product(json!({ "name": "lanternz", "status": "DRAFT" })).await;
    assert_eq!(count().await, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_kept_another_finds_in_redis_until_a_write() {
    let (redis, database) = (servers().redis_url(), TestDatabase::create().await);
    let key = signing_key();
    let flags = instance_flags(&database, &redis, &key);
    let (one, two) = (Server::start(&flags), Server::start(&flags));
    let query = "{ products { totalCount nodes { name } } }";
    let decisions = async |server: &Server, decision: &str| {
        metric(server, &format!("stockroom_cache_total{{region=\"products\",decision=\"{decision}\"}}")).await
    };
    one.client().data(query, json!({})).await;
    crate::support::eventually("the page is in Redis", async || {
        two.client().data(&query.replace("nodes", "n: nodes"), json!({})).await;
        decisions(&two, "redis").await + decisions(&two, "memory").await > 0
    })
    .await;
    assert_eq!(decisions(&one, "database").await, 1);
    let staff = sign_in(&one, &database, &redis).await;
    staff.create_product(json!({ "name": "New" })).await;
    for server in [&one, &two] {
        let data = server.client().data(query, json!({})).await;
        assert_eq!(data["products"], json!({ "totalCount": 1, "nodes": [{ "name": "New" }] }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_on_which_all_stay_in_their_places_is_amended_by_every_instance_without_the_database() {
    let one = TestServer::start().await;
    let two = one.another(&[]).await;
    let staff = one.signed_in(Role::Staff).await;
    let oak = staff.create_product(json!({ "name": "Oak", "description": "Heavy", "stock": 1 })).await;
    staff.create_product(json!({ "name": "Pine", "stock": 7 })).await;
    let page = async |server: &TestServer| {
        let query = "{ products(sortBy: { field: STOCK }) { nodes { name description stock { available } tags } } }";
        let (data, statements) = server.statements(server.anonymous().data(query, json!({}))).await;
        (data["products"]["nodes"].clone(), statements)
    };
    let change = async |patch: Value| {
        let update = "mutation($id: ID!, $patch: ProductPatch!) {
            updateProduct(by: { id: $id }, patch: $patch) { errors { __typename } } }";
        let done = staff.data(update, json!({ "id": oak["id"], "patch": patch })).await;
        assert_eq!(done["updateProduct"]["errors"], json!([]));
    };
    let shown = |name: &str, description: Option<&str>, stock: i32, tags: &[&str]| {
        let stock = json!({ "available": stock });
        json!({ "name": name, "description": description, "stock": stock, "tags": tags })
    };
    let pine = shown("Pine", None, 7, &[]);
    for server in [&one, &two] {
        assert_eq!(page(server).await, (json!([shown("Oak", Some("Heavy"), 1, &[]), pine]), 1));
    }
    // Two changes at once for whoever reads after both, and the texts that the log does not tell.
    change(json!({ "tags": ["old"] })).await;
    change(json!({ "name": "Oak table" })).await;
    let expected = json!([shown("Oak table", Some("Heavy"), 1, &["old"]), pine]);
    for server in [&one, &two] {
        assert_eq!(page(server).await, (expected.clone(), 0));
    }
    change(json!({ "description": "Light" })).await;
    let expected = json!([shown("Oak table", Some("Light"), 1, &["old"]), pine]);
    for server in [&one, &two] {
        assert_eq!(page(server).await, (expected.clone(), 1), "what the log does not tell is read");
    }
    change(json!({ "stock": 8 })).await;
    let expected = json!([pine, shown("Oak table", Some("Light"), 8, &["old"])]);
    for server in [&one, &two] {
        assert_eq!(page(server).await, (expected.clone(), 1), "what moves is read");
    }
    change(json!({ "status": "DRAFT" })).await;
    for server in [&one, &two] {
        assert_eq!(page(server).await, (json!([pine]), 1), "what is gone is read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_carried_on_by_every_instance_without_the_database() {
    let one = TestServer::start().await;
    let two = one.another(&[]).await;
    let staff = one.signed_in(Role::Staff).await;
    let count = async |server: &TestServer| {
        let query = "{ products(filter: { stock: { gt: 0 } }) { totalCount count(atMost: 3) { value precision } } }";
        let cache = &server.core.infra.metrics.cache;
        let counted = || cache.get_or_create(&[("region", "product_count"), ("decision", "database")]).get();
        let before = counted();
        let data = server.anonymous().data(query, json!({})).await;
        let [total, count] = ["totalCount", "count"].map(|field| data["products"][field].clone());
        assert_eq!(count["precision"] == "EXACT", total.as_i64() <= Some(3), "{data}");
        (total, count["value"].clone(), counted() - before)
    };
    let mut made = Vec::new();
    for sku in ["A", "B"] {
        made.push(staff.create_product(json!({ "sku": sku, "stock": 1 })).await);
    }
    for server in [&one, &two] {
        assert_eq!(count(server).await, (json!(2), json!(2), 2));
    }
    // One comes, one goes, another comes by a change, one is none of it.
    staff.create_product(json!({ "sku": "C", "stock": 1 })).await;
    let delete = "mutation($id: ID!) { deleteProduct(by: { id: $id }) { deletedId } }";
    staff.data(delete, json!({ "id": made[0]["id"] })).await;
    made.push(staff.create_product(json!({ "sku": "D", "stock": 0 })).await);
    for server in [&one, &two] {
        assert_eq!(count(server).await, (json!(2), json!(2), 0));
    }
    let update = "mutation($id: ID!) { updateProduct(by: { id: $id }, patch: { stock: 5 }) { errors { __typename } } }";
    staff.data(update, json!({ "id": made[2]["id"] })).await;
    for server in [&one, &two] {
        assert_eq!(count(server).await, (json!(3), json!(3), 0));
    }
    staff.create_product(json!({ "sku": "E", "stock": 1 })).await;
    for server in [&one, &two] {
        assert_eq!(count(server).await, (json!(4), json!(3), 0));
    }
    // How many more there are than were counted is not known, but that there are.
    made.push(staff.create_product(json!({ "sku": "F", "stock": 1 })).await);
    staff.data(delete, json!({ "id": made[3]["id"] })).await;
    for server in [&one, &two] {
        assert_eq!(count(server).await, (json!(4), json!(3), 0));
    }
    staff.data(delete, json!({ "id": made[1]["id"] })).await;
    for server in [&one, &two] {
        assert_eq!(count(server).await, (json!(3), json!(3), 1));
    }
}

/// A figure of a server's metrics; nothing yet is 0.
async fn metric(server: &Server, name: &str) -> u64 {
    let text = reqwest::get(format!("http://127.0.0.1:{}/metrics", server.port)).await.unwrap().text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_reads_and_writes_on_two_instances_none_is_stale() {
    const WRITERS: usize = 4;
    const WRITES_EACH: i64 = 625;
    const READERS: usize = 4;
    const READS: u64 = 7_500;
    let (redis, database) = (servers().redis_url(), TestDatabase::create().await);
    let key = signing_key();
    let flags = instance_flags(&database, &redis, &key);
    let instances = [Server::start(&flags), Server::start(&flags)];
    let staff = sign_in(&instances[0], &database, &redis).await;
    for writer in 0..WRITERS {
        staff.create_product(json!({ "sku": format!("HOT-{writer}"), "stock": 0 })).await;
    }

    // Of each writer's product, the stock that its last acknowledged write left.
    let acknowledged: Arc<[AtomicI64; WRITERS]> = Arc::default();
    let reads = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for reader in 0..READERS {
        let (acknowledged, reads) = (Arc::clone(&acknowledged), Arc::clone(&reads));
        let client = instances[reader % 2].client();
        tasks.push(tokio::spawn(async move {
            let owed = || std::array::from_fn::<_, WRITERS, _>(|writer| acknowledged[writer].load(Ordering::SeqCst));
            let mut seen_before = [0; WRITERS];
            while owed() != [WRITES_EACH; WRITERS] || reads.load(Ordering::SeqCst) < READS {
                let owed = owed();
                let query = "{ products(sortBy: [{ field: NAME }]) { nodes { sku stock { available } } } }";
                let data = client.data(query, json!({})).await;
                for node in data["products"]["nodes"].as_array().unwrap() {
                    let writer: usize = node["sku"].as_str().unwrap()[4..].parse().unwrap();
                    let seen = node["stock"]["available"].as_i64().unwrap();
                    assert!(seen >= owed[writer], "{} was acknowledged, {seen} was read", owed[writer]);
                    assert!(seen >= seen_before[writer], "{} was read before {seen}", seen_before[writer]);
                    seen_before[writer] = seen;
                }
                reads.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    for writer in 0..WRITERS {
        let acknowledged = Arc::clone(&acknowledged);
        let urls = [instances[0].client().url, instances[1].client().url];
        let staff = staff.clone();
        tasks.push(tokio::spawn(async move {
            let adjust = "mutation($sku: String!) { adjustStock(by: { sku: $sku }, delta: 1) { product { stock { available } } } }";
            for write in 1..=WRITES_EACH {
                let url = urls[usize::try_from(write).unwrap() % 2].clone();
                let data = Client { url, ..staff.clone() }.data(adjust, json!({ "sku": format!("HOT-{writer}") })).await;
                assert_eq!(data["adjustStock"]["product"]["stock"]["available"], write);
                acknowledged[writer].store(write, Ordering::SeqCst);
            }
        }));
    }
    // The writers first: readers go on until they are done.
    for task in tasks.into_iter().rev() {
        task.await.unwrap();
    }
    let (reads, mut cached, mut whole) = (reads.load(Ordering::SeqCst), 0, 0);
    for server in &instances {
        whole += metric(server, "stockroom_responses_total{from=\"kept\"}").await;
        for decision in ["memory", "redis", "joined"] {
            cached +=
                metric(server, &format!("stockroom_cache_total{{region=\"products\",decision=\"{decision}\"}}")).await;
        }
    }
    println!(
        "{} writes, {reads} reads, {whole} of them kept whole, {cached} made from a cache, none stale",
        WRITES_EACH * 4
    );
    assert!(reads >= READS && cached + whole > 100 && whole > 0, "{reads} reads, {whole} whole, {cached} from a cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_under_a_key_in_redis_no_answer_is_wrong() {
    let redis = servers().redis_url();
    let server = TestServer::start_with(&["--redis-url", &redis]).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "name": "True" })).await;
    let mut connection = redis::Client::open(redis.clone()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let query = "query($n: Int!) { products(first: $n) { nodes { name } } }";
    staff.data(query, json!({ "n": 1 })).await;
    let pattern = format!("{}:[0-9a-f]*:products:*", server.database.name);
    let mut keys: Vec<String> = Vec::new();
    for _ in 0..200 {
        keys = redis::cmd("KEYS").arg(&pattern).query_async(&mut connection).await.unwrap();
        if !keys.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let value: Vec<u8> = redis::cmd("GET").arg(&keys[0]).query_async(&mut connection).await.unwrap();
    let ttl: i64 = redis::cmd("PTTL").arg(&keys[0]).query_async(&mut connection).await.unwrap();
    assert!((50_000..=60_000).contains(&ttl), "{ttl}");
    assert!(value.len() < 600, "a page of one product takes {} bytes", value.len());
    let flipped = |place: usize| {
        let mut value = value.clone();
        value[place] ^= 1;
        value
    };
    let mut garbage: Vec<Vec<u8>> =
        vec![Vec::new(), b"x".to_vec(), value[..value.len() - 1].to_vec(), vec![0; 2_000_000]];
    garbage.extend((0..value.len()).step_by(7).map(flipped));
    for bad in garbage {
        let () = redis::cmd("SET").arg(&keys[0]).arg(&bad).query_async(&mut connection).await.unwrap();
        // Another instance: nothing in process, the same prefix and history.
        let other = server.another(&["--redis-url", &redis]).await;
        let data = other.anonymous().data(query, json!({ "n": 1 })).await;
        assert_eq!(data["products"]["nodes"], json!([{ "name": "True" }]));
    }
    // Another question's entry, moved here.
    staff.data(query, json!({ "n": 2 })).await;
    let () = redis::cmd("DEL").arg(&keys[0]).query_async(&mut connection).await.unwrap();
    let () = redis::cmd("RPUSH").arg(&keys[0]).arg("a list").query_async(&mut connection).await.unwrap();
    let other = server.another(&["--redis-url", &redis]).await;
    assert_eq!(
        other.anonymous().data(query, json!({ "n": 1 })).await["products"]["nodes"],
        json!([{ "name": "True" }])
    );
}

/// Reads a list without pause while `fault` happens, beside writes; every one succeeds, and the slowest is told.
async fn under_load(flags: &[&str], fault: impl AsyncFnOnce(&RedisServer)) -> Duration {
    let redis = RedisServer::start();
    let url = redis.url();
    let server = TestServer::start_with(&[flags, &["--redis-url", &url]].concat()).await;
    let staff = server.signed_in(Role::Staff).await;
    let product = staff.create_product(json!({ "stock": 0 })).await;
    let going = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let readers: Vec<_> = (0..4_i32)
        .map(|reader| {
            let (client, going) = (server.anonymous(), Arc::clone(&going));
            tokio::spawn(async move {
                let (mut slowest, mut number) = (Duration::ZERO, 0);
                while going.load(Ordering::Relaxed) {
                    number += 1;
                    let started = Instant::now();
                    // A new question each time, so that each asks Redis.
                    let offset = reader * 2_000 + number % 2_000;
                    let query = format!("{{ products(offset: {offset}) {{ nodes {{ id }} }} service {{ version }} }}");
                    client.data(&query, json!({})).await;
                    slowest = slowest.max(started.elapsed());
                }
                slowest
            })
        })
        .collect();
    let adjust = "mutation($by: ProductKey!) { adjustStock(by: $by, delta: 1) { product { stock { available } } } }";
    let seen = "query($by: ProductKey!) { product(by: $by) { stock { available } } }";
    let by = json!({ "by": { "sku": product["sku"] } });
    let write_and_look = async |rounds: i64, from: i64| {
        for round in 0..rounds {
            staff.data(adjust, by.clone()).await;
            let data: Value = staff.data(seen, by.clone()).await;
            assert_eq!(data["product"]["stock"]["available"], from + round + 1);
        }
    };
    write_and_look(20, 0).await;
    fault(&redis).await;
    write_and_look(40, 20).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    going.store(false, Ordering::Relaxed);
    let mut slowest = Duration::ZERO;
    for reader in readers {
        slowest = slowest.max(reader.await.unwrap());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_under_load_fails_no_request_and_is_used_again_when_it_is_back() {
    let slowest = under_load(&[], async |redis| {
        redis.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
    })
    .await;
    println!("killed: the slowest request took {slowest:?}");
    let redis = RedisServer::start();
    let server = TestServer::start_with(&["--redis-url", &redis.url()]).await;
    let keys = async || {
        let mut connection =
            redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        redis::cmd("DBSIZE").query_async::<u64>(&mut connection).await.unwrap()
    };
    let number = AtomicU64::new(0);
    let ask = async || {
        let query = format!("{{ products(offset: {}) {{ nodes {{ id }} }} }}", number.fetch_add(1, Ordering::Relaxed));
        server.anonymous().data(&query, json!({})).await
    };
    ask().await;
    redis.kill();
    ask().await;
    redis.start_again();
    crate::support::eventually("entries are kept again", async || {
        ask().await;
        keys().await > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_frozen_under_load_fails_no_request_and_delays_none_for_long() {
    let slowest = under_load(&[], async |redis| {
        redis.signal("STOP");
        tokio::time::sleep(Duration::from_secs(2)).await;
        redis.signal("CONT");
    })
    .await;
    println!("frozen: the slowest request took {slowest:?}");
    // Far above what is promised, far below what a pool's own patience would take: the machine may be busy.
    assert!(slowest < Duration::from_secs(1), "the slowest request took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_flushed_under_load_fails_no_request_and_makes_none_stale() {
    let slowest = under_load(&[], async |redis| {
        for _ in 0..20 {
            redis.flush().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    println!("flushed: the slowest request took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_who_miss_the_same_ask_the_database_once() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "name": "One" })).await;
    let before = server.core.infra.db.statements();
    let asked = (0..1_000).map(|_| {
        let client = server.anonymous();
        tokio::spawn(async move { client.data("{ products { nodes { name } } }", json!({})).await })
    });
    for one in asked.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap()["products"]["nodes"], json!([{ "name": "One" }]));
    }
    assert_eq!(server.core.infra.db.statements() - before, 1);
    // The others waited for that one before they were executed.
    let executed = server.core.infra.metrics.responses.get_or_create(&[("from", "resolvers")]).get();
    assert!(executed <= 10, "{executed} of a thousand were executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_freshness_reads_the_register_less_and_is_bounded() {
    let server = TestServer::start_with(&["--freshness", "bounded:300ms"]).await;
    let staff = server.signed_in(Role::Staff).await;
    let query = "{ products { totalCount } }";
    staff.data(query, json!({})).await;
    let before = server.core.infra.metrics.gate_reads.get();
    for _ in 0..50 {
        staff.data(query, json!({})).await;
    }
    let reads = server.core.infra.metrics.gate_reads.get() - before;
    assert!(reads < 25, "{reads} SELECTs of the register for 50 reads");
    staff.create_product(json!({})).await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(staff.data(query, json!({})).await["products"]["totalCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_instances_that_miss_the_same_at_once_one_asks_the_database() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "name": "One" })).await;
    let redis = servers().redis_url();
    let flags = ["--redis-url", &redis, "--redis-timeout", "1s"];
    let instances = [server.another(&flags).await, server.another(&flags).await, server.another(&flags).await];
    let statements = || instances.iter().map(|instance| instance.core.infra.db.statements()).sum::<u64>();
    let mut holder = server.database.connect().await;
    // They wait for each other a tenth of a second; a machine that stands still for so long has another chance.
    for first in 1..=5 {
        let before = statements();
        // Held, so that all of them miss before one finds anything.
        let held = holder.transaction().await.unwrap();
        held.batch_execute("LOCK TABLE products").await.unwrap();
        let asked = instances.iter().map(|instance| {
            let client = instance.anonymous();
            let query = "query($first: Int) { products(first: $first) { nodes { name } } }";
            tokio::spawn(async move { client.data(query, json!({ "first": first })).await })
        });
        let asked: Vec<_> = asked.collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        held.rollback().await.unwrap();
        for one in asked {
            assert_eq!(one.await.unwrap()["products"]["nodes"], json!([{ "name": "One" }]));
        }
        if statements() - before == 1 {
            return;
        }
    }
    panic!("each of them asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_list_within_a_category_waits_for_the_register_once() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let create = "mutation { createCategory(input: { name: \"Chairs\" }) { category { id } } }";
    let category = staff.data(create, json!({})).await["createCategory"]["category"]["id"].take();
    staff.create_product(json!({ "name": "Stool", "categoryId": category })).await;
    let waits = || -> u64 {
        let figures = server.core.infra.figures();
        let count = figures.lines().find_map(|line| line.strip_prefix("stockroom_gate_seconds_count "));
        count.and_then(|count| count.trim().parse().ok()).unwrap()
    };
    let list = "query($in: ID!) { products(filter: { category: { eq: $in } }) { totalCount nodes { name category { name } } } }";
    let before = waits();
    let data = server.anonymous().data(list, json!({ "in": category })).await;
    assert_eq!(data["products"]["nodes"], json!([{ "name": "Stool", "category": { "name": "Chairs" } }]));
    assert_eq!(waits() - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_asked_for_at_once_share_a_connection_and_a_search_has_its_own() {
    let flags = ["--database-pool-size", "1", "--database-wait", "30s", "--statement-timeout", "1m"];
    let server = TestServer::start_with(&[&flags[..], &["--request-timeout", "1m"]].concat()).await;
    let staff = server.signed_in(Role::Staff).await;
    staff.create_product(json!({ "name": "One" })).await;
    let ask = |first: i64, search: Option<&'static str>| {
        let client = server.anonymous();
        let query =
            "query($first: Int, $search: String) { products(first: $first, search: $search) { nodes { name } } }";
        tokio::spawn(async move { client.send(query, json!({ "first": first, "search": search })).await })
    };
    // The statement is known to the connection from now on.
    ask(100, None).await.unwrap();
    let (mut holder, watcher) = (server.database.connect().await, server.database.connect().await);
    let waiting = "datname = current_database() AND wait_event_type = 'Lock'";
    let statements = || server.core.infra.db.statements();
    // They may join for a tenth of a second; a machine that stands still for so long has another chance.
    for attempt in 0..5 {
        let held = holder.transaction().await.unwrap();
        held.batch_execute("LOCK TABLE products").await.unwrap();
        let before = statements();
        let lists: Vec<_> = (1..=16).map(|first| ask(attempt * 16 + first, None)).collect();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if statements() - before == 16 {
                break;
            }
        }
        let search = ask(1 + attempt, Some("one"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let have_joined = statements() - before;
        let (count, cancelled): (i64, i64) = {
            let ask = format!(
                "SELECT count(*), count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity WHERE {waiting}"
            );
            let row = watcher.query_one(&ask, &[]).await.unwrap();
            (row.get(0), row.get(1))
        };
        assert_eq!((count, cancelled), (1, 1), "there is but one connection");
        eventually("the next waits", async || {
            let ask = format!("SELECT count(*) FROM pg_stat_activity WHERE {waiting}");
            watcher.query_one(&ask, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        held.rollback().await.unwrap();
        let (mut answered, mut failed) = (0, 0);
        for list in lists {
            let answer = list.await.unwrap();
            match answer["errors"].is_null() {
                true => answered += u64::from(answer["data"]["products"]["nodes"] == json!([{ "name": "One" }])),
                false => failed += 1,
            }
        }
        // Whoever's statement was cancelled is told, and nobody else.
        assert_eq!((answered, failed), (15, 1));
        assert_eq!(search.await.unwrap()["data"]["products"]["nodes"], json!([{ "name": "One" }]));
        if have_joined == 16 {
            return;
        }
    }
    panic!("they waited for each other");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_use_is_made_anew_before_it_ends() {
    let ttl = Duration::from_secs(3);
    let server = TestServer::start_with(&["--cache-ttl", "3s", "--response-memory-mib", "0"]).await;
    let client = server.anonymous();
    let asked = async || {
        client.data("{ products { nodes { name } } }", json!({})).await;
        let metrics = server.core.infra.figures();
        let count = |decision: &str| -> u64 {
            let name = format!("stockroom_cache_total{{region=\"products\",decision=\"{decision}\"}}");
            metrics.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok()).unwrap_or(0)
        };
        (count("database"), count("renewed"))
    };
    // Asked often enough, nobody waits; a machine that stands still at the wrong moment has another chance.
    for _ in 0..5 {
        let (waited, renewed) = asked().await;
        let begun = std::time::Instant::now();
        while begun.elapsed() < ttl + ttl / 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            asked().await;
        }
        let (waits, renewals) = asked().await;
        if (waits, renewals > renewed) == (waited, true) {
            return;
        }
    }
    panic!("each time somebody waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_searches_that_nobody_repeats_leaves_in_memory_what_many_ask_for() {
    // So little memory that what is asked once would fill it many times.
    let flags = ["--cache-memory-mib", "1", "--response-memory-mib", "1", "--rate-limit", "off"];
    let server = TestServer::start_with(&flags).await;
    seed_categories(&server.core).await.unwrap();
    seed_products(&server.core, 0..300, None).await.unwrap();
    let query = "query($search: String, $offset: Int) { products(first: 20, search: $search, offset: $offset) {
        totalCount nodes { sku slug name description price { amount } category { name path } } } }";
    let client = server.anonymous();
    let kept = server.core.infra.metrics.responses.get_or_create_owned(&[("from", "kept")]);
    let honest = async |page: usize| client.data(query, json!({ "offset": page * 10 })).await;
    for page in (0..10).cycle().take(50) {
        honest(page).await;
    }
    let flooded = Arc::new(AtomicUsize::new(0));
    let flood = (0..4).map(|_| {
        let (client, flooded) = (client.clone(), Arc::clone(&flooded));
        tokio::spawn(async move {
            loop {
                let number = flooded.fetch_add(1, Ordering::Relaxed);
                client.data(query, json!({ "search": format!("oak {number}") })).await;
            }
        })
    });
    let flood: Vec<_> = flood.collect();
    let (before, mut asked) = (kept.get(), 0);
    while asked < 200 || flooded.load(Ordering::Relaxed) < SEARCHES {
        honest(asked % 10).await;
        asked += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    flood.iter().for_each(tokio::task::JoinHandle::abort);
    let hits = usize::try_from(kept.get() - before).unwrap();
    assert!(hits * 10 >= asked * 9, "{hits} of {asked} were remembered, beside {flooded:?} searches");
}
