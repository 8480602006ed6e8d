//! Gmail's watch, which expires after seven days
//! (<https://developers.google.com/workspace/gmail/api/guides/push>).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Backoff, Clock, ProblemCode, Timestamp, jittered};
use postbell_google::{Gmail, WatchStarted};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::SyncError;
use crate::problems::ProblemSource;
use crate::state_file::{StateError, StateFile};
use crate::state_store::{LockedState, StateStore};

/// How long before its expiry a watch is renewed: a day after it began, as Google recommends.
const AHEAD: Duration = Duration::from_secs(6 * 24 * 60 * 60);

/// The waits after a failed renewal.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Starts Gmail's watch and renews it.
pub struct WatchRenewal {
    gmail: Arc<Gmail>,
    state: Arc<StateStore>,
    clock: Arc<dyn Clock>,
}

impl WatchRenewal {
    /// Manages the watch of `account`, without a sync engine beside it.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the file cannot be read.
    pub fn new(
        gmail: Gmail,
        file: StateFile,
        account: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StateError> {
        let state = StateStore::open(file, account, Arc::clone(&clock))?;
        Ok(Self::with_state(Arc::new(gmail), Arc::new(state), clock))
    }

    pub(crate) fn with_state(
        gmail: Arc<Gmail>,
        state: Arc<StateStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            gmail,
            state,
            clock,
        }
    }

    /// Starts a watch that publishes to `topic`. The cursor begins here if there is none yet.
    ///
    /// # Errors
    ///
    /// [`SyncError`] of Gmail or of the state.
    pub async fn start(&self, topic: &str, labels: &[String]) -> Result<(), SyncError> {
        let mut state = self.state.lock().await;
        let started = self.gmail.watch(topic, labels).await?;
        topic.clone_into(&mut state.topic);
        state.labels = labels.to_vec();
        state.history_id.get_or_insert(started.history_id);
        store_expiry(&mut state, started).await?;
        info!(history.id = %started.history_id, "Started Gmail's watch");
        Ok(())
    }

    /// Renews the watch for another seven days. Changes only its expiry.
    ///
    /// # Errors
    ///
    /// [`SyncError`] of Gmail or of the state.
    pub async fn renew(&self) -> Result<(), SyncError> {
        let mut state = self.state.lock().await;
        match self.gmail.watch(&state.topic, &state.labels).await {
            Ok(renewed) => {
                state.set_problem(ProblemSource::Renewal, None);
                store_expiry(&mut state, renewed).await
            }
            Err(error) => {
                let error = SyncError::from(error);
                state.renewal_problem = error.to_string();
                state.save().await?;
                let problem = Some(error.problem());
                let revoked = problem.filter(|one| one.code == ProblemCode::GrantRevoked);
                state.report(ProblemSource::Renewal, revoked).await;
                Err(error)
            }
        }
    }

    /// Renews the watch a day after each renewal until `stop`; after a failure, with back-off, at
    /// least once an hour. Does nothing if no watch was started.
    ///
    /// `jitter` returns a random number from 0 to 1, so that watchers that were started together do
    /// not renew together.
    pub async fn run(self: Arc<Self>, stop: CancellationToken, jitter: fn() -> f64) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let Some(due_in) = self.due_in().await else {
                return stop.cancelled().await;
            };
            let pause = jittered(due_in, Duration::ZERO, jitter());
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            let Err(error) = self.renew().await else {
                info!("Renewed the watch");
                backoff.reset();
                continue;
            };
            let wait = backoff.next_jittered(jitter());
            warn!(
                error = &error as &dyn std::error::Error,
                ?wait,
                "Could not renew the watch; retrying"
            );
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// The time until the next renewal; `None` if there is no watch.
    async fn due_in(&self) -> Option<Duration> {
        let state = self.state.lock().await;
        if state.topic.is_empty() {
            return None;
        }
        let ahead = i64::try_from(AHEAD.as_millis()).unwrap_or(i64::MAX);
        let expires = state.expires_at().map_or(0, Timestamp::as_millis);
        let due = Timestamp::from_millis(expires.saturating_sub(ahead));
        // The user may have asked for an earlier renewal (`--ttl`).
        let asked = Some(state.renew_after_ms).filter(|after| *after > 0);
        let due = asked.map_or(due, |after| due.min(Timestamp::from_millis(after)));
        Some(due - self.clock.now())
    }
}

async fn store_expiry(state: &mut LockedState<'_>, watch: WatchStarted) -> Result<(), SyncError> {
    state.expiration_ms = watch.expiration.as_millis();
    state.provider_expiration_ms = watch.expiration.as_millis();
    state.renewal_problem.clear();
    Ok(state.save().await?)
}
