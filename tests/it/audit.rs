//! The audit log: who did what to what, for administrators.

use std::slice;

use chrono::{DateTime, FixedOffset};
use serde_json::{Value, json};
use stockroom::domain::accounts::Role;

use crate::support::{Client, PASSWORD, TestServer};

const LOG: &str = "query($first: Int, $after: String, $last: Int, $before: String, $filter: AuditFilter) {
    auditLog(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
        edges { cursor node { at kind subject subjectId actorId actor { email } changed before after } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

async fn log(client: &Client, variables: Value) -> Value {
    client.data(LOG, variables).await["auditLog"].take()
}

/// Kind, subject and actor of the entries of a page.
fn told(page: &Value) -> Vec<(String, String, Value)> {
    let edges = page["edges"].as_array().unwrap().iter().map(|edge| &edge["node"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    edges.map(|node| (text(&node["kind"]), text(&node["subject"]), node["actorId"].clone())).collect()
}

async fn id_of(client: &Client) -> Value {
    client.data("{ me { id } }", json!({})).await["me"]["id"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_read_who_did_what_to_what_and_no_secrets() {
    let server = TestServer::start_with(&[]).await;
    let admin = server.signed_in(Role::Admin).await;
    let admin_id = id_of(&admin).await;
    let mut ada = server.registers().await;
    let ada_id = id_of(&ada.client).await;
    let set = "mutation($id: ID!) { setUserRole(id: $id, role: STAFF) { user { role } } }";
    admin.data(set, json!({ "id": ada_id })).await;
    let anonymous = server.anonymous();
    ada.tokens = anonymous.logs_in(&ada.email, PASSWORD).await.unwrap();
    ada.client = anonymous.with_token(&ada.tokens.access);
    let product =
        ada.client.create_product(json!({ "sku": "LAMP", "price": { "amount": "10.00", "currency": "EUR" } })).await;
    let update = "mutation { updateProduct(by: { sku: \"LAMP\" }, patch: { price: { amount: \"12.50\", currency: \"EUR\" } }) { product { id } } }";
    ada.client.data(update, json!({})).await;
    let key = "mutation { createApiKey(input: { name: \"till\", scopes: [CATALOG_WRITE] }) { apiKey { id } secret } }";
    let key = ada.client.data(key, json!({})).await["createApiKey"].take();
    let machine = anonymous.with_token(key["secret"].as_str().unwrap());
    machine.data("mutation { deleteProduct(by: { sku: \"LAMP\" }) { deletedId } }", json!({})).await;
    let change = "mutation($current: String!) {
        changePassword(currentPassword: $current, newPassword: \"another horse 7\") { tokens { accessToken refreshToken } } }";
    let changed = ada.client.data(change, json!({ "current": PASSWORD })).await["changePassword"]["tokens"].take();
    let access = changed["accessToken"].as_str().unwrap();
    ada.client = anonymous.with_token(access);
    ada.client.data("mutation { logout { revoked } }", json!({})).await;

    let page = log(&admin, json!({})).await;
    let entry = |kind: &str, subject: &str, actor: &Value| (kind.to_owned(), subject.to_owned(), actor.clone());
    let expected = [
        entry("DELETED", "SESSION", &ada_id),
        entry("UPDATED", "USER", &ada_id),
        entry("DELETED", "PRODUCT", &ada_id),
        entry("CREATED", "API_KEY", &ada_id),
        entry("UPDATED", "PRODUCT", &ada_id),
        entry("CREATED", "PRODUCT", &ada_id),
        entry("UPDATED", "USER", &admin_id),
        entry("CREATED", "USER", &ada_id),
        // By the command line.
        entry("CREATED", "USER", &Value::Null),
    ];
    assert_eq!(told(&page), expected);
    let node = |number: usize| &page["edges"][number]["node"];
    assert_eq!(node(6)["subjectId"], ada_id);
    assert_eq!((&node(6)["before"]["role"], &node(6)["after"]["role"]), (&json!("CUSTOMER"), &json!("STAFF")));
    assert!(node(6)["changed"].as_array().unwrap().contains(&json!("role")));
    assert_eq!(node(6)["actor"]["email"], admin.data("{ me { email } }", json!({})).await["me"]["email"]);
    assert_eq!(node(5)["subjectId"], product["id"]);
    assert_eq!((&node(5)["before"], &node(5)["changed"]), (&Value::Null, &json!([])));
    assert!(
        node(4)["changed"].as_array().unwrap().iter().any(|field| field.as_str().unwrap().contains("price")),
        "{}",
        node(4)
    );
    assert_eq!(node(3)["subjectId"], key["apiKey"]["id"]);
    assert_eq!((&node(2)["actor"]["email"], &node(2)["after"]), (&json!(ada.email), &Value::Null));
    // What is kept tells no secret, and nobody's address.
    let kept: Vec<&Value> = (0..9).flat_map(|number| [&node(number)["before"], &node(number)["after"]]).collect();
    let kept = json!(kept).to_string();
    let secret = key["secret"].as_str().unwrap();
    for hidden in
        ["@stockroom.test", "argon2", &secret[11..], access, &ada.tokens.refresh[3..], PASSWORD, "another horse 7"]
    {
        assert!(!kept.contains(hidden), "{hidden}: {kept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_administrators_reads_it() {
    let server = TestServer::start_with(&[]).await;
    for (client, code) in [
        (server.anonymous(), "UNAUTHENTICATED"),
        (server.signed_in(Role::Customer).await, "FORBIDDEN"),
        (server.signed_in(Role::Staff).await, "FORBIDDEN"),
    ] {
        let refused = client.send(LOG, json!({})).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], code);
        assert_eq!(refused["data"]["auditLog"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_read_page_by_page_in_both_directions() {
    let server = TestServer::start_with(&[]).await;
    let admin = server.signed_in(Role::Admin).await;
    for number in 0..6 {
        admin.create_product(json!({ "sku": format!("P{number}") })).await;
    }
    // Several changes of one version.
    admin.data("mutation { createCategory(input: { name: \"A\" }) { category { id } } }", json!({})).await;
    let whole = log(&admin, json!({ "first": 100 })).await["edges"].take();
    let whole = whole.as_array().unwrap().clone();
    assert_eq!(whole.len(), 8);
    let mut there = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = log(&admin, json!({ "first": 3, "after": after })).await;
        assert_eq!(page["pageInfo"]["hasPreviousPage"], !there.is_empty());
        there.extend(page["edges"].as_array().unwrap().clone());
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert_eq!(there, whole);
    let mut back: Vec<Value> = Vec::new();
    let mut before = Value::Null;
    loop {
        let page = log(&admin, json!({ "last": 3, "before": before })).await;
        back.splice(0..0, page["edges"].as_array().unwrap().clone());
        before = page["pageInfo"]["startCursor"].clone();
        if page["pageInfo"]["hasPreviousPage"] == false {
            break;
        }
    }
    assert_eq!(back, whole);
    // What happens meanwhile moves nothing.
    let first = log(&admin, json!({ "first": 4 })).await;
    admin.create_product(json!({ "sku": "LATE" })).await;
    let second = log(&admin, json!({ "first": 4, "after": first["pageInfo"]["endCursor"] })).await;
    assert_eq!(second["edges"].as_array().unwrap()[..], whole[4..]);
    for nonsense in ["", "YQ", "AAAAAAAAAAAAAAAAAAAA", "\u{e4}"] {
        let refused = admin.send(LOG, json!({ "after": nonsense })).await;
        assert_eq!(refused["errors"][0]["extensions"]["argument"], json!(["after"]), "{nonsense}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_for_one_actor_one_subject_and_a_time() {
    let server = TestServer::start_with(&[]).await;
    let (admin, staff) = (server.signed_in(Role::Admin).await, server.signed_in(Role::Staff).await);
    let (admin_id, staff_id) = (id_of(&admin).await, id_of(&staff).await);
    let lamp = admin.create_product(json!({ "sku": "LAMP" })).await;
    staff.create_product(json!({ "sku": "DESK" })).await;
    let adjust = "mutation { adjustStock(by: { sku: \"LAMP\" }, delta: 1) { product { id } } }";
    staff.data(adjust, json!({})).await;
    staff.data("mutation { createCategory(input: { name: \"A\" }) { category { id } } }", json!({})).await;
    let ask = async |filter: Value| told(&log(&admin, json!({ "filter": filter })).await);
    let entry = |kind: &str, subject: &str, actor: &Value| (kind.to_owned(), subject.to_owned(), actor.clone());
    let updated = entry("UPDATED", "PRODUCT", &staff_id);
    let (made, other) = (entry("CREATED", "PRODUCT", &admin_id), entry("CREATED", "PRODUCT", &staff_id));
    assert_eq!(ask(json!({ "actor": admin_id })).await, slice::from_ref(&made));
    assert_eq!(ask(json!({ "actor": staff_id, "subject": "PRODUCT" })).await, [updated.clone(), other.clone()]);
    assert_eq!(ask(json!({ "subjectId": lamp["id"] })).await, [updated.clone(), made.clone()]);
    assert_eq!(
        ask(json!({ "subject": "PRODUCT", "subjectId": lamp["id"], "actor": staff_id })).await,
        slice::from_ref(&updated)
    );
    assert_eq!(ask(json!({ "subject": "SESSION" })).await, []);
    assert_eq!(ask(json!({ "subject": "USER" })).await.len(), 2);

    let page = log(&admin, json!({ "filter": { "subject": "PRODUCT" } })).await;
    let at: Vec<DateTime<FixedOffset>> = page["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| DateTime::parse_from_rfc3339(edge["node"]["at"].as_str().unwrap()).unwrap())
        .collect();
    assert!(at.is_sorted_by(|later, earlier| later >= earlier));
    let since = |at: &DateTime<FixedOffset>| json!({ "subject": "PRODUCT", "since": at.to_rfc3339() });
    assert!(ask(since(&(at[2] + chrono::TimeDelta::milliseconds(1)))).await.len() <= 2);
    assert_eq!(ask(since(&at[2])).await, [updated, other, made]);
    assert_eq!(ask(json!({ "since": (at[0] + chrono::TimeDelta::minutes(1)).to_rfc3339() })).await, []);
    assert_eq!(ask(json!({ "until": (at[2] - chrono::TimeDelta::minutes(1)).to_rfc3339() })).await, []);
    assert_eq!(ask(json!({ "until": (at[0] + chrono::TimeDelta::minutes(1)).to_rfc3339() })).await.len(), 6);

    for (filter, argument) in [
        (json!({ "actor": lamp["id"] }), "actor"),
        (json!({ "subjectId": "x" }), "subjectId"),
        (json!({ "subject": "USER", "subjectId": lamp["id"] }), "subjectId"),
    ] {
        let refused = admin.send(LOG, json!({ "filter": filter })).await;
        let told = refused["errors"][0]["extensions"]["argument"].to_string();
        assert!(told.contains(argument), "{filter}: {refused}");
    }
}
