//! The sync engine: reads what changed since the cursor, has it delivered, and moves the cursor.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postbell_core::{Clock, HistoryId, Timestamp};
use postbell_google::GmailError;
use postbell_protocol::watch_state::WatchState;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::arrival::Arrival;
use crate::delivery::Delivery;
use crate::error::SyncError;
use crate::mailbox::Mailbox;
use crate::mailbox_identity::IdentityError;
use crate::problems::{Problem, ProblemSource};
use crate::request_watch::carry_out_requests;
use crate::settings::WatcherSettings;
use crate::state_store::{LockedState, StateStore};
use crate::webhook::WebhookError;

/// The time between two polls: Google may drop a push
/// (<https://developers.google.com/workspace/gmail/api/guides/push>).
const POLL_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How far back a resync reaches at most.
const RESYNC_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How much further back than the last delivery a resync reaches: clocks differ, and mail can be late.
const RESYNC_OVERLAP: Duration = Duration::from_secs(60 * 60);

/// The result of a sync.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncOutcome {
    /// The webhook accepted this number of messages.
    Delivered(usize),
    /// The webhook had everything already.
    NothingNew,
}

/// What happens to the cursor if a sync finds nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OnEmpty {
    /// It stays: Gmail's index may lag behind the notification and show the message later.
    Hold,
    /// It moves to the mailbox's present history id.
    Advance,
}

/// Syncs one mailbox to the bot's webhook, one sync at a time.
pub struct SyncEngine {
    pub(crate) settings: Arc<WatcherSettings>,
    pub(crate) mailbox: Mailbox,
    pub(crate) delivery: Delivery,
    pub(crate) state: Arc<StateStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: Progress,
}

/// The progress of this process.
#[derive(Default)]
pub(crate) struct Progress {
    /// The number of syncs that have begun.
    begun: AtomicU64,
    /// The number of the last sync that succeeded.
    succeeded: AtomicU64,
    /// Requests another sync after the fetch delay.
    sync_again: Notify,
    /// Cancelled when the bot answers 410.
    gone: CancellationToken,
}

impl SyncEngine {
    /// Completes when the bot has answered 410. Nothing is posted after that.
    pub async fn gone(&self) {
        self.progress.gone.cancelled().await;
    }

    /// A copy of the present state, which may be newer than the file.
    pub async fn state(&self) -> WatchState {
        self.state.snapshot().await
    }

    /// The present time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Announces every change of the state.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.state.changes()
    }

    /// Replaces the problem of another part than the sync, such as the pull of notifications.
    pub async fn report(&self, source: ProblemSource, problem: Option<Problem>) {
        self.state.lock().await.report(source, problem).await;
    }

    /// Asks Gmail whose mailbox the credentials open, unless it has said so already.
    ///
    /// # Errors
    ///
    /// [`SyncError`] if Gmail did not answer, or the credentials belong to another mailbox.
    pub(crate) async fn confirm_account(&self) -> Result<(), SyncError> {
        if self.settings.identity.is_confirmed() {
            return Ok(());
        }
        let confirmed = self.settings.identity.confirm(&self.mailbox.gmail).await;
        let error = match confirmed {
            Ok(_) => {
                self.report(ProblemSource::Account, None).await;
                return Ok(());
            }
            Err(IdentityError::Gmail(error)) => return Err(error.into()),
            Err(IdentityError::WrongAccount(wrong)) => SyncError::from(wrong),
        };
        let problem = Some(error.problem());
        self.report(ProblemSource::Account, problem).await;
        Err(error)
    }

    /// Syncs after a notification, and returns once the webhook has accepted everything up to it.
    ///
    /// Notifications that arrive during a sync share the next one.
    ///
    /// # Errors
    ///
    /// [`SyncError`]: no message was skipped, and the notification can be repeated.
    pub async fn sync_to(&self, notified: HistoryId) -> Result<SyncOutcome, SyncError> {
        let begun_before = self.progress.begun.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(cursor) = state.history_id {
            let was_synced = self.progress.succeeded.load(Ordering::Acquire) > begun_before;
            if notified < cursor || (notified == cursor && was_synced) {
                if notified < cursor {
                    info!(%notified, %cursor, "The cursor is already past this notification");
                }
                return Ok(SyncOutcome::NothingNew);
            }
        } else {
            // Gmail lists the changes after a history id: the notified one must be among them.
            state.history_id = Some(HistoryId::new(notified.get().saturating_sub(1)));
        }
        let outcome = self.sync(&mut state, OnEmpty::Hold).await?;
        if outcome == SyncOutcome::NothingNew {
            self.progress.sync_again.notify_one();
        }
        Ok(outcome)
    }

    /// Polls at once, then every ten minutes, and once more after each notified sync that found
    /// nothing, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let requests = carry_out_requests(&self.state, &self.progress.sync_again, &stop);
        tokio::join!(self.poll_until(&stop), requests);
    }

    async fn poll_until(&self, stop: &CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            let is_requested = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => false,
                () = self.progress.sync_again.notified() => true,
            };
            if is_requested {
                let delay = sleep(self.settings.fetch_delay);
                if stop.run_until_cancelled(delay).await.is_none() {
                    return;
                }
            }
            if let Err(error) = self.poll().await {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not poll for new mail");
            }
            pause = POLL_INTERVAL;
        }
    }

    /// Syncs without a notification.
    async fn poll(&self) -> Result<(), SyncError> {
        let mut state = self.state.lock().await;
        if state.history_id.is_none() {
            return Ok(());
        }
        self.sync(&mut state, OnEmpty::Advance).await.map(drop)
    }

    async fn sync(
        &self,
        state: &mut LockedState<'_>,
        on_empty: OnEmpty,
    ) -> Result<SyncOutcome, SyncError> {
        if self.progress.gone.is_cancelled() {
            return Err(WebhookError::Gone.into());
        }
        let number = self.progress.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let identity = &self.settings.identity;
        let synced = match identity.confirm_before_sync(&self.mailbox.gmail).await {
            Ok(()) => self.sync_from_cursor(state, on_empty).await,
            Err(error) => Err(error),
        };
        let outcome = match synced {
            Err(SyncError::Gmail(GmailError::NotFound)) => self.resync(state).await,
            other => other,
        };
        match &outcome {
            Ok(_) => {
                state.grant_is_valid();
                state.report(ProblemSource::Sync, None).await;
            }
            Err(error) => {
                if matches!(error, SyncError::Hook(WebhookError::Gone)) {
                    self.progress.gone.cancel();
                }
                let problem = Some(error.problem());
                state.report(ProblemSource::Sync, problem).await;
            }
        }
        let outcome = outcome?;
        self.progress.succeeded.store(number, Ordering::Release);
        Ok(outcome)
    }

    /// Delivers what changed after the cursor, and moves the cursor.
    async fn sync_from_cursor(
        &self,
        state: &mut LockedState<'_>,
        on_empty: OnEmpty,
    ) -> Result<SyncOutcome, SyncError> {
        let Some(cursor) = state.history_id else {
            return Ok(SyncOutcome::NothingNew);
        };
        let changes = self.mailbox.changes_after(cursor).await?;
        let arrivals = self.undelivered(state, changes.arrivals);
        if arrivals.is_empty() {
            if on_empty == OnEmpty::Advance && changes.end > cursor {
                state.history_id = Some(changes.end);
                state.save().await?;
            }
            return Ok(SyncOutcome::NothingNew);
        }
        let messages = self.delivery.deliver(state, &arrivals, false).await?;
        state.history_id = state.history_id.max(Some(changes.end));
        state.save().await?;
        Ok(SyncOutcome::of(messages))
    }

    /// Delivers the messages since the last delivery: Gmail no longer knows the cursor.
    async fn resync(&self, state: &mut LockedState<'_>) -> Result<SyncOutcome, SyncError> {
        let since = resync_start(state, self.clock.now());
        warn!("Gmail's history has expired: resyncing the messages of the last days");
        let changes = self.mailbox.messages_since(since).await?;
        let arrivals = self.undelivered(state, changes.arrivals);
        let messages = self.delivery.deliver(state, &arrivals, true).await?;
        state.history_id = Some(changes.end);
        state.save().await?;
        info!(messages, "The resync is complete");
        Ok(SyncOutcome::of(messages))
    }

    /// Removes duplicates, delivered messages and those with excluded labels.
    fn undelivered(&self, state: &WatchState, mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
        let mut known: HashSet<String> = state.delivered_ids.iter().cloned().collect();
        arrivals.retain(|arrival| {
            !self.settings.excludes(&arrival.message.label_ids) && known.insert(arrival.key())
        });
        arrivals
    }
}

impl SyncOutcome {
    fn of(messages: usize) -> Self {
        match messages {
            0 => Self::NothingNew,
            messages => Self::Delivered(messages),
        }
    }
}

/// When the messages of a resync begin.
fn resync_start(state: &WatchState, now: Timestamp) -> Timestamp {
    let earliest = now.as_millis().saturating_sub(millis(RESYNC_WINDOW));
    let last = state
        .last_delivery_at_ms
        .saturating_sub(millis(RESYNC_OVERLAP));
    Timestamp::from_millis(last.max(earliest))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
