use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Clock, DeadLetterReason, Delivery, DeliveryLog, DeliveryQueue, Failure, FailureKind, HistoryId,
    Instance, InstanceStatus, MailProblem, Outcome, ProblemCode, RetrySchedule, Tasks, Timestamp,
    Tracer,
};
use postbell_relay::{Dispatcher, DispatcherSettings, Metrics};
use postbell_testkit::{MemoryDeliveries, PausedClock, RELAY};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::fake_machine::{FakeMachine, failed, notification, running};

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(60);

/// A dispatcher in paused time, between an in-memory queue and a machine that answers as the test says.
struct World {
    store: Arc<MemoryDeliveries>,
    machine: Arc<FakeMachine>,
    clock: Arc<PausedClock>,
    arrivals: Arc<Notify>,
    deliveries: mpsc::UnboundedReceiver<(Timestamp, Bytes)>,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        // Retries are neither early nor late.
        Self::with_jitter(0.5)
    }

    fn with_jitter(jitter: f64) -> Self {
        let clock = Arc::new(PausedClock::starting_at(T0));
        let (machine, deliveries) = FakeMachine::new(Arc::clone(&clock));
        let store = Arc::new(MemoryDeliveries::default());
        let arrivals = Arc::new(Notify::new());
        let dispatcher = Dispatcher {
            relay: RELAY,
            queue: Arc::clone(&store) as Arc<dyn DeliveryQueue>,
            deliverer: machine.deliverer(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            arrivals: Arc::clone(&arrivals),
            metrics: Arc::new(Metrics::new()),
            tracer: Tracer::new(|| 1),
            jitter: Box::new(move || jitter),
            settings: DispatcherSettings {
                retry: RetrySchedule::default(),
                lease: 45 * SECOND,
                max_concurrent: 10,
                grace: 30 * SECOND,
            },
        };
        let tasks = Tasks::new();
        tasks.start("dispatcher", |stop| Arc::new(dispatcher).run(stop));
        Self {
            store,
            machine,
            clock,
            arrivals,
            deliveries,
            tasks,
        }
    }

    async fn accept(&self, user: &str, history_id: u64) {
        self.store
            .accept(notification(user, history_id), self.clock.now())
            .await
            .unwrap();
        self.arrivals.notify_one();
    }

    /// How many seconds after the start the next delivery begins.
    async fn next_delivery(&mut self) -> u64 {
        let (at, _) = self.deliveries.recv().await.unwrap();
        (at - T0).as_secs()
    }

    async fn answer_with(&self, answers: impl IntoIterator<Item = Delivery>) {
        self.machine.results.lock().await.extend(answers);
    }

    async fn outcomes(&self, user: &str) -> Vec<Outcome> {
        let deliveries = self.store.deliveries(&user.parse().unwrap()).await.unwrap();
        deliveries.iter().map(|delivery| delivery.outcome).collect()
    }

    async fn stop(self) {
        self.tasks.stop(GRACE).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_notification_is_delivered_at_once_and_reported() {
    let mut world = World::new();
    world.accept("ann", 7).await;
    let (at, body) = world.deliveries.recv().await.unwrap();
    assert_eq!((at, body), (T0, Bytes::from("body 7")));

    let machine = Arc::clone(&world.machine);
    let store = Arc::clone(&world.store);
    world.stop().await;
    assert_eq!(*machine.reported.lock().await, [HistoryId::new(7)]);
    assert_eq!(store.depth().await.unwrap().pending, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_machine_is_retried_on_the_schedule_of_the_protocol_and_then_dead_lettered() {
    let mut world = World::new();
    world.answer_with((0..7).map(|_| failed())).await;
    world.accept("ann", 7).await;

    let mut expected = 0;
    for wait in [0, 60, 120, 240, 480, 960, 1920] {
        expected += wait;
        assert_eq!(world.next_delivery().await, expected);
    }
    sleep(10 * SECOND).await;
    let dead_letters = world.store.dead_letters(None, None, 10).await.unwrap();
    assert_eq!(dead_letters[0].reason, DeadLetterReason::Exhausted);
    assert_eq!(dead_letters[0].cause, "the controller answered 500");
    assert_eq!(world.store.depth().await.unwrap().pending, 0);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_dead_lettered_at_once() {
    let mut world = World::new();
    world.answer_with([Delivery::Refused { status: 422 }]).await;
    world.accept("ann", 7).await;
    world.next_delivery().await;
    sleep(SECOND).await;

    let dead_letters = world.store.dead_letters(None, None, 10).await.unwrap();
    assert_eq!(
        (dead_letters[0].reason, dead_letters[0].cause.as_str()),
        (DeadLetterReason::Refused, "the controller answered 422")
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let mut world = World::new();
    let retry_after = Some(600 * SECOND);
    world
        .answer_with([Delivery::Failed {
            failure: Failure::new(FailureKind::Other, "busy"),
            retry_after,
        }])
        .await;
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);

    sleep(10 * SECOND).await;
    world.accept("ann", 8).await;
    assert_eq!(
        world.next_delivery().await,
        600,
        "a new notification does not shorten it"
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_notification_restarts_the_schedule_but_not_within_its_first_wait() {
    let mut world = World::new();
    world.answer_with([failed(), failed()]).await;
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);
    assert_eq!(world.next_delivery().await, 60);

    sleep(10 * SECOND).await;
    world.accept("ann", 8).await;
    assert_eq!(
        world.next_delivery().await,
        120,
        "a minute after the failure, not two"
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unwanted_notification_is_dropped() {
    let mut world = World::new();
    for instance in [
        None,
        Some(Instance {
            notifications_enabled: false,
            ..running()
        }),
    ] {
        *world.machine.instance.lock().await = instance;
        let history_id = 7 + world.outcomes("ann").await.len() as u64;
        world.accept("ann", history_id).await;
        sleep(SECOND).await;
    }
    assert_eq!(
        world.outcomes("ann").await,
        [Outcome::Unwanted, Outcome::Unwanted]
    );
    assert!(
        world.deliveries.try_recv().is_err(),
        "nothing went to the machine"
    );
    world.stop().await;
}

/// Reports a problem of the machine, as a check-in stores it in the directory.
async fn report(world: &World, code: Option<ProblemCode>) {
    let problem = code.map(|code| MailProblem { code, since: T0 });
    *world.machine.instance.lock().await = Some(Instance {
        problem,
        ..running()
    });
}

/// Checks in, as the ingress does.
async fn check_in(world: &World, code: Option<ProblemCode>) {
    report(world, code).await;
    let ann = "ann".parse().unwrap();
    let due = world.store.make_due(&ann, code, world.clock.now());
    due.await.unwrap();
    world.arrivals.notify_one();
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_with_a_problem_is_probed_hourly_and_never_dead_lettered() {
    let mut world = World::new();
    report(&world, Some(ProblemCode::GrantRevoked)).await;
    world.answer_with((0..48).map(|_| failed())).await;
    world.accept("ann", 7).await;
    for hour in 0..24 {
        assert_eq!(world.next_delivery().await, hour * 3600);
        // Mail goes on arriving.
        world.accept("ann", 8 + hour).await;
    }
    let depth = world.store.depth().await.unwrap();
    assert_eq!((depth.dead_letters, depth.parked), (0, 1));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_mailbox_with_a_problem_is_no_dead_letter() {
    let mut world = World::new();
    report(&world, Some(ProblemCode::WrongAccount)).await;
    world.answer_with([Delivery::Refused { status: 422 }]).await;
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);
    assert_eq!(world.next_delivery().await, 3600);
    sleep(SECOND).await;
    assert_eq!(
        world.outcomes("ann").await,
        [Outcome::Delivered, Outcome::Parked]
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_mail_of_the_gap_arrives_as_soon_as_the_problem_is_over() {
    let mut world = World::new();
    report(&world, Some(ProblemCode::GrantRevoked)).await;
    world.answer_with([failed()]).await;
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);
    for history_id in 8..20 {
        sleep(60 * SECOND).await;
        world.accept("ann", history_id).await;
    }
    check_in(&world, Some(ProblemCode::GrantRevoked)).await;
    sleep(60 * SECOND).await;
    assert!(world.deliveries.try_recv().is_err(), "the problem goes on");

    check_in(&world, None).await;
    let (at, body) = world.deliveries.recv().await.unwrap();
    assert_eq!((at - T0).as_secs(), 13 * 60);
    assert_eq!(body, Bytes::from("body 19"), "it covers the earlier ones");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_problem_found_between_two_retries_parks_the_mailbox() {
    let mut world = World::new();
    world.answer_with([failed(), failed(), failed()]).await;
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);
    report(&world, Some(ProblemCode::WebhookFailing)).await;
    assert_eq!(world.next_delivery().await, 60);
    assert_eq!(world.next_delivery().await, 60 + 3600);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_problem_that_stops_no_delivery_delays_no_retry() {
    let mut world = World::new();
    report(&world, Some(ProblemCode::WatchMissing)).await;
    world.answer_with([failed()]).await;
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);
    assert_eq!(world.next_delivery().await, 60);
    world.answer_with([Delivery::Refused { status: 422 }]).await;
    world.accept("ann", 8).await;
    world.next_delivery().await;
    sleep(SECOND).await;
    assert_eq!(world.store.depth().await.unwrap().dead_letters, 1);
    world.stop().await;
}

/// A machine that is off is retried and started as any other; a problem that it had reported before
/// only keeps its notification from becoming a dead letter.
#[tokio::test(start_paused = true)]
async fn a_stopped_machine_with_a_problem_is_started_on_the_schedule_and_then_parked() {
    let world = World::new();
    *world.machine.instance.lock().await = Some(Instance {
        status: InstanceStatus::Stopped,
        problem: Some(MailProblem {
            code: ProblemCode::GrantRevoked,
            since: T0,
        }),
        ..running()
    });
    world.accept("ann", 7).await;
    sleep(4000 * SECOND).await;
    let outcomes = world.outcomes("ann").await;
    assert_eq!(outcomes.len(), 7);
    assert_eq!(outcomes[0], Outcome::Parked);
    assert!(
        outcomes[1..]
            .iter()
            .all(|outcome| *outcome == Outcome::Failed)
    );
    assert_eq!(world.machine.start_requests.load(Ordering::SeqCst), 7);
    assert_eq!(world.store.depth().await.unwrap().dead_letters, 0);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_machine_and_an_unavailable_directory_are_retried() {
    let mut world = World::new();
    *world.machine.instance.lock().await = Some(Instance {
        status: InstanceStatus::Stopped,
        ..running()
    });
    world.accept("ann", 7).await;
    sleep(30 * SECOND).await;
    *world.machine.instance.lock().await = Some(running());
    *world.machine.directory_is_away.lock().await = true;
    sleep(60 * SECOND).await;
    *world.machine.directory_is_away.lock().await = false;

    assert_eq!(world.next_delivery().await, 60 + 120);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_or_failing_machine_is_requested_to_start() {
    let mut world = World::new();
    *world.machine.may_be_started.lock().await = true;
    *world.machine.instance.lock().await = Some(Instance {
        status: InstanceStatus::Stopped,
        ..running()
    });
    world.accept("ann", 7).await;
    sleep(SECOND).await;
    *world.machine.instance.lock().await = Some(running());
    world.answer_with([failed()]).await;
    assert_eq!(world.next_delivery().await, 60);
    assert_eq!(world.next_delivery().await, 60 + 120);
    sleep(SECOND).await;

    assert_eq!(world.machine.start_requests.load(Ordering::SeqCst), 2);
    let records = world.store.deliveries(&"ann".parse().unwrap()).await;
    let causes: Vec<_> = records
        .unwrap()
        .into_iter()
        .map(|record| record.cause)
        .collect();
    let expected = [
        None,
        Some("the controller answered 500; the machine is being started".to_owned()),
        Some("the machine is not running; the machine is being started".to_owned()),
    ];
    assert_eq!(causes, expected);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_delivery_per_mailbox_and_a_limited_number_at_once() {
    let mut world = World::new();
    *world.machine.delivery_time.lock().await = 5 * SECOND;
    for user in 0..25 {
        world.accept(&format!("user-{user}"), 7).await;
    }
    world.next_delivery().await;
    for history_id in 8..12 {
        world.accept("user-0", history_id).await;
    }
    for _ in 0..25 {
        world.next_delivery().await;
    }
    sleep(10 * SECOND).await;
    assert!(
        world.deliveries.try_recv().is_err(),
        "user-0 was delivered twice: 7, and then 11"
    );
    assert_eq!(world.machine.max_concurrent.load(Ordering::SeqCst), 10);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_running_deliveries_and_starts_no_new_ones() {
    let mut world = World::new();
    *world.machine.delivery_time.lock().await = 5 * SECOND;
    for user in 0..11 {
        world.accept(&format!("user-{user}"), 7).await;
    }
    for _ in 0..10 {
        world.next_delivery().await;
    }
    let (store, mut deliveries) = (Arc::clone(&world.store), world.deliveries);
    world.tasks.stop(GRACE).await.unwrap();

    assert!(deliveries.try_recv().is_err());
    assert_eq!(
        store.depth().await.unwrap().pending,
        1,
        "ten were settled, one never begun"
    );
}

#[tokio::test(start_paused = true)]
async fn waits_are_jittered_by_up_to_a_tenth_and_the_first_is_never_shortened() {
    for (jitter, expected) in [(0.0, [0, 66, 66 + 108]), (1.0, [0, 66, 66 + 132])] {
        let mut world = World::with_jitter(jitter);
        world.answer_with([failed(), failed()]).await;
        world.accept("ann", 7).await;
        for at in expected {
            assert_eq!(world.next_delivery().await, at, "jitter {jitter}");
        }
        world.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_releases_deliveries_that_take_longer_than_the_grace() {
    let mut world = World::new();
    *world.machine.delivery_time.lock().await = 300 * SECOND;
    world.accept("ann", 7).await;
    world.next_delivery().await;
    let (store, clock) = (Arc::clone(&world.store), Arc::clone(&world.clock));
    world.tasks.stop(GRACE).await.unwrap();

    assert_eq!((clock.now() - T0).as_secs(), 30, "the grace");
    let claims = store
        .claim(RELAY, clock.now(), SECOND, 10)
        .await
        .unwrap()
        .claims;
    assert_eq!(claims.len(), 1, "due at once for the next dispatcher");
    assert_eq!(claims[0].attempt, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cached_answer_serves_while_the_directory_is_away() {
    let mut world = World::new();
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);
    *world.machine.directory_is_away.lock().await = true;
    sleep(600 * SECOND).await;
    world.accept("ann", 8).await;
    assert_eq!(world.next_delivery().await, 600, "the cached answer serves");
    sleep(2 * 3600 * SECOND).await;
    world.accept("ann", 9).await;
    sleep(SECOND).await;
    assert!(world.deliveries.try_recv().is_err(), "but not for ever");
    world.stop().await;
}

/// The greatest of each user, at once if the user had none within the last second.
#[tokio::test(start_paused = true)]
async fn history_ids_are_reported_at_most_once_a_second() {
    let mut world = World::new();
    for history_id in 1..=10 {
        world.accept("ann", history_id).await;
        world.next_delivery().await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(*world.machine.reported.lock().await, [HistoryId::new(1)]);
    sleep(SECOND).await;
    let reported = world.machine.reported.lock().await.clone();
    assert_eq!(reported, [HistoryId::new(1), HistoryId::new(10)]);
    world.stop().await;
}
