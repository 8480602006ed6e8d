//! From a problem to the service: monitor, outbox and sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_alerts::{
    AlertClient, AlertKind, AlertRules, Monitor, MonitorParts, ObservedUsers, Reach, Sender,
    SenderParts, UserTargets,
};
use postbell_core::{
    AlertOutbox, AlertTargets, Clock, DeadLetterReason, DeliveryLog, DeliveryQueue,
    GoogleConnection, HistoryId, InstanceStatus, MachineLocation, MachineReport, MailProblem,
    NewUser, Notification, ProblemCode, SandboxId, Settlement, StoreError, StoredTarget,
    SystemClock, TargetId, Timestamp, UnparseableMessage, UserId, UserRecord, Users,
};
use postbell_sandbox::{AlertServices, Misbehaviour};
use postbell_testkit::{MemoryAlerts, MemoryDeliveries, MemoryUsers};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::target;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A clock that is set by hand: real connections and paused time do not mix.
struct HandClock(Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }

    fn elapsed(&self) -> Duration {
        self.now() - Timestamp::default()
    }
}

/// A platform with a relay and one operator, whose monitor and sender run step by step.
struct World {
    clock: Arc<HandClock>,
    alerts: Arc<MemoryAlerts>,
    users: Arc<MemoryUsers>,
    deliveries: Arc<MemoryDeliveries>,
    services: AlertServices,
    monitor: Monitor,
    sender: Sender,
}

impl World {
    async fn new() -> Self {
        Self::with_targets(|alerts| alerts).await
    }

    /// A world whose monitor reads the users' targets from `targets`.
    async fn with_targets(
        targets: impl FnOnce(Arc<dyn AlertTargets>) -> Arc<dyn AlertTargets>,
    ) -> Self {
        let start = Timestamp::from_millis(1_790_000_000_000);
        let clock = Arc::new(HandClock(Mutex::new(start)));
        let services = AlertServices::start().await.unwrap();
        let (alerts, users) = (Arc::<MemoryAlerts>::default(), Arc::default());
        let deliveries = Arc::default();
        let targets = targets(Arc::clone(&alerts) as Arc<dyn AlertTargets>);
        Self {
            monitor: monitor(&clock, &services, &alerts, targets, &users, &deliveries),
            sender: sender(&clock, &services, &alerts),
            clock,
            alerts,
            users,
            deliveries,
            services,
        }
    }

    /// Stops both processes and starts others on the same stores.
    fn restart(&mut self) {
        self.monitor = monitor(
            &self.clock,
            &self.services,
            &self.alerts,
            Arc::clone(&self.alerts) as Arc<dyn AlertTargets>,
            &self.users,
            &self.deliveries,
        );
        self.sender = sender(&self.clock, &self.services, &self.alerts);
    }

    /// Adds a user with a Google account and, if wanted, a target.
    async fn add(&self, name: &str, has_target: bool) {
        let user: UserId = name.parse().unwrap();
        let new = NewUser {
            sandbox_id: SandboxId::from(&user),
            user: user.clone(),
            status: InstanceStatus::Running,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        let mut record = self.users.add(new, self.clock.now()).await.unwrap();
        record.connect(GoogleConnection {
            email: Some(format!("{name}@example.com").parse().unwrap()),
            push_account: None,
            connected_at: self.clock.now(),
        });
        self.write(&record).await;
        if has_target {
            let text = users_target(&self.services);
            let stored = StoredTarget {
                id: text.id(),
                text: text.text().clone(),
                added_at: self.clock.now(),
            };
            assert!(self.alerts.add_target(&user, &stored, 5).await.unwrap());
        }
    }

    async fn record(&self, name: &str) -> UserRecord {
        let user = name.parse().unwrap();
        self.users.get(&user).await.unwrap().unwrap()
    }

    async fn write(&self, record: &UserRecord) {
        let written = self.users.replace(record, None, self.clock.now()).await;
        written.unwrap();
    }

    /// The machine checks in.
    async fn check_in(&self, name: &str, problem: Option<ProblemCode>) {
        let since = self.clock.now();
        let report = MachineReport {
            problem: problem.map(|code| MailProblem { code, since }),
            ..MachineReport::default()
        };
        self.report(name, report).await;
    }

    /// The machine checks in with a report.
    async fn report(&self, name: &str, report: MachineReport) {
        let mut record = self.record(name).await;
        record.check_in(report);
        self.write(&record).await;
        self.monitor.checked_in(&record.user).await;
    }

    /// Time passes, minute by minute.
    async fn wait(&self, minutes: u32) {
        for _ in 0..minutes {
            let later = self.clock.now() + MINUTE;
            *self.clock.0.lock() = later;
            self.step().await;
        }
    }

    /// Observes and sends once.
    async fn step(&self) {
        self.monitor.observe().await.unwrap();
        while self.sender.send_due().await.unwrap() > 0 {}
    }

    /// What the services got: the service, the kind and the count.
    fn reported(&self) -> Vec<(&'static str, String, u64)> {
        let received = self.services.received().into_iter();
        received
            .map(|alert| {
                let kind = alert.json["type"].as_str().map(str::to_owned);
                let tag = alert.json["tags"][0].as_str().map(str::to_owned);
                let count = alert.json["data"]["count"].as_u64().unwrap_or(1);
                (alert.service, kind.or(tag).unwrap_or_default(), count)
            })
            .collect()
    }

    fn reported_to_operator(&self) -> Vec<(String, u64)> {
        let reported = self.reported().into_iter();
        let to_operator = reported.filter(|(service, ..)| *service == "webhook");
        to_operator.map(|(_, kind, count)| (kind, count)).collect()
    }
}

/// Targets of which some cannot be read.
struct BrokenTargets<F> {
    targets: Arc<dyn AlertTargets>,
    error: F,
}

#[async_trait]
impl<F: Fn(&UserId) -> Option<StoreError> + Send + Sync> AlertTargets for BrokenTargets<F> {
    async fn targets(&self, user: &UserId) -> Result<Vec<StoredTarget>, StoreError> {
        if let Some(error) = (self.error)(user) {
            return Err(error);
        }
        self.targets.targets(user).await
    }

    async fn add_target(
        &self,
        user: &UserId,
        target: &StoredTarget,
        most: usize,
    ) -> Result<bool, StoreError> {
        self.targets.add_target(user, target, most).await
    }

    async fn remove_target(&self, user: &UserId, target: &TargetId) -> Result<bool, StoreError> {
        self.targets.remove_target(user, target).await
    }
}

fn operators_target(services: &AlertServices) -> postbell_alerts::AlertTarget {
    target(&format!("{}/alerts", services.url()))
}

fn users_target(services: &AlertServices) -> postbell_alerts::AlertTarget {
    target(&format!("ntfy+http://{}/topic", services.host()))
}

fn monitor(
    clock: &Arc<HandClock>,
    services: &AlertServices,
    alerts: &Arc<MemoryAlerts>,
    targets: Arc<dyn AlertTargets>,
    users: &Arc<MemoryUsers>,
    deliveries: &Arc<MemoryDeliveries>,
) -> Monitor {
    Monitor::new(MonitorParts {
        outbox: Arc::clone(alerts) as Arc<dyn AlertOutbox>,
        users: Some(ObservedUsers {
            users: Arc::clone(users) as Arc<dyn Users>,
            targets,
        }),
        log: Some(Arc::clone(deliveries) as Arc<dyn DeliveryLog>),
        operator: vec![operators_target(services).id()],
        rules: AlertRules::default(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        wake: Arc::new(Notify::new()),
    })
}

fn sender(clock: &Arc<HandClock>, services: &AlertServices, alerts: &Arc<MemoryAlerts>) -> Sender {
    let client = AlertClient::new(Reach::Anywhere, Arc::new(SystemClock::new())).unwrap();
    Sender::new(SenderParts {
        outbox: Arc::clone(alerts) as Arc<dyn AlertOutbox>,
        operator: vec![operators_target(services)],
        client: client.clone(),
        users: Some(UserTargets {
            targets: Arc::clone(alerts) as Arc<dyn AlertTargets>,
            client,
        }),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        wake: Arc::new(Notify::new()),
        jitter: Box::new(|| 0.5),
    })
}

#[tokio::test]
async fn a_problem_and_its_end_are_reported_once_to_owner_and_operator() {
    let mut world = World::new().await;
    world.add("ann", true).await;
    world.add("bob", true).await;
    world.check_in("ann", None).await;
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.wait(5).await;
    world.restart();
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.wait(5).await;
    world.check_in("ann", None).await;
    world.wait(5).await;
    let mut reported = world.reported();
    reported[..2].sort();
    reported[2..].sort();
    let expected = [
        ("ntfy", "grant.revoked"),
        ("webhook", "grant.revoked"),
        ("ntfy", "recovered"),
        ("webhook", "recovered"),
    ];
    let kinds: Vec<_> = reported
        .iter()
        .map(|(to, kind, _)| (*to, kind.as_str()))
        .collect();
    assert_eq!(kinds, expected);
    let event = &world.services.received().into_iter();
    let event = event
        .clone()
        .find(|alert| alert.service == "webhook")
        .unwrap();
    assert_eq!(event.json["data"]["account"], "ann@example.com");
    assert_eq!(event.json["data"]["user"], "ann");
}

#[tokio::test]
async fn a_failing_webhook_is_reported_when_it_has_lasted() {
    let world = World::new().await;
    world.add("ann", false).await;
    world
        .check_in("ann", Some(ProblemCode::WebhookFailing))
        .await;
    world.wait(4).await;
    assert!(world.reported().is_empty());
    world.wait(1).await;
    assert_eq!(
        world.reported_to_operator(),
        [("webhook.failing".to_owned(), 1)]
    );
}

#[tokio::test]
async fn nothing_is_reported_of_a_user_who_wants_no_notifications() {
    let world = World::new().await;
    world.add("ann", true).await;
    world
        .check_in("ann", Some(ProblemCode::WebhookFailing))
        .await;
    let mut record = world.record("ann").await;
    record.notifications_enabled = false;
    world.write(&record).await;
    world.wait(30).await;
    assert!(world.reported().is_empty());
}

#[tokio::test]
async fn a_hundred_dead_letters_are_one_alert() {
    let world = World::new().await;
    world.add("ann", true).await;
    world.step().await;
    for number in 0..100 {
        let user = if number < 40 { "ann" } else { "bob" };
        let message = UnparseableMessage {
            user: format!(
                "{user}{}",
                if number < 40 {
                    String::new()
                } else {
                    number.to_string()
                }
            )
            .parse()
            .unwrap(),
            message_id: format!("m{number}").parse().unwrap(),
            body: bytes::Bytes::from_static(b"?"),
            cause: "expected JSON".to_owned(),
        };
        let queue: &dyn DeliveryQueue = &*world.deliveries;
        queue.dead_letter(message, world.clock.now()).await.unwrap();
    }
    let kept = world.deliveries.depth().await.unwrap().dead_letters;
    world.wait(30).await;
    let kind = AlertKind::DeliveryDeadLettered.to_string();
    assert_eq!(world.reported_to_operator(), [(kind.clone(), kept)]);
    let to_ann = world
        .reported()
        .into_iter()
        .filter(|(to, ..)| *to == "ntfy");
    assert_eq!(to_ann.count(), 1);
}

#[tokio::test]
async fn mails_that_the_watcher_sets_aside_are_reported_together() {
    let world = World::new().await;
    world.add("ann", true).await;
    for dead_letters in [2, 2, 5, 9, 9] {
        let report = MachineReport {
            dead_letters,
            ..MachineReport::default()
        };
        world.report("ann", report).await;
    }
    world.wait(30).await;
    // Dropping some is no news; further ones are, after an hour.
    for dead_letters in [0, 3] {
        let report = MachineReport {
            dead_letters,
            ..MachineReport::default()
        };
        world.report("ann", report).await;
    }
    let kind = AlertKind::MailDeadLettered.to_string();
    assert_eq!(world.reported_to_operator(), [(kind.clone(), 9)]);
    world.wait(60).await;
    assert_eq!(world.reported_to_operator(), [(kind.clone(), 9), (kind, 3)]);
}

#[tokio::test]
async fn dead_letters_from_before_are_no_news() {
    let world = World::new().await;
    let message = UnparseableMessage {
        user: "ann".parse().unwrap(),
        message_id: "m".parse().unwrap(),
        body: bytes::Bytes::from_static(b"?"),
        cause: "expected JSON".to_owned(),
    };
    let queue: &dyn DeliveryQueue = &*world.deliveries;
    queue.dead_letter(message, world.clock.now()).await.unwrap();
    world.wait(10).await;
    assert!(world.reported().is_empty());
}

#[tokio::test]
async fn a_thousand_revoked_grants_do_not_flood_the_operator() {
    let world = World::new().await;
    for number in 0..100 {
        let name = format!("user-{number}");
        world.add(&name, false).await;
        world.check_in(&name, Some(ProblemCode::GrantRevoked)).await;
    }
    world.wait(10).await;
    let reported = world.reported_to_operator();
    let counts: Vec<_> = reported.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts.len(), 11, "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), 100);
}

#[tokio::test]
async fn a_silent_machine_is_reported_only_if_it_used_to_check_in() {
    let world = World::new().await;
    world.add("ann", false).await;
    world.add("bob", false).await;
    world.check_in("bob", None).await;
    for _ in 0..3 {
        world.check_in("ann", None).await;
        world.wait(60).await;
    }
    world.wait(24 * 60).await;
    let silent = ("mailbox.silent".to_owned(), 1);
    assert_eq!(world.reported_to_operator(), std::slice::from_ref(&silent));
    world.check_in("ann", None).await;
    world.wait(1).await;
    let recovered = ("recovered".to_owned(), 1);
    assert_eq!(world.reported_to_operator(), [silent, recovered]);
}

#[tokio::test]
async fn a_machine_that_cannot_be_reached_is_reported_and_its_return_too() {
    let world = World::new().await;
    world.add("ann", false).await;
    let queue: &dyn DeliveryQueue = &*world.deliveries;
    let notification = Notification {
        user: "ann".parse().unwrap(),
        message_id: "m1".parse().unwrap(),
        history_id: HistoryId::new(7),
        body: bytes::Bytes::from_static(b"{}"),
    };
    let now = world.clock.now();
    queue.accept(notification, now).await.unwrap();
    let claims = queue.claim(now, MINUTE, 9).await.unwrap();
    let retry = Settlement::Retry {
        failure: postbell_core::Failure::unreachable(),
        wait: HOUR,
        cooldown: Duration::ZERO,
    };
    queue.settle(&claims[0], retry, now).await.unwrap();
    world.wait(14).await;
    assert!(world.reported().is_empty());
    world.wait(10).await;
    let reported = [("machine.unreachable".to_owned(), 1)];
    assert_eq!(world.reported_to_operator(), reported);
    let later = now + HOUR;
    let claims = queue.claim(later, MINUTE, 9).await.unwrap();
    queue
        .settle(&claims[0], Settlement::Delivered, later)
        .await
        .unwrap();
    world.wait(2).await;
    assert_eq!(world.reported_to_operator()[1].0, "recovered");
}

#[tokio::test]
async fn an_unreachable_machine_recovers_with_a_check_in_and_not_with_a_dead_letter() {
    let world = World::new().await;
    world.add("ann", false).await;
    let queue: &dyn DeliveryQueue = &*world.deliveries;
    let notification = Notification {
        user: "ann".parse().unwrap(),
        message_id: "m1".parse().unwrap(),
        history_id: HistoryId::new(7),
        body: bytes::Bytes::from_static(b"{}"),
    };
    let now = world.clock.now();
    queue.accept(notification, now).await.unwrap();
    let claims = queue.claim(now, MINUTE, 9).await.unwrap();
    let failure = postbell_core::Failure::unreachable;
    let retry = Settlement::Retry {
        failure: failure(),
        wait: HOUR,
        cooldown: Duration::ZERO,
    };
    queue.settle(&claims[0], retry, now).await.unwrap();
    world.wait(70).await;
    let later = world.clock.now();
    let claims = queue.claim(later, MINUTE, 9).await.unwrap();
    let dead_letter = Settlement::DeadLetter {
        reason: DeadLetterReason::Exhausted,
        failure: failure(),
        cooldown: Duration::ZERO,
    };
    queue.settle(&claims[0], dead_letter, later).await.unwrap();
    world.wait(30).await;
    let kinds = || {
        world
            .reported_to_operator()
            .into_iter()
            .map(|(kind, _)| kind)
    };
    let reported = ["machine.unreachable", "delivery.dead_lettered"];
    assert_eq!(kinds().collect::<Vec<_>>(), reported);
    world.check_in("ann", None).await;
    world.step().await;
    assert_eq!(kinds().next_back().as_deref(), Some("recovered"));
}

#[tokio::test]
async fn a_busy_service_gets_the_alert_when_it_asked_for_it() {
    let world = World::new().await;
    world.add("ann", false).await;
    world.services.misbehave(Misbehaviour::Refuse {
        status: 429,
        retry_after: Some(600),
    });
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.step().await;
    world.wait(9).await;
    assert!(world.reported().is_empty());
    world.wait(3).await;
    assert_eq!(world.reported().len(), 1);
}

#[tokio::test]
async fn a_service_that_never_answers_is_given_up_after_three_days() {
    let world = World::new().await;
    world.add("ann", false).await;
    for _ in 0..200 {
        world.services.misbehave(Misbehaviour::Refuse {
            status: 500,
            retry_after: None,
        });
    }
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.step().await;
    for _ in 0..4 * 24 {
        *world.clock.0.lock() = world.clock.now() + HOUR;
        world.sender.send_due().await.unwrap();
    }
    assert_eq!(world.alerts.waiting().await.unwrap(), 1);
    let before = Timestamp::from_millis(world.clock.now().as_millis() - 3 * 24 * 3_600_000);
    assert_eq!(world.alerts.prune(before).await.unwrap(), 1);
}

#[tokio::test]
async fn a_target_that_is_gone_gets_nothing_more() {
    let world = World::new().await;
    world.add("ann", false).await;
    world.services.misbehave(Misbehaviour::Refuse {
        status: 410,
        retry_after: None,
    });
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.step().await;
    assert_eq!(world.alerts.waiting().await.unwrap(), 0);
    assert!(world.reported().is_empty());
}

#[tokio::test]
async fn two_senders_send_an_alert_once_and_one_takes_over_if_the_other_dies() {
    let world = World::new().await;
    world.add("ann", false).await;
    world.services.misbehave(Misbehaviour::Hang);
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    {
        // Killed while it waits for the service.
        let sending = world.sender.send_due();
        tokio::pin!(sending);
        tokio::select! {
            _ = &mut sending => panic!("the service hangs"),
            () = world.services.wait_for_requests(1) => (),
        }
    }
    let other = sender(&world.clock, &world.services, &world.alerts);
    assert_eq!(
        other.send_due().await.unwrap(),
        0,
        "the lease has not ended"
    );
    *world.clock.0.lock() = world.clock.now() + MINUTE;
    assert_eq!(other.send_due().await.unwrap(), 1);
    assert_eq!(world.reported().len(), 1);
    assert_eq!(world.sender.send_due().await.unwrap(), 0);
}

/// What the operator gets if the webhooks of ann and bob fail and ann's targets cannot be read.
async fn alerts_despite(error: fn() -> StoreError) -> Vec<(String, u64)> {
    let error = move |user: &UserId| (user.as_str() == "ann").then(error);
    let broken = |targets| Arc::new(BrokenTargets { targets, error }) as Arc<dyn AlertTargets>;
    let world = World::with_targets(broken).await;
    for name in ["ann", "bob"] {
        world.add(name, false).await;
        world
            .check_in(name, Some(ProblemCode::WebhookFailing))
            .await;
    }
    world.wait(6).await;
    world.reported_to_operator()
}

#[tokio::test]
async fn an_error_of_one_user_does_not_delay_the_alerts_of_others() {
    let unavailable = || StoreError::Unavailable("busy".into());
    let failing = ("webhook.failing".to_owned(), 1);
    assert_eq!(alerts_despite(unavailable).await, [failing]);
}

#[tokio::test]
async fn an_unreadable_target_does_not_keep_the_alert_from_the_operator() {
    let corrupt = || StoreError::Corrupt {
        what: "alert target",
        source: "another key".into(),
    };
    let failing = ("webhook.failing".to_owned(), 1);
    assert_eq!(alerts_despite(corrupt).await, [failing.clone(), failing]);
}

#[tokio::test]
async fn what_the_operator_gets_together_survives_a_store_that_is_busy() {
    let is_busy = Arc::new(AtomicBool::new(false));
    let busy = |targets| {
        let is_busy = Arc::clone(&is_busy);
        let unavailable = || StoreError::Unavailable("busy".into());
        let error = move |_: &UserId| is_busy.load(Ordering::Relaxed).then(unavailable);
        Arc::new(BrokenTargets { targets, error }) as Arc<dyn AlertTargets>
    };
    let world = World::with_targets(busy).await;
    world.step().await;
    let message = UnparseableMessage {
        user: "ann".parse().unwrap(),
        message_id: "m".parse().unwrap(),
        body: bytes::Bytes::from_static(b"?"),
        cause: "expected JSON".to_owned(),
    };
    let queue: &dyn DeliveryQueue = &*world.deliveries;
    queue.dead_letter(message, world.clock.now()).await.unwrap();
    world.step().await;
    for number in 0..30 {
        let name = format!("user-{number}");
        world.add(&name, false).await;
        world.check_in(&name, Some(ProblemCode::GrantRevoked)).await;
    }
    // The alert of the dead letter is due, and needs the targets of ann.
    let later = world.clock.now() + 2 * MINUTE;
    *world.clock.0.lock() = later;
    is_busy.store(true, Ordering::Relaxed);
    world.monitor.observe().await.unwrap_err();
    is_busy.store(false, Ordering::Relaxed);
    world.wait(10).await;
    let reported = world.reported_to_operator().into_iter();
    let revoked = reported.filter(|(kind, _)| kind == "grant.revoked");
    let counts: Vec<_> = revoked.map(|(_, count)| count).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (11, 30));
}

#[tokio::test]
async fn a_users_target_that_hangs_does_not_delay_the_operator() {
    let world = World::new().await;
    world.add("ann", true).await;
    world.add("bob", false).await;
    let hanging = AlertServices::start().await.unwrap();
    hanging.misbehave(Misbehaviour::Hang);
    let target = users_target(&hanging);
    let stored = StoredTarget {
        id: target.id(),
        text: target.text().clone(),
        added_at: world.clock.now(),
    };
    let ann = "ann".parse().unwrap();
    assert!(world.alerts.add_target(&ann, &stored, 5).await.unwrap());
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    let running = world.sender.run(CancellationToken::new());
    let later = async {
        hanging.wait_for_requests(1).await;
        let record = world.users.get(&"bob".parse().unwrap()).await.unwrap();
        let mut record = record.unwrap();
        let since = world.clock.now();
        record.check_in(MachineReport {
            problem: Some(MailProblem {
                code: ProblemCode::GrantRevoked,
                since,
            }),
            ..MachineReport::default()
        });
        let written = world.users.replace(&record, None, since).await;
        written.unwrap();
        world.monitor.checked_in(&record.user).await;
        // To the operator and ann, and then to the operator.
        world.services.wait_for_requests(3).await;
    };
    // Less than the time that a service has to answer.
    let later = tokio::time::timeout(Duration::from_secs(15), later);
    tokio::select! {
        () = running => panic!("the sender stopped"),
        reported = later => reported.unwrap(),
    }
}
