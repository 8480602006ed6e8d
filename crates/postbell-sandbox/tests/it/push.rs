use std::collections::HashSet;

use postbell_sandbox::{FaultPoint, Frequency, Kind};
use serde_json::json;

use crate::world::{SUBSCRIPTION, World};

#[tokio::test]
async fn a_push_is_as_google_documents_it() {
    let mut world = World::new().await;
    world.subscribe().await;
    world.publish("hello");
    let (headers, body) = world.next_push().await;

    assert_eq!(headers["user-agent"], "CloudPubSub-Google");
    assert_eq!(headers["content-type"], "application/json");
    assert!(
        headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Bearer ey")
    );
    let message = &body["message"];
    assert_eq!(message["data"], "aGVsbG8=");
    assert_eq!(message["messageId"], message["message_id"]);
    assert_eq!(message["publishTime"], message["publish_time"]);
    assert_eq!(body["subscription"], SUBSCRIPTION);
    assert!(
        body["deliveryAttempt"].is_null(),
        "only with a dead letter policy"
    );
    world.sandbox.stop().await;
}

#[tokio::test]
async fn only_five_answers_acknowledge() {
    let mut world = World::new().await;
    world.subscribe().await;
    for good in [200, 201, 202, 204] {
        world.answer_with(&[203, 206, 301, 400, 500, good]).await;
        world.publish("x");
        let ids = world.next_ids(6).await;
        assert_eq!(
            ids.iter().collect::<HashSet<_>>().len(),
            1,
            "a repeat has the same id"
        );
        world.assert_drained().await;
    }
    world.sandbox.stop().await;
}

#[tokio::test]
async fn what_was_published_before_there_was_an_endpoint_is_pushed_then() {
    let mut world = World::new().await;
    let path = format!("/v1/{SUBSCRIPTION}");
    world
        .call("PUT", &path, &json!({ "topic": world.topic }))
        .await;
    world.publish("early");
    assert_eq!(world.sandbox.pubsub().unacknowledged(SUBSCRIPTION), 1);
    let body = json!({ "pushConfig": world.push_config() });
    world
        .call("POST", &format!("{path}:modifyPushConfig"), &body)
        .await;
    assert_eq!(world.next_push().await.1["message"]["data"], "ZWFybHk=");
    world.assert_drained().await;
    world.sandbox.stop().await;
}

#[tokio::test]
async fn pushes_are_repeated_doubled_and_overtaken_on_command() {
    let mut world = World::new().await;
    world.subscribe().await;
    for (kind, pushes) in [
        (Kind::Duplicate, 2),
        (Kind::DropAfter, 2),
        (Kind::DropBefore, 1),
    ] {
        world
            .sandbox
            .faults()
            .add(FaultPoint::Push, kind, Frequency::Times(1));
        world.publish("x");
        world.next_ids(pushes).await;
        world.assert_drained().await;
    }
    world
        .sandbox
        .faults()
        .add(FaultPoint::Push, Kind::Reorder, Frequency::Times(1));
    world.publish("first");
    world.publish("second");
    let ids = world.next_ids(2).await;
    assert!(ids[0] > ids[1], "the second came first: {ids:?}");
    world.sandbox.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_however_much_breaks() {
    let mut world = World::new().await;
    world.subscribe().await;
    for kind in [
        Kind::refuse(500),
        Kind::DropBefore,
        Kind::DropAfter,
        Kind::Duplicate,
    ] {
        world
            .sandbox
            .faults()
            .add(FaultPoint::Push, kind, Frequency::Chance(0.2));
    }
    for _ in 0..50 {
        world.publish("x");
    }
    let mut ids = HashSet::new();
    while ids.len() < 50 {
        ids.extend(world.next_ids(1).await);
    }
    world.sandbox.pubsub().drained(SUBSCRIPTION).await;
    world.sandbox.stop().await;
}
