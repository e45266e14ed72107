//! The API's schema, and the file that shows it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stockroom::graphql;

use crate::support::TestServer;

#[test]
fn the_schema_file_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.graphql");
    let kept = fs::read_to_string(path).unwrap();
    assert!(kept == graphql::sdl(), "run `make schema`, and review what changed");
}

const INTROSPECTION: &str = "{ __schema { types {
    kind name description
    fields(includeDeprecated: true) { name description args { name description } }
    inputFields { name description }
    enumValues(includeDeprecated: true) { name description }
} } }";

#[tokio::test(flavor = "multi_thread")]
async fn every_type_field_argument_and_value_is_described() {
    let server = TestServer::start_with(&[]).await;
    let data = server.anonymous().data(INTROSPECTION, json!({})).await;
    let mut bare = Vec::new();
    let mut described = 0;
    let mut check = |place: String, thing: &Value| match thing["description"].as_str() {
        Some(text) if !text.trim().is_empty() => described += 1,
        _ => bare.push(place),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for kind in list(&data["__schema"]["types"]) {
        let name = kind["name"].as_str().unwrap();
        // The language's own types have no descriptions of ours.
        if name.starts_with("__") || name == "ID" {
            continue;
        }
        check(name.to_owned(), &kind);
        for field in list(&kind["fields"]) {
            let place = format!("{name}.{}", field["name"].as_str().unwrap());
            check(place.clone(), &field);
            for argument in list(&field["args"]) {
                check(format!("{place}({}:)", argument["name"].as_str().unwrap()), &argument);
            }
        }
        for part in [list(&kind["inputFields"]), list(&kind["enumValues"])].concat() {
            check(format!("{name}.{}", part["name"].as_str().unwrap()), &part);
        }
    }
    assert_eq!(bare, Vec::<String>::new());
    assert!(described > 300, "only {described} descriptions were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_root_field_is_nullable_so_that_one_failure_leaves_the_rest() {
    let server = TestServer::start_with(&[]).await;
    let query =
        "{ __schema { queryType { fields { name type { kind } } } mutationType { fields { name type { kind } } } } }";
    let data = server.anonymous().data(query, json!({})).await;
    for root in ["queryType", "mutationType"] {
        for field in data["__schema"][root]["fields"].as_array().unwrap() {
            assert_ne!(field["type"]["kind"], "NON_NULL", "{root}.{}", field["name"]);
        }
    }
    let both = server.anonymous().send("{ bad: node(id: \"x\") { id } service { version } }", json!({})).await;
    assert_eq!(both["data"], json!({ "bad": null, "service": { "version": env!("CARGO_PKG_VERSION") } }));
    assert_eq!(both["errors"][0]["path"], json!(["bad"]));
    let all = server
        .anonymous()
        .send("{ a: node(id: \"x\") { id } b: products(after: \"x\") { totalCount } }", json!({}))
        .await;
    assert_eq!(all["data"], json!({ "a": null, "b": null }));
    let nested = server
        .anonymous()
        .send("{ products { pageInfo { hasNextPage } count(atMost: 0) { value } } }", json!({}))
        .await;
    assert_eq!(nested["data"], json!({ "products": { "pageInfo": { "hasNextPage": false }, "count": null } }));
    assert_eq!(nested["errors"][0]["path"], json!(["products", "count"]));
    let hollow = server.anonymous().send("{ products { count(atMost: 0) { value } } }", json!({})).await;
    assert_eq!(hollow["data"], json!({ "products": { "count": null } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_that_can_fail_for_its_arguments_is_nullable() {
    let server = TestServer::start_with(&[]).await;
    let query = "{ __schema { types { name fields { name args { name } type { kind } } } } }";
    let data = server.anonymous().data(query, json!({})).await;
    let mut checked = 0;
    for kind in data["__schema"]["types"].as_array().unwrap() {
        for field in kind["fields"].as_array().into_iter().flatten() {
            if !kind["name"].as_str().unwrap().starts_with("__") && field["args"] != json!([]) {
                checked += 1;
                assert_ne!(field["type"]["kind"], "NON_NULL", "{}.{}", kind["name"], field["name"]);
            }
        }
    }
    assert!(checked > 15);
}
