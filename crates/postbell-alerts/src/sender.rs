//! Sends what is in the outbox.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use postbell_core::{
    AlertClaim, AlertOutbox, AlertScope, AlertSettlement, AlertTargets, Backoff, Clock, StoreError,
    UserId, jittered,
};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{AlertClient, AlertEvent, AlertTarget, SendError};

/// The longest pause between two polls of the outbox: another process may have added alerts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How long a claim is valid; longer than sending takes.
const LEASE: Duration = Duration::from_secs(30);

/// How many alerts are sent at once.
const BATCH: usize = 16;

/// The waits after failures: 5 s, doubled up to an hour.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(3600));

/// How long an alert is tried to be sent. Older ones are no news.
const KEPT: Duration = Duration::from_secs(3 * 24 * 3600);

/// How long an alert to an address waits for a mail server: another process may have one already.
const KEPT_WITHOUT_MAIL_SERVER: Duration = Duration::from_secs(3600);

/// How often alerts that are too old are removed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);

/// How long a stopping sender waits for the services. Alerts that are not settled by then are
/// sent again by the next process.
const GRACE: Duration = Duration::from_secs(5);

/// The dependencies of a [`Sender`].
pub struct SenderParts {
    /// The alerts.
    pub outbox: Arc<dyn AlertOutbox>,
    /// The operator's targets.
    pub operator: Vec<AlertTarget>,
    /// Sends to the operator's targets.
    pub client: AlertClient,
    /// The users' targets, in a process that can read them.
    pub users: Option<UserTargets>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Notified of new alerts.
    pub wake: Arc<Notify>,
    /// A random number from 0 to 1: spreads the retries of alerts that failed together.
    pub jitter: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// The users' targets, and the client that sends to them.
#[derive(Clone)]
pub struct UserTargets {
    /// The targets.
    pub targets: Arc<dyn AlertTargets>,
    /// Sends to them; must not reach the operator's network.
    pub client: AlertClient,
}

/// Sends what is in the outbox, with retries for three days.
pub struct Sender {
    parts: SenderParts,
    operator: AlertScope,
    users: AlertScope,
}

impl Sender {
    /// Creates a sender.
    #[must_use]
    pub fn new(parts: SenderParts) -> Self {
        let operator = AlertScope {
            operator: parts.operator.iter().map(AlertTarget::id).collect(),
            users: false,
        };
        let users = AlertScope {
            operator: Vec::new(),
            users: parts.users.is_some(),
        };
        Self {
            parts,
            operator,
            users,
        }
    }

    /// Works until `stop` is cancelled.
    ///
    /// The operator's and the users' targets are served independently: users' targets that do not
    /// answer do not delay the operator's alerts.
    pub async fn run(self, stop: CancellationToken) {
        let wakes = [Notify::new(), Notify::new()];
        let forward = async {
            loop {
                self.parts.wake.notified().await;
                wakes.iter().for_each(Notify::notify_one);
            }
        };
        let work = async {
            tokio::join!(
                self.serve(&self.operator, &wakes[0], &stop),
                self.serve(&self.users, &wakes[1], &stop),
                self.prune_until(&stop),
            )
        };
        tokio::select! {
            _ = work => (),
            () = forward => (),
        }
    }

    /// Sends the alerts of a scope until `stop` is cancelled.
    async fn serve(&self, scope: &AlertScope, wake: &Notify, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let stopped = async {
                stop.cancelled().await;
                sleep(GRACE).await;
            };
            let sent = tokio::select! {
                sent = self.send_due_of(scope) => sent,
                () = stopped => return,
            };
            match sent {
                Ok(1..) => continue,
                Ok(0) => (),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, "Could not read the alerts that wait");
                }
            }
            let pause = timeout(MAX_PAUSE, wake.notified());
            stop.run_until_cancelled(pause).await;
        }
    }

    async fn prune_until(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.prune().await;
            stop.run_until_cancelled(sleep(PRUNE_INTERVAL)).await;
        }
    }

    /// Sends a batch of due alerts to the operator and one to users, and returns how many were due.
    ///
    /// # Errors
    ///
    /// Fails if the outbox cannot be read or written.
    pub async fn send_due(&self) -> Result<usize, StoreError> {
        let operator = self.send_due_of(&self.operator);
        let (operator, users) = tokio::join!(operator, self.send_due_of(&self.users));
        Ok(operator? + users?)
    }

    async fn send_due_of(&self, scope: &AlertScope) -> Result<usize, StoreError> {
        if scope.operator.is_empty() && !scope.users {
            return Ok(0);
        }
        let now = self.parts.clock.now();
        let claims = self.parts.outbox.claim(scope, now, LEASE, BATCH).await?;
        let settled = join_all(claims.iter().map(|claim| self.process(claim))).await;
        settled.into_iter().collect::<Result<(), StoreError>>()?;
        Ok(claims.len())
    }

    async fn process(&self, claim: &AlertClaim) -> Result<(), StoreError> {
        let settlement = match serde_json::from_str::<AlertEvent>(&claim.event) {
            Ok(event) => self.send(claim, &event).await?,
            Err(error) => {
                warn!(alert.id = %claim.id, %error, "Dropped an alert that cannot be read");
                AlertSettlement::Done
            }
        };
        self.parts.outbox.settle(claim, settlement).await?;
        Ok(())
    }

    async fn send(
        &self,
        claim: &AlertClaim,
        event: &AlertEvent,
    ) -> Result<AlertSettlement, StoreError> {
        let Some((target, client)) = self.target(claim).await? else {
            info!(
                alert.id = %claim.id, target.id = %claim.recipient.target,
                "Dropped an alert whose target was removed"
            );
            return Ok(AlertSettlement::Done);
        };
        let sent = client.send(&target, event).await;
        Ok(self.settlement(claim, event, &target, sent))
    }

    fn settlement(
        &self,
        claim: &AlertClaim,
        event: &AlertEvent,
        target: &AlertTarget,
        sent: Result<(), SendError>,
    ) -> AlertSettlement {
        let (id, kind, target_id) = (&claim.id, event.kind, &claim.recipient.target);
        match sent {
            Ok(()) => {
                info!(alert.id = %id, target.id = %target_id, %kind, "Sent an alert to {target}");
                AlertSettlement::Done
            }
            Err(error @ (SendError::Gone | SendError::NotPublic)) => {
                warn!(
                    alert.id = %id, target.id = %target_id, %kind,
                    "Dropped an alert to {target}: {error}"
                );
                AlertSettlement::Done
            }
            Err(error @ SendError::NoMailServer)
                if claim.added_at + KEPT_WITHOUT_MAIL_SERVER <= self.parts.clock.now() =>
            {
                warn!(
                    alert.id = %id, target.id = %target_id, %kind,
                    "Dropped an alert to {target}: {error}. Set it, or have the owner replace the target on their page"
                );
                AlertSettlement::Done
            }
            Err(error) => {
                let wait = BACKOFF.wait_after(claim.attempt.saturating_add(1));
                let least = error.retry_after().unwrap_or_default();
                let wait = jittered(wait.max(least), least, (self.parts.jitter)());
                warn!(
                    alert.id = %id, target.id = %target_id, %kind, attempt = claim.attempt + 1,
                    "Could not send an alert to {target}: {error}; the next attempt is in {wait:.0?}"
                );
                AlertSettlement::Retry(self.parts.clock.now() + wait)
            }
        }
    }

    /// The target of a claim and the client that may send to it. `None` if it was removed.
    async fn target(
        &self,
        claim: &AlertClaim,
    ) -> Result<Option<(AlertTarget, &AlertClient)>, StoreError> {
        let id = &claim.recipient.target;
        match (&claim.recipient.user, &self.parts.users) {
            (None, _) => {
                let mut known = self.parts.operator.iter();
                let known = known.find(|target| target.id() == *id);
                Ok(known.map(|target| (target.clone(), &self.parts.client)))
            }
            (Some(user), Some(users)) => {
                let target = users.target(user, claim).await?;
                Ok(target.map(|target| (target, &users.client)))
            }
            (Some(_), None) => Ok(None),
        }
    }

    async fn prune(&self) {
        let now = self.parts.clock.now();
        let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let before = postbell_core::Timestamp::from_millis(now.as_millis().saturating_sub(kept));
        match self.parts.outbox.prune(before).await {
            Ok(0) => (),
            Ok(alerts) => warn!(
                alerts,
                "Dropped alerts that could not be sent for three days"
            ),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not remove old alerts");
            }
        }
    }
}

impl UserTargets {
    async fn target(
        &self,
        user: &UserId,
        claim: &AlertClaim,
    ) -> Result<Option<AlertTarget>, StoreError> {
        let targets = self.targets.targets(user).await?;
        let mut stored = targets.into_iter();
        let stored = stored.find(|target| target.id == claim.recipient.target);
        Ok(stored.and_then(|target| target.text.expose_secret().parse().ok()))
    }
}
