//! The setup tool's routes.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use postbell_testkit::MemoryUsers;
use serde_json::{Value, json};

use crate::test_platform::{API_KEY, TestPlatform, google_credentials};

const CREDENTIALS: &str = "/api/admin/google-credentials";
const PUBLIC_KEY: &str = "/api/admin/public-key";

#[tokio::test]
async fn a_token_of_a_removed_user_is_not_valid_for_a_new_user() {
    let world = TestPlatform::new().await;
    let token = world.user_token("ann", Duration::from_secs(600)).await;
    let bearer = format!("Bearer {token}");
    world.remove("ann").await;
    world.add_later("ann").await;
    let headers = [("authorization", bearer.as_str())];
    let uri = "/api/admin/google-credentials";
    let (status, _) = world.send(Method::GET, uri, &headers, "").await;
    assert_eq!(status, 401);
    world.stop().await;
}

#[tokio::test]
async fn a_user_connects_and_disconnects_with_their_token() {
    let world = TestPlatform::new().await;
    let (status, key) = world
        .ask_as("ann", Method::GET, PUBLIC_KEY, Value::Null)
        .await;
    assert_eq!(status, 200);
    let pem = key["publicKey"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");

    let body = json!({ "googleCredentials": google_credentials() });
    let connected = world.ask_as("ann", Method::POST, CREDENTIALS, body).await;
    let expected = json!({ "googleConnected": true, "gmailNotificationsEnabled": true });
    assert_eq!(connected, (200, expected));
    let shown = world
        .ask_as("ann", Method::GET, CREDENTIALS, Value::Null)
        .await;
    let expected = json!({
        "googleConnected": true,
        "email": "ann@example.com",
        "gmailPushOidcEmail": "push@p.iam.gserviceaccount.com",
        "gmailNotificationsEnabled": true,
        "gmailLastHistoryId": null,
    });
    assert_eq!(shown, (200, expected));

    let gone = world
        .ask_as("ann", Method::DELETE, CREDENTIALS, Value::Null)
        .await;
    let expected = json!({ "googleConnected": false, "gmailNotificationsEnabled": false });
    assert_eq!(gone, (200, expected));
    world.stop().await;
}

#[tokio::test]
async fn a_token_is_valid_only_for_its_own_user() {
    let world = TestPlatform::new().await;
    world.add("bob").await;
    let body = json!({ "userId": "ann", "googleCredentials": google_credentials() });
    let (status, _) = world.ask_as("bob", Method::POST, CREDENTIALS, body).await;
    assert_eq!(status, 200);
    assert_eq!(world.record("ann").await.google, None);
    assert!(world.record("bob").await.google.is_some());

    let token = world.user_token("bob", Duration::from_secs(60)).await;
    world.remove("bob").await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let (status, _) = world.send(Method::GET, CREDENTIALS, &headers, "").await;
    assert_eq!(
        status, 404,
        "who was removed has a token that is still good"
    );
    world.stop().await;
}

#[tokio::test]
async fn without_a_token_nothing_is_parsed() {
    let world = TestPlatform::new().await;
    let expired = format!("Bearer {}", world.user_token("ann", Duration::ZERO).await);
    let good = world.user_token("ann", Duration::from_secs(60)).await;
    let cut = format!("Bearer {}", &good[..good.len() - 1]);
    let unnamed = format!("Basic {good}");
    for (method, path) in [
        (Method::GET, PUBLIC_KEY),
        (Method::GET, CREDENTIALS),
        (Method::POST, CREDENTIALS),
        (Method::DELETE, CREDENTIALS),
    ] {
        for header in [
            None,
            Some("Bearer "),
            Some(&*expired),
            Some(&*cut),
            Some(&*unnamed),
        ] {
            let mut headers = vec![("x-internal-api-key", API_KEY)];
            headers.extend(header.map(|header| ("authorization", header)));
            let refused = world.send(method.clone(), path, &headers, "no JSON").await;
            let expected = (401, json!({ "error": "Unauthorized" }));
            assert_eq!(refused, expected, "{method} {path} {header:?}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_platform_without_a_key_reports_it_and_works_otherwise() {
    let world = TestPlatform::with(Arc::new(MemoryUsers::default()), None, false).await;
    let (status, body) = world
        .ask_as("ann", Method::GET, PUBLIC_KEY, Value::Null)
        .await;
    assert_eq!(status, 503);
    assert_eq!(body["error"], "The platform has no key for credentials");
    assert_eq!(world.connect("ann").await.0, 200);
    world.stop().await;
}
