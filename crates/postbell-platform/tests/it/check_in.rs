use axum::http::Method;
use postbell_core::InstanceStatus;
use serde_json::Value;

use crate::world::{World, gateway_token};

const ANN: &str = r#"{"sandboxId": "sandbox-of-ann"}"#;

async fn check_in(world: &World, body: &'static str, token: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    world
        .send(Method::POST, "/api/controller/checkin", &headers, body)
        .await
}

#[tokio::test]
async fn a_machine_that_reports_in_runs_and_the_relays_are_told() {
    let world = World::new().await;
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
async fn a_machine_that_is_being_removed_stays_so() {
    let world = World::new().await;
    world
        .change("ann", |record| record.status = InstanceStatus::Destroying)
        .await;
    check_in(&world, ANN, &gateway_token("sandbox-of-ann")).await;
    assert_eq!(world.record("ann").await.status, InstanceStatus::Destroying);
    world.stop().await;
}

#[tokio::test]
async fn a_stranger_changes_nothing_and_learns_nothing() {
    let world = World::new().await;
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
