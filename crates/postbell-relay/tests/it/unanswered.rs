//! Deliveries while the directory does not answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postbell_core::{Clock, DeliveryLog, DeliveryQueue, Tasks, Timestamp};
use postbell_testkit::{MemoryDeliveries, PausedClock};
use tokio::time::sleep;

use crate::fake_machine::{FakeMachine, notification};
use crate::relays::dispatcher;

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// Not only at their next retries, a minute and more later.
#[tokio::test(start_paused = true)]
async fn what_failed_because_of_the_directory_is_delivered_as_soon_as_it_answers() {
    let store = Arc::new(MemoryDeliveries::default());
    let clock = Arc::new(PausedClock::starting_at(T0));
    let (machine, mut deliveries) = FakeMachine::new(Arc::clone(&clock));
    *machine.directory_is_away.lock().await = true;
    for user in ["ann", "bob", "eve"] {
        store.accept(notification(user, 7), T0).await.unwrap();
    }
    let tasks = Tasks::new();
    let dispatcher = dispatcher(1, &store, &machine, &clock);
    tasks.start("dispatcher", |stop| dispatcher.run(stop));
    sleep(30 * SECOND).await;
    assert!(deliveries.try_recv().is_err());

    *machine.directory_is_away.lock().await = false;
    for _ in 0..3 {
        let (at, _) = deliveries.recv().await.unwrap();
        let waited = (at - T0).as_secs();
        assert!((30..=33).contains(&waited), "{waited} s");
    }

    // Also the next time, a minute after the last: those who were added during a round cause no other.
    sleep(65 * SECOND).await;
    *machine.directory_is_away.lock().await = true;
    store
        .accept(notification("ann", 8), clock.now())
        .await
        .unwrap();
    sleep(5 * SECOND).await;
    *machine.directory_is_away.lock().await = false;
    let again = clock.now();
    let (at, _) = deliveries.recv().await.unwrap();
    assert!(at - again <= 3 * SECOND, "{:?}", at - again);
    tasks.stop(60 * SECOND).await.unwrap();
    assert_eq!(store.depth().await.unwrap().pending, 0);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_answers_now_and_then_does_not_use_up_the_attempts() {
    let store = Arc::new(MemoryDeliveries::default());
    let clock = Arc::new(PausedClock::starting_at(T0));
    let (machine, _deliveries) = FakeMachine::new(Arc::clone(&clock));
    *machine.directory_is_away.lock().await = true;
    store.accept(notification("ann", 7), T0).await.unwrap();
    let tasks = Tasks::new();
    let dispatcher = dispatcher(1, &store, &machine, &clock);
    tasks.start("dispatcher", |stop| dispatcher.run(stop));
    let ann = "ann".parse().unwrap();
    let mut attempts = 0;
    while clock.now() - T0 < 300 * SECOND {
        sleep(SECOND / 10).await;
        let made = store.deliveries(&ann).await.unwrap().len();
        if made > attempts {
            // The next question is not that of a delivery, which waits for a minute or more.
            machine.answers_left.store(1, Ordering::SeqCst);
            attempts = made;
        }
    }
    assert!((3..7).contains(&attempts), "{attempts}");
    assert_eq!(store.depth().await.unwrap().dead_letters, 0);
    tasks.stop(60 * SECOND).await.unwrap();
}
