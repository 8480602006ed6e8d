//! Two relays on one queue.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    Clock, DeliveryLog, DeliveryQueue, RelayId, RetrySchedule, Tasks, Timestamp, Tracer,
};
use postbell_relay::{Dispatcher, DispatcherSettings, Metrics};
use postbell_testkit::{MemoryDeliveries, PausedClock};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fake_machine::{FakeMachine, notification};

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn dispatcher(
    relay: i64,
    store: &Arc<MemoryDeliveries>,
    machine: &Arc<FakeMachine>,
    clock: &Arc<PausedClock>,
) -> Arc<Dispatcher> {
    Arc::new(Dispatcher {
        relay: RelayId::new(relay),
        queue: Arc::clone(store) as Arc<dyn DeliveryQueue>,
        deliverer: machine.deliverer(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        arrivals: Arc::new(Notify::new()),
        metrics: Arc::new(Metrics::new()),
        tracer: Tracer::new(|| 1),
        jitter: Box::new(|| 0.5),
        settings: DispatcherSettings {
            retry: RetrySchedule::default(),
            lease: 600 * SECOND,
            max_concurrent: 1,
            grace: 120 * SECOND,
        },
    })
}

/// Not only when its lease ends, and not while it lives.
#[tokio::test(start_paused = true)]
async fn what_a_relay_delivered_when_it_was_killed_is_delivered_by_another_within_20_seconds() {
    let store = Arc::new(MemoryDeliveries::default());
    let clock = Arc::new(PausedClock::starting_at(T0));
    let (slow, mut slow_deliveries) = FakeMachine::new(Arc::clone(&clock));
    *slow.delivery_time.lock().await = 300 * SECOND;
    let (quick, mut quick_deliveries) = FakeMachine::new(Arc::clone(&clock));
    store.accept(notification("ann", 7), T0).await.unwrap();

    let mut killed = JoinSet::new();
    let first = dispatcher(1, &store, &slow, &clock);
    killed.spawn(first.run(CancellationToken::new()));
    slow_deliveries.recv().await.unwrap();
    let tasks = Tasks::new();
    let second = dispatcher(2, &store, &quick, &clock);
    tasks.start("dispatcher", |stop| second.run(stop));

    tokio::time::sleep(60 * SECOND).await;
    assert!(quick_deliveries.try_recv().is_err(), "the first one lives");
    killed.shutdown().await;
    let killed_at = clock.now();
    let (at, _) = quick_deliveries.recv().await.unwrap();
    let waited = (at - killed_at).as_secs();
    assert!((10..=20).contains(&waited), "{waited} s");
    tasks.stop(60 * SECOND).await.unwrap();
    assert_eq!(store.depth().await.unwrap().pending, 0);
}

/// Its deliveries in progress are still its own.
#[tokio::test(start_paused = true)]
async fn a_relay_that_stops_keeps_its_claims_until_the_end_of_its_grace() {
    let store = Arc::new(MemoryDeliveries::default());
    let clock = Arc::new(PausedClock::starting_at(T0));
    let (slow, mut slow_deliveries) = FakeMachine::new(Arc::clone(&clock));
    *slow.delivery_time.lock().await = 100 * SECOND;
    let (quick, mut quick_deliveries) = FakeMachine::new(Arc::clone(&clock));
    store.accept(notification("ann", 7), T0).await.unwrap();

    let (stopping, staying) = (Tasks::new(), Tasks::new());
    let first = dispatcher(1, &store, &slow, &clock);
    stopping.start("dispatcher", |stop| first.run(stop));
    slow_deliveries.recv().await.unwrap();
    let second = dispatcher(2, &store, &quick, &clock);
    staying.start("dispatcher", |stop| second.run(stop));
    stopping.stop(200 * SECOND).await.unwrap();
    assert!(quick_deliveries.try_recv().is_err());
    assert_eq!(store.depth().await.unwrap().pending, 0);
    staying.stop(60 * SECOND).await.unwrap();
}
