//! Tells the mailbox's owner when mail stops, and when it flows again.
//!
//! An alert is stored in the watch's state before it is sent, and removed after the target has accepted
//! it: it survives the end of the process, and may then be sent twice under the same id.

mod outbox;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use postbell_alerts::{AlertClient, AlertTarget, ObservedSince, SendError};
use postbell_core::{Backoff, Clock, Timestamp, jittered};
use postbell_protocol::watch_state::WatchState;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::outbox::{PendingAlert, observe, pending, set_pending};
use crate::mailbox_identity::MailboxIdentity;
use crate::state_store::StateStore;

/// The waits after a failed attempt.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// How long an alert is tried. Older ones are no news.
const LIFETIME: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The longest time between two observations of the state: times alone can make an alert due.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a stopping watcher tries to send what is due: it may never be started again.
const LAST_ATTEMPT: Duration = Duration::from_secs(5);

/// Watches the state and sends alerts.
pub struct Alerter {
    pub(crate) targets: Vec<AlertTarget>,
    pub(crate) client: AlertClient,
    pub(crate) state: Arc<StateStore>,
    pub(crate) identity: MailboxIdentity,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) jitter: fn() -> f64,
    /// Since when it observes.
    pub(crate) observed_since: Mutex<ObservedSince>,
}

/// What happened to an attempt.
enum Attempt {
    Sent,
    Retry(Timestamp),
    GivenUp,
}

impl Alerter {
    /// Works until `stop`, and then sends what is due. Alerts that were not sent stay in the state.
    pub async fn run(self, stop: CancellationToken) {
        self.run_until(&stop).await;
        let last = async {
            self.observe().await;
            self.send_due().await;
        };
        // A target that does not answer in time gets its alert from the next watcher.
        let _ = timeout(LAST_ATTEMPT, last).await;
    }

    async fn run_until(&self, stop: &CancellationToken) {
        let mut changes = self.state.changes();
        loop {
            changes.borrow_and_update();
            let work = async {
                let observed = self.observe().await;
                let unsent = self.send_due().await;
                observed.into_iter().chain(unsent).min()
            };
            let Some(next) = stop.run_until_cancelled(work).await else {
                return;
            };
            let pause = next.map_or(LONGEST_PAUSE, |next| next - self.clock.now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause.clamp(Duration::from_millis(100), LONGEST_PAUSE)) => (),
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Stores what the present state gives to tell. Returns when the same state can give more.
    async fn observe(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let since = self.observed_since.lock().observe(now);
        let mut copy = self.state.snapshot().await;
        let seen = self.observe_in(&mut copy, now, since);
        if seen.is_changed {
            let mut state = self.state.lock().await;
            self.observe_in(&mut state, now, since);
            if let Err(error) = state.save().await {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not store an alert; it is sent nevertheless");
            }
        }
        seen.again_at
    }

    fn observe_in(
        &self,
        state: &mut WatchState,
        now: Timestamp,
        since: Timestamp,
    ) -> outbox::Observed {
        let targets: Vec<_> = self
            .targets
            .iter()
            .map(|one| one.id().to_string())
            .collect();
        observe(state, self.identity.address(), &targets, now, since)
    }

    /// Sends what is due. Returns when more is due.
    async fn send_due(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let all = pending(&self.state.snapshot().await);
        let (due, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.due_at <= now);
        let attempts = join_all(due.iter().map(|one| self.send(one, now))).await;
        if !due.is_empty() {
            self.store(&due, &attempts).await;
        }
        let retried = attempts.iter().filter_map(|attempt| match attempt {
            Attempt::Retry(at) => Some(*at),
            Attempt::Sent | Attempt::GivenUp => None,
        });
        later.iter().map(|one| one.due_at).chain(retried).min()
    }

    async fn send(&self, alert: &PendingAlert, now: Timestamp) -> Attempt {
        let kind = alert.event.kind;
        let target = self
            .targets
            .iter()
            .find(|one| one.id().as_str() == alert.target);
        let Some(target) = target else {
            warn!(%kind, "Dropped an alert for a target that is no longer configured (--alert)");
            return Attempt::GivenUp;
        };
        let error = match self.client.send(target, &alert.event).await {
            Ok(()) => {
                info!(%kind, %target, "Sent an alert");
                return Attempt::Sent;
            }
            Err(error) => error,
        };
        let is_old = alert.event.at + LIFETIME < now && alert.queued_at + LIFETIME < now;
        if is_old || matches!(error, SendError::Gone | SendError::NotPublic) {
            warn!(%kind, %target, %error, "Gave an alert up");
            return Attempt::GivenUp;
        }
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let wait = backoff.wait_after(alert.attempts.saturating_add(1));
        let asked = error.retry_after().unwrap_or_default();
        let wait = jittered(wait.max(asked), asked, (self.jitter)());
        warn!(%kind, %target, %error, ?wait, "Could not send an alert; retrying");
        Attempt::Retry(now + wait)
    }

    /// Removes what was sent, and stores when the rest is tried again.
    async fn store(&self, tried: &[PendingAlert], attempts: &[Attempt]) {
        let mut state = self.state.lock().await;
        let mut all = pending(&state);
        for (one, attempt) in tried.iter().zip(attempts) {
            match attempt {
                Attempt::Sent | Attempt::GivenUp => all.retain(|other| !other.is(one)),
                Attempt::Retry(due_at) => {
                    for same in all.iter_mut().filter(|other| other.is(one)) {
                        same.attempts = same.attempts.saturating_add(1);
                        same.due_at = *due_at;
                    }
                }
            }
        }
        set_pending(&mut state, &all);
        if let Err(error) = state.save().await {
            let error = &error as &dyn std::error::Error;
            warn!(
                error,
                "Could not store that an alert was sent; it may be sent again"
            );
        }
    }
}
