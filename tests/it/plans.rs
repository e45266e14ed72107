//! How PostgreSQL finds what is asked for: through an index that has it in order, however deep in the list it is.

use serde_json::{Value, json};
use stockroom::domain::catalog::commands::{seed_categories, seed_products};

use crate::support::TestServer;

/// Rows that a page of 20 may make PostgreSQL look at: those of the page, and some that nobody may see.
const MOST: i64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reads_about_as_many_rows_as_it_shows_however_deep_it_lies() {
    let server = TestServer::start_with(&["--statement-timeout", "1m", "--request-timeout", "1m"]).await;
    seed_categories(&server.core).await.unwrap();
    for batch in 0..8 {
        seed_products(&server.core, batch * 1_000..(batch + 1) * 1_000, None).await.unwrap();
    }
    let database = server.database.connect().await;
    database.batch_execute("VACUUM ANALYZE products").await.unwrap();
    let client = server.anonymous();
    let data = client.data("{ categories { children { id } } }", json!({})).await;
    let shelf = json!({ "category": { "eq": data["categories"][0]["children"][0]["id"] } });
    let page = "query($filter: ProductFilter, $sortBy: [ProductSort!], $after: String, $offset: Int) {
        products(first: 20, filter: $filter, sortBy: $sortBy, after: $after, offset: $offset) {
            pageInfo { endCursor } nodes { id } } }";
    let mut asked = Vec::new();
    for (filter, field, direction, is_deep) in [
        (&Value::Null, "CREATED_AT", "DESC", true),
        (&Value::Null, "NAME", "ASC", true),
        (&Value::Null, "NAME", "DESC", true),
        (&Value::Null, "PRICE", "ASC", true),
        (&Value::Null, "RATING", "ASC", false),
        (&Value::Null, "RATING", "DESC", false),
        (&shelf, "CREATED_AT", "DESC", true),
        (&shelf, "CREATED_AT", "ASC", true),
        (&shelf, "NAME", "ASC", true),
        (&shelf, "PRICE", "DESC", true),
    ] {
        let sort = json!([{ "field": field, "direction": direction }]);
        let mut variables = json!({ "filter": filter, "sortBy": sort });
        if is_deep {
            let before = json!({ "filter": filter, "sortBy": sort, "offset": 300 });
            variables["after"] = client.data(page, before).await["products"]["pageInfo"]["endCursor"].clone();
        }
        asked.push(variables);
    }
    let before = rows_read(&database).await;
    for variables in &asked {
        let data = client.data(page, variables.clone()).await;
        assert_eq!(data["products"]["nodes"].as_array().unwrap().len(), 20, "{variables}");
    }
    let read = rows_read(&database).await - before;
    let pages = i64::try_from(asked.len()).unwrap();
    assert!((20 * pages..=MOST * pages).contains(&read), "{read} rows were read for {pages} pages");
}

/// Rows of products that were read so far, once everybody has told.
async fn rows_read(database: &tokio_postgres::Client) -> i64 {
    let told = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
        WHERE relname = 'products'";
    let (mut last, mut still) = (-1, 0);
    // An idle process of PostgreSQL tells what it did after ten seconds.
    while still < 110 {
        let now: i64 = database.query_one(told, &[]).await.unwrap().get(0);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    last
}
