//! Delivers changes to the webhook, a bounded number at a time.

use std::sync::Arc;

use postbell_core::{Clock, HistoryId};
use postbell_google::GmailError;
use postbell_protocol::watch_state::WatchState;
use postbell_protocol::webhook::{Source, WebhookMessage, WebhookPayload, idempotency_key};
use tracing::info;

use crate::arrival::Arrival;
use crate::error::SyncError;
use crate::message_reader::MessageReader;
use crate::metrics::Metrics;
use crate::settings::WatcherSettings;
use crate::state_store::LockedState;
use crate::webhook::WebhookClient;

/// Reads the changed messages and posts them to the webhook in batches.
pub(crate) struct Delivery {
    pub(crate) settings: Arc<WatcherSettings>,
    pub(crate) reader: MessageReader,
    pub(crate) webhook: WebhookClient,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Delivery {
    /// Posts the changes in order, and stores after each batch that the webhook accepted it. While
    /// one batch is posted, the messages of the next are read. Returns the number of messages.
    ///
    /// A batch is stored as pending before it is posted: if this process dies, the next one posts
    /// the same batch under the same idempotency key.
    pub(crate) async fn deliver(
        &self,
        state: &mut LockedState<'_>,
        arrivals: &[Arrival],
        resync: bool,
    ) -> Result<usize, SyncError> {
        let batches = self.batches(state, arrivals);
        let mut delivered = 0;
        let Some(first) = batches.first() else {
            return Ok(delivered);
        };
        state.pending_ids = keys(first);
        let (mut read, saved) = tokio::join!(self.reader.read(first), state.save_without_sync());
        saved?;
        for (number, batch) in batches.iter().enumerate() {
            let next = batches.get(number + 1).copied().unwrap_or_default();
            let delivering = self.deliver_batch(state, batch, read, next, resync);
            let (count, next_read) = tokio::join!(delivering, self.reader.read(next));
            delivered += count?;
            read = next_read;
        }
        Ok(delivered)
    }

    /// Divides the changes into batches. The first is exactly the pending one, if there is one.
    fn batches<'a>(&self, state: &WatchState, arrivals: &'a [Arrival]) -> Vec<&'a [Arrival]> {
        let pending = &state.pending_ids;
        let first_keys = arrivals.iter().map(Arrival::key).take(pending.len());
        let is_pending = first_keys.eq(pending.iter().cloned());
        let (first, rest) = arrivals.split_at(if is_pending { pending.len() } else { 0 });
        let rest = rest.chunks(self.settings.messages_per_hook.get());
        std::iter::once(first)
            .filter(|first| !first.is_empty())
            .chain(rest)
            .collect()
    }

    /// Posts one batch, and stores that it was accepted and that the next one is pending.
    async fn deliver_batch(
        &self,
        state: &mut LockedState<'_>,
        batch: &[Arrival],
        messages: Result<Vec<WebhookMessage>, GmailError>,
        next: &[Arrival],
        resync: bool,
    ) -> Result<usize, SyncError> {
        let posted = self.post(state, batch, messages, resync).await;
        if posted.is_ok() {
            state.add_delivered(batch.iter().map(Arrival::key));
            if let Some(cursor) = safe_cursor(batch, next.first()).filter(|_| !resync) {
                state.history_id = state.history_id.max(Some(cursor));
            }
            state.pending_ids = keys(next);
        }
        // After the last batch, the caller moves the cursor and saves.
        if posted.is_err() || !next.is_empty() {
            state.save().await?;
        }
        posted
    }

    /// Posts one batch, unless it contains nothing for the bot. Returns the number of messages.
    async fn post(
        &self,
        state: &mut WatchState,
        batch: &[Arrival],
        messages: Result<Vec<WebhookMessage>, GmailError>,
        resync: bool,
    ) -> Result<usize, SyncError> {
        let messages = messages?;
        let deleted = batch.iter().filter(|arrival| arrival.is_deletion());
        let deleted: Vec<_> = deleted.map(|arrival| arrival.message.id.clone()).collect();
        let count = messages.len() + deleted.len();
        if count == 0 {
            return Ok(0);
        }
        let account = &self.settings.account;
        let history_id = batch.last().map(|last| last.at).max(state.history_id);
        let payload = WebhookPayload {
            source: Source::Gmail,
            account: self.settings.identity.address().into(),
            history_id: history_id.unwrap_or_default(),
            messages: messages.into(),
            deleted_message_ids: deleted,
            resync,
            untrusted: true,
        };
        let key = idempotency_key(account, state.pending_ids.iter().map(String::as_str));
        let now = self.clock.now();
        let posted = self.webhook.post_batch(&payload, &key, now).await;
        self.metrics.hook_ended(posted.is_ok());
        state.last_delivery_at_ms = now.as_millis();
        state.last_delivery_status = if posted.is_ok() { "ok" } else { "error" }.to_owned();
        let note = posted.as_ref().err().map(ToString::to_string);
        state.last_delivery_status_note = note.unwrap_or_default();
        posted?;
        info!(messages = count, "The webhook accepted {count} messages");
        Ok(count)
    }
}

fn keys(batch: &[Arrival]) -> Vec<String> {
    batch.iter().map(Arrival::key).collect()
}

/// How far the cursor may move after a batch: to its last history record, unless the next batch
/// contains messages of the same record.
fn safe_cursor(batch: &[Arrival], next: Option<&Arrival>) -> Option<HistoryId> {
    let is_complete = |arrival: &&Arrival| next.is_none_or(|next| arrival.at < next.at);
    batch
        .iter()
        .rev()
        .find(is_complete)
        .map(|arrival| arrival.at)
}

#[cfg(test)]
mod tests {
    use postbell_google::{HistoryType, MessageRef};

    use super::*;

    fn at(history_id: u64) -> Arrival {
        let message = MessageRef {
            id: history_id.to_string(),
            label_ids: Vec::new(),
        };
        Arrival {
            at: HistoryId::new(history_id),
            message,
            change: HistoryType::MessageAdded,
        }
    }

    #[test]
    fn the_cursor_never_moves_past_the_next_batch() {
        let cursor = |batch: &[u64], next: Option<u64>| {
            let batch: Vec<_> = batch.iter().map(|id| at(*id)).collect();
            safe_cursor(&batch, next.map(at).as_ref()).map(HistoryId::get)
        };
        assert_eq!(cursor(&[1, 2, 3], None), Some(3));
        assert_eq!(cursor(&[1, 2, 3], Some(4)), Some(3));
        assert_eq!(cursor(&[1, 2, 2], Some(2)), Some(1));
        assert_eq!(cursor(&[2, 2], Some(2)), None);
    }
}
