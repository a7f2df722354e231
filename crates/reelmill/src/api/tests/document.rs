//! The OpenAPI document: checked in, complete, without dangling references.

use super::farm::{Farm, Served, http};
use crate::api::openapi::document;
use crate::api::{Auth, paths};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn made() -> Value {
    let (_, operations) = paths(&Auth::Open).into_parts();
    document(&operations)
}

/// `REELMILL_BLESS=1` writes it anew.
#[test]
fn the_document_that_is_checked_in_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&made()).unwrap());
    if std::env::var_os("REELMILL_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let told = "docs/openapi.json is not what the code says: run the test with REELMILL_BLESS=1 and look at the difference";
    assert!(kept == text, "{told}");
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_its_name() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(at)) = fields.get("$ref") {
                    found.insert(at.clone());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = made();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for at in found {
        let pointer = at.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{at}");
    }
    let mut names = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            assert!(
                names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{operation}"
            );
        }
    }
    assert!(names.len() > 40);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed"))).await;
    let get = async |path: &str| http().get(server.at_path(path)).send().await.unwrap();
    let page = get("/api/docs").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers().get_all("content-type").iter().count(), 1);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    let page = page.text().await.unwrap();
    for part in ["/api/docs/docs.js", "/api/docs/docs.css"] {
        assert!(page.contains(part));
        let text = get(part).await.text().await.unwrap();
        assert!(!text.contains("http://") && !text.contains("https://"), "{part}");
    }
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script>"));
    let served: Value = get("/api/v1/openapi.json").await.json().await.unwrap();
    assert_eq!(served, made());
}
