use std::time::Duration;

use postbell_core::{Clock, Inbox, Settlement, SystemClock};

use crate::world::World;

const ANN: &str = r#"{"sandboxId": "sandbox-of-ann"}"#;

fn token(world: &World) -> String {
    world.sandbox.platform().gateway_token("sandbox-of-ann")
}

/// Lets a notification wait for half an hour.
async fn back_off(world: &World) {
    assert_eq!(world.push_with(&world.claims()).await, 204);
    let claim = world.waiting().await.remove(0);
    let half_an_hour = Duration::from_secs(1800);
    let settlement = Settlement::Retry {
        cause: "no answer".to_owned(),
        wait: half_an_hour,
        rest: half_an_hour,
    };
    let now = SystemClock::new().now();
    world.inbox.settle(&claim, settlement, now).await.unwrap();
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn what_waits_for_a_machine_is_due_when_it_reports_in() {
    let world = World::new().await;
    back_off(&world).await;
    assert_eq!(world.check_in(ANN, &token(&world)).await, 204);
    assert_eq!(world.waiting().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_machine_that_was_not_heard_of_is_looked_up() {
    let world = World::new().await;
    assert_eq!(world.check_in(ANN, &token(&world)).await, 204);
    world.stop().await;
}

#[tokio::test]
async fn a_stranger_makes_nothing_due_and_learns_nothing() {
    let world = World::new().await;
    back_off(&world).await;
    let unknown = r#"{"sandboxId": "sandbox-of-nobody"}"#;
    for (body, token) in [(ANN, "wrong"), (unknown, &token(&world)), (ANN, "")] {
        assert_eq!(world.check_in(body, token).await, 401);
    }
    for body in ["", "{}", r#"{"sandboxId": 7}"#] {
        assert_eq!(world.check_in(body, &token(&world)).await, 400, "{body}");
    }
    assert_eq!(world.check_in(&"x".repeat(5000), "t").await, 413);
    assert_eq!(world.waiting().await, []);
    world.stop().await;
}

#[tokio::test]
async fn strangers_cannot_make_the_relay_ask_without_end() {
    let world = World::new().await;
    let mut answers = Vec::new();
    for number in 0..150 {
        let unknown = format!(r#"{{"sandboxId": "{number}"}}"#);
        answers.push(world.check_in(&unknown, "t").await);
    }
    assert_eq!(answers[0], 401);
    assert!(answers.contains(&429));
    world.stop().await;
}
