//! Delivers queued notifications to the machines, with retries (protocol, section 3).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    Claim, ClaimOrder, Claimed, Clock, DeadLetterReason, DeliveryQueue, Failure,
    HEARTBEAT_INTERVAL, Notification, ProblemCode, RelayId, RetrySchedule, SettleError, Settlement,
    Span, SpanKind, StoreError, Tracer, jittered,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Metrics;
use crate::delivery::{Attempt, Deliverer};
use crate::history_reports::HistoryReports;
use crate::unanswered_lookups::UnansweredLookups;

/// The longest pause between two polls of the queue: another process may have changed it.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The pause between two tries of the first heartbeat.
const FIRST_HEARTBEAT_PAUSE: Duration = Duration::from_secs(1);

/// The pauses between the tries of a settlement.
const SETTLE_PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(6),
    Duration::from_secs(12),
];

/// How often a parked mailbox is tried although no check-in has said that its problem is over.
const PROBE_PAUSE: Duration = Duration::from_secs(60 * 60);

/// How long a dispatcher that stops waits for its last reports of history ids.
const REPORT_GRACE: Duration = Duration::from_secs(3);

/// Delivers what is due in the queue, at most one delivery per mailbox at a time.
pub struct Dispatcher {
    /// Under which its claims are made; no other process has it.
    pub relay: RelayId,
    /// Holds the notifications.
    pub queue: Arc<dyn DeliveryQueue>,
    /// Makes each attempt.
    pub deliverer: Deliverer,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Notified of each new notification.
    pub arrivals: Arc<Notify>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Continues the traces of the notifications.
    pub tracer: Tracer,
    /// A random number from 0 to 1: spreads the retries of deliveries that failed together.
    pub jitter: Box<dyn Fn() -> f64 + Send + Sync>,
    /// Limits and retries.
    pub settings: DispatcherSettings,
}

/// Limits and retries of a [`Dispatcher`].
#[derive(Clone, Copy, Debug)]
pub struct DispatcherSettings {
    /// The retry schedule of a failed delivery.
    pub retry: RetrySchedule,

    /// How long a claim is valid; longer than any delivery takes.
    pub lease: Duration,

    /// How many deliveries may run at once.
    pub max_concurrent: usize,

    /// How long a stopping dispatcher waits for running deliveries.
    pub grace: Duration,
}

/// What follows from deliveries, in tasks of its own.
#[derive(Default)]
struct Aftermath {
    reports: HistoryReports,
    unanswered: UnansweredLookups,
}

impl Dispatcher {
    /// Works until `stop` is cancelled. Running deliveries are finished first, unless they take longer
    /// than the grace: then they are due again.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let aftermath = Arc::new(Aftermath::default());
        let no_more = CancellationToken::new();
        // Before the first claim, which another relay would take for that of an expired one.
        if stop
            .run_until_cancelled(self.first_heartbeat())
            .await
            .is_none()
        {
            return;
        }
        let mut beside = self.start_beside(&aftermath, &no_more);
        Arc::clone(&self).deliver_until(stop, &aftermath).await;
        no_more.cancel();
        // A loss before that is reported with the next mail.
        let _ = timeout(REPORT_GRACE, join_all(&mut beside)).await;
    }

    /// Starts what runs beside the deliveries.
    fn start_beside(
        self: &Arc<Self>,
        aftermath: &Arc<Aftermath>,
        no_more: &CancellationToken,
    ) -> JoinSet<()> {
        let mut beside = JoinSet::new();
        let (dispatcher, stop) = (Arc::clone(self), no_more.clone());
        beside.spawn(async move {
            while stop
                .run_until_cancelled(sleep(HEARTBEAT_INTERVAL))
                .await
                .is_some()
            {
                dispatcher.heartbeat().await;
            }
        });
        let (dispatcher, stop) = (Arc::clone(self), no_more.clone());
        let for_reports = Arc::clone(aftermath);
        beside.spawn(async move {
            let directory = Arc::clone(&dispatcher.deliverer.directory);
            for_reports.reports.run(directory, stop).await;
        });
        let (dispatcher, stop) = (Arc::clone(self), no_more.clone());
        let aftermath = Arc::clone(aftermath);
        beside.spawn(async move {
            let Dispatcher {
                deliverer,
                queue,
                clock,
                ..
            } = &*dispatcher;
            let unanswered = &aftermath.unanswered;
            unanswered
                .run(&deliverer.directory, &**queue, &**clock, stop)
                .await;
        });
        beside
    }

    /// Repeats the first heartbeat until it is recorded.
    async fn first_heartbeat(&self) {
        while !self.heartbeat().await {
            sleep(FIRST_HEARTBEAT_PAUSE).await;
        }
    }

    /// Records a heartbeat, and releases what expired relays have claimed. Returns whether it was recorded.
    async fn heartbeat(&self) -> bool {
        match self.queue.heartbeat(self.relay, self.clock.now()).await {
            Ok(0) => true,
            Ok(released) => {
                info!(
                    released,
                    "Released the deliveries of relays that have ended"
                );
                true
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not record the heartbeat of this relay");
                false
            }
        }
    }

    async fn deliver_until(self: Arc<Self>, stop: CancellationToken, aftermath: &Arc<Aftermath>) {
        let mut deliveries = JoinSet::new();
        let abort = CancellationToken::new();
        let mut order = ClaimOrder::LongestDue;
        while !stop.is_cancelled() {
            let free = self.settings.max_concurrent - deliveries.len();
            let claimed = self.claim_due(free, order).await;
            // In turn, so that new mail does not wait behind a backlog, nor the backlog behind new mail.
            order = order.other();
            let pause = match claimed {
                Ok((claims, pause)) => {
                    for claim in claims {
                        let dispatcher = Arc::clone(&self);
                        let (abort, aftermath) = (abort.clone(), Arc::clone(aftermath));
                        deliveries.spawn(async move {
                            dispatcher.deliver(claim, &abort, &aftermath).await;
                        });
                    }
                    pause
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, "Could not claim due deliveries");
                    MAX_PAUSE
                }
            };
            let has_room = deliveries.len() < self.settings.max_concurrent;
            tokio::select! {
                () = stop.cancelled() => (),
                () = self.arrivals.notified(), if has_room => (),
                () = sleep(pause), if has_room => (),
                Some(ended) = deliveries.join_next() => log_panic(ended),
            }
            // All deliveries that have ended are replaced by one claim, not one by one: each
            // claim is a commit.
            while let Some(ended) = deliveries.try_join_next() {
                log_panic(ended);
            }
        }
        if timeout(self.settings.grace, join_all(&mut deliveries))
            .await
            .is_err()
        {
            warn!(
                deliveries = deliveries.len(),
                "Releasing deliveries that did not end within the grace"
            );
            abort.cancel();
            join_all(&mut deliveries).await;
        }
    }

    /// Claims up to `limit` due deliveries, and returns how long to wait for the next one.
    async fn claim_due(
        &self,
        limit: usize,
        order: ClaimOrder,
    ) -> Result<(Vec<Claim>, Duration), StoreError> {
        let now = self.clock.now();
        if limit == 0 {
            return Ok((Vec::new(), MAX_PAUSE));
        }
        let (relay, lease) = (self.relay, self.settings.lease);
        let claimed = self.queue.claim_in(order, relay, now, lease, limit);
        let Claimed { claims, next_due } = claimed.await?;
        let pause = next_due.map_or(MAX_PAUSE, |due| (due - now).min(MAX_PAUSE));
        Ok((claims, pause))
    }

    async fn deliver(&self, mut claim: Claim, abort: &CancellationToken, aftermath: &Aftermath) {
        let started = self.clock.elapsed();
        let before = claim.notification.trace;
        let span = self
            .tracer
            .follow("deliver", SpanKind::Client, before, started);
        // For the log of deliveries, if the notification has none.
        claim.notification.trace.get_or_insert(span.context);
        let attempt = self.deliverer.attempt(&claim.notification, span.context);
        let Some(attempt) = abort.run_until_cancelled(attempt).await else {
            self.settle(&claim, Settlement::Release, abort).await;
            return;
        };
        let settlement = self.settlement(&attempt, claim.attempt);
        if let Some((outcome, _)) = settlement.outcome() {
            let took = self.clock.elapsed().saturating_sub(started);
            let waited = self.clock.now() - claim.accepted_at;
            self.metrics.delivery_ended(outcome, took, waited);
        }
        self.end(span, &claim, &settlement);
        log_attempt(&claim, &attempt, &settlement);
        self.settle(&claim, settlement, abort).await;
        let Notification {
            user, history_id, ..
        } = &claim.notification;
        match &attempt {
            Attempt::Delivered => aftermath.reports.add(user, *history_id),
            Attempt::Unanswered { .. } => aftermath.unanswered.add(user),
            _ => (),
        }
    }

    fn end(&self, mut span: Span, claim: &Claim, settlement: &Settlement) {
        if let Some((outcome, failure)) = settlement.outcome() {
            span.set("postbell.user", claim.notification.user.masked());
            span.set("postbell.history_id", claim.notification.history_id);
            span.set("postbell.attempt", claim.attempt);
            span.set("postbell.outcome", outcome.as_str());
            if let Some(failure) = failure {
                span.fail(failure.kind);
            }
        }
        self.tracer.end(span, self.clock.elapsed());
    }

    /// Settles a claim. While the store cannot answer, it is tried again: until its lease ends, nothing of
    /// the mailbox would be delivered.
    async fn settle(&self, claim: &Claim, settlement: Settlement, abort: &CancellationToken) {
        let user = &claim.notification.user;
        let mut pauses = SETTLE_PAUSES.into_iter();
        let settled = loop {
            let settled = self
                .queue
                .settle(claim, settlement.clone(), self.clock.now());
            match (settled.await, pauses.next()) {
                (Err(SettleError::Store(_)), Some(pause)) if !abort.is_cancelled() => {
                    abort.run_until_cancelled(sleep(pause)).await;
                }
                (settled, _) => break settled,
            }
        };
        match settled {
            Ok(()) => (),
            Err(SettleError::LeaseLost { .. }) => {
                info!(
                    user.id = %user.masked(),
                    "The delivery for {} outlived its lease", user.masked()
                );
            }
            Err(error) => warn!(
                user.id = %user.masked(), error = &error as &dyn std::error::Error,
                "Could not settle a delivery for {}; it will be repeated", user.masked()
            ),
        }
    }

    /// Returns how a claim ends after `attempt`, which followed `failures` failed ones.
    fn settlement(&self, attempt: &Attempt, failures: u32) -> Settlement {
        let RetrySchedule { first, .. } = self.settings.retry;
        match attempt {
            Attempt::Blocked { failure } => self.park(failure.clone()),
            Attempt::Delivered => Settlement::Delivered,
            Attempt::Unwanted | Attempt::OtherMailbox => Settlement::Unwanted,
            Attempt::Refused { failure } => Settlement::DeadLetter {
                reason: DeadLetterReason::Refused,
                failure: failure.clone(),
                cooldown: first,
            },
            Attempt::Unanswered { failure } => self.retry(failures, failure, None, None),
            Attempt::Failed {
                failure,
                retry_after,
                problem,
            } => self.retry(failures, failure, *retry_after, *problem),
        }
    }

    /// Returns the settlement of a delivery that failed after `failures` failed ones.
    fn retry(
        &self,
        failures: u32,
        failure: &Failure,
        retry_after: Option<Duration>,
        problem: Option<ProblemCode>,
    ) -> Settlement {
        let failure = failure.clone();
        let RetrySchedule { first, .. } = self.settings.retry;
        let cooldown = first.max(retry_after.unwrap_or_default());
        match self.settings.retry.wait_after(failures.saturating_add(1)) {
            Some(wait) => Settlement::Retry {
                failure,
                wait: jittered(wait, first, (self.jitter)()).max(cooldown),
                cooldown,
            },
            None => match problem {
                Some(problem) => self.park(failure.because_of(problem)),
                None => Settlement::DeadLetter {
                    reason: DeadLetterReason::Exhausted,
                    failure,
                    cooldown,
                },
            },
        }
    }

    /// Returns the settlement of a mailbox with a known problem.
    fn park(&self, failure: Failure) -> Settlement {
        let RetrySchedule { first, .. } = self.settings.retry;
        let wait = jittered(PROBE_PAUSE, first, (self.jitter)());
        Settlement::Park {
            failure,
            until: self.clock.now() + wait,
        }
    }
}

fn log_attempt(claim: &Claim, attempt: &Attempt, settlement: &Settlement) {
    let user = claim.notification.user.masked();
    let trace = claim.notification.trace.map(|trace| trace.trace);
    let trace = trace.as_ref().map(tracing::field::display);
    match attempt {
        Attempt::Delivered => info!(
            user.id = %user, history.id = %claim.notification.history_id, trace.id = trace,
            "Delivered a notification to the machine of {user}"
        ),
        Attempt::Unwanted => info!(
            user.id = %user, trace.id = trace, "Dropped a notification that {user} does not want"
        ),
        Attempt::OtherMailbox => info!(
            user.id = %user, trace.id = trace, "Dropped a notification of another mailbox than that of {user}"
        ),
        Attempt::Blocked { failure } => warn!(
            user.id = %user, trace.id = trace, cause = failure.detail,
            "Parked the notification for the machine of {user} until its problem is over"
        ),
        Attempt::Refused { failure }
        | Attempt::Unanswered { failure }
        | Attempt::Failed { failure, .. } => warn!(
            user.id = %user, trace.id = trace, failures = claim.attempt + 1,
            cause = failure.detail, ?settlement,
            "Could not deliver a notification to the machine of {user}"
        ),
    }
}

async fn join_all(deliveries: &mut JoinSet<()>) {
    while let Some(ended) = deliveries.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        warn!(%error, "A delivery panicked; it will be repeated when its lease ends");
    }
}
