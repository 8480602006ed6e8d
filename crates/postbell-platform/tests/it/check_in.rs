use axum::body::Body;
use axum::http::Method;
use postbell_core::{InstanceStatus, Timestamp};
use serde_json::{Value, json};

use crate::test_platform::{TestPlatform, gateway_token};

const ANN: &str = r#"{"sandboxId": "sandbox-of-ann"}"#;

async fn check_in(world: &TestPlatform, body: impl Into<Body>, token: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    world
        .send(Method::POST, "/api/controller/checkin", &headers, body)
        .await
}

#[tokio::test]
async fn a_machine_that_reports_in_runs_and_the_relays_are_told() {
    let world = TestPlatform::new().await;
    world
        .change("ann", |record| record.status = InstanceStatus::Stopped)
        .await;
    let (status, _) = check_in(&world, ANN, &gateway_token("sandbox-of-ann")).await;
    assert_eq!(status, 204);
    assert_eq!(world.record("ann").await.status, InstanceStatus::Running);
    assert_eq!(*world.relays.0.lock(), ["the machine of ann is up"]);
    world.stop().await;
}

#[tokio::test]
async fn of_gmails_watch_holds_what_the_machine_said_last() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let token = gateway_token("sandbox-of-ann");
    let user = r#""userId": "ann""#;
    let machine = r#""sandboxId": "sandbox-of-ann""#;
    for (said, kept) in [
        (
            r#", "watchExpiresAt": 1700000000123"#,
            Some(1_700_000_000_123_i64),
        ),
        // KiloClaw's controller says nothing of it.
        ("", None),
        (r#", "watchExpiresAt": 7, "unheardOf": {"a": [1]}"#, Some(7)),
        (r#", "watchExpiresAt": null"#, None),
        (r#", "watchExpiresAt": 8"#, Some(8)),
        // None of ours, and no reason to leave mail waiting.
        (r#", "watchExpiresAt": "2026-12-01T14:03:00Z""#, None),
    ] {
        let body = format!("{{{machine}{said}}}");
        assert_eq!(check_in(&world, body, &token).await.0, 204, "{said}");
        let (_, status) = world
            .ask(Method::GET, "/api/platform/status?userId=ann", Value::Null)
            .await;
        assert_eq!(status["watchExpiresAt"], json!(kept), "{said}");

        // What a relay passes on.
        world.change("ann", |record| record.report_in(None)).await;
        let body = serde_json::from_str(&format!("{{{user}{said}}}")).unwrap();
        let told = world.ask(Method::POST, "/api/platform/running", body);
        assert_eq!(told.await.0, 200, "{said}");
        let watch = world.record("ann").await.watch_expires_at;
        assert_eq!(watch.map(Timestamp::as_millis), kept, "{said}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_machine_that_is_being_removed_stays_so() {
    let world = TestPlatform::new().await;
    world
        .change("ann", |record| record.status = InstanceStatus::Destroying)
        .await;
    check_in(&world, ANN, &gateway_token("sandbox-of-ann")).await;
    assert_eq!(world.record("ann").await.status, InstanceStatus::Destroying);
    world.stop().await;
}

#[tokio::test]
async fn a_stranger_changes_nothing_and_learns_nothing() {
    let world = TestPlatform::new().await;
    world
        .change("ann", |record| record.status = InstanceStatus::Stopped)
        .await;
    let unknown = r#"{"sandboxId": "sandbox-of-nobody"}"#;
    for (body, token) in [
        (ANN, "wrong".to_owned()),
        (ANN, String::new()),
        (ANN, gateway_token("sandbox-of-nobody")),
        // A token that was right for a machine that is gone.
        (unknown, gateway_token("sandbox-of-nobody")),
        (r#"{"sandboxId": "a b"}"#, "wrong".to_owned()),
    ] {
        let (status, told) = check_in(&world, body, &token).await;
        assert_eq!(
            (status, told["error"].as_str()),
            (401, Some("Unauthorized"))
        );
    }
    for body in ["", "{}", r#"{"sandboxId": 7}"#] {
        assert_eq!(check_in(&world, body, "t").await.0, 400, "{body}");
    }
    assert_eq!(world.record("ann").await.status, InstanceStatus::Stopped);
    assert!(world.relays.0.lock().is_empty());
    world.stop().await;
}
