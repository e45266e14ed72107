//! Pages: whichever way one walks, the pages of a list are the list.

use std::cmp::Ordering;

use serde_json::{Value, json};
use stockroom::domain::accounts::Role;

use crate::support::{Client, TestServer};

const PAGE: &str = "query($first: Int, $after: String, $last: Int, $before: String, $offset: Int, $sortBy: [ProductSort!],
        $filter: ProductFilter, $search: String) {
    products(first: $first, after: $after, last: $last, before: $before, offset: $offset, sortBy: $sortBy,
             filter: $filter, search: $search) {
        edges { cursor score node { sku name stock { available } rating price { amount currency } createdAt updatedAt id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

/// Numbers that are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Products with many equal values, and none at all, in every sort column.
async fn fill(staff: &Client, count: u32, numbers: &mut Numbers) {
    for number in 0..count {
        let names = ["Élan", "elan", "ELAN 2", "Zebra", "apple"];
        let (currency, amount) =
            [("EUR", "1.00"), ("EUR", "2.50"), ("JPY", "100"), ("USD", "1.00")][number as usize % 4];
        let rating =
            [json!(null), json!(1.5), json!(3.0), json!(3.1)][usize::try_from(numbers.below(4)).unwrap()].clone();
        staff
            .create_product(json!({
                "sku": format!("P-{number}"),
                "name": names[usize::try_from(numbers.below(5)).unwrap()],
                "stock": numbers.below(3),
                "price": { "amount": amount, "currency": currency },
                "rating": rating,
            }))
            .await;
    }
}

async fn page(client: &Client, variables: Value) -> Value {
    client.data(PAGE, variables).await["products"].take()
}

fn merged(base: &Value, more: Value) -> Value {
    let mut merged = base.clone();
    merged.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    merged
}

fn skus(page: &Value) -> Vec<String> {
    let edges = page["edges"].as_array().unwrap();
    edges.iter().map(|edge| edge["node"]["sku"].as_str().unwrap().to_owned()).collect()
}

/// The list, page by page from its start.
async fn walk_forwards(client: &Client, list: &Value, size: u64) -> Vec<String> {
    let (mut walked, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = page(client, merged(list, json!({ "first": size, "after": after }))).await;
        assert_eq!(page["pageInfo"]["hasPreviousPage"], json!(!after.is_null()));
        walked.extend(skus(&page));
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            return walked;
        }
    }
}

/// The list, page by page from its end.
async fn walk_backwards(client: &Client, list: &Value, size: u64) -> Vec<String> {
    let (mut walked, mut before) = (Vec::new(), Value::Null);
    loop {
        let page = page(client, merged(list, json!({ "last": size, "before": before }))).await;
        assert_eq!(page["pageInfo"]["hasNextPage"], json!(!before.is_null()));
        let mut earlier = skus(&page);
        earlier.extend(walked);
        walked = earlier;
        before = page["pageInfo"]["startCursor"].clone();
        if page["pageInfo"]["hasPreviousPage"] == false {
            return walked;
        }
    }
}

/// How two products compare by a field; what has no value comes last whichever the direction.
fn compare(field: &str, ascending: bool, left: &Value, right: &Value) -> Ordering {
    let directed = |order: Ordering| if ascending { order } else { order.reverse() };
    let text = |product: &Value, name: &str| product[name].as_str().unwrap().to_owned();
    let key = |product: &Value| stockroom::domain::text::sort_key(product["name"].as_str().unwrap());
    let price = |product: &Value| {
        let digits: u64 = product["price"]["amount"].as_str().unwrap().replace('.', "").parse().unwrap();
        (product["price"]["currency"].as_str().unwrap().to_owned(), digits)
    };
    match field {
        "NAME" => directed(key(left).cmp(&key(right))),
        "PRICE" => directed(price(left).cmp(&price(right))),
        "STOCK" => directed(left["stock"]["available"].as_i64().cmp(&right["stock"]["available"].as_i64())),
        "CREATED_AT" => directed(text(left, "createdAt").cmp(&text(right, "createdAt"))),
        "UPDATED_AT" => directed(text(left, "updatedAt").cmp(&text(right, "updatedAt"))),
        "RATING" => match (left["rating"].as_f64(), right["rating"].as_f64()) {
            (Some(left), Some(right)) => directed(left.total_cmp(&right)),
            (left, right) => right.is_some().cmp(&left.is_some()),
        },
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_of_every_sort_in_both_directions_are_the_sorted_list() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let mut numbers = Numbers(7);
    fill(&staff, 37, &mut numbers).await;
    let anonymous = server.anonymous();
    let all = page(&anonymous, json!({ "first": 100 })).await;
    let products: Vec<Value> = all["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone()).collect();
    assert_eq!(products.len(), 37);

    let fields = ["NAME", "PRICE", "STOCK", "RATING", "CREATED_AT", "UPDATED_AT"];
    let mut sorts: Vec<Vec<(&str, bool)>> = Vec::new();
    for field in fields {
        sorts.extend([vec![(field, true)], vec![(field, false)]]);
    }
    for _ in 0..12 {
        let count = 2 + numbers.below(2);
        sorts.push(
            (0..count).map(|_| (fields[usize::try_from(numbers.below(6)).unwrap()], numbers.below(2) == 0)).collect(),
        );
    }
    for sort in sorts {
        let sort_by: Vec<_> = sort
            .iter()
            .map(|(field, ascending)| json!({ "field": field, "direction": if *ascending { "ASC" } else { "DESC" } }))
            .collect();
        let list = json!({ "sortBy": sort_by });
        let mut expected = products.clone();
        // UUIDs of version 7 end every sort, in the direction of its last key; their order is that of their making.
        let made = |product: &Value| product["sku"].as_str().unwrap()[2..].parse::<u32>().unwrap();
        let id_ascending = sort.last().unwrap().1;
        expected.sort_by(|left, right| {
            let by_keys = sort.iter().map(|(field, ascending)| compare(field, *ascending, left, right));
            let by_id = made(left).cmp(&made(right));
            by_keys.fold(Ordering::Equal, Ordering::then).then(if id_ascending { by_id } else { by_id.reverse() })
        });
        let expected: Vec<_> = expected.iter().map(|product| product["sku"].as_str().unwrap().to_owned()).collect();
        let size = 1 + numbers.below(16);
        assert_eq!(walk_forwards(&anonymous, &list, size).await, expected, "{sort:?} by {size}");
        assert_eq!(walk_backwards(&anonymous, &list, size).await, expected, "{sort:?} by {size}, backwards");
        let offset = numbers.below(37);
        let numbered = page(&anonymous, merged(&list, json!({ "first": 5, "offset": offset }))).await;
        let start = usize::try_from(offset).unwrap();
        assert_eq!(skus(&numbered), expected[start..(start + 5).min(37)], "{sort:?} from {offset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_of_a_search_are_the_ranked_list() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let mut numbers = Numbers(3);
    fill(&staff, 30, &mut numbers).await;
    for (sku, name) in [("ELAN", "Lamp"), ("elan", "Chair"), ("ELAN-1", "Lamp"), ("X-1", "Elands"), ("X-2", "Ealan")] {
        staff.create_product(json!({ "sku": sku, "name": name })).await;
    }
    let anonymous = server.anonymous();
    let mut scores = Vec::new();
    for sort in [
        json!([]),
        json!([{ "field": "RELEVANCE", "direction": "DESC" }]),
        json!([{ "field": "RELEVANCE" }, { "field": "RATING", "direction": "DESC" }]),
        json!([{ "field": "RELEVANCE" }, { "field": "NAME" }, { "field": "PRICE", "direction": "DESC" }]),
        json!([{ "field": "PRICE" }]),
        json!([{ "field": "STOCK", "direction": "DESC" }, { "field": "NAME" }]),
    ] {
        let list = json!({ "search": "elan", "sortBy": sort });
        let whole = page(&anonymous, merged(&list, json!({ "first": 100 }))).await;
        let edges = whole["edges"].as_array().unwrap();
        let in_order = |left: &Value, right: &Value| {
            let fields = sort.as_array().unwrap().iter().map(|by| {
                let ascending = by["direction"] != "DESC";
                match by["field"].as_str().unwrap() {
                    "RELEVANCE" if ascending => right["score"].as_f64().partial_cmp(&left["score"].as_f64()).unwrap(),
                    "RELEVANCE" => left["score"].as_f64().partial_cmp(&right["score"].as_f64()).unwrap(),
                    field => compare(field, ascending, &left["node"], &right["node"]),
                }
            });
            fields.fold(Ordering::Equal, Ordering::then).is_le()
        };
        assert!(edges.is_sorted_by(in_order), "{whole}");
        for size in 1..=4 + numbers.below(8) {
            assert_eq!(walk_forwards(&anonymous, &list, size).await, skus(&whole), "{sort} by {size}");
            assert_eq!(walk_backwards(&anonymous, &list, size).await, skus(&whole), "{sort} by {size}, backwards");
        }
        for offset in 0..edges.len() {
            let numbered = page(&anonymous, merged(&list, json!({ "first": 3, "offset": offset }))).await;
            assert_eq!(skus(&numbered), skus(&whole)[offset..(offset + 3).min(edges.len())], "{sort} from {offset}");
        }
        scores.push(edges.iter().map(|edge| edge["score"].as_f64().unwrap()).collect::<Vec<_>>());
    }
    assert!(scores[0].is_sorted_by(|left, right| left >= right), "{scores:?}");
    for score in [4.0, 3.0, 2.0, 1.0] {
        assert!(scores.iter().all(|list| list.contains(&score)), "{scores:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_meets_everything_that_stays_once_whatever_comes_and_goes() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    fill(&staff, 30, &mut Numbers(11)).await;
    let list = json!({ "sortBy": [{ "field": "NAME" }] });
    let delete = "mutation($by: ProductKey!) { deleteProduct(by: $by) { deletedId } }";
    let (mut walked, mut after, mut round) = (Vec::new(), Value::Null, 0);
    loop {
        let page = page(&staff, merged(&list, json!({ "first": 4, "after": after }))).await;
        walked.extend(skus(&page));
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
        // The product that the cursor was made from goes, and new ones come on both sides of it.
        let latest = walked.last().unwrap().clone();
        if latest.starts_with("P-") {
            staff.data(delete, json!({ "by": { "sku": latest } })).await;
        }
        staff.create_product(json!({ "sku": format!("N-{round}"), "name": "aaa" })).await;
        staff.create_product(json!({ "sku": format!("M-{round}"), "name": "zzz" })).await;
        round += 1;
    }
    let mut old: Vec<_> = walked.iter().filter(|sku| sku.starts_with("P-")).cloned().collect();
    old.sort();
    let met = old.len();
    old.dedup();
    assert_eq!((met, old.len()), (30, 30));
    assert!(round > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_list_or_a_damaged_one_is_refused() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    fill(&staff, 6, &mut Numbers(1)).await;
    let anonymous = server.anonymous();
    let by_name = json!({ "sortBy": [{ "field": "NAME" }] });
    let cursor = page(&anonymous, merged(&by_name, json!({ "first": 2 }))).await["pageInfo"]["endCursor"].take();
    let refused = async |variables: Value| {
        let body = anonymous.send(PAGE, variables).await;
        let error = &body["errors"][0];
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{body}");
        assert_eq!(error["path"], json!(["products"]));
        assert!(error["message"].as_str().unwrap().contains("is not a cursor of this list"), "{body}");
    };
    refused(json!({ "after": cursor })).await;
    refused(json!({ "after": cursor, "sortBy": [{ "field": "NAME", "direction": "DESC" }] })).await;
    refused(merged(&by_name, json!({ "after": cursor, "filter": { "inStock": true } }))).await;
    refused(merged(&by_name, json!({ "after": cursor, "search": "elan" }))).await;
    let text = cursor.as_str().unwrap();
    for place in 0..text.len() {
        let mut damaged = text.to_owned();
        let other = if &damaged[place..=place] == "A" { "B" } else { "A" };
        damaged.replace_range(place..=place, other);
        refused(merged(&by_name, json!({ "after": damaged }))).await;
    }
    for forged in ["", "x", &text[..text.len() - 1], &format!("{text}AAAA"), &"A".repeat(5_000)] {
        refused(merged(&by_name, json!({ "before": forged, "last": 2 }))).await;
    }
    let whole = page(&anonymous, merged(&by_name, json!({ "after": cursor, "first": 100 }))).await;
    assert_eq!(skus(&whole).len(), 4);
}
