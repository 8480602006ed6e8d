use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postbell_core::{
    Clock, DeadLetterReason, Delivery, Directory, DirectoryError, HistoryId, Inbox, Instance,
    InstanceStatus, Machine, MachineLocation, ManagedMachine, Notification, Outcome, RetrySchedule,
    Tasks, Timestamp, UserId,
};
use postbell_relay::{Dispatcher, DispatcherSettings, Metrics, Recall};
use postbell_testkit::{MemoryInbox, PausedClock};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::sleep;

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(60);

/// A dispatcher in paused time, between an inbox in memory and a machine that does as it is told.
struct World {
    inbox: Arc<MemoryInbox>,
    around: Arc<Around>,
    clock: Arc<PausedClock>,
    arrivals: Arc<Notify>,
    deliveries: mpsc::UnboundedReceiver<(Timestamp, Bytes)>,
    tasks: Tasks,
}

/// The directory and the machine in one.
struct Around {
    clock: Arc<PausedClock>,
    /// What becomes of the next deliveries; accepted, where none is left.
    answers: Mutex<VecDeque<Delivery>>,
    instance: Mutex<Option<Instance>>,
    is_away: Mutex<bool>,
    takes: Mutex<Duration>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    reported: Mutex<Vec<HistoryId>>,
    /// How often somebody asked for the machine to be started.
    wakes: AtomicUsize,
    can_be_woken: Mutex<bool>,
    tell: mpsc::UnboundedSender<(Timestamp, Bytes)>,
}

fn running() -> Instance {
    Instance {
        sandbox_id: "sandbox-1".to_owned(),
        status: InstanceStatus::Running,
        place: MachineLocation::Managed(ManagedMachine {
            app: "bot".to_owned(),
            machine: "d8910".to_owned(),
        }),
        google_connected: true,
        notifications_enabled: true,
    }
}

fn failed() -> Delivery {
    Delivery::Failed {
        cause: "the controller answered 500".to_owned(),
        retry_after: None,
    }
}

impl World {
    fn new() -> Self {
        // Neither early nor late.
        Self::with_chance(0.5)
    }

    fn with_chance(chance: f64) -> Self {
        let clock = Arc::new(PausedClock::starting_at(T0));
        let (tell, deliveries) = mpsc::unbounded_channel();
        let around = Arc::new(Around {
            clock: Arc::clone(&clock),
            answers: Mutex::default(),
            instance: Mutex::new(Some(running())),
            is_away: Mutex::new(false),
            takes: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            reported: Mutex::default(),
            wakes: AtomicUsize::new(0),
            can_be_woken: Mutex::default(),
            tell,
        });
        let inbox = Arc::new(MemoryInbox::default());
        let arrivals = Arc::new(Notify::new());
        let dispatcher = Dispatcher {
            inbox: Arc::clone(&inbox) as Arc<dyn Inbox>,
            recall: Arc::new(Recall::new(
                Arc::clone(&around) as Arc<dyn Directory>,
                Arc::clone(&clock) as Arc<dyn Clock>,
            )),
            machine: Arc::clone(&around) as Arc<dyn Machine>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            arrivals: Arc::clone(&arrivals),
            metrics: Arc::new(Metrics::new()),
            chance: Box::new(move || chance),
            settings: DispatcherSettings {
                retry: RetrySchedule::default(),
                lease: 45 * SECOND,
                at_once: 10,
                grace: 30 * SECOND,
            },
        };
        let tasks = Tasks::new();
        tasks.start("dispatcher", |stop| Arc::new(dispatcher).run(stop));
        Self {
            inbox,
            around,
            clock,
            arrivals,
            deliveries,
            tasks,
        }
    }

    async fn accept(&self, user: &str, history_id: u64) {
        let notification = Notification {
            user: user.parse().unwrap(),
            message_id: format!("m{history_id}").parse().unwrap(),
            history_id: HistoryId::new(history_id),
            body: Bytes::from(format!("body {history_id}")),
        };
        self.inbox
            .accept(notification, self.clock.now())
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
        self.around.answers.lock().await.extend(answers);
    }

    async fn outcomes(&self, user: &str) -> Vec<Outcome> {
        let deliveries = self.inbox.deliveries(&user.parse().unwrap()).await.unwrap();
        deliveries.iter().map(|delivery| delivery.outcome).collect()
    }

    async fn stop(self) {
        self.tasks.stop(GRACE).await.unwrap();
    }
}

#[async_trait]
impl Directory for Around {
    async fn instance(&self, _: &UserId) -> Result<Option<Instance>, DirectoryError> {
        if *self.is_away.lock().await {
            return Err(DirectoryError::Unavailable("on purpose".into()));
        }
        Ok(self.instance.lock().await.clone())
    }

    async fn push_account(&self, _: &UserId) -> Result<Option<String>, DirectoryError> {
        Ok(None)
    }

    async fn gateway_token(&self, user: &UserId) -> Result<Option<SecretString>, DirectoryError> {
        Ok(Some(format!("token of {user}").into()))
    }

    async fn user_by_email(&self, _: &str) -> Result<Option<UserId>, DirectoryError> {
        Ok(None)
    }

    async fn user_by_sandbox(&self, _: &str) -> Result<Option<UserId>, DirectoryError> {
        Ok(None)
    }

    async fn report_history_id(&self, _: &UserId, id: HistoryId) -> Result<(), DirectoryError> {
        self.reported.lock().await.push(id);
        Err(DirectoryError::Unavailable(
            "on purpose: it must not matter".into(),
        ))
    }

    async fn wake(&self, _: &UserId) -> Result<bool, DirectoryError> {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        Ok(*self.can_be_woken.lock().await)
    }

    async fn report_running(&self, _: &UserId, _: Option<Timestamp>) -> Result<(), DirectoryError> {
        Ok(())
    }
}

#[async_trait]
impl Machine for Around {
    async fn deliver(&self, instance: &Instance, token: &SecretString, body: Bytes) -> Delivery {
        assert_eq!(*instance, running());
        assert!(token.expose_secret().starts_with("token of "));
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        self.tell.send((self.clock.now(), body)).unwrap();
        let takes = *self.takes.lock().await;
        sleep(takes).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.answers
            .lock()
            .await
            .pop_front()
            .unwrap_or(Delivery::Accepted)
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_is_delivered_at_once_and_reported() {
    let mut world = World::new();
    world.accept("ann", 7).await;
    let (at, body) = world.deliveries.recv().await.unwrap();
    assert_eq!((at, body), (T0, Bytes::from("body 7")));

    let around = Arc::clone(&world.around);
    let inbox = Arc::clone(&world.inbox);
    world.stop().await;
    assert_eq!(*around.reported.lock().await, [HistoryId::new(7)]);
    assert_eq!(inbox.next_due().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_failing_machine_is_tried_on_the_contracts_schedule_and_then_given_up() {
    let mut world = World::new();
    world.answer_with((0..7).map(|_| failed())).await;
    world.accept("ann", 7).await;

    let mut expected = 0;
    for wait in [0, 60, 120, 240, 480, 960, 1920] {
        expected += wait;
        assert_eq!(world.next_delivery().await, expected);
    }
    sleep(10 * SECOND).await;
    let letters = world.inbox.dead_letters(None, None, 10).await.unwrap();
    assert_eq!(letters[0].reason, DeadLetterReason::Exhausted);
    assert_eq!(letters[0].cause, "the controller answered 500");
    assert_eq!(world.inbox.next_due().await.unwrap(), None);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_buried_at_once() {
    let mut world = World::new();
    world.answer_with([Delivery::Refused { status: 422 }]).await;
    world.accept("ann", 7).await;
    world.next_delivery().await;
    sleep(SECOND).await;

    let letters = world.inbox.dead_letters(None, None, 10).await.unwrap();
    assert_eq!(
        (letters[0].reason, letters[0].cause.as_str()),
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
            cause: "busy".to_owned(),
            retry_after,
        }])
        .await;
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);

    sleep(10 * SECOND).await;
    world.accept("ann", 8).await;
    assert_eq!(world.next_delivery().await, 600, "news do not shorten it");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn news_start_the_schedule_over_but_not_within_its_first_wait() {
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
async fn what_is_not_wanted_any_more_is_dropped() {
    let mut world = World::new();
    for gone in [
        None,
        Some(Instance {
            notifications_enabled: false,
            ..running()
        }),
    ] {
        *world.around.instance.lock().await = gone;
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

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_not_running_and_a_directory_that_is_away_are_tried_again() {
    let mut world = World::new();
    *world.around.instance.lock().await = Some(Instance {
        status: InstanceStatus::Stopped,
        ..running()
    });
    world.accept("ann", 7).await;
    sleep(30 * SECOND).await;
    *world.around.instance.lock().await = Some(running());
    *world.around.is_away.lock().await = true;
    sleep(60 * SECOND).await;
    *world.around.is_away.lock().await = false;

    assert_eq!(world.next_delivery().await, 60 + 120);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_off_or_does_not_answer_is_asked_to_be_started() {
    let mut world = World::new();
    *world.around.can_be_woken.lock().await = true;
    *world.around.instance.lock().await = Some(Instance {
        status: InstanceStatus::Stopped,
        ..running()
    });
    world.accept("ann", 7).await;
    sleep(SECOND).await;
    *world.around.instance.lock().await = Some(running());
    world.answer_with([failed()]).await;
    assert_eq!(world.next_delivery().await, 60);
    assert_eq!(world.next_delivery().await, 60 + 120);
    sleep(SECOND).await;

    assert_eq!(world.around.wakes.load(Ordering::SeqCst), 2);
    let records = world.inbox.deliveries(&"ann".parse().unwrap()).await;
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
async fn one_delivery_a_mailbox_and_only_so_many_at_once() {
    let mut world = World::new();
    *world.around.takes.lock().await = 5 * SECOND;
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
    assert_eq!(world.around.most_at_once.load(Ordering::SeqCst), 10);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_in_flight_and_begins_nothing_new() {
    let mut world = World::new();
    *world.around.takes.lock().await = 5 * SECOND;
    for user in 0..11 {
        world.accept(&format!("user-{user}"), 7).await;
    }
    for _ in 0..10 {
        world.next_delivery().await;
    }
    let (inbox, mut deliveries) = (Arc::clone(&world.inbox), world.deliveries);
    world.tasks.stop(GRACE).await.unwrap();

    assert!(deliveries.try_recv().is_err());
    assert_eq!(
        inbox.depth().await.unwrap().waiting,
        1,
        "ten were settled, one never begun"
    );
}

#[tokio::test(start_paused = true)]
async fn waits_are_moved_by_up_to_a_tenth_and_the_first_is_never_shortened() {
    for (chance, expected) in [(0.0, [0, 66, 66 + 108]), (1.0, [0, 66, 66 + 132])] {
        let mut world = World::with_chance(chance);
        world.answer_with([failed(), failed()]).await;
        world.accept("ann", 7).await;
        for at in expected {
            assert_eq!(world.next_delivery().await, at, "chance {chance}");
        }
        world.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_back_what_takes_longer_than_the_grace() {
    let mut world = World::new();
    *world.around.takes.lock().await = 300 * SECOND;
    world.accept("ann", 7).await;
    world.next_delivery().await;
    let (inbox, clock) = (Arc::clone(&world.inbox), Arc::clone(&world.clock));
    world.tasks.stop(GRACE).await.unwrap();

    assert_eq!((clock.now() - T0).as_secs(), 30, "the grace");
    let claims = inbox.claim(clock.now(), SECOND, 10).await.unwrap();
    assert_eq!(claims.len(), 1, "due at once, whoever starts next");
    assert_eq!(claims[0].failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_went_away_is_no_reason_to_wait() {
    let mut world = World::new();
    world.accept("ann", 7).await;
    assert_eq!(world.next_delivery().await, 0);
    *world.around.is_away.lock().await = true;
    sleep(600 * SECOND).await;
    world.accept("ann", 8).await;
    assert_eq!(
        world.next_delivery().await,
        600,
        "what it said before serves"
    );
    sleep(2 * 3600 * SECOND).await;
    world.accept("ann", 9).await;
    sleep(SECOND).await;
    assert!(world.deliveries.try_recv().is_err(), "but not for ever");
    world.stop().await;
}
