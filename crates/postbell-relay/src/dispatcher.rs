//! Hands waiting notifications to the machines (contract, section 3).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::inbox::trouble;
use postbell_core::{
    Claim, Clock, DeadLetterReason, Delivery, DirectoryError, HistoryId, Inbox, InboxError,
    Instance, InstanceStatus, Machine, RetrySchedule, Settlement, UserId, jittered,
};
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Metrics, Recall};

/// The longest time between two looks at the inbox: another process may have changed it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Delivers what waits in the inbox, one delivery a mailbox at a time.
pub struct Dispatcher {
    /// Where notifications wait.
    pub inbox: Arc<dyn Inbox>,
    /// Where each user's machine is.
    pub recall: Arc<Recall>,
    /// The way to the machines.
    pub machine: Arc<dyn Machine>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Told of each notification that arrives.
    pub arrivals: Arc<Notify>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Chance, from 0 to 1: moves each wait a little, so that what failed together is not repeated
    /// together.
    pub chance: Box<dyn Fn() -> f64 + Send + Sync>,
    /// How hard it tries.
    pub settings: DispatcherSettings,
}

/// How hard the dispatcher tries.
#[derive(Clone, Copy, Debug)]
pub struct DispatcherSettings {
    /// When a failed delivery is repeated.
    pub retry: RetrySchedule,

    /// How long a claim holds; longer than a delivery can take.
    pub lease: Duration,

    /// How many deliveries may be under way at once.
    pub at_once: usize,

    /// How long a stopping dispatcher waits for the deliveries under way.
    pub grace: Duration,
}

/// What one attempt came to.
enum Attempt {
    Delivered,
    /// Nobody waits for this mail any more.
    NotWanted,
    Refused {
        cause: String,
    },
    Failed {
        cause: String,
        retry_after: Option<Duration>,
    },
}

impl Dispatcher {
    /// Works until `stop` is cancelled. A delivery that has begun is finished first, unless that
    /// takes longer than the grace: it is due again then.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut deliveries = JoinSet::new();
        let give_up = CancellationToken::new();
        while !stop.is_cancelled() {
            let free = self.settings.at_once - deliveries.len();
            let pause = match self.claim_and_look_ahead(free).await {
                Ok((claims, pause)) => {
                    for claim in claims {
                        let dispatcher = Arc::clone(&self);
                        let give_up = give_up.clone();
                        deliveries.spawn(async move { dispatcher.work_on(claim, &give_up).await });
                    }
                    pause
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, "Could not ask the inbox for what is due");
                    LONGEST_PAUSE
                }
            };
            let has_room = deliveries.len() < self.settings.at_once;
            tokio::select! {
                () = stop.cancelled() => (),
                () = self.arrivals.notified(), if has_room => (),
                () = sleep(pause), if has_room => (),
                Some(ended) = deliveries.join_next() => report_panic(ended),
            }
        }
        if timeout(self.settings.grace, finish(&mut deliveries))
            .await
            .is_err()
        {
            warn!(
                deliveries = deliveries.len(),
                "Giving back what is still being delivered"
            );
            give_up.cancel();
            finish(&mut deliveries).await;
        }
    }

    /// Claims what is due, and says how long to wait for what comes next.
    async fn claim_and_look_ahead(
        &self,
        most: usize,
    ) -> Result<(Vec<Claim>, Duration), InboxError> {
        let now = self.clock.now();
        let claims = match most {
            0 => Vec::new(),
            _ => self.inbox.claim(now, self.settings.lease, most).await?,
        };
        let next = self.inbox.next_due().await?;
        let pause = next.map_or(LONGEST_PAUSE, |due| (due - now).min(LONGEST_PAUSE));
        Ok((claims, pause))
    }

    async fn work_on(&self, claim: Claim, give_up: &CancellationToken) {
        let user = claim.notification.user.clone();
        let begun = self.clock.elapsed();
        let Some(attempt) = give_up.run_until_cancelled(self.attempt(&claim)).await else {
            self.settle(&claim, Settlement::Release).await;
            return;
        };
        let settlement = self.settlement(&attempt, claim.failures);
        if let Some((outcome, _)) = settlement.outcome() {
            let took = self.clock.elapsed().saturating_sub(begun);
            let waited = self.clock.now() - claim.accepted_at;
            self.metrics.delivery_ended(outcome, took, waited);
        }
        match &attempt {
            Attempt::Delivered => info!(
                user.id = %user.masked(), history.id = %claim.notification.history_id,
                "Delivered a notification to the machine of {}", user.masked()
            ),
            Attempt::NotWanted => {
                info!(
                    user.id = %user.masked(),
                    "Dropped a notification that {} does not want", user.masked()
                );
            }
            Attempt::Refused { cause } | Attempt::Failed { cause, .. } => warn!(
                user.id = %user.masked(), failures = claim.failures + 1, cause, ?settlement,
                "Could not deliver a notification to the machine of {}", user.masked()
            ),
        }
        self.settle(&claim, settlement).await;
        if matches!(attempt, Attempt::Delivered) {
            self.report(&claim).await;
        }
    }

    async fn settle(&self, claim: &Claim, settlement: Settlement) {
        let user = &claim.notification.user;
        let settled = self.inbox.settle(claim, settlement, self.clock.now());
        match settled.await {
            Ok(()) => (),
            Err(InboxError::LeaseLost { .. }) => {
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

    /// Tries once.
    async fn attempt(&self, claim: &Claim) -> Attempt {
        let (instance, token) = match self.look_up(claim).await {
            Ok(Some(found)) => found,
            Ok(None) => return Attempt::NotWanted,
            Err(failed) => return failed,
        };
        let body = claim.notification.body.clone();
        match self.machine.deliver(&instance, &token, body).await {
            Delivery::Accepted => Attempt::Delivered,
            Delivery::Refused { status } => Attempt::Refused {
                cause: trouble::answered(status),
            },
            Delivery::Failed { cause, retry_after } => {
                let user = &claim.notification.user;
                // The token may have been the reason; the next attempt asks for it.
                self.recall.forget_token(user);
                // Or the machine has stopped, which nobody has told us.
                let cause = self.wake(user, cause).await;
                Attempt::Failed { cause, retry_after }
            }
        }
    }

    /// Finds the machine and its token, or `None` where nobody waits for the mail.
    async fn look_up(
        &self,
        claim: &Claim,
    ) -> Result<Option<(Arc<Instance>, SecretString)>, Attempt> {
        let user = &claim.notification.user;
        let instance = self.recall.instance_now(user).await.map_err(no_answer)?;
        let Some(instance) = instance.filter(|instance| instance.wants_notifications()) else {
            return Ok(None);
        };
        if instance.status != InstanceStatus::Running {
            let cause = trouble::NOT_RUNNING.to_owned();
            return Err(failed(&self.wake(user, cause).await));
        }
        match self.recall.gateway_token(user).await.map_err(no_answer)? {
            Some(token) => Ok(Some((instance, token))),
            None => Err(failed("the directory has no token for the machine")),
        }
    }

    /// Has the machine started where it is off and its owner allows that, and says so in the cause.
    /// It reports in once it is up, which makes the delivery due.
    async fn wake(&self, user: &UserId, cause: String) -> String {
        match self.recall.wake(user).await {
            Ok(true) => format!("{cause}{}", trouble::BEING_STARTED),
            Ok(false) => cause,
            Err(error) => {
                debug!(
                    user.id = %user.masked(), error = &error as &dyn std::error::Error,
                    "Could not ask for the machine of {} to be started", user.masked()
                );
                cause
            }
        }
    }

    /// What is to become of the mailbox after `attempt`, which followed `failures` failed ones.
    fn settlement(&self, attempt: &Attempt, failures: u32) -> Settlement {
        let RetrySchedule { first, .. } = self.settings.retry;
        match attempt {
            Attempt::Delivered => Settlement::Delivered,
            Attempt::NotWanted => Settlement::Unwanted,
            Attempt::Refused { cause } => {
                let reason = DeadLetterReason::Refused;
                Settlement::DeadLetter {
                    reason,
                    cause: cause.clone(),
                    rest: first,
                }
            }
            Attempt::Failed { cause, retry_after } => {
                let cause = cause.clone();
                let rest = first.max(retry_after.unwrap_or_default());
                match self.settings.retry.wait_after(failures.saturating_add(1)) {
                    Some(wait) => Settlement::Retry {
                        cause,
                        wait: jittered(wait, first, (self.chance)()).max(rest),
                        rest,
                    },
                    None => Settlement::DeadLetter {
                        reason: DeadLetterReason::Exhausted,
                        cause,
                        rest,
                    },
                }
            }
        }
    }

    /// Tells the directory how far the mailbox has come. A failure here never repeats a delivery.
    async fn report(&self, claim: &Claim) {
        let user = &claim.notification.user;
        let history_id = claim.notification.history_id;
        // A test of a mailbox that nothing has come from yet: it says nothing of where that is.
        if history_id == HistoryId::default() {
            return;
        }
        if let Err(error) = self.recall.report_history_id(user, history_id).await {
            debug!(
                user.id = %user.masked(), error = &error as &dyn std::error::Error,
                "Could not report the history id of {}", user.masked()
            );
        }
    }
}

fn no_answer(error: DirectoryError) -> Attempt {
    debug!(
        error = &error as &dyn std::error::Error,
        "The directory did not answer"
    );
    failed(&error.to_string())
}

fn failed(cause: &str) -> Attempt {
    Attempt::Failed {
        cause: cause.to_owned(),
        retry_after: None,
    }
}

async fn finish(deliveries: &mut JoinSet<()>) {
    while let Some(ended) = deliveries.join_next().await {
        report_panic(ended);
    }
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        warn!(%error, "A delivery panicked; it will be repeated when its lease ends");
    }
}
