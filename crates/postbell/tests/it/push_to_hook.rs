use postbell_sandbox::{FaultPoint, Frequency, Kind};

use crate::support::{Received, free_port, hurried_world, send};

#[tokio::test]
async fn mails_reach_the_bot_once_and_in_order() {
    let listener = free_port().await;
    let world = hurried_world(listener.local_addr().unwrap()).await;
    world.start_relay(listener).unwrap();
    world.begin().await.unwrap();
    let mut hooks = world.sandbox.bot().subscribe();

    let sent: Vec<_> = (0..50).map(|number| send(&world, number)).collect();
    let mut received = Received::default();
    received.wait_for(&sent, &mut hooks).await;
    assert_eq!(received.ids, sent);
    world.sandbox.pubsub().drained(&world.subscription()).await;
    world.stop().await.unwrap();
}

#[tokio::test]
async fn faults_at_every_hop_lose_nothing() {
    let listener = free_port().await;
    let world = hurried_world(listener.local_addr().unwrap()).await;
    world.start_relay(listener).unwrap();
    world.begin().await.unwrap();
    let mut hooks = world.sandbox.bot().subscribe();
    break_everything(world.sandbox.faults());

    let mut received = Received::default();
    let mut sent = Vec::new();
    for round in 0..20 {
        sent.extend((0..5).map(|number| send(&world, 5 * round + number)));
        received.wait_for(&sent[..5 * round], &mut hooks).await;
    }
    received.wait_for(&sent, &mut hooks).await;
    assert_eq!(received.ids, sent, "in order, too");
    world.stop().await.unwrap();
}

/// Each place breaks in each way, now and then.
fn break_everything(faults: &postbell_sandbox::Faults) {
    let now_and_then = Frequency::Chance(0.04);
    for place in [
        FaultPoint::OAuthToken,
        FaultPoint::OAuthCerts,
        FaultPoint::GmailHistory,
        FaultPoint::GmailMessage,
        FaultPoint::Push,
        FaultPoint::Hook,
        FaultPoint::Platform,
    ] {
        for status in [401, 403, 429, 500, 503] {
            // A token endpoint that refuses for good is no passing fault.
            if place != FaultPoint::OAuthToken || status >= 429 {
                faults.add(place, Kind::refuse(status), now_and_then);
            }
        }
        faults.add(place, Kind::DropBefore, now_and_then);
        faults.add(place, Kind::DropAfter, now_and_then);
        faults.add(place, Kind::Delay { millis: 5 }, now_and_then);
    }
    faults.add(FaultPoint::Push, Kind::Duplicate, Frequency::Chance(0.2));
    faults.add(FaultPoint::Push, Kind::Reorder, Frequency::Chance(0.2));
}

#[tokio::test]
async fn a_history_that_is_too_old_is_caught_up_with() {
    let listener = free_port().await;
    let world = hurried_world(listener.local_addr().unwrap()).await;
    world.start_relay(listener).unwrap();
    world.begin().await.unwrap();
    let mut hooks = world.sandbox.bot().subscribe();
    let faults = world.sandbox.faults();
    // The history expires before it is read.
    faults.add(
        FaultPoint::GmailHistory,
        Kind::refuse(500),
        Frequency::Always,
    );

    let mut sent: Vec<_> = (0..3).map(|number| send(&world, number)).collect();
    world.sandbox.pubsub().drained(&world.subscription()).await;
    world.sandbox.gmail().expire_history(world.email());
    faults.clear();
    sent.push(send(&world, 3));
    let mut received = Received::default();
    received.wait_for(&sent, &mut hooks).await;
    assert_eq!(received.ids, sent);
    assert_eq!(world.sandbox.bot().hooks()[0].body["resync"], true);
    world.stop().await.unwrap();
}
