//! When and how often a dispatcher claims.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Accepted, Claim, ClaimOrder, Claimed, Clock, DeliveryQueue, Notification, ProblemCode, RelayId,
    RetrySchedule, SettleError, Settlement, StoreError, Tasks, Timestamp, Tracer,
    UnparseableMessage, UserId,
};
use postbell_relay::{Dispatcher, DispatcherSettings, Metrics};
use postbell_testkit::{MemoryDeliveries, PausedClock, RELAY};
use tokio::sync::Notify;

use crate::fake_machine::{FakeMachine, notification};

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A queue that counts its claims.
#[derive(Default)]
struct CountedClaims {
    queue: MemoryDeliveries,
    claims: AtomicUsize,
    /// How many heartbeats fail before one succeeds.
    failing_heartbeats: AtomicUsize,
}

#[async_trait]
impl DeliveryQueue for CountedClaims {
    async fn accept(&self, new: Notification, now: Timestamp) -> Result<Accepted, StoreError> {
        self.queue.accept(new, now).await
    }

    async fn dead_letter(
        &self,
        message: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        self.queue.dead_letter(message, now).await
    }

    async fn claim_in(
        &self,
        order: ClaimOrder,
        relay: RelayId,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Claimed, StoreError> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        self.queue.claim_in(order, relay, now, lease, limit).await
    }

    async fn heartbeat(&self, relay: RelayId, now: Timestamp) -> Result<usize, StoreError> {
        let fails = |left: usize| left.checked_sub(1);
        let order = Ordering::SeqCst;
        if self
            .failing_heartbeats
            .fetch_update(order, order, fails)
            .is_ok()
        {
            assert_eq!(self.claims.load(order), 0, "claimed before a heartbeat");
            return Err(StoreError::Unavailable("on purpose".into()));
        }
        self.queue.heartbeat(relay, now).await
    }

    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), SettleError> {
        self.queue.settle(claim, settlement, now).await
    }

    async fn make_due(
        &self,
        user: &UserId,
        problem: Option<ProblemCode>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.queue.make_due(user, problem, now).await
    }

    async fn retry_now(&self, users: &[UserId], now: Timestamp) -> Result<usize, StoreError> {
        self.queue.retry_now(users, now).await
    }

    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError> {
        self.queue.check_ready(now).await
    }
}

fn dispatcher(
    store: &Arc<CountedClaims>,
    machine: &Arc<FakeMachine>,
    clock: &Arc<PausedClock>,
) -> Arc<Dispatcher> {
    Arc::new(Dispatcher {
        relay: RELAY,
        queue: Arc::clone(store) as Arc<dyn DeliveryQueue>,
        deliverer: machine.deliverer(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        arrivals: Arc::new(Notify::new()),
        metrics: Arc::new(Metrics::new()),
        tracer: Tracer::new(|| 1),
        jitter: Box::new(|| 0.5),
        settings: DispatcherSettings {
            retry: RetrySchedule::default(),
            lease: 45 * SECOND,
            max_concurrent: 100,
            grace: 30 * SECOND,
        },
    })
}

/// Its claims are released by the first heartbeat of another relay, as those of an expired one.
#[tokio::test(start_paused = true)]
async fn a_relay_that_could_not_say_that_it_lives_claims_nothing() {
    let store = Arc::new(CountedClaims::default());
    store.failing_heartbeats.store(10, Ordering::SeqCst);
    let clock = Arc::new(PausedClock::starting_at(T0));
    let (machine, mut deliveries) = FakeMachine::new(Arc::clone(&clock));
    let dispatcher = dispatcher(&store, &machine, &clock);
    store
        .queue
        .accept(notification("ann", 7), T0)
        .await
        .unwrap();
    let tasks = Tasks::new();
    tasks.start("dispatcher", |stop| dispatcher.run(stop));
    let (at, _) = deliveries.recv().await.unwrap();
    assert_eq!(at - T0, 10 * SECOND);
    tasks.stop(60 * SECOND).await.unwrap();
}

/// As after an outage: what has waited for an hour and what has just arrived are delivered in turn.
#[tokio::test(start_paused = true)]
async fn neither_new_mail_nor_a_backlog_waits_for_the_other() {
    let store = Arc::new(CountedClaims::default());
    let clock = Arc::new(PausedClock::starting_at(T0 + 3600 * SECOND));
    let (machine, mut deliveries) = FakeMachine::new(Arc::clone(&clock));
    *machine.delivery_time.lock().await = SECOND;
    let mut dispatcher = dispatcher(&store, &machine, &clock);
    Arc::get_mut(&mut dispatcher)
        .unwrap()
        .settings
        .max_concurrent = 1;
    for number in 0..100 {
        let backlog = notification(&format!("user-{number}"), 1000 + number);
        let accepted = T0 + SECOND * u32::try_from(number).unwrap();
        store.queue.accept(backlog, accepted).await.unwrap();
    }
    for number in 0..3 {
        let new = notification(&format!("new-{number}"), number);
        store.queue.accept(new, clock.now()).await.unwrap();
    }
    let tasks = Tasks::new();
    tasks.start("dispatcher", |stop| dispatcher.run(stop));
    let mut order = Vec::new();
    for _ in 0..6 {
        let (_, body) = deliveries.recv().await.unwrap();
        order.push(String::from_utf8(body.to_vec()).unwrap());
    }
    tasks.stop(60 * SECOND).await.unwrap();
    let expected = [1000, 2, 1001, 1, 1002, 0].map(|id| format!("body {id}"));
    assert_eq!(order, expected);
}

/// Each claim is a commit: it is made for all deliveries that have ended, not for each one.
#[tokio::test(start_paused = true)]
async fn deliveries_that_end_together_are_replaced_by_one_claim() {
    let store = Arc::new(CountedClaims::default());
    let clock = Arc::new(PausedClock::starting_at(T0));
    let (machine, mut deliveries) = FakeMachine::new(Arc::clone(&clock));
    *machine.delivery_time.lock().await = SECOND;
    let dispatcher = dispatcher(&store, &machine, &clock);
    for user in 0..1000 {
        let notification = notification(&format!("user-{user}"), 7);
        store.queue.accept(notification, T0).await.unwrap();
    }
    let tasks = Tasks::new();
    tasks.start("dispatcher", |stop| dispatcher.run(stop));
    for _ in 0..1000 {
        deliveries.recv().await.unwrap();
    }
    tasks.stop(60 * SECOND).await.unwrap();
    let claims = store.claims.load(Ordering::SeqCst);
    assert!(claims <= 20, "{claims} claims for 10 rounds of deliveries");
}
