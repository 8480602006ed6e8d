//! The watch itself: Gmail ends it after seven days
//! (<https://developers.google.com/workspace/gmail/api/guides/push>).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Timestamp, jittered};
use postbell_google::WatchStarted;
use postbell_protocol::watch_state::WatchState;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::look::LookError;
use crate::watcher::Watcher;

/// How long before its end a watch is renewed: a day after it began, as Google recommends.
const AHEAD: Duration = Duration::from_secs(6 * 24 * 60 * 60);

/// After a renewal that failed, the first wait and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

impl Watcher {
    /// Has Gmail publish changes to `topic`; where no history is known yet, it begins here.
    ///
    /// # Errors
    ///
    /// [`LookError`], for Gmail and for the state.
    pub async fn start_watch(&self, topic: &str, labels: &[String]) -> Result<(), LookError> {
        let mut state = self.state.lock().await;
        let started = self.gmail.watch(topic, labels).await?;
        topic.clone_into(&mut state.topic);
        state.labels = labels.to_vec();
        state.history_id.get_or_insert(started.history_id);
        self.note_end(&mut state, started).await?;
        info!(history.id = %started.history_id, "Gmail watches the mailbox");
        Ok(())
    }

    /// Has Gmail watch for another seven days. Changes nothing but the end of the watch.
    ///
    /// # Errors
    ///
    /// [`LookError`], for Gmail and for the state.
    pub async fn renew(&self) -> Result<(), LookError> {
        let mut state = self.state.lock().await;
        let renewed = match self.gmail.watch(&state.topic, &state.labels).await {
            Ok(renewed) => renewed,
            Err(error) => {
                let error = LookError::from(error);
                state.renewal_problem = error.to_string();
                self.save(&mut state).await?;
                self.note_problem(&mut state, Some(&error)).await;
                return Err(error);
            }
        };
        self.note_end(&mut state, renewed).await
    }

    async fn note_end(&self, state: &mut WatchState, watch: WatchStarted) -> Result<(), LookError> {
        state.expiration_ms = watch.expiration.as_millis();
        state.provider_expiration_ms = watch.expiration.as_millis();
        state.renewal_problem.clear();
        self.save(state).await
    }

    /// Renews the watch a day after it began, again and again until `stop`; where that fails, more
    /// and more rarely, at least once an hour. Does nothing where no watch was started.
    ///
    /// `chance`, from 0 to 1, keeps watchers that were started together from renewing together.
    pub async fn keep_watch(self: Arc<Self>, stop: CancellationToken, chance: fn() -> f64) {
        let mut wait = FIRST_WAIT;
        loop {
            let Some(pause) = self.until_renewal().await else {
                return stop.cancelled().await;
            };
            let pause = jittered(pause, Duration::ZERO, chance());
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            if self.try_renewal(wait).await {
                wait = FIRST_WAIT;
                continue;
            }
            let pause = jittered(wait, Duration::ZERO, chance());
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn try_renewal(&self, wait: Duration) -> bool {
        match self.renew().await {
            Ok(()) => {
                info!("Renewed the watch");
                true
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, ?wait, "Could not renew the watch; trying again");
                false
            }
        }
    }

    async fn until_renewal(&self) -> Option<Duration> {
        let state = self.state.lock().await;
        if state.topic.is_empty() {
            return None;
        }
        let ahead = i64::try_from(AHEAD.as_millis()).unwrap_or(i64::MAX);
        let ends = state.expires_at().map_or(0, Timestamp::as_millis);
        let due = Timestamp::from_millis(ends.saturating_sub(ahead));
        // What the user asked for (`--ttl`), where it is sooner.
        let asked = Some(state.renew_after_ms).filter(|after| *after > 0);
        let due = asked.map_or(due, |after| due.min(Timestamp::from_millis(after)));
        Some(due - self.clock.now())
    }
}
