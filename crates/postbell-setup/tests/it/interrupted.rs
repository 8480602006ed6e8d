//! Stopped after any step, the next run goes on, and everything can be taken back.

use std::time::Duration;

use postbell_sandbox::{Kind, Often, Place};
use postbell_setup::{Destination, Mode, run};
use url::Url;

use crate::world::World;

/// Sets up, and stops dead as soon as so many steps were shown as done. Returns whether it came to
/// that.
async fn stop_after(world: &World, steps: usize) -> bool {
    let mut site = world.site();
    let enough = async {
        for _ in 0..steps {
            world.person.done.notified().await;
        }
        // Every step is told of, but several may have been before anybody listened.
        while world
            .person
            .steps
            .lock()
            .iter()
            .filter(|(_, state)| state.is_done())
            .count()
            < steps
        {
            world.person.done.notified().await;
        }
    };
    tokio::select! {
        biased;
        () = enough => true,
        report = run(&mut site, Mode::Apply) => {
            assert!(report.unwrap().is_done());
            false
        }
    }
}

fn pushed(world: &World) -> Destination {
    Destination::Serve {
        credentials: Some(world.credentials()),
        endpoint: Url::parse(&world.sandbox.bot().hook_url()).unwrap(),
    }
}

async fn stopped_after_each_step(pushes: bool) {
    let mut stops = 0;
    for steps in 1.. {
        let mut world = World::new().await;
        if pushes {
            world.wishes.destination = Some(pushed(&world));
        }
        let before = world.inventory();
        if !stop_after(&world, steps).await {
            break;
        }
        stops += 1;
        world.person.steps.lock().clear();
        world.set_up().await;
        world.set_up().await;
        let report = world.undo().await;
        assert!(!report.has_failed(), "after {steps}: {report:#?}");
        assert_eq!(world.inventory(), before, "after {steps} steps");
    }
    assert!(stops >= 10, "{stops}");
}

#[tokio::test]
async fn where_notifications_are_fetched() {
    stopped_after_each_step(false).await;
}

#[tokio::test]
async fn where_notifications_are_pushed() {
    stopped_after_each_step(true).await;
}

/// Stopped between a call that was carried out and any word of that: all that the run knows is that
/// Google was away.
#[tokio::test]
async fn between_a_call_and_its_answer() {
    for (place, pushes) in [
        (Place::ServicesEnable, false),
        (Place::TopicCreate, false),
        (Place::TopicSetPolicy, false),
        (Place::AccountCreate, true),
        (Place::AccountSetPolicy, true),
        (Place::SubscriptionCreate, false),
        (Place::SubscriptionSetPolicy, false),
        (Place::GmailWatch, false),
    ] {
        let mut world = World::new().await;
        if pushes {
            world.wishes.destination = Some(pushed(&world));
        }
        let before = world.inventory();
        let patience = world.patience;
        world.patience.total = Duration::ZERO;
        let faults = world.sandbox.faults();
        faults.add(place, Kind::DropAfter, Often::Always);
        let report = world.run().await;
        assert!(report.has_failed(), "{place}: {report:#?}");
        faults.clear();
        world.patience = patience;
        world.set_up().await;
        let report = world.undo().await;
        assert!(!report.has_failed(), "{place}: {report:#?}");
        assert_eq!(world.inventory(), before, "{place}");
    }
}

#[tokio::test]
async fn a_project_whose_making_was_never_answered_is_ours_all_the_same() {
    let mut world = World::with_other_sign_in().await;
    world.wishes.project = Some("made-by-setup".to_owned());
    world.wishes.create_project = true;
    let faults = world.sandbox.faults();
    faults.add(Place::ProjectCreate, Kind::DropAfter, Often::Times(1));
    world.run().await;
    world.wishes.delete_project = true;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert!(world.sandbox.cloud().is_deleted("made-by-setup"));
}
