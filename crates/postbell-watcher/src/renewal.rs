//! Gmail's watch, which expires after seven days
//! (<https://developers.google.com/workspace/gmail/api/guides/push>).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Backoff, Clock, ProblemCode, Timestamp, jittered, wait_for};
use postbell_google::{Gmail, WatchStarted};
use postbell_protocol::watch_state::{StateError, StateFile, WatchState};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::SyncError;
use crate::health::{NO_TOPIC, watch_problem};
use crate::problems::{Problem, ProblemSource};
use crate::state_store::{LockedState, StateStore};

/// How long before its expiry a watch is renewed: a day after it began, as Google recommends.
const AHEAD: Duration = Duration::from_secs(6 * 24 * 60 * 60);

/// The waits after a failed renewal.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The shortest time between two renewals: by a clock that is ahead, each new watch seems to end soon.
const LEAST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What to do if no watch was started by Postbell.
const WATCH_START: &str =
    "stop the watcher, run `postbell watch start` with --topic, and start it again";

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

    /// Starts a watch that publishes to `topic`. The cursor begins here if there is none yet, or if it
    /// is ahead of the mailbox.
    ///
    /// # Errors
    ///
    /// [`SyncError`] of Gmail or of the state.
    pub async fn start(&self, topic: &str, labels: &[String]) -> Result<(), SyncError> {
        let started = self.gmail.watch(topic, labels).await?;
        let mut state = self.state.lock().await;
        topic.clone_into(&mut state.topic);
        state.labels = labels.to_vec();
        let cursor = *state.history_id.get_or_insert(started.history_id);
        state.history_id = Some(cursor.min(started.history_id));
        state.forget_problem(ProblemCode::CursorAhead);
        // The command has compared the address.
        state.forget_problem(ProblemCode::WrongAccount);
        self.store_expiry(&mut state, started).await?;
        info!(history.id = %started.history_id, "Started Gmail's watch");
        Ok(())
    }

    /// Renews the watch for another seven days. Changes only its expiry.
    ///
    /// # Errors
    ///
    /// [`SyncError`] of Gmail or of the state.
    pub async fn renew(&self) -> Result<(), SyncError> {
        let before = self.state.snapshot().await;
        let answer = self.gmail.watch(&before.topic, &before.labels).await;
        let mut state = self.state.lock().await;
        match answer {
            Ok(renewed) => self.store_expiry(&mut state, renewed).await,
            Err(error) => {
                let error = SyncError::from(error);
                state.renewal_problem = error.to_string();
                state.save().await?;
                let problem = self.problem(&state, &error);
                state.report(ProblemSource::Renewal, problem).await;
                Err(error)
            }
        }
    }

    /// Returns the problem after a failed renewal. There is none while the watch lasts, unless a person
    /// must act.
    fn problem(&self, state: &WatchState, error: &SyncError) -> Option<Problem> {
        let problem = error.problem()?;
        if problem.code == ProblemCode::GrantRevoked {
            return Some(problem);
        }
        let found = watch_problem(state, self.clock.now())?;
        let detail = format!("{}; the renewal failed: {}", found.detail, problem.detail);
        Some(Problem::new(found.code, detail))
    }

    /// Stores the end of a watch that was started or renewed. The next renewal is up to the watcher
    /// again, unless the user has asked for a time that is still to come.
    async fn store_expiry(
        &self,
        state: &mut LockedState<'_>,
        watch: WatchStarted,
    ) -> Result<(), SyncError> {
        state.expiration_ms = watch.expiration.as_millis();
        state.provider_expiration_ms = watch.expiration.as_millis();
        if state.renew_after_ms <= self.clock.now().as_millis() {
            state.renew_after_ms = 0;
        }
        state.renewal_problem.clear();
        state.grant_is_valid();
        state.set_problem(ProblemSource::Renewal, None);
        Ok(state.save().await?)
    }

    /// Renews the watch a day after each renewal until `stop`; after a failure, with back-off, at
    /// least once an hour. If no watch was started, that is reported, and nothing is renewed.
    ///
    /// `jitter` returns a random number from 0 to 1, so that watchers that were started together do
    /// not renew together.
    pub async fn run(self: Arc<Self>, stop: CancellationToken, jitter: fn() -> f64) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        self.end_solved().await;
        loop {
            match stop.run_until_cancelled(self.until_due(jitter())).await {
                Some(true) => (),
                Some(false) => {
                    self.report_missing().await;
                    return stop.cancelled().await;
                }
                None => return,
            }
            let wait = match self.renew().await {
                Ok(()) => {
                    info!("Renewed the watch");
                    backoff.reset();
                    LEAST_PAUSE
                }
                Err(error) => {
                    let wait = backoff.next_jittered(jitter());
                    let error = &error as &dyn std::error::Error;
                    warn!(error, ?wait, "Could not renew the watch; retrying");
                    wait
                }
            };
            let waited = stop.run_until_cancelled(wait_for(&*self.clock, wait));
            if waited.await.is_none() {
                return;
            }
        }
    }

    /// Waits until the next renewal, also while the machine sleeps. Returns whether there is a watch.
    async fn until_due(&self, fraction: f64) -> bool {
        let Some(due_in) = self.due_in().await else {
            return false;
        };
        wait_for(&*self.clock, jittered(due_in, Duration::ZERO, fraction)).await;
        true
    }

    /// Ends the problem of an earlier process whose cause is over, as that of a further webhook whose mailbox has got
    /// its watch in the meantime: the next renewal may be days away.
    async fn end_solved(&self) {
        let mut state = self.state.lock().await;
        let has_watch = watch_problem(&state, self.clock.now()).is_none();
        let code = state.mail_problem().map(|problem| problem.code);
        if has_watch
            && matches!(
                code,
                Some(ProblemCode::WatchMissing | ProblemCode::WatchExpired)
            )
        {
            state.report(ProblemSource::Renewal, None).await;
        }
    }

    async fn report_missing(&self) {
        warn!("Nothing renews Gmail's watch, and mail stops when it expires: {WATCH_START}");
        let missing = Problem::new(ProblemCode::WatchMissing, NO_TOPIC);
        let mut state = self.state.lock().await;
        state.report(ProblemSource::Renewal, Some(missing)).await;
    }

    /// The time until the next renewal; `None` if there is no watch.
    async fn due_in(&self) -> Option<Duration> {
        let state = self.state.snapshot().await;
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use postbell_google::{Patience, TokenSource};
    use postbell_http::HttpClient;
    use postbell_testkit::PausedClock;
    use tokio::time::Instant;
    use url::Url;

    use super::*;

    const ACCOUNT: &str = "ann@example.com";
    const DAY: Duration = Duration::from_secs(86_400);

    /// A renewal that never asks Gmail.
    fn renewal(folder: &std::path::Path, clock: &PausedClock) -> WatchRenewal {
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let url = Url::parse("http://127.0.0.1:9").unwrap();
        let token = postbell_google::Credentials::AccessToken("unused".into());
        let client = reqwest::Client::new();
        let tokens = TokenSource::new(client, url.clone(), token, Arc::clone(&clock));
        let client = HttpClient::from_env();
        let gmail = Gmail::new(client, url, Arc::new(tokens), Patience::default());
        let file = StateFile::open(folder, ACCOUNT).unwrap();
        WatchRenewal::new(gmail, file, ACCOUNT, clock).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_becomes_due_while_the_machine_sleeps() {
        let folder = tempfile::tempdir().unwrap();
        let clock = PausedClock::starting_at(Timestamp::from_millis(1_790_000_000_000));
        let renewal = renewal(folder.path(), &clock);
        let mut state = renewal.state.lock().await;
        "projects/p/topics/t".clone_into(&mut state.topic);
        state.expiration_ms = (clock.now() + 7 * DAY).as_millis();
        drop(state);
        let mut due = Box::pin(renewal.until_due(0.5));
        for _ in 0..3 {
            assert!(due.as_mut().now_or_never().is_none());
            clock.sleep(DAY / 3);
        }
        let awoken = Instant::now();
        assert!(due.await);
        assert!(awoken.elapsed() <= Duration::from_secs(15));
    }
}
