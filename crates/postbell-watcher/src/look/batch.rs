//! From arrivals to the hook, a bounded number at a time.

use futures_util::{StreamExt, TryStreamExt, stream};
use postbell_core::HistoryId;
use postbell_google::{GmailError, HistoryType, Message};
use postbell_protocol::watch_state::WatchState;
use tokio::time::sleep;
use tracing::{debug, info};

use super::{Arrival, LookError};
use crate::filter::Candidate;
use crate::hook::{Payload, idempotency_key};
use crate::message::HookMessage;
use crate::watcher::Watcher;

/// How many messages are read at once: Gmail limits one user to some ten.
const READS_AT_ONCE: usize = 4;

impl Watcher {
    /// Posts the arrivals in order, and remembers after each hook what it took; while the bot has
    /// one, the messages of the next are read. Returns how many messages there were.
    ///
    /// What a hook is about to get is written down before it gets it: whatever becomes of this
    /// process, the same comes again under the same key.
    pub(super) async fn deliver(
        &self,
        state: &mut WatchState,
        arrivals: &[Arrival],
        resync: bool,
    ) -> Result<usize, LookError> {
        let batches = self.batches(state, arrivals);
        let mut delivered = 0;
        let Some(first) = batches.first() else {
            return Ok(delivered);
        };
        state.pending_ids = keys(first);
        let (mut read, saved) = tokio::join!(self.read(first), self.save_for_now(state));
        saved?;
        for (number, batch) in batches.iter().enumerate() {
            let after = batches.get(number + 1).copied().unwrap_or_default();
            let bringing = self.bring(state, batch, read, after, resync);
            let (brought, next) = tokio::join!(bringing, self.read(after));
            delivered += brought?;
            read = next;
        }
        Ok(delivered)
    }

    /// Posts one batch, and writes down that the hook took it and what it gets after that.
    async fn bring(
        &self,
        state: &mut WatchState,
        batch: &[Arrival],
        messages: Result<Vec<HookMessage>, LookError>,
        after: &[Arrival],
        resync: bool,
    ) -> Result<usize, LookError> {
        let taken = self.hand_over(state, batch, messages, resync).await;
        if taken.is_ok() {
            state.add_delivered(batch.iter().map(Arrival::key));
            if let Some(place) = safe_place(batch, after.first()).filter(|_| !resync) {
                state.history_id = state.history_id.max(Some(place));
            }
            state.pending_ids = keys(after);
        }
        // After the last one, the place is yet to be moved: who does that saves.
        if taken.is_err() || !after.is_empty() {
            self.save(state).await?;
        }
        taken
    }

    /// What each hook gets: as much as it may hold; the first just what it may have taken already.
    fn batches<'a>(&self, state: &WatchState, arrivals: &'a [Arrival]) -> Vec<&'a [Arrival]> {
        let pending = &state.pending_ids;
        let ours = arrivals.iter().map(Arrival::key);
        let is_pending = ours.take(pending.len()).eq(pending.iter().cloned());
        let (first, rest) = arrivals.split_at(if is_pending { pending.len() } else { 0 });
        let rest = rest.chunks(self.settings.messages_per_hook.get());
        std::iter::once(first)
            .filter(|first| !first.is_empty())
            .chain(rest)
            .collect()
    }

    /// Posts one batch, unless nothing of it is for the bot. Returns how many messages it held.
    async fn hand_over(
        &self,
        state: &mut WatchState,
        batch: &[Arrival],
        messages: Result<Vec<HookMessage>, LookError>,
        resync: bool,
    ) -> Result<usize, LookError> {
        let messages = messages?;
        let is_deleted = |arrival: &&Arrival| arrival.change == HistoryType::MessageDeleted;
        let deleted = batch.iter().filter(is_deleted);
        let deleted: Vec<_> = deleted.map(|arrival| arrival.message.id.as_str()).collect();
        if messages.is_empty() && deleted.is_empty() {
            return Ok(0);
        }
        let account = &self.settings.account;
        let history_id = batch.last().map(|last| last.at).max(state.history_id);
        let payload = Payload {
            source: "gmail",
            account,
            history_id: history_id.unwrap_or_default(),
            messages: &messages,
            deleted_message_ids: &deleted,
            resync,
            untrusted: true,
        };
        let key = idempotency_key(account, state.pending_ids.iter().map(String::as_str));
        let now = self.clock.now();
        let posted = self.hook.post(&payload, &key, now).await;
        state.last_delivery_at_ms = now.as_millis();
        state.last_delivery_status = if posted.is_ok() { "ok" } else { "error" }.to_owned();
        let note = posted.as_ref().err().map(ToString::to_string);
        state.last_delivery_status_note = note.unwrap_or_default();
        posted?;
        let count = messages.len() + deleted.len();
        info!(messages = count, "The hook took {count} new mails");
        Ok(count)
    }

    /// Reads the messages, in their order. One that is gone by now is left out.
    async fn read(&self, batch: &[Arrival]) -> Result<Vec<HookMessage>, LookError> {
        let is_there = |arrival: &&Arrival| arrival.change != HistoryType::MessageDeleted;
        let ids = batch.iter().filter(is_there);
        let ids: Vec<_> = ids.map(|arrival| arrival.message.id.clone()).collect();
        let mut read = self.read_each(ids.clone()).await?;
        if read.iter().any(Option::is_none) {
            // Gmail may tell of a mail a moment before it can be read.
            sleep(self.settings.fetch_delay).await;
            let missing = read.iter_mut().zip(&ids);
            for (missing, id) in missing.filter(|(read, _)| read.is_none()) {
                *missing = self.read_one(id).await?;
            }
        }
        let mut candidates: Vec<_> = read.into_iter().flatten().collect();
        candidates.retain(|candidate| !self.is_excluded(&candidate.message.labels));
        self.filtered(candidates).await
    }

    async fn read_each(&self, ids: Vec<String>) -> Result<Vec<Option<Candidate>>, GmailError> {
        let reads = ids
            .into_iter()
            .map(|id| async move { self.read_one(&id).await });
        stream::iter(reads)
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Reads a message, and keeps of it what the bot gets: a mail may have 25 MB.
    async fn read_one(&self, id: &str) -> Result<Option<Candidate>, GmailError> {
        let message = self.message(id).await?;
        Ok(message.map(|message| Candidate::of(message, self.settings.body)))
    }

    async fn message(&self, id: &str) -> Result<Option<Message>, GmailError> {
        match self.gmail.message(id).await {
            Ok(message) => Ok(Some(message)),
            Err(GmailError::NotFound) => {
                debug!(message.id = id, "Message {id} is gone");
                Ok(None)
            }
            // The headers are better than nothing, and nothing would block all that follows.
            Err(GmailError::Unreadable) => match self.gmail.message_headers(id).await {
                Err(GmailError::NotFound) => Ok(None),
                other => other.map(Some),
            },
            Err(error) => Err(error),
        }
    }
}

fn keys(batch: &[Arrival]) -> Vec<String> {
    batch.iter().map(Arrival::key).collect()
}

/// How far the place in history may move once a batch was taken: to its last record, unless that
/// has messages in the next batch too.
fn safe_place(batch: &[Arrival], next: Option<&Arrival>) -> Option<HistoryId> {
    let complete = |arrival: &&Arrival| next.is_none_or(|next| arrival.at < next.at);
    batch.iter().rev().find(complete).map(|arrival| arrival.at)
}

#[cfg(test)]
mod tests {
    use postbell_google::MessageRef;

    use super::*;

    fn at(place: u64) -> Arrival {
        let message = MessageRef {
            id: place.to_string(),
            label_ids: Vec::new(),
        };
        Arrival {
            at: HistoryId::new(place),
            message,
            change: HistoryType::MessageAdded,
        }
    }

    #[test]
    fn the_place_never_moves_past_what_the_next_batch_brings() {
        let place = |batch: &[u64], next: Option<u64>| {
            let batch: Vec<_> = batch.iter().map(|place| at(*place)).collect();
            safe_place(&batch, next.map(at).as_ref()).map(HistoryId::get)
        };
        assert_eq!(place(&[1, 2, 3], None), Some(3));
        assert_eq!(place(&[1, 2, 3], Some(4)), Some(3));
        assert_eq!(place(&[1, 2, 2], Some(2)), Some(1));
        assert_eq!(place(&[2, 2], Some(2)), None);
    }
}
