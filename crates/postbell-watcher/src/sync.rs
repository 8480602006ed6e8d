//! The sync engine: reads what changed since the cursor, has it delivered, and moves the cursor.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, HistoryId, ProblemCode, Timestamp, TraceContext};
use postbell_google::GmailError;
use postbell_protocol::watch_state::{Stage, WatchState};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::arrival::Arrival;
use crate::backlog::{Backlog, Reason, undelivered};
use crate::delivery::{Delivery, Progress};
use crate::error::{NotSynced, SyncError};
use crate::failing::{unproven, unproven_reason};
use crate::mailbox::{Changes, Mailbox, Rest};
use crate::mailbox_identity::IdentityError;
use crate::poster::is_held;
use crate::problems::{Problem, ProblemSource};
use crate::redelivery::redeliver;
use crate::request_watch::carry_out_requests;
use crate::resync::begin_resync;
use crate::settings::WatcherSettings;
use crate::state_store::StateStore;
use crate::sync_loop::sync_until_stopped;
use crate::sync_trace::SyncTrace;
use crate::webhook::WebhookError;

/// How many notifications wait for the sync loop. Further ones wait until they are taken.
const WAITING_REQUESTS: usize = 64;

/// How often the watcher looks for other credentials, while Google refuses those that it has.
const CREDENTIALS_INTERVAL: Duration = Duration::from_secs(2);

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
pub(crate) enum OnEmpty {
    /// It stays: Gmail's index may lag behind the notification and show the message later.
    Hold,
    /// It moves to the mailbox's present history id.
    Advance,
}

/// Syncs one mailbox to the bot's webhook, one sync at a time.
///
/// Syncs run in [`run`](Self::run) only. A notification asks for one and waits: if its request ends,
/// the sync goes on.
pub struct SyncEngine {
    pub(crate) settings: Arc<WatcherSettings>,
    pub(crate) mailbox: Mailbox,
    pub(crate) delivery: Delivery,
    pub(crate) state: Arc<StateStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) signals: Signals,
    pub(crate) trace: Arc<SyncTrace>,
}

/// How other tasks reach the sync loop.
pub(crate) struct Signals {
    requests: mpsc::Sender<SyncRequest>,
    pub(crate) waiting: Mutex<mpsc::Receiver<SyncRequest>>,
    /// Requests a sync without a notification.
    pub(crate) sync_again: Notify,
    /// Cancelled when the bot answers 410.
    pub(crate) gone: CancellationToken,
}

/// A notification that waits for a sync.
pub(crate) struct SyncRequest {
    pub(crate) notified: HistoryId,
    /// Its trace.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) answer: oneshot::Sender<Result<SyncOutcome, Arc<SyncError>>>,
}

impl Default for Signals {
    fn default() -> Self {
        let (requests, waiting) = mpsc::channel(WAITING_REQUESTS);
        Self {
            requests,
            waiting: Mutex::new(waiting),
            sync_again: Notify::new(),
            gone: CancellationToken::new(),
        }
    }
}

impl SyncEngine {
    /// Completes when the bot has answered 410. Nothing is posted after that.
    pub async fn gone(&self) {
        self.signals.gone.cancelled().await;
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
        let problem = error.problem();
        self.report(ProblemSource::Account, problem).await;
        Err(error)
    }

    /// Asks for a sync after a notification, in its trace if it has one, and returns once everything up to it was delivered, or
    /// stored for another attempt. Waits for a limited time; the sync goes on after that.
    ///
    /// Notifications that arrive during a sync share the next one.
    ///
    /// # Errors
    ///
    /// [`NotSynced`]: no message was skipped, and the notification can be repeated.
    pub async fn sync_to(
        &self,
        notified: HistoryId,
        trace: Option<TraceContext>,
    ) -> Result<SyncOutcome, NotSynced> {
        let synced = self.synced_to(notified, trace);
        let synced = timeout(self.settings.times.push_wait, synced).await;
        synced.unwrap_or(Err(NotSynced::StillRunning))
    }

    /// The same without a limit of time.
    pub(crate) async fn synced_to(
        &self,
        notified: HistoryId,
        trace: Option<TraceContext>,
    ) -> Result<SyncOutcome, NotSynced> {
        let (answer, answered) = oneshot::channel();
        let request = SyncRequest {
            notified,
            trace,
            answer,
        };
        let stopped = |()| NotSynced::Stopped;
        let sent = self.signals.requests.send(request).await;
        sent.map_err(|_| ()).map_err(stopped)?;
        let answer = answered.await.map_err(|_| ()).map_err(stopped)?;
        answer.map_err(NotSynced::Failed)
    }

    /// Asks for a sync after a notification, and returns once the watcher cannot lose it: what is behind its cursor is
    /// also synced after a failure or a restart.
    pub(crate) async fn hand_over(&self, notified: HistoryId) -> Result<SyncOutcome, NotSynced> {
        if self.cursor().await.is_none() {
            return self.synced_to(notified, None).await;
        }
        let (answer, _) = oneshot::channel();
        let request = SyncRequest {
            notified,
            trace: None,
            answer,
        };
        match self.signals.requests.try_send(request) {
            // Those that wait already cause a sync that begins after this.
            Ok(()) | Err(TrySendError::Full(_)) => Ok(SyncOutcome::NothingNew),
            Err(TrySendError::Closed(_)) => Err(NotSynced::Stopped),
        }
    }

    /// Syncs at once, then for each notification, every ten minutes, and again after a failure,
    /// until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let requests = carry_out_requests(&self.delivery.poster, &self.signals.sync_again, &stop);
        let credentials = self.notice_new_credentials();
        let credentials = stop.run_until_cancelled(credentials);
        tokio::join!(sync_until_stopped(&self, &stop), requests, credentials);
    }

    /// Requests a sync once other credentials are stored than those that Google has refused. The sync tries them.
    async fn notice_new_credentials(&self) {
        loop {
            sleep(CREDENTIALS_INTERVAL).await;
            if self.mailbox.gmail.tokens().has_new_stored().await {
                info!("Other credentials are stored: trying them");
                self.signals.sync_again.notify_one();
            }
        }
    }

    /// Syncs once. Only the sync loop calls this.
    pub(crate) async fn sync(
        &self,
        on_empty: OnEmpty,
        progress: &mut Progress,
    ) -> Result<SyncOutcome, SyncError> {
        let synced = if self.signals.gone.is_cancelled() {
            Err(WebhookError::Gone.into())
        } else {
            self.deliver_everything(on_empty, progress).await
        };
        if let Err(error) = &synced {
            if let Some(problem) = error.problem() {
                let mut state = self.state.lock().await;
                state.report(ProblemSource::Sync, Some(problem)).await;
            }
            // The process ends after this, so the problem is stored before.
            if matches!(error, SyncError::Hook(WebhookError::Gone)) {
                self.signals.gone.cancel();
            }
        }
        synced.map(|()| SyncOutcome::of(progress.delivered))
    }

    async fn deliver_everything(
        &self,
        on_empty: OnEmpty,
        progress: &mut Progress,
    ) -> Result<(), SyncError> {
        let began_at = self.clock.now().as_millis();
        let identity = &self.settings.identity;
        identity.confirm_before_sync(&self.mailbox.gmail).await?;
        let failed = redeliver(&self.delivery, progress).await?;
        let redelivered = progress.delivered;
        loop {
            let Some(cursor) = self.cursor().await else {
                break;
            };
            match self.mailbox.changes_after(cursor).await {
                Ok(changes) => match self.deliver(changes, cursor, on_empty, progress).await? {
                    Rest::None => break,
                    Rest::More => {}
                    Rest::Endless => return Err(SyncError::EndlessPages),
                },
                Err(GmailError::NotFound) => {
                    warn!("Gmail's history has expired: resyncing the messages of the last days");
                    self.resync(progress).await?;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        match failed {
            // New mail did not show that the webhook works.
            Some(error) if progress.delivered == redelivered => Err(error),
            _ => self.finish(began_at, progress).await,
        }
    }

    /// Whether there is a cursor: what is behind it is synced also after a failure or a restart.
    pub(crate) async fn has_cursor(&self) -> bool {
        self.cursor().await.is_some()
    }

    async fn cursor(&self) -> Option<HistoryId> {
        self.state.lock().await.history_id
    }

    /// Delivers listed changes, and moves the cursor.
    async fn deliver(
        &self,
        changes: Changes,
        cursor: HistoryId,
        on_empty: OnEmpty,
        progress: &mut Progress,
    ) -> Result<Rest, SyncError> {
        let Changes {
            arrivals,
            end,
            rest,
        } = changes;
        let last = arrivals.last().map(|arrival| arrival.at);
        let mut backlog = self.backlog(arrivals).await.up_to(end);
        if backlog.is_empty() && rest == Rest::None {
            if end < cursor && self.mailbox.history_id().await? < cursor {
                self.resync_from_ahead(cursor, end, progress).await?;
            } else if on_empty == OnEmpty::Advance {
                self.advance(end).await?;
            } else if let Some(last) = last {
                // The listed changes were handled; the notified one may not be listed yet.
                self.advance(last).await?;
            }
            return Ok(rest);
        }
        self.delivery
            .deliver(&mut backlog, Reason::New, progress)
            .await?;
        let is_there = self.advance(end).await?;
        // From the same cursor, the same changes would be listed again.
        Ok(if rest == Rest::More && !is_there {
            Rest::None
        } else {
            rest
        })
    }

    /// Moves the cursor after everything up to `end` was handled, unless the webhook call with the last of it has.
    /// Returns whether it is there.
    async fn advance(&self, end: HistoryId) -> Result<bool, SyncError> {
        let mut state = self.state.lock().await;
        if is_held(&state) {
            return Ok(false);
        }
        if state.history_id < Some(end) {
            state.history_id = Some(end);
            state.save().await?;
        }
        Ok(true)
    }

    /// Reads the recent messages again: the cursor is above the mailbox's history id, so Gmail would
    /// list nothing until the mailbox has caught up.
    async fn resync_from_ahead(
        &self,
        cursor: HistoryId,
        end: HistoryId,
        progress: &mut Progress,
    ) -> Result<(), SyncError> {
        let detail = format!("the cursor {cursor} is ahead of the mailbox's history id {end}");
        warn!(%cursor, history.id = %end, "The cursor is ahead of the mailbox: resyncing");
        let problem = Problem::new(ProblemCode::CursorAhead, detail);
        let mut state = self.state.lock().await;
        state.report(ProblemSource::Sync, Some(problem)).await;
        drop(state);
        self.resync(progress).await
    }

    /// Delivers the messages since the last complete sync by a search.
    async fn resync(&self, progress: &mut Progress) -> Result<(), SyncError> {
        let since = {
            let mut state = self.state.lock().await;
            let since = begin_resync(&mut state, self.clock.now());
            state.save().await?;
            since
        };
        let changes = self.mailbox.messages_since(since).await?;
        if changes.rest == Rest::Endless {
            return Err(SyncError::EndlessPages);
        }
        let before = progress.delivered;
        let mut backlog = self.backlog(changes.arrivals).await;
        self.delivery
            .deliver(&mut backlog, Reason::Resync, progress)
            .await?;
        let mut state = self.state.lock().await;
        if !is_held(&state) {
            state.history_id = Some(changes.end);
            state.resync_since_ms = 0;
        }
        state.save().await?;
        let messages = progress.delivered - before;
        info!(messages, "The resync is complete");
        Ok(())
    }

    /// The changes without duplicates, excluded labels, and what was delivered or set aside.
    async fn backlog(&self, mut arrivals: Vec<Arrival>) -> Backlog {
        arrivals.retain(|arrival| !self.settings.excludes(&arrival.message.label_ids));
        let state = self.state.lock().await;
        Backlog::new(undelivered(&state, arrivals))
    }

    /// Records that everything was delivered or stored for another attempt.
    async fn finish(&self, began_at: i64, progress: &Progress) -> Result<(), SyncError> {
        self.delivery.reader.extras.remove_old_files().await;
        let now = self.clock.now().as_millis();
        let mut state = self.state.lock().await;
        state.grant_is_valid();
        state.last_poll_at_ms = now;
        if let Some(error) = every_message_fails(&state) {
            state.save_without_sync().await?;
            return Err(error);
        }
        if progress.delivered == 0 && progress.deferred == 0 {
            state.last_accepted_at_ms = now;
        }
        if state.history_id.is_some() {
            state.complete_at_ms = began_at;
        }
        state.set_problem(ProblemSource::Sync, None);
        Ok(state.save_without_sync().await?)
    }
}

/// The error of a stage at which messages fail while no other was seen to pass.
fn every_message_fails(state: &WatchState) -> Option<SyncError> {
    [Stage::Webhook, Stage::Gmail]
        .into_iter()
        .find_map(|stage| {
            Some(SyncError::EveryMessage {
                stage,
                reason: unproven_reason(state, stage)?,
                messages: unproven(state, stage),
            })
        })
}

impl SyncOutcome {
    fn of(messages: usize) -> Self {
        match messages {
            0 => Self::NothingNew,
            messages => Self::Delivered(messages),
        }
    }
}
