//! Mail for a bot on this machine.

use postbell_sandbox::{Kind, Lag, Often, Place, Wall as Said};
use postbell_setup::{Browser, Destination, Mode, State, StepId, Wall, run};
use serde_json::{Value, json};
use url::Url;

use crate::world::{MAILBOX, World, assert_failed, in_an_hour_and_more};

#[tokio::test]
async fn from_nothing_to_a_notification_that_comes_through() {
    let world = World::new().await;
    let report = world.set_up().await;

    let credentials = std::fs::read_to_string(world.credentials()).unwrap();
    let credentials: Value = serde_json::from_str(&credentials).unwrap();
    assert_eq!(credentials["type"], "authorized_user");
    let (topic, _) = world.sandbox.gmail().watch(MAILBOX).unwrap();
    assert_eq!(topic, world.topic());
    let hooks = world.sandbox.bot().hooks();
    assert_eq!(hooks[0].body["test"], true);
    let settings = world
        .sandbox
        .pubsub()
        .settings(&world.subscription())
        .unwrap();
    assert_eq!(settings["expirationPolicy"], json!({}));
    assert_eq!(settings["ackDeadlineSeconds"], 30);
    // What came through is still there for the watcher.
    assert_eq!(
        world.sandbox.pubsub().unacknowledged(&world.subscription()),
        1
    );
    assert!(
        report.then.iter().any(|line| line.contains("watch pull")),
        "{report:?}"
    );
    assert_eq!(world.person.consents(), 2);
}

#[tokio::test]
async fn to_run_it_twice_changes_nothing() {
    let world = World::new().await;
    world.set_up().await;
    let before = world.everything();
    let hooks = world.sandbox.bot().hooks().len();
    let report = world.set_up().await;
    assert_eq!(world.everything(), before);
    assert_eq!(world.sandbox.bot().hooks().len(), hooks);
    let changed = report.steps.iter();
    let changed = changed.filter(|(_, state)| matches!(state, State::Done { changed: true, .. }));
    let changed: Vec<_> = changed.map(|(step, _)| *step).collect();
    assert_eq!(
        changed,
        [StepId::SignIn],
        "only the sign-in is for the run alone"
    );
}

#[tokio::test]
async fn a_plan_changes_nothing_but_names_everything() {
    let world = World::new().await;
    let before = world.inventory();
    let report = run(&mut world.site(), Mode::Plan).await.unwrap();
    assert_eq!(world.inventory(), before);
    assert!(world.sandbox.bot().hooks().is_empty());
    let to_do = report
        .steps
        .iter()
        .filter(|(_, state)| state.is_to_do())
        .count();
    assert_eq!(
        to_do,
        report.steps.len() - 3,
        "all but client, sign-in and project: {report:?}"
    );
    world.set_up().await;
    let report = run(&mut world.site(), Mode::Plan).await.unwrap();
    assert!(report.is_done(), "{report:?}");
}

#[tokio::test]
async fn a_browser_elsewhere_is_as_good() {
    let mut world = World::new().await;
    world.wishes.browser = Browser::Elsewhere;
    world.set_up().await;
    assert!(world.person.opened.lock().is_empty());
}

#[tokio::test]
async fn changes_that_take_google_minutes_are_waited_for_with_their_reason() {
    let world = World::new().await;
    world.sandbox.cloud().set_lag(Lag {
        operations: 3,
        services: 2,
        policies: 3,
        accounts: 2,
    });
    world.set_up().await;
    let told = world.person.told();
    assert!(
        told.contains("waiting: an API takes some minutes"),
        "{told}"
    );
    assert!(
        told.contains("waiting: Google takes up to 7 minutes"),
        "{told}"
    );
    assert_eq!(
        world.person.consents(),
        2,
        "nobody is asked twice for Google's sake"
    );
}

#[tokio::test]
async fn a_policy_that_somebody_else_changes_meanwhile_is_read_again() {
    let world = World::new().await;
    let conflict = Kind::Wall {
        wall: Said::ConcurrentPolicyChange,
    };
    let faults = world.sandbox.faults();
    faults.add(Place::TopicSetPolicy, conflict, Often::Times(2));
    faults.add(Place::SubscriptionSetPolicy, conflict, Often::Times(2));
    world.set_up().await;
    assert!(!world.person.told().contains("waiting: somebody else"));
}

#[tokio::test]
async fn what_is_there_already_is_used_and_what_differs_is_mended() {
    let world = World::new().await;
    world.set_up().await;
    let pubsub = world.sandbox.pubsub();
    pubsub.change(&world.subscription(), "ackDeadlineSeconds", 10.into());
    pubsub.change(
        &world.subscription(),
        "expirationPolicy",
        json!({ "ttl": "86400s" }),
    );
    let report = world.set_up().await;
    assert!(matches!(
        report.state(StepId::Subscription),
        Some(State::Done { changed: true, .. })
    ));
    let settings = pubsub.settings(&world.subscription()).unwrap();
    assert_eq!(settings["expirationPolicy"], json!({}));
    assert_eq!(settings["ackDeadlineSeconds"], 30);
}

#[tokio::test]
async fn a_watch_that_is_about_to_end_is_begun_anew() {
    let world = World::new().await;
    world.set_up().await;
    for memory in world.memory.0.lock().values_mut() {
        memory.ends_at = postbell_core::Timestamp::from_millis(0);
    }
    world.set_up().await;
    let memory = world.memory.0.lock();
    assert!(memory[MAILBOX].ends_at > in_an_hour_and_more());
}

#[tokio::test]
async fn a_watcher_that_runs_has_fetched_what_is_waited_for() {
    let mut world = World::new().await;
    world.set_up().await;
    for memory in world.memory.0.lock().values_mut() {
        memory.watcher_runs = true;
    }
    world.wishes.again = true;
    let settings = world.sandbox.pubsub();
    // The watcher takes everything at once.
    settings.change(
        &world.subscription(),
        "pushConfig",
        json!({ "pushEndpoint": "http://127.0.0.1:9/" }),
    );
    let report = world.run().await;
    assert!(report.is_done(), "{report:?}");
}

#[tokio::test]
async fn a_public_watcher_is_knocked_at() {
    let mut world = World::new().await;
    world.wishes.destination = Some(Destination::Serve {
        credentials: world.credentials(),
        // The bot of the sandbox turns strangers away, too.
        endpoint: Url::parse(&world.sandbox.bot().hook_url()).unwrap(),
    });
    let report = world.set_up().await;
    let Some(State::Done {
        warning: Some(warning),
        ..
    }) = report.state(StepId::Arrival)
    else {
        panic!("expected to be told that it cannot be seen: {report:?}");
    };
    assert!(warning.contains("lets no stranger in"), "{warning}");
    assert!(
        report
            .then
            .iter()
            .any(|line| line.contains("--verify-oidc")),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_hook_that_refuses_is_told_with_what_it_answered() {
    let world = World::new().await;
    world
        .sandbox
        .faults()
        .add(Place::Hook, Kind::refuse(500), Often::Always);
    let report = world.run().await;
    assert_failed(
        &report,
        StepId::Hook,
        &Wall::Hook("the hook answered 500".to_owned()),
    );
    assert!(
        report.state(StepId::Arrival).unwrap().is_done(),
        "nothing else needs it"
    );
}
