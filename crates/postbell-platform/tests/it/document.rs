use axum::http::Method;
use postbell_platform::Platform;
use serde_json::Value;

use crate::test_platform::TestPlatform;

#[tokio::test]
async fn the_openapi_document_is_public() {
    let world = TestPlatform::new().await;
    let (status, document) = world.send(Method::GET, "/api/openapi.json", &[], "").await;
    assert_eq!(status, 200);
    let described: Value = serde_json::from_slice(&Platform::document()).unwrap();
    assert_eq!(document, described);
    world.stop().await;
}

#[test]
fn the_openapi_document_matches_its_snapshot() {
    insta::assert_snapshot!(str::from_utf8(&Platform::document()).unwrap());
}

#[test]
fn each_operation_has_a_unique_id_and_describes_its_responses() {
    let document: Value = serde_json::from_slice(&Platform::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations: Vec<_> = paths
        .flat_map(|path| path.as_object().unwrap().values())
        .collect();
    let mut names: Vec<_> = operations
        .iter()
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), operations.len());
    for operation in operations {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let description = answer["description"].as_str();
            assert!(description.is_some_and(|text| !text.is_empty()), "{status}");
        }
    }
}
