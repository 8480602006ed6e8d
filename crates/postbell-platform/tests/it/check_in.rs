use axum::body::Body;
use axum::http::Method;
use postbell_core::{InstanceStatus, MachineReport, Timestamp};
use postbell_testkit::assert_has_named_metrics;
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
async fn a_check_in_marks_the_machine_running_and_notifies_the_relays() {
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
async fn the_last_reported_watch_expiry_is_stored() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let token = gateway_token("sandbox-of-ann");
    let user = r#""userId": "ann""#;
    let machine = r#""sandboxId": "sandbox-of-ann""#;
    for (field, kept) in [
        (
            r#", "watchExpiresAt": 1700000000123"#,
            Some(1_700_000_000_123_i64),
        ),
        // KiloClaw's controller does not send it.
        ("", None),
        (r#", "watchExpiresAt": 7, "unheardOf": {"a": [1]}"#, Some(7)),
        (r#", "watchExpiresAt": null"#, None),
        (r#", "watchExpiresAt": 8"#, Some(8)),
        // Gmail lets no watch last until the year 2100.
        (r#", "watchExpiresAt": 4102444800000"#, None),
        // Invalid values do not reject the check-in.
        (r#", "watchExpiresAt": "2026-12-01T14:03:00Z""#, None),
    ] {
        let body = format!("{{{machine}{field}}}");
        assert_eq!(check_in(&world, body, &token).await.0, 204, "{field}");
        let (_, status) = world
            .ask(Method::GET, "/api/platform/status?userId=ann", Value::Null)
            .await;
        assert_eq!(status["watchExpiresAt"], json!(kept), "{field}");

        // Forwarded by a relay.
        world
            .change("ann", |record| {
                record.check_in(MachineReport::default(), Timestamp::default())
            })
            .await;
        let body = serde_json::from_str(&format!("{{{user}{field}}}")).unwrap();
        let response = world.ask(Method::POST, "/api/platform/running", body);
        assert_eq!(response.await.0, 200, "{field}");
        let watch = world.record("ann").await.watch_expires_at;
        assert_eq!(watch.map(Timestamp::as_millis), kept, "{field}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_check_in_does_not_stop_the_removal_of_a_machine() {
    let world = TestPlatform::new().await;
    world
        .change("ann", |record| record.status = InstanceStatus::Destroying)
        .await;
    check_in(&world, ANN, &gateway_token("sandbox-of-ann")).await;
    assert_eq!(world.record("ann").await.status, InstanceStatus::Destroying);
    world.stop().await;
}

#[tokio::test]
async fn an_unauthenticated_check_in_changes_and_reveals_nothing() {
    let world = TestPlatform::new().await;
    world
        .change("ann", |record| record.status = InstanceStatus::Stopped)
        .await;
    let unknown = r#"{"sandboxId": "sandbox-of-nobody"}"#;
    for (body, token) in [
        (ANN, "wrong".to_owned()),
        (ANN, String::new()),
        (ANN, gateway_token("sandbox-of-nobody")),
        // A valid token of a machine that no longer exists.
        (unknown, gateway_token("sandbox-of-nobody")),
        (r#"{"sandboxId": "a b"}"#, "wrong".to_owned()),
    ] {
        let (status, response) = check_in(&world, body, &token).await;
        assert_eq!(
            (status, response["error"].as_str()),
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

#[tokio::test]
async fn the_token_may_be_in_the_header_of_kiloclaws_controller() {
    let world = TestPlatform::new().await;
    let token = gateway_token("sandbox-of-ann");
    for (headers, expected) in [
        (
            vec![
                ("authorization", "Bearer an API key"),
                ("x-kiloclaw-gateway-token", &*token),
            ],
            204,
        ),
        (vec![("x-kiloclaw-gateway-token", &*token)], 204),
        (vec![("x-kiloclaw-gateway-token", "wrong")], 401),
        (vec![], 401),
    ] {
        let path = "/api/controller/checkin";
        let (status, _) = world.send(Method::POST, path, &headers, ANN).await;
        assert_eq!(status, expected, "{headers:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_last_reported_problem_is_stored_until_the_account_is_connected_anew() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let token = gateway_token("sandbox-of-ann");
    let problem = json!({ "code": "grant_revoked", "since": 1_700_000_000_123_i64 });
    let with_problem = json!({ "sandboxId": "sandbox-of-ann", "problem": problem }).to_string();
    let shown = async || {
        let path = "/api/platform/status?userId=ann";
        world.ask(Method::GET, path, json!({})).await.1["problem"].clone()
    };
    assert_eq!(shown().await, Value::Null);
    assert_eq!(check_in(&world, with_problem.clone(), &token).await.0, 204);
    assert_eq!(shown().await, problem);
    assert_eq!(check_in(&world, ANN, &token).await.0, 204);
    assert_eq!(shown().await, Value::Null);

    // A relay passes on what its machines say.
    let running = json!({ "userId": "ann", "problem": problem });
    let path = "/api/platform/running";
    assert_eq!(world.ask(Method::POST, path, running.clone()).await.0, 200);
    assert_eq!(shown().await, problem);
    world.connect("ann").await;
    assert_eq!(shown().await, Value::Null, "it was the former grant's");
    assert_eq!(world.ask(Method::POST, path, running).await.0, 200);
    assert_eq!(shown().await, problem);
    let path = "/api/platform/google-credentials?userId=ann";
    assert_eq!(world.ask(Method::DELETE, path, json!({})).await.0, 200);
    assert_eq!(shown().await, Value::Null);
    world.stop().await;
}

#[tokio::test]
async fn mailboxes_with_a_problem_are_counted_in_the_metrics() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let metrics = async || world.text("/metrics").await;
    let line =
        |count: u32| format!("postbell_mailbox_problems{{code=\"grant_revoked\"}} {count}\n");
    let none = metrics().await;
    assert!(none.contains(&line(0)));
    assert_has_named_metrics(&none, "postbell_users");
    assert_has_named_metrics(&none, "postbell_mailbox_");
    let body = json!({ "sandboxId": "sandbox-of-ann", "problem": { "code": "grant_revoked", "since": 1 } });
    let token = gateway_token("sandbox-of-ann");
    assert_eq!(check_in(&world, body.to_string(), &token).await.0, 204);
    let text = metrics().await;
    assert!(text.contains(&line(1)), "{text}");
    assert!(text.contains("postbell_users 1\n"), "{text}");
    assert!(!text.contains("ann"), "no user is named: {text}");
    world.stop().await;
}
