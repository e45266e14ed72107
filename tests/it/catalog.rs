//! The catalogue's behaviour, through HTTP.

use serde_json::{Value, json};
use stockroom::domain::accounts::Role;

use crate::support::{CREATE_PRODUCT, TestServer};

const NAMES: &str = "query($filter: ProductFilter, $search: String, $sortBy: [ProductSort!], $first: Int) {
    products(filter: $filter, search: $search, sortBy: $sortBy, first: $first) { nodes { name sku } totalCount } }";

fn names(data: &Value) -> Vec<String> {
    let nodes = data["products"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_product_is_listed_at_once() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let anonymous = server.anonymous();
    // A first look puts the empty page into the cache.
    assert_eq!(names(&anonymous.data(NAMES, json!({})).await), Vec::<String>::new());

    let product = staff.create_product(json!({ "name": "Oak Chair", "stock": 3 })).await;
    assert_eq!(product["slug"], "oak-chair");
    assert_eq!(product["version"], 1);
    assert_eq!(product["stock"], json!({ "available": 3, "state": "LOW_STOCK" }));
    assert_eq!(product["createdBy"], json!({ "name": "A STAFF" }));

    let data = anonymous.data(NAMES, json!({})).await;
    assert_eq!(names(&data), ["Oak Chair"]);
    assert_eq!(data["products"]["totalCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_staff_changes_the_catalogue() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let product = staff.create_product(json!({ "name": "Lamp" })).await;
    let key = json!({ "id": product["id"] });
    let input = json!({ "sku": "X", "name": "X", "price": { "amount": "1", "currency": "EUR" } });
    let some_id = product["id"].clone();
    let attempts = [
        (CREATE_PRODUCT, json!({ "input": input })),
        (
            "mutation($by: ProductKey!) { updateProduct(by: $by, patch: { name: \"Y\" }) { product { id } } }",
            json!({ "by": key }),
        ),
        ("mutation($by: ProductKey!) { deleteProduct(by: $by) { deletedId } }", json!({ "by": key })),
        ("mutation($by: ProductKey!) { adjustStock(by: $by, delta: 1) { product { id } } }", json!({ "by": key })),
        ("mutation { createCategory(input: { name: \"Z\" }) { category { id } } }", json!({})),
        (
            "mutation($id: ID!) { updateCategory(id: $id, patch: { name: \"Z\" }) { category { id } } }",
            json!({ "id": some_id }),
        ),
        ("mutation($id: ID!) { deleteCategory(id: $id) { deletedId } }", json!({ "id": some_id })),
    ];
    let version = server.core.gate.version().await.unwrap();
    let customer = server.signed_in(Role::Customer).await;
    for (document, variables) in attempts {
        for (client, code) in [(&server.anonymous(), "UNAUTHENTICATED"), (&customer, "FORBIDDEN")] {
            let body = client.send(document, variables.clone()).await;
            assert_eq!(body["errors"][0]["extensions"]["code"], code, "{document}: {body}");
        }
    }
    // The customer's own account is the only thing that was written.
    assert_eq!(server.core.gate.version().await.unwrap(), version + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_and_archived_products_are_for_the_staff() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let anonymous = server.anonymous();
    let draft = staff.create_product(json!({ "name": "Draft", "sku": "D-1", "status": "DRAFT" })).await;
    staff.create_product(json!({ "name": "Archived", "status": "ARCHIVED" })).await;
    staff.create_product(json!({ "name": "Active" })).await;

    let by_name = json!({ "sortBy": [{ "field": "NAME" }] });
    assert_eq!(names(&anonymous.data(NAMES, by_name.clone()).await), ["Active"]);
    assert_eq!(names(&staff.data(NAMES, by_name).await), ["Active", "Archived", "Draft"]);
    let drafts = json!({ "filter": { "status": { "eq": "DRAFT" } } });
    assert_eq!(names(&anonymous.data(NAMES, drafts.clone()).await), Vec::<String>::new());
    assert_eq!(names(&staff.data(NAMES, drafts).await), ["Draft"]);

    let one =
        "query($id: ID!) { node(id: $id) { id } nodes(ids: [$id]) { id } product(by: { sku: \"D-1\" }) { name } }";
    let seen = anonymous.data(one, json!({ "id": draft["id"] })).await;
    assert_eq!(seen, json!({ "node": null, "nodes": [null], "product": null }));
    let seen = staff.data(one, json!({ "id": draft["id"] })).await;
    let node = json!({ "id": draft["id"] });
    assert_eq!(seen, json!({ "node": node, "nodes": [node], "product": { "name": "Draft" } }));
    // Who made a product is the staff's business, too.
    let creator = "{ products(first: 1) { nodes { createdBy { email } } } }";
    let seen = anonymous.data(creator, json!({})).await;
    assert_eq!(seen["products"]["nodes"][0]["createdBy"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_keeps_what_is_absent_and_clears_what_is_null() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let product = staff
        .create_product(json!({
            "name": "Lamp", "description": "Bright.", "tags": ["brass"], "externalReference": "ERP-1", "rating": 4.5,
            "compareAtPrice": { "amount": "12.00", "currency": "EUR" },
            "attributes": [{ "key": "watts", "value": 40 }, { "key": "dimmable", "value": true }],
            "media": [{ "url": "https://example.com/lamp.jpg", "alt": "A lamp", "width": 800, "height": 600 }],
        }))
        .await;
    let update = "mutation($by: ProductKey!, $patch: ProductPatch!, $ifVersion: Int) {
        updateProduct(by: $by, patch: $patch, ifVersion: $ifVersion) {
            product { name description tags externalReference rating compareAtPrice { amount } version slug
                      attributes { key value } media { url alt width height } price { amount currency fractionDigits } }
            errors { __typename ... on UserError { code message path }
                     ... on VersionConflictError { current { version name } } } } }";
    let by = json!({ "id": product["id"] });
    let kept = staff.data(update, json!({ "by": by, "patch": { "name": "Lantern" } })).await;
    assert_eq!(
        kept["updateProduct"]["product"],
        json!({
            "name": "Lantern", "description": "Bright.", "tags": ["brass"], "externalReference": "ERP-1", "rating": 4.5,
            "compareAtPrice": { "amount": "12.00" }, "version": 2, "slug": "lamp",
            "attributes": [{ "key": "dimmable", "value": true }, { "key": "watts", "value": 40 }],
            "media": [{ "url": "https://example.com/lamp.jpg", "alt": "A lamp", "width": 800, "height": 600 }],
            "price": { "amount": "10.00", "currency": "EUR", "fractionDigits": 2 },
        })
    );
    let cleared = json!({
        "description": null, "tags": null, "externalReference": null, "rating": null, "compareAtPrice": null,
        "attributes": null, "media": null, "slug": null,
    });
    let cleared = staff.data(update, json!({ "by": by, "patch": cleared })).await;
    assert_eq!(
        cleared["updateProduct"]["product"],
        json!({
            "name": "Lantern", "description": null, "tags": [], "externalReference": null, "rating": null,
            "compareAtPrice": null, "version": 3, "slug": "lantern", "attributes": [], "media": [],
            "price": { "amount": "10.00", "currency": "EUR", "fractionDigits": 2 },
        })
    );
    // What cannot be cleared says so, and nothing changes.
    let refused = staff.data(update, json!({ "by": by, "patch": { "name": null, "price": null } })).await;
    let errors = refused["updateProduct"]["errors"].as_array().unwrap().clone();
    assert_eq!(
        errors.iter().map(|error| error["path"].clone()).collect::<Vec<_>>(),
        [json!(["patch", "name"]), json!(["patch", "price"]),]
    );
    assert!(errors.iter().all(|error| error["code"] == "REQUIRED"));
    // A patch that changes nothing raises no version.
    let same = staff.data(update, json!({ "by": by, "patch": { "name": "Lantern" } })).await;
    assert_eq!(same["updateProduct"]["product"]["version"], 3);
    // Somebody else was faster.
    let stale = staff.data(update, json!({ "by": by, "patch": { "name": "Torch" }, "ifVersion": 2 })).await;
    assert_eq!(
        stale["updateProduct"],
        json!({ "product": null, "errors": [{
            "__typename": "VersionConflictError", "code": "VERSION_CONFLICT", "path": ["ifVersion"],
            "message": "it was changed meanwhile; look at `current` and try again",
            "current": { "version": 3, "name": "Lantern" },
        }] })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_that_another_has_is_named() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let mine = json!({ "sku": "S-1", "name": "Chair", "slug": "chair", "externalReference": "E-1" });
    staff.create_product(mine).await;
    let price = json!({ "amount": "1.00", "currency": "EUR" });
    for (input, field) in [
        (json!({ "sku": "S-1", "name": "Other", "price": price }), "sku"),
        (json!({ "sku": "S-2", "name": "Other", "slug": "chair", "price": price }), "slug"),
        (json!({ "sku": "S-3", "name": "Other", "externalReference": "E-1", "price": price }), "externalReference"),
    ] {
        let data = staff.data(CREATE_PRODUCT, json!({ "input": input })).await;
        let error = &data["createProduct"]["errors"][0];
        assert_eq!(error["__typename"], "TakenError");
        assert_eq!(error["path"], json!(["input", field]));
    }
    // A slug that is made from the name makes way.
    let second = staff.create_product(json!({ "sku": "S-4", "name": "Chair" })).await;
    assert_eq!(second["slug"], "chair-s-4");
    let count = server.anonymous().data("{ products { totalCount } }", json!({})).await;
    assert_eq!(count["products"]["totalCount"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_updates_with_one_version_make_one_change() {
    let server = TestServer::start_with(&["--database-wait", "10s"]).await;
    let staff = server.signed_in(Role::Staff).await;
    let product = staff.create_product(json!({ "name": "Race" })).await;
    let update =
        "mutation($by: ProductKey!, $name: String!) { updateProduct(by: $by, patch: { name: $name }, ifVersion: 1) {
        product { version } errors { __typename } } }";
    let attempts = (0..50).map(|number| {
        let (staff, by) = (staff.clone(), json!({ "id": product["id"] }));
        tokio::spawn(async move { staff.data(update, json!({ "by": by, "name": format!("Race {number}") })).await })
    });
    let (mut won, mut lost) = (0, 0);
    for attempt in attempts.collect::<Vec<_>>() {
        let payload = attempt.await.unwrap()["updateProduct"].take();
        if payload["product"]["version"] == 2 {
            won += 1;
        } else {
            assert_eq!(payload["errors"], json!([{ "__typename": "VersionConflictError" }]));
            lost += 1;
        }
    }
    assert_eq!((won, lost), (1, 49));
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_adjusted_by_what_is_there() {
    let server = TestServer::start_with(&["--database-wait", "10s"]).await;
    let staff = server.signed_in(Role::Staff).await;
    let product = staff.create_product(json!({ "name": "Box", "stock": 10 })).await;
    let adjust = "mutation($by: ProductKey!, $delta: Int!, $from: Int) { adjustStock(by: $by, delta: $delta, changeFrom: $from) {
        product { stock { available state } } errors { __typename ... on UserError { code path } } } }";
    let by = json!({ "sku": product["sku"] });
    let all = (0..20).map(|_| {
        let (staff, by) = (staff.clone(), by.clone());
        tokio::spawn(async move { staff.data(adjust, json!({ "by": by, "delta": 1 })).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    // The log tells of each what there really was before it.
    let gaps = "SELECT count(*), count(*) FILTER (WHERE before <> earlier OR before ->> 'stock' = after ->> 'stock')
        FROM (SELECT before, after, lag(after) OVER (ORDER BY v) AS earlier FROM changes WHERE entity = 'PRODUCT') AS told";
    let told = server.database.connect().await.query_one(gaps, &[]).await.unwrap();
    assert_eq!((told.get::<_, i64>(0), told.get::<_, i64>(1)), (21, 0));
    let emptied = staff.data(adjust, json!({ "by": by, "delta": -30, "from": 30 })).await;
    assert_eq!(emptied["adjustStock"]["product"]["stock"], json!({ "available": 0, "state": "OUT_OF_STOCK" }));
    let below = staff.data(adjust, json!({ "by": by, "delta": -1 })).await;
    assert_eq!(
        below["adjustStock"]["errors"],
        json!([{ "__typename": "ValidationError", "code": "OUT_OF_RANGE", "path": ["delta"] }])
    );
    let moved = staff.data(adjust, json!({ "by": by, "delta": 1, "from": 7 })).await;
    assert_eq!(moved["adjustStock"]["errors"][0]["code"], "VERSION_CONFLICT");
    assert_eq!(moved["adjustStock"]["errors"][0]["path"], json!(["changeFrom"]));
    let unchanged = staff.data(adjust, json!({ "by": by, "delta": 0, "from": 0 })).await;
    assert_eq!(unchanged["adjustStock"]["product"]["stock"]["available"], 0);
    let too_many = staff.data(adjust, json!({ "by": by, "delta": i32::MAX })).await;
    assert_eq!(too_many["adjustStock"]["errors"][0]["code"], "OUT_OF_RANGE");
    let version = staff.data("query($by: ProductKey!) { product(by: $by) { version } }", json!({ "by": by })).await;
    assert_eq!(version["product"]["version"], 22, "created, 20 times one more, emptied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_later_than_the_one_before_whatever_the_clock_says() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let by = json!({ "by": { "sku": staff.create_product(json!({ "name": "Early", "stock": 1 })).await["sku"] } });
    // As by an instance whose clock is ahead.
    let ahead = "UPDATE products SET updated_at = '2100-01-01T00:00:00Z'";
    server.database.connect().await.execute(ahead, &[]).await.unwrap();
    let changes = [
        ("adjustStock", "delta: 1", "2100-01-01T00:00:00.000001Z"),
        ("updateProduct", "patch: { stock: 7 }", "2100-01-01T00:00:00.000002Z"),
        ("updateProduct", "patch: { name: \"Late\" }", "2100-01-01T00:00:00.000003Z"),
    ];
    for (mutation, change, at) in changes {
        let document =
            format!("mutation($by: ProductKey!) {{ {mutation}(by: $by, {change}) {{ product {{ updatedAt }} }} }}");
        assert_eq!(staff.data(&document, by.clone()).await[mutation]["product"]["updatedAt"], at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_product_is_gone_everywhere() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let product = staff.create_product(json!({ "name": "Gone", "sku": "G-1" })).await;
    let look =
        "query($id: ID!) { node(id: $id) { id } product(by: { sku: \"G-1\" }) { name } products { totalCount } }";
    let seen = server.anonymous().data(look, json!({ "id": product["id"] })).await;
    assert_eq!(seen["products"]["totalCount"], 1);
    let delete = "mutation($by: ProductKey!, $v: Int) { deleteProduct(by: $by, ifVersion: $v) { deletedId errors { ... on UserError { code } } } }";
    let by = json!({ "slug": "gone" });
    let stale = staff.data(delete, json!({ "by": by, "v": 7 })).await;
    assert_eq!(stale["deleteProduct"]["errors"], json!([{ "code": "VERSION_CONFLICT" }]));
    let deleted = staff.data(delete, json!({ "by": by, "v": 1 })).await;
    assert_eq!(deleted["deleteProduct"], json!({ "deletedId": product["id"], "errors": [] }));
    let seen = server.anonymous().data(look, json!({ "id": product["id"] })).await;
    assert_eq!(seen, json!({ "node": null, "product": null, "products": { "totalCount": 0 } }));
    let again = staff.data(delete, json!({ "by": by })).await;
    assert_eq!(again["deleteProduct"]["errors"], json!([{ "code": "NOT_FOUND" }]));
}

const CREATE_CATEGORY: &str = "mutation($input: CategoryInput!) { createCategory(input: $input) {
    category { id slug path parent { name } } errors { __typename ... on UserError { code message path } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn categories_make_a_tree() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let create = async |input: Value| {
        let data = staff.data(CREATE_CATEGORY, json!({ "input": input })).await;
        assert_eq!(data["createCategory"]["errors"], json!([]));
        data["createCategory"]["category"].clone()
    };
    let home = create(json!({ "name": "Home" })).await;
    let kitchen = create(json!({ "name": "Küche & Bad", "parentId": home["id"] })).await;
    assert_eq!(kitchen["slug"], "kuche-bad");
    assert_eq!(kitchen["path"], json!(["Home", "Küche & Bad"]));
    let knives = create(json!({ "name": "Knives", "parentId": kitchen["id"], "position": 2 })).await;
    create(json!({ "name": "Pans", "parentId": kitchen["id"], "position": 1 })).await;
    staff.create_product(json!({ "name": "Bread Knife", "categoryId": knives["id"] })).await;
    staff.create_product(json!({ "name": "Elsewhere" })).await;

    let tree = "query($id: ID!) { categories { name children { name children { name } } products { nodes { name category { name } } } }
        category(id: $id) { name } bySlug: category(slug: \"knives\") { parent { parent { name } } } }";
    let data = server.anonymous().data(tree, json!({ "id": knives["id"] })).await;
    assert_eq!(
        data,
        json!({
            "categories": [{
                "name": "Home",
                "children": [{ "name": "Küche & Bad", "children": [{ "name": "Pans" }, { "name": "Knives" }] }],
                "products": { "nodes": [{ "name": "Bread Knife", "category": { "name": "Knives" } }] },
            }],
            "category": { "name": "Knives" },
            "bySlug": { "parent": { "parent": { "name": "Home" } } },
        })
    );
    // The filter by category takes what is below it, and follows when it is moved.
    let within = json!({ "filter": { "category": { "eq": home["id"] } } });
    assert_eq!(names(&server.anonymous().data(NAMES, within.clone()).await), ["Bread Knife"]);
    let update = "mutation($id: ID!, $patch: CategoryPatch!) { updateCategory(id: $id, patch: $patch) {
        category { path } errors { ... on UserError { code path } } } }";
    let moved = staff.data(update, json!({ "id": kitchen["id"], "patch": { "parentId": null } })).await;
    assert_eq!(moved["updateCategory"]["category"]["path"], json!(["Küche & Bad"]));
    assert_eq!(names(&server.anonymous().data(NAMES, within).await), Vec::<String>::new());

    let circle = staff.data(update, json!({ "id": kitchen["id"], "patch": { "parentId": knives["id"] } })).await;
    assert_eq!(circle["updateCategory"]["errors"], json!([{ "code": "INVALID", "path": ["patch", "parentId"] }]));
    let nowhere = staff.data(update, json!({ "id": kitchen["id"], "patch": { "parentId": missing_category() } })).await;
    assert_eq!(nowhere["updateCategory"]["errors"], json!([{ "code": "NOT_FOUND", "path": ["patch", "parentId"] }]));
    let taken = staff.data(CREATE_CATEGORY, json!({ "input": { "name": "Knives" } })).await;
    assert_eq!(taken["createCategory"]["errors"][0]["code"], "TAKEN");
    let delete = "mutation($id: ID!) { deleteCategory(id: $id) { deletedId errors { ... on UserError { code } } } }";
    for full in [&kitchen, &knives] {
        let refused = staff.data(delete, json!({ "id": full["id"] })).await;
        assert_eq!(refused["deleteCategory"]["errors"], json!([{ "code": "IN_USE" }]));
    }
    let deleted = staff.data(delete, json!({ "id": home["id"] })).await;
    assert_eq!(deleted["deleteCategory"]["deletedId"], home["id"]);
}

/// The id of a category that does not exist.
fn missing_category() -> String {
    use stockroom::domain::ids::CategoryId;
    use stockroom::graphql::id::NodeId;
    NodeId::Category(CategoryId::new()).encode().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_in_a_category_that_does_not_exist_is_refused() {
    let server = TestServer::start_with(&[]).await;
    let staff = server.signed_in(Role::Staff).await;
    let input = json!({ "sku": "X", "name": "X", "price": { "amount": "1", "currency": "EUR" }, "categoryId": missing_category() });
    let data = staff.data(CREATE_PRODUCT, json!({ "input": input })).await;
    let error = &data["createProduct"]["errors"][0];
    assert_eq!((&error["code"], &error["path"]), (&json!("NOT_FOUND"), &json!(["input", "categoryId"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_finds_what_it_says() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let a = staff
        .create_product(json!({
            "sku": "A-100", "name": "Éclair Lamp", "stock": 0, "price": { "amount": "10.00", "currency": "EUR" },
            "tags": ["x", "y"], "attributes": [{ "key": "watts", "value": 40 }], "externalReference": "R_1",
        }))
        .await;
    let b = staff
        .create_product(json!({
            "sku": "B-200", "name": "Brass Lamp", "stock": 5, "price": { "amount": "20.00", "currency": "EUR" },
            "tags": ["y"], "attributes": [{ "key": "watts", "value": "40" }, { "key": "size", "value": null }],
        }))
        .await;
    staff
        .create_product(json!({
            "sku": "C-300%", "name": "Chair", "stock": 50, "price": { "amount": "2000", "currency": "JPY" }, "tags": [],
        }))
        .await;
    for (filter, expected) in [
        (json!({}), "ABC"),
        (json!({ "id": { "eq": a["id"] } }), "A"),
        (json!({ "id": { "in": [a["id"], b["id"]] } }), "AB"),
        (json!({ "id": { "notIn": [a["id"]] } }), "BC"),
        (json!({ "sku": { "eq": "A-100" } }), "A"),
        (json!({ "sku": { "eq": "a-100" } }), ""),
        (json!({ "sku": { "startsWith": "a-" } }), "A"),
        (json!({ "sku": { "contains": "%" } }), "C"),
        (json!({ "sku": { "contains": "_" } }), ""),
        (json!({ "name": { "contains": "ECLAIR" } }), "A"),
        (json!({ "name": { "in": ["Chair", "Brass Lamp"] } }), "BC"),
        (json!({ "name": { "notIn": ["Chair"] } }), "AB"),
        (json!({ "slug": { "eq": "brass-lamp" } }), "B"),
        (json!({ "externalReference": { "isNull": true } }), "BC"),
        (json!({ "externalReference": { "notIn": ["R_1"] } }), "BC"),
        (json!({ "externalReference": { "startsWith": "r_" } }), "A"),
        (json!({ "status": { "in": ["ACTIVE", "DRAFT"] } }), "ABC"),
        (json!({ "price": { "currency": "EUR" } }), "AB"),
        (json!({ "price": { "currency": "EUR", "gt": "10" } }), "B"),
        (json!({ "price": { "currency": "EUR", "gte": "10", "lt": "20.00" } }), "A"),
        (json!({ "price": { "currency": "JPY", "lte": "2000" } }), "C"),
        (json!({ "stock": { "gte": 5 } }), "BC"),
        (json!({ "stock": { "gt": 5 } }), "C"),
        (json!({ "stock": { "gt": 2_147_483_647 } }), ""),
        (json!({ "stock": { "lte": 2_147_483_647 } }), "ABC"),
        (json!({ "stock": { "in": [0, 50] } }), "AC"),
        (json!({ "inStock": true }), "BC"),
        (json!({ "inStock": false }), "A"),
        (json!({ "category": { "isNull": true } }), "ABC"),
        (json!({ "category": { "isNull": false } }), ""),
        (json!({ "category": { "eq": missing_category() } }), ""),
        (json!({ "tags": { "anyOf": ["x", "z"] } }), "A"),
        (json!({ "tags": { "allOf": ["x", "y"] } }), "A"),
        (json!({ "tags": { "noneOf": ["x"] } }), "BC"),
        (json!({ "attributes": [{ "key": "watts" }] }), "AB"),
        (json!({ "attributes": [{ "key": "watts", "eq": 40 }] }), "A"),
        (json!({ "attributes": [{ "key": "watts", "in": [40, "40"] }] }), "AB"),
        (json!({ "attributes": [{ "key": "size", "exists": false }] }), "AC"),
        (json!({ "createdAt": { "lt": "2020-01-01T00:00:00Z" } }), ""),
        (json!({ "updatedAt": { "gte": "2020-01-01T00:00:00+01:00" } }), "ABC"),
        (json!({ "not": { "stock": { "lt": 5 } } }), "BC"),
        (json!({ "or": [{ "sku": { "eq": "A-100" } }, { "inStock": true }] }), "ABC"),
        (json!({ "or": [] }), ""),
        (json!({ "and": [{ "inStock": true }, { "not": { "name": { "eq": "Chair" } } }] }), "B"),
        (json!({ "and": [], "not": { "or": [] } }), "ABC"),
    ] {
        let variables = json!({ "filter": filter, "sortBy": [{ "field": "NAME" }] });
        let data = server.anonymous().data(NAMES, variables).await;
        let mut skus: Vec<String> = data["products"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["sku"].as_str().unwrap()[..1].to_owned())
            .collect();
        skus.sort();
        assert_eq!(skus.concat(), expected, "{filter}");
        assert_eq!(data["products"]["totalCount"], expected.len(), "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_words_parts_of_skus_and_typos_with_the_very_sku_first() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    for (sku, name, description) in [
        ("KEY-1", "Walnut Keyboard", "Loud."),
        ("KEY-12", "Brass Keyboard", "Louder."),
        ("GRD-7", "Coffee Grinder", "Burrs of steel, for espresso."),
        ("TEA-7", "Café Teapot", "Holds a litre."),
    ] {
        staff.create_product(json!({ "sku": sku, "name": name, "description": description })).await;
    }
    let found = async |search: &str| names(&server.anonymous().data(NAMES, json!({ "search": search })).await);
    assert_eq!(found("coffee").await, ["Coffee Grinder"]);
    assert_eq!(found("espresso").await, ["Coffee Grinder"]);
    assert_eq!(found("grinder coffee").await, ["Coffee Grinder"]);
    assert_eq!(found("cafe").await, ["Café Teapot"]);
    assert_eq!(found("CAFÉ").await, ["Café Teapot"]);
    assert_eq!(found("cofee grindr").await, ["Coffee Grinder"]);
    assert_eq!(found("keybaord").await.len(), 2);
    assert_eq!(found("rd-7").await, ["Coffee Grinder"]);
    assert_eq!(found("key-1").await, ["Walnut Keyboard", "Brass Keyboard"]);
    assert_eq!(found("KEY-12").await[0], "Brass Keyboard");
    assert_eq!(found("zzzzzz").await, Vec::<String>::new());
    assert_eq!(found("%").await, Vec::<String>::new());
    assert_eq!(found("  ").await.len(), 4);
    assert_eq!(found("walnut keyb").await, ["Walnut Keyboard"]);
    assert_eq!(found("wlanut keyboard").await, ["Walnut Keyboard"]);
    assert_eq!(found("warnut board").await, ["Walnut Keyboard"]);
    assert_eq!(found("teaopt").await, ["Café Teapot"]);
    assert_eq!(found("cafr").await, ["Café Teapot"]);
    assert_eq!(found("brush").await, Vec::<String>::new(), "two letters of five are another word");
    assert_eq!(found("keybourt").await.len(), 2, "two letters of eight are typos");
    staff.create_product(json!({ "sku": "KTL", "name": "Steel Kettle" })).await;
    staff.create_product(json!({ "sku": "BTL", "name": "Glass Bottle" })).await;
    assert_eq!(found("kettle").await, ["Steel Kettle"]);
    assert_eq!(found("keyboard -walnut").await, ["Brass Keyboard"]);
    assert_eq!(found("teapot or grinder").await, ["Café Teapot", "Coffee Grinder"]);
    assert_eq!(found("\"keyboard brass\"").await, Vec::<String>::new());
    assert_eq!(found("caef").await, ["Café Teapot"]);
    assert_eq!(found("coffee-grinder").await, ["Coffee Grinder"]);
    assert_eq!(found("keyboard (-walnut)").await, ["Brass Keyboard"]);
    assert_eq!(found(&"-".repeat(100)).await, Vec::<String>::new());
    assert_eq!(found(&"- ".repeat(90)).await, Vec::<String>::new());
    assert_eq!(found("\u{301}").await.len(), 6, "what folds to nothing searches for nothing");
    staff.create_product(json!({ "sku": "AB 123 X", "name": "Sieve" })).await;
    assert_eq!(found("ab 12").await, ["Sieve"]);
    // Neither words that are longer than any that has a typo, nor more of them than anybody types, break a search.
    staff.create_product(json!({ "sku": "LONG", "name": "\u{fb03}".repeat(200) })).await;
    assert_eq!(found("ffiffj").await, Vec::<String>::new());
    assert_eq!(found(&"a b c d e f g h i j ".repeat(10)).await, Vec::<String>::new());
    // A typo is one of a word that the catalogue has, from the moment on in which it has it.
    assert_eq!(found("samovra").await, Vec::<String>::new());
    let rename = "mutation { updateProduct(by: { sku: \"TEA-7\" }, patch: { name: \"Copper Samovar\" }) {
        product { id } } }";
    staff.data(rename, json!({})).await;
    assert_eq!(found("samovra").await, ["Copper Samovar"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_cannot_be_read_are_not_lost_to_a_change_of_something_else() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    let product = staff.create_product(json!({ "sku": "BIG", "name": "Big" })).await;
    let database = server.database.connect().await;
    // Beyond what the API takes, and what a double holds.
    let put = "UPDATE products SET attributes = '{\"n\": 1e400}' WHERE sku = 'BIG'";
    database.batch_execute(put).await.unwrap();
    let update = "mutation($id: ID!) { updateProduct(by: { id: $id }, patch: { name: \"Bigger\" }) {
        product { name } errors { ... on UserError { code } } } }";
    let told = staff.send(update, json!({ "id": product["id"] })).await;
    assert_eq!(told["errors"][0]["extensions"]["code"], "INTERNAL_SERVER_ERROR", "{told:#}");
    let kept = "SELECT attributes = '{\"n\": 1e400}' FROM products WHERE sku = 'BIG'";
    assert!(database.query_one(kept, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_tells_in_which_way_a_search_found_the_newest_first_among_equals() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    for (sku, name) in [
        ("A-1", "Lantern of Brass"),
        ("A-2", "Lanterns"),
        ("lantern", "Lamp"),
        ("A-3", "Lanternfish"),
        ("A-4", "Lantern"),
        ("A-5", "Latern"),
        ("A-6", "Chair"),
        ("LANTERN-2", "Chair"),
    ] {
        staff.create_product(json!({ "sku": sku, "name": name })).await;
    }
    let query = "query($search: String, $sortBy: [ProductSort!]) {
        products(search: $search, sortBy: $sortBy) { totalCount edges { score node { sku } } } }";
    let found = async |search: Option<&str>, sort_by: Value| {
        let data = server.anonymous().data(query, json!({ "search": search, "sortBy": sort_by })).await;
        let edges = data["products"]["edges"].as_array().unwrap().clone();
        assert_eq!(data["products"]["totalCount"], edges.len());
        let told = |edge: &Value| (edge["node"]["sku"].as_str().unwrap().to_owned(), edge["score"].as_f64());
        edges.iter().map(told).collect::<Vec<_>>()
    };
    let ranked: Vec<_> =
        [("lantern", 4.0), ("A-4", 3.0), ("A-1", 3.0), ("LANTERN-2", 2.0), ("A-3", 2.0), ("A-2", 2.0), ("A-5", 1.0)]
            .map(|(sku, score)| (sku.to_owned(), Some(score)))
            .into();
    assert_eq!(found(Some("Lantern"), json!([])).await, ranked);
    let worst_first = json!([{ "field": "RELEVANCE", "direction": "DESC" }]);
    assert_eq!(found(Some("Lantern"), worst_first).await, ranked.iter().rev().cloned().collect::<Vec<_>>());
    let mut by_age = ranked.clone();
    by_age.sort_by_key(|(sku, _)| {
        ["A-1", "A-2", "lantern", "A-3", "A-4", "A-5", "LANTERN-2"].iter().position(|it| it == sku)
    });
    assert_eq!(found(Some("Lantern"), json!([{ "field": "CREATED_AT" }])).await, by_age);
    let unsearched = found(None, json!([])).await;
    assert!(unsearched.len() == 8 && unsearched.iter().all(|(_, score)| score.is_none()), "{unsearched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_or_stop_where_they_are_told() {
    let server = TestServer::start().await;
    let staff = server.signed_in(Role::Staff).await;
    for _ in 0..5 {
        staff.create_product(json!({})).await;
    }
    let query = "query($most: Int) { products(first: 1) { totalCount count(atMost: $most) { value precision } } }";
    for (most, value, precision) in [(4, 4, "AT_LEAST"), (5, 5, "EXACT"), (6, 5, "EXACT"), (1, 1, "AT_LEAST")] {
        let data =
            server.anonymous().data(query.replace("$most: Int", "$most: Int!").as_str(), json!({ "most": most })).await;
        assert_eq!(data["products"], json!({ "totalCount": 5, "count": { "value": value, "precision": precision } }));
    }
    let default = server.anonymous().data("{ products { count { value } } }", json!({})).await;
    assert_eq!(default["products"]["count"]["value"], 5);
}
