//! Posts a batch to the webhook, and splits it if the webhook refuses its content.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postbell_core::{Clock, ProblemCode, Timestamp};
use postbell_protocol::watch_state::{Stage, WatchState};
use postbell_protocol::webhook::{
    Source, TEST_ID, WebhookMessage, WebhookPayload, idempotency_key, test_payload,
};
use tracing::info;

use crate::arrival::Arrival;
use crate::backlog::{Backlog, Reason, keys};
use crate::delivery::Progress;
use crate::error::SyncError;
use crate::failing::{Failed, Failure, fails_as_a_whole, forget, prove};
use crate::filter::Candidate;
use crate::metrics::Metrics;
use crate::problems::ProblemSource;
use crate::settings::WatcherSettings;
use crate::shorten::shorter;
use crate::state_store::{LockedState, StateStore};
use crate::sync_trace::SyncTrace;
use crate::webhook::{Blame, WebhookClient, WebhookError};

/// A change with what the bot gets of it.
#[derive(Clone)]
pub(crate) struct Item {
    /// Its index in the backlog.
    pub(crate) index: usize,
    pub(crate) arrival: Arrival,
    /// `None` if the bot gets no message: it was deleted, is not for the bot, or is missing.
    pub(crate) message: Option<WebhookMessage>,
    pub(crate) received_at: Option<Timestamp>,
    /// Gmail does not have it, or not yet: it is read again later.
    pub(crate) is_missing: bool,
}

impl Item {
    pub(crate) fn without_message(index: usize, arrival: Arrival) -> Self {
        Self {
            index,
            arrival,
            message: None,
            received_at: None,
            is_missing: false,
        }
    }

    pub(crate) fn set(&mut self, candidate: Candidate) {
        self.message = Some(candidate.message);
        self.received_at = Some(candidate.received_at);
    }
}

/// The result of posting one message on its own.
pub(crate) enum Posted {
    /// The webhook accepted this number of messages.
    Accepted(usize),
    /// The webhook does not accept this message.
    Refused(WebhookError),
}

/// Posts items to the webhook.
pub(crate) struct Poster {
    pub(crate) settings: Arc<WatcherSettings>,
    pub(crate) webhook: WebhookClient,
    pub(crate) trace: Arc<SyncTrace>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) state: Arc<StateStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Poster {
    /// Posts a test message, which is no mail (docs/webhook.md).
    pub(crate) async fn test(&self) -> Result<(), WebhookError> {
        let test = test_payload(self.settings.identity.address(), "Postbell test").to_string();
        let posted = self
            .webhook
            .post(test.into_bytes(), TEST_ID, None, self.clock.now());
        posted.await
    }

    /// Posts the items of a batch in order. If the webhook refuses their content, they are halved
    /// until it accepts them, or until the message that it refuses is found. If another batch `follows` once the
    /// webhook has accepted the last of them, the write that begins it also stores that.
    pub(crate) async fn post(
        &self,
        backlog: &mut Backlog,
        items: Vec<Item>,
        reason: Reason,
        progress: &mut Progress,
        follows: &AtomicBool,
    ) -> Result<(), SyncError> {
        let mut queue = VecDeque::from([items]);
        let mut largest = usize::MAX;
        while let Some(mut batch) = queue.pop_front() {
            if batch.len() > largest {
                queue.push_front(batch.split_off(largest));
            }
            if batch.is_empty() {
                continue;
            }
            let key = self.begin(&batch).await?;
            let posted = self.send(&batch, &key, reason).await;
            match posted {
                Ok(count) => {
                    let mut state = self.accept(backlog, &batch, reason, count).await;
                    if !queue.is_empty() || follows.load(Ordering::Relaxed) {
                        state.defer_save();
                    } else {
                        state.save().await?;
                    }
                    progress.delivered += count;
                }
                Err(error) if error.blame() == Blame::Webhook => {
                    self.state.lock().await.save().await?;
                    return Err(error.into());
                }
                Err(error) if batch.len() > 1 => {
                    let half = batch.len().div_ceil(2);
                    if error.blame() == Blame::Size {
                        largest = half;
                    }
                    queue.push_front(batch.split_off(half));
                    queue.push_front(batch);
                }
                Err(error) => {
                    let item = batch.swap_remove(0);
                    self.post_refused(backlog, item, &key, error, reason, progress)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Posts one message that the webhook has refused again, shortened if it was too large; else
    /// counts the failure.
    async fn post_refused(
        &self,
        backlog: &mut Backlog,
        item: Item,
        key: &str,
        error: WebhookError,
        reason: Reason,
        progress: &mut Progress,
    ) -> Result<(), SyncError> {
        let error = match self.send_shortened(&item, key, error, reason).await {
            Ok(count) => {
                let mut state = self.accept(backlog, &[item], reason, count).await;
                state.save().await?;
                progress.delivered += count;
                return Ok(());
            }
            Err(error) if error.blame() == Blame::Webhook => {
                self.state.lock().await.save().await?;
                return Err(error.into());
            }
            Err(error) => error,
        };
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let retries = &self.settings.retries;
        let failure = Failure {
            stage: Stage::Webhook,
            reason: &error.to_string(),
            others_pass: progress.delivered > 0,
        };
        let failed = retries.record(&mut state, &item.arrival, failure, now);
        let is_finished = matches!(failed, Failed::Deferred | Failed::SetAside);
        if is_finished {
            backlog.finish(&[item.index]);
            move_on(&mut state, backlog, reason);
            progress.deferred += 1;
        }
        state.save().await?;
        match failed {
            Failed::Deferred | Failed::SetAside => Ok(()),
            Failed::InOrder => Err(SyncError::message(&item.arrival, error.into())),
            Failed::TooMany => Err(error.into()),
        }
    }

    /// Posts one message on its own, outside of the order.
    pub(crate) async fn post_alone(&self, item: Item) -> Result<Posted, SyncError> {
        let ids = [item.arrival.key()];
        let key = idempotency_key(&self.settings.account, ids.iter().map(String::as_str));
        let batch = std::slice::from_ref(&item);
        let mut posted = self.send(batch, &key, Reason::New).await;
        if let Err(error) = posted {
            posted = self.send_shortened(&item, &key, error, Reason::New).await;
        }
        match posted {
            Ok(count) => {
                let mut state = self.state.lock().await;
                note_accepted(&mut state, batch, count);
                state.save().await?;
                Ok(Posted::Accepted(count))
            }
            Err(error) if error.blame() == Blame::Webhook => {
                self.state.lock().await.save().await?;
                Err(error.into())
            }
            Err(error) => Ok(Posted::Refused(error)),
        }
    }

    /// Stores the batch as pending, and returns its idempotency key.
    async fn begin(&self, batch: &[Item]) -> Result<String, SyncError> {
        let ids = keys(batch);
        let mut state = self.state.lock().await;
        if state.pending_ids != ids {
            let before = std::mem::replace(&mut state.pending_ids, ids.clone());
            if let Err(error) = state.save_without_sync().await {
                // The next attempt must not take the batch for stored.
                state.pending_ids = before;
                return Err(error.into());
            }
        }
        let ids = ids.iter().map(String::as_str);
        Ok(idempotency_key(&self.settings.account, ids))
    }

    /// Notes that the webhook accepted a batch, and moves the cursor. The caller stores it.
    async fn accept(
        &self,
        backlog: &mut Backlog,
        batch: &[Item],
        reason: Reason,
        count: usize,
    ) -> LockedState<'_> {
        let indexes: Vec<_> = batch.iter().map(|item| item.index).collect();
        backlog.finish(&indexes);
        let mut state = self.state.lock().await;
        note_accepted(&mut state, batch, count);
        state.pending_ids.clear();
        move_on(&mut state, backlog, reason);
        state
    }

    /// Posts a message that was too large with a shorter text, then without it.
    async fn send_shortened(
        &self,
        item: &Item,
        key: &str,
        mut error: WebhookError,
        reason: Reason,
    ) -> Result<usize, WebhookError> {
        let mut item = item.clone();
        while error.blame() == Blame::Size
            && let Some(message) = item.message.as_ref().and_then(shorter)
        {
            item.message = Some(message);
            match self.send(std::slice::from_ref(&item), key, reason).await {
                Ok(count) => {
                    let id = &item.arrival.message.id;
                    info!(
                        message.id = id,
                        "Message {id} was too large, and was shortened"
                    );
                    return Ok(count);
                }
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }

    /// Posts items once, unless they contain nothing for the bot. Returns the number of messages.
    async fn send(&self, batch: &[Item], key: &str, reason: Reason) -> Result<usize, WebhookError> {
        let deleted = batch.iter().filter(|item| item.arrival.is_deletion());
        let deleted: Vec<_> = deleted
            .map(|item| item.arrival.message.id.clone())
            .collect();
        let messages = batch.iter().filter_map(|item| item.message.as_ref());
        let messages: Vec<_> = messages.map(Cow::Borrowed).collect();
        let count = messages.len() + deleted.len();
        if count == 0 {
            return Ok(0);
        }
        let cursor = self.state.lock().await.history_id;
        let history_id = batch.last().map(|last| last.arrival.at).max(cursor);
        let payload = WebhookPayload {
            source: Source::Gmail,
            account: self.settings.identity.address().into(),
            history_id: history_id.unwrap_or_default(),
            messages,
            deleted_message_ids: deleted,
            resync: reason == Reason::Resync,
            untrusted: true,
            test: false,
        };
        let span = self.trace.begin_call();
        let now = self.clock.now();
        let posted = self.webhook.post_batch(&payload, key, span.context, now);
        let posted = posted.await;
        self.trace.end_call(span, count, &posted);
        self.metrics.hook_ended(posted.is_ok());
        let now = self.clock.now().as_millis();
        let mut state = self.state.lock().await;
        state.last_delivery_at_ms = now;
        state.last_delivery_status = if posted.is_ok() { "ok" } else { "error" }.to_owned();
        let note = posted.as_ref().err().map(ToString::to_string);
        state.last_delivery_status_note = note.unwrap_or_default();
        posted?;
        state.last_accepted_at_ms = now;
        state.set_problem(ProblemSource::Test, None);
        // The rest of a long backlog may take minutes.
        for solved in [ProblemCode::WebhookFailing, ProblemCode::WebhookGone] {
            state.forget_problem(solved);
        }
        info!(messages = count, "The webhook accepted mail");
        Ok(count)
    }
}

/// Records that the webhook accepted a batch. A missing message is not forgotten: it is read again.
fn note_accepted(state: &mut WatchState, batch: &[Item], count: usize) {
    let is_read = |item: &&Item| !item.is_missing;
    let read: Vec<_> = batch
        .iter()
        .filter(is_read)
        .map(|one| one.arrival.key())
        .collect();
    forget(state, &read);
    state.add_delivered(keys(batch).into_iter());
    if count > 0 {
        prove(state, Stage::Webhook);
    }
}

/// Moves the cursor, or the start of a resync, up to the first unfinished change. If everything
/// fails, the cursor stays.
fn move_on(state: &mut WatchState, backlog: &Backlog, reason: Reason) {
    match reason {
        Reason::New if !is_held(state) => {
            state.history_id = state.history_id.max(backlog.cursor());
        }
        Reason::New => {}
        Reason::Resync => {
            let until = backlog.finished_until().map_or(0, Timestamp::as_millis);
            state.resync_since_ms = state.resync_since_ms.max(until);
        }
    }
}

/// Whether the cursor stays, because the webhook or Gmail fails for every message.
pub(crate) fn is_held(state: &WatchState) -> bool {
    fails_as_a_whole(state, Stage::Webhook) || fails_as_a_whole(state, Stage::Gmail)
}
