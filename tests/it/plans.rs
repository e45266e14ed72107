//! How PostgreSQL finds what is asked for: through an index that has it in order, however deep in the list it is.

use serde_json::{Value, json};
use stockroom::domain::catalog::commands::{seed_categories, seed_products};

use crate::support::TestServer;

/// Rows that a page of 20 may make PostgreSQL look at: those of the page, and some that nobody may see.
const MOST: i64 = 100;
/// The same of a page of a search that does not fill it: what three ways of finding look at first, and what they find.
const MOST_FOUND: i64 = 3 * 2_000 + 1_000;

/// From the sixth time on PostgreSQL may have one plan for all values.
const TIMES: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reads_about_as_many_rows_as_it_shows_however_deep_it_lies() {
    // One connection, which remembers nothing but its plans.
    let flags = ["--database-pool-size", "1", "--cache-ttl", "1ns", "--response-memory-mib", "0"];
    let patient = ["--statement-timeout", "1m", "--request-timeout", "1m"];
    let server = TestServer::start_with(&[&flags[..], &patient].concat()).await;
    seed_categories(&server.core).await.unwrap();
    for batch in 0..products() / 1_000 {
        seed_products(&server.core, batch * 1_000..(batch + 1) * 1_000, None).await.unwrap();
    }
    let database = server.database.connect().await;
    // As most shops have one currency, of which PostgreSQL must not think that nothing lies beyond.
    database.batch_execute("UPDATE products SET price_currency = 'EUR'").await.unwrap();
    database.batch_execute("VACUUM ANALYZE products").await.unwrap();
    let client = server.anonymous();
    let data = client.data("{ categories { children { id } } }", json!({})).await;
    let shelf = json!({ "category": { "eq": data["categories"][0]["children"][0]["id"] } });
    let page = "query($filter: ProductFilter, $sortBy: [ProductSort!], $after: String, $offset: Int, $search: String) {
        products(first: 20, filter: $filter, sortBy: $sortBy, after: $after, offset: $offset, search: $search) {
            pageInfo { endCursor } nodes { id } } }";
    let mut asked = Vec::new();
    for (filter, field, direction) in [
        (&Value::Null, "CREATED_AT", "DESC"),
        (&Value::Null, "NAME", "ASC"),
        (&Value::Null, "NAME", "DESC"),
        (&Value::Null, "PRICE", "ASC"),
        (&Value::Null, "RATING", "ASC"),
        (&Value::Null, "RATING", "DESC"),
        (&Value::Null, "STOCK", "ASC"),
        (&Value::Null, "STOCK", "DESC"),
        (&Value::Null, "UPDATED_AT", "DESC"),
        (&shelf, "CREATED_AT", "DESC"),
        (&shelf, "CREATED_AT", "ASC"),
        (&shelf, "NAME", "ASC"),
        (&shelf, "PRICE", "DESC"),
        (&shelf, "PRICE", "ASC"),
        (&shelf, "STOCK", "ASC"),
        (&shelf, "STOCK", "DESC"),
        (&shelf, "UPDATED_AT", "DESC"),
    ] {
        let sort = json!([{ "field": field, "direction": direction }]);
        let offset = if filter.is_null() { 5_000 } else { 300 };
        let before = json!({ "filter": filter, "sortBy": sort, "offset": offset });
        let after = &client.data(page, before).await["products"]["pageInfo"]["endCursor"];
        asked.push(json!({ "filter": filter, "sortBy": sort, "after": after }));
    }
    let before = read(&database).await;
    for variables in &asked {
        for _ in 0..TIMES {
            let data = client.data(page, variables.clone()).await;
            assert_eq!(data["products"]["nodes"].as_array().unwrap().len(), 20, "{variables}");
        }
    }
    let after = read(&database).await;
    let (rows, pages) = (after.rows - before.rows, i64::try_from(asked.len() * TIMES).unwrap());
    // What was not read was not sorted either.
    assert!((20 * pages..=MOST * pages).contains(&rows), "{rows} rows were read for {pages} pages");
    assert_eq!(after.scans, before.scans, "the table was read as a whole");

    // A word that all have fills a page at once, however deep. Of a million products with what one in two hundred has
    // not all are read and sorted. Words and a part of a SKU that few have do not fill a page, nor do a typo and what
    // nobody has; in a category that is small all of it is looked at.
    let mut before = after;
    for (searches, most) in [
        (vec![("the", &Value::Null, false), ("the", &Value::Null, true)], MOST),
        (vec![("walnut chair", &Value::Null, false)], MOST_FOUND),
        (
            vec![
                ("the", &shelf, true),
                ("ember oak armchair", &Value::Null, false),
                ("arm-00001", &Value::Null, false),
                ("kestral beech chair", &Value::Null, false),
                ("nothing has this name", &Value::Null, false),
            ],
            MOST_FOUND,
        ),
    ] {
        let (mut pages, mut rows_before) = (Vec::new(), 0);
        for (search, filter, is_deep) in &searches {
            let mut variables = json!({ "filter": filter, "search": search });
            if *is_deep {
                let before = json!({ "filter": filter, "search": search, "offset": 300 });
                variables["after"] = client.data(page, before).await["products"]["pageInfo"]["endCursor"].clone();
                // What was passed over was read.
                rows_before += 320;
            }
            client.data(page, variables.clone()).await;
            pages.push(variables);
        }
        let after = read(&database).await;
        let (rows, most) = (after.rows - before.rows, most * i64::try_from(pages.len()).unwrap() + rows_before);
        assert!((0..=most).contains(&rows), "{rows} rows were read for {pages:?}");
        assert_eq!(after.scans, before.scans, "the table was read as a whole for {pages:?}");
        before = after;
    }

    // Of a far larger catalogue the same page is sooner found by looking farther than by the indexes of texts.
    let search = json!({ "search": "walnut chair" });
    let found = client.data(page, search.clone()).await;
    let before = read(&database).await;
    let larger = "UPDATE pg_class SET reltuples = 100000000 WHERE oid = 'products'::regclass";
    database.batch_execute(larger).await.unwrap();
    assert_eq!(client.data(page, search).await, found);
    let rows = read(&database).await.rows - before.rows;
    assert!((2_500..=MOST_FOUND).contains(&rows), "{rows} rows were read");
}

/// Products in the database.
fn products() -> u64 {
    std::env::var("PLANS_PRODUCTS").map_or(8_000, |text| text.parse().unwrap())
}

/// What PostgreSQL did with products.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Read {
    rows: i64,
    /// Scans of the whole table.
    scans: i64,
}

/// What it did so far, once all its processes have told.
async fn read(database: &tokio_postgres::Client) -> Read {
    let told = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0), coalesce(seq_scan, 0)
        FROM pg_stat_user_tables WHERE relname = 'products'";
    let (mut last, mut still) = (Read { rows: -1, scans: -1 }, 0);
    // An idle process of PostgreSQL tells what it did after ten seconds.
    while still < 110 {
        let row = database.query_one(told, &[]).await.unwrap();
        let now = Read { rows: row.get(0), scans: row.get(1) };
        still = if now == last { still + 1 } else { 0 };
        last = now;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    last
}
