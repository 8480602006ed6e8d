use postbell::demo::DemoStack;
use postbell_sandbox::{FaultPoint, Frequency, Kind};

use crate::support::{Received, ServiceProcess, free_port, hurried_world, send};

/// A relay in a process of its own, as `world` has it. Returns once it takes pushes.
async fn start_relay(world: &DemoStack) -> ServiceProcess {
    let relay = &world.config.relay;
    let directory = world.config.directory.as_ref().unwrap();
    let audience = relay.audience().unwrap();
    ServiceProcess::start(&[
        ("POSTBELL_RELAY__LISTEN", relay.listen.to_string()),
        ("POSTBELL_RELAY__AUDIENCE", audience.to_owned()),
        ("POSTBELL_RELAY__INBOX", relay.inbox.clone()),
        ("POSTBELL_RELAY__MACHINE_URL", relay.machine_url.clone()),
        ("POSTBELL_RELAY__RETRY__ATTEMPTS", "100000".to_owned()),
        ("POSTBELL_RELAY__RETRY__FIRST", "20ms".to_owned()),
        ("POSTBELL_RELAY__RETRY__FACTOR", "1.0".to_owned()),
        ("POSTBELL_DIRECTORY__URL", directory.url.to_string()),
        (
            "POSTBELL_DIRECTORY__API_KEY",
            world.sandbox.platform().api_key().to_owned(),
        ),
        (
            "POSTBELL_GOOGLE__JWKS_URL",
            world.config.google.jwks_url.to_string(),
        ),
    ])
    .await
}

/// A world for a relay of its own process, on a port that was free a moment ago.
async fn world() -> DemoStack {
    let listener = free_port().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    hurried_world(address).await
}

#[tokio::test]
async fn a_relay_killed_in_mid_run_and_started_again_loses_nothing() {
    let world = world().await;
    let mut hooks = world.sandbox.bot().subscribe();
    let mut relay = start_relay(&world).await;
    world.begin().await.unwrap();

    let mut received = Received::default();
    let mut sent = Vec::new();
    for round in 0..6 {
        sent.extend((0..20).map(|number| send(&world, 20 * round + number)));
        // At another moment in each round: some pushes are not accepted yet, some are accepted, one
        // is being delivered.
        received
            .wait_for(&sent[..20 * round + 3 * round], &mut hooks)
            .await;
        relay.kill().await;
        relay = start_relay(&world).await;
    }
    received.wait_for(&sent, &mut hooks).await;
    assert_eq!(received.ids, sent);
    relay.kill().await;
    world.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_before_the_kill_is_delivered_after_it() {
    let world = world().await;
    let mut hooks = world.sandbox.bot().subscribe();
    let relay = start_relay(&world).await;
    world.begin().await.unwrap();
    world
        .sandbox
        .faults()
        .add(FaultPoint::Hook, Kind::refuse(503), Frequency::Always);

    let sent = [send(&world, 1)];
    // From here on, only the relay's store contains the notification.
    world.sandbox.pubsub().drained(&world.subscription()).await;
    relay.kill().await;
    world.sandbox.faults().clear();
    let relay = start_relay(&world).await;
    Received::default().wait_for(&sent, &mut hooks).await;
    relay.kill().await;
    world.stop().await.unwrap();
}
