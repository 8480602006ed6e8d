//! Stopped after any step, the next run goes on, and everything can be taken back.

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

async fn stopped_after_each_step(pushes: bool) {
    let mut stops = 0;
    for steps in 1.. {
        let mut world = World::new().await;
        if pushes {
            world.wishes.destination = Some(Destination::Serve {
                credentials: world.credentials(),
                endpoint: Url::parse(&world.sandbox.bot().hook_url()).unwrap(),
            });
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
