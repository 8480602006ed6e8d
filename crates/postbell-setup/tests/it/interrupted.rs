//! A run that is interrupted after any step can be continued and undone.

use std::time::Duration;

use postbell_sandbox::{FaultPoint, Frequency, Kind};
use postbell_setup::{Destination, Mode, run};
use url::Url;

use crate::world::World;

/// Runs setup until this many steps are done. Returns `false` if setup ends before.
async fn stop_after(world: &World, steps: usize) -> bool {
    let mut ctx = world.context(Mode::Apply);
    let enough = async {
        for _ in 0..steps {
            world.user.done.notified().await;
        }
        // Several steps may have been done before the first notification.
        while world
            .user
            .steps
            .lock()
            .iter()
            .filter(|(_, state)| state.is_done())
            .count()
            < steps
        {
            world.user.done.notified().await;
        }
    };
    tokio::select! {
        biased;
        () = enough => true,
        report = run(&mut ctx) => {
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
            world.request.destination = Some(pushed(&world));
        }
        let before = world.inventory();
        if !stop_after(&world, steps).await {
            break;
        }
        stops += 1;
        world.user.steps.lock().clear();
        world.set_up().await;
        world.set_up().await;
        let report = world.undo().await;
        assert!(!report.has_failed(), "after {steps}: {report:#?}");
        assert_eq!(world.inventory(), before, "after {steps} steps");
    }
    assert!(stops >= 10, "{stops}");
}

#[tokio::test]
async fn after_each_step_when_pulling() {
    stopped_after_each_step(false).await;
}

#[tokio::test]
async fn after_each_step_when_pushing() {
    stopped_after_each_step(true).await;
}

/// Google executes a call, but its answer is lost: setup knows only that Google was unavailable.
#[tokio::test]
async fn between_a_call_and_its_answer() {
    for (place, pushes) in [
        (FaultPoint::ServicesEnable, false),
        (FaultPoint::TopicCreate, false),
        (FaultPoint::TopicSetPolicy, false),
        (FaultPoint::AccountCreate, true),
        (FaultPoint::AccountSetPolicy, true),
        (FaultPoint::SubscriptionCreate, false),
        (FaultPoint::SubscriptionSetPolicy, false),
        (FaultPoint::GmailWatch, false),
    ] {
        let mut world = World::new().await;
        if pushes {
            world.request.destination = Some(pushed(&world));
        }
        let before = world.inventory();
        let timeouts = world.timeouts;
        world.timeouts.total = Duration::ZERO;
        let faults = world.sandbox.faults();
        faults.add(place, Kind::DropAfter, Frequency::Always);
        let report = world.run().await;
        assert!(report.has_failed(), "{place}: {report:#?}");
        faults.clear();
        world.timeouts = timeouts;
        world.set_up().await;
        let report = world.undo().await;
        assert!(!report.has_failed(), "{place}: {report:#?}");
        assert_eq!(world.inventory(), before, "{place}");
    }
}

#[tokio::test]
async fn a_project_is_ours_if_the_answer_to_its_creation_is_lost() {
    let mut world = World::with_separate_sign_in().await;
    world.request.project = Some("made-by-setup".to_owned());
    world.request.create_project = true;
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::ProjectCreate,
        Kind::DropAfter,
        Frequency::Times(1),
    );
    world.run().await;
    world.request.delete_project = true;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert!(world.sandbox.cloud().is_deleted("made-by-setup"));
}
