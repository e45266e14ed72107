//! What the steps of one request cost, without HTTP and without a database: `cargo bench --bench steps`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what cannot be built cannot be measured")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;

use async_graphql::{Request, Response, Value, Variables};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::json;
use stockroom::config::Settings;
use stockroom::domain::catalog::category::{Category, Tree};
use stockroom::domain::catalog::demo;
use stockroom::domain::catalog::filter::{Filter, Test};
use stockroom::domain::catalog::list::{Direction, Found, ListDraft, SortField};
use stockroom::domain::catalog::model::Product;
use stockroom::domain::catalog::touch::Interest;
use stockroom::domain::changes::{Dependencies, Entity, Log, Noted, Subject};
use stockroom::domain::entry;
use stockroom::domain::ids::CategoryId;
use stockroom::domain::page::{Page, Window};
use stockroom::graphql::error::{Audience, response_body};
use stockroom::graphql::facts::Facts;
use stockroom::transport::admission::{Admitted, admit};

const LIST: &str = "query List($category: ID!, $sort: [ProductSort!], $after: String) {
  products(first: 20, after: $after, filter: { category: { eq: $category } }, sortBy: $sort) {
    totalCount pageInfo { hasNextPage endCursor } nodes {
      id version sku slug name price { amount currency } stock { available } rating tags createdAt
      category { id name slug } } } }";
const CHANGES: i64 = 1_000;

fn product(number: u64) -> Product {
    serde_json::from_value(serde_json::to_value(demo::product(number, None).unwrap()).unwrap()).unwrap()
}

/// Twenty-one products, as a page and whether there is more are read.
fn found() -> Vec<Found> {
    (0..21).map(|number| Found { product: product(number), distance: 0.0 }).collect()
}

fn request() -> Request {
    let variables = json!({ "category": "Q2F0ZWdvcnk6MDE5YTAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAw",
        "sort": [{ "field": "PRICE", "direction": "ASC" }] });
    Request::new(LIST).variables(Variables::from_json(variables))
}

fn category(id: CategoryId) -> Category {
    let at = product(0).created_at;
    let (name, slug) = ("Chairs".to_owned(), "chairs".to_owned());
    Category { id, parent_id: None, slug, name, position: 0, created_at: at, updated_at: at }
}

fn draft(rows: &[Found]) -> ListDraft {
    let categories: BTreeSet<_> = rows.iter().filter_map(|found| found.product.category_id).take(1).collect();
    let either = Filter::Any(vec![
        Filter::Is(Test::TagsAny(["sale".to_owned(), "oak".to_owned()].into())),
        Filter::Not(Box::new(Filter::Is(Test::StockAtLeast(10)))),
    ]);
    ListDraft {
        search: None,
        filter: Filter::All(vec![
            Filter::Is(Test::Category(categories)),
            Filter::Is(Test::Currency("EUR".to_owned())),
            Filter::Is(Test::PriceAtLeast(1_000)),
            either,
        ]),
        sort: vec![(SortField::Price, Direction::Ascending)],
        all_states: false,
    }
}

fn steps(criterion: &mut Criterion) {
    let (facts, settings) = (Facts::read().unwrap(), Settings::from_flags(&[]).unwrap());
    let admitted = |request: &mut Request, known| -> Admitted {
        admit(request, known, false, &facts, &settings.limits, &mut 0).unwrap_or_else(|_| unreachable!())
    };
    criterion.bench_function("admission/new document", |bench| {
        bench.iter_batched_ref(request, |request| admitted(request, None).estimate.cost, BatchSize::SmallInput);
    });
    let Admitted { document, shape, .. } = admitted(&mut request(), None);
    criterion.bench_function("admission/known document", |bench| {
        let known = || Some(Arc::clone(&document));
        bench.iter_batched_ref(request, |request| admitted(request, known()).question, BatchSize::SmallInput);
    });

    let rows = found();
    criterion.bench_function("canonical list", |bench| {
        bench.iter_batched(|| draft(&rows), |draft| draft.check().unwrap(), BatchSize::SmallInput);
    });

    let list = draft(&rows).check().unwrap();
    let window = Window { size: 20, backward: false, after: None, before: None, offset: 0 };
    let tree = Tree::from(vec![category(rows[0].product.category_id.unwrap())]);
    let dependencies = Dependencies::on(Interest::page(&list, &window, &rows, &tree));
    let mut log = Log::starting_at(0);
    for version in 1..=CHANGES {
        // Of products that the list does not have.
        let before = product(1_000 + version.unsigned_abs());
        let after = Product { stock: before.stock + 1, price_currency: "USD".to_owned(), ..before.clone() };
        let before = Product { price_currency: "USD".to_owned(), ..before };
        let change = Noted::new(version, Entity::Product, Some(after.id.0));
        log.append(change.with_sight(Product::sight(Some(&before), Some(&after))));
    }
    assert!(log.untouched(&dependencies, 0), "all of them are looked at");
    criterion.bench_function("touch/1000 changes on a page", |bench| {
        bench.iter(|| log.untouched(black_box(&dependencies), 0));
    });

    let page = window.page(rows);
    let bytes = entry::encode("products", 7, 1, &dependencies, &page).unwrap();
    criterion.bench_function("entry/encode 20 products", |bench| {
        bench.iter(|| entry::encode("products", 7, 1, black_box(&dependencies), black_box(&page)).unwrap());
    });
    criterion.bench_function("entry/decode 20 products", |bench| {
        bench.iter(|| entry::decode::<Page<Found>>("products", 7, black_box(&bytes)).unwrap());
    });

    let nodes: Vec<_> = page.items.iter().map(|found| node(&found.product)).collect();
    let data = json!({ "products": { "totalCount": 812, "pageInfo": { "hasNextPage": true, "endCursor": "AYM" },
        "nodes": nodes } });
    let data = Value::from_json(data).unwrap();
    let audience = Audience { max_errors: 10, suggestions: false };
    criterion.bench_function("response/shaped, weighed and written", |bench| {
        let answer = || Response::new(data.clone());
        let write = |response: &mut Response| {
            shape.repair(&mut response.data, &response.errors);
            (shape.cost(&response.data), response_body(response, false, None, audience, ""))
        };
        bench.iter_batched_ref(answer, write, BatchSize::SmallInput);
    });
}

/// As the API shows it.
fn node(product: &Product) -> serde_json::Value {
    json!({
        "id": product.id, "version": product.version, "sku": product.sku, "slug": product.slug, "name": product.name,
        "price": { "amount": product.price_amount.to_string(), "currency": product.price_currency },
        "stock": { "available": product.stock }, "rating": product.rating, "tags": product.tags,
        "createdAt": product.created_at,
        "category": { "id": product.category_id, "name": "Chairs", "slug": "chairs" },
    })
}

criterion_group!(all, steps);
criterion_main!(all);
