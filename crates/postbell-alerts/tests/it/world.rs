//! A monitor, an outbox and a sender that run step by step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_alerts::{
    AlertClient, AlertRules, Monitor, MonitorParts, ObservedUsers, Reach, Sender, SenderParts,
    UserTargets,
};
use postbell_core::{
    AlertOutbox, AlertTargets, Clock, DeliveryLog, GoogleConnection, InstanceStatus,
    MachineLocation, MachineReport, MailProblem, NewUser, ProblemCode, SandboxId, StoreError,
    StoredTarget, SystemClock, TargetId, Timestamp, UserId, UserRecord, Users,
};
use postbell_sandbox::AlertServices;
use postbell_testkit::{MemoryAlerts, MemoryDeliveries, MemoryUsers};
use tokio::sync::Notify;

use crate::target;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A clock that is set by hand: real connections and paused time do not mix.
pub(crate) struct HandClock(pub(crate) Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }

    fn elapsed(&self) -> Duration {
        self.now() - Timestamp::default()
    }
}

/// A platform with a relay and one operator, whose monitor and sender run step by step.
pub(crate) struct World {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) alerts: Arc<MemoryAlerts>,
    pub(crate) users: Arc<MemoryUsers>,
    pub(crate) deliveries: Arc<MemoryDeliveries>,
    pub(crate) services: AlertServices,
    pub(crate) monitor: Monitor,
    pub(crate) sender: Sender,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_targets(|alerts| alerts).await
    }

    /// A world whose monitor reads the users' targets from `targets`.
    pub(crate) async fn with_targets(
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
    pub(crate) fn restart(&mut self) {
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
    pub(crate) async fn add(&self, name: &str, has_target: bool) {
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

    pub(crate) async fn record(&self, name: &str) -> UserRecord {
        let user = name.parse().unwrap();
        self.users.get(&user).await.unwrap().unwrap()
    }

    pub(crate) async fn write(&self, record: &UserRecord) {
        let written = self.users.replace(record, None, self.clock.now()).await;
        written.unwrap();
    }

    /// The machine checks in.
    pub(crate) async fn check_in(&self, name: &str, problem: Option<ProblemCode>) {
        let since = self.clock.now();
        let report = MachineReport {
            problem: problem.map(|code| MailProblem { code, since }),
            ..MachineReport::default()
        };
        self.report(name, report).await;
    }

    /// The machine checks in with a report.
    pub(crate) async fn report(&self, name: &str, report: MachineReport) {
        let mut record = self.record(name).await;
        record.check_in(report, self.clock.now());
        self.write(&record).await;
        self.monitor.checked_in(&record.user).await;
    }

    /// Time passes, minute by minute.
    pub(crate) async fn wait(&self, minutes: u32) {
        for _ in 0..minutes {
            let later = self.clock.now() + MINUTE;
            *self.clock.0.lock() = later;
            self.step().await;
        }
    }

    /// Observes and sends once.
    pub(crate) async fn step(&self) {
        self.monitor.observe().await.unwrap();
        while self.sender.send_due().await.unwrap() > 0 {}
    }

    /// What the services got: the service, the kind and the count.
    pub(crate) fn reported(&self) -> Vec<(&'static str, String, u64)> {
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

    pub(crate) fn reported_to_operator(&self) -> Vec<(String, u64)> {
        let reported = self.reported().into_iter();
        let to_operator = reported.filter(|(service, ..)| *service == "webhook");
        to_operator.map(|(_, kind, count)| (kind, count)).collect()
    }
}

/// Targets of which some cannot be read.
pub(crate) struct BrokenTargets<F> {
    pub(crate) targets: Arc<dyn AlertTargets>,
    pub(crate) error: F,
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

pub(crate) fn operators_target(services: &AlertServices) -> postbell_alerts::AlertTarget {
    target(&format!("{}/alerts", services.url()))
}

pub(crate) fn users_target(services: &AlertServices) -> postbell_alerts::AlertTarget {
    target(&format!("ntfy+http://{}/topic", services.host()))
}

pub(crate) fn monitor(
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

pub(crate) fn sender(
    clock: &Arc<HandClock>,
    services: &AlertServices,
    alerts: &Arc<MemoryAlerts>,
) -> Sender {
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
