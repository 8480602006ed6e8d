//! Delivers changes to the webhook, a bounded number at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postbell_core::Clock;
use postbell_google::GmailError;
use postbell_protocol::watch_state::{Stage, WatchState};

use crate::arrival::Arrival;
use crate::backlog::{Backlog, Reason, keys};
use crate::error::{SyncError, with_causes};
use crate::extras::FilesTime;
use crate::failing::{Failed, Failure, NOT_FOUND, prove};
use crate::message_reader::{MessageReader, Read, ReadBatch};
use crate::poster::{Item, Posted, Poster};
use crate::settings::WatcherSettings;
use crate::state_store::StateStore;

/// Reads the changed messages and posts them to the webhook in batches.
pub(crate) struct Delivery {
    pub(crate) settings: Arc<WatcherSettings>,
    pub(crate) reader: MessageReader,
    pub(crate) poster: Poster,
    pub(crate) state: Arc<StateStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What a sync has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The number of messages that the webhook accepted.
    pub(crate) delivered: usize,
    /// The number of messages that were deferred or set aside.
    pub(crate) deferred: usize,
}

impl Delivery {
    /// Posts a backlog in order, and stores after each batch that the webhook accepted it: if the next one is read by
    /// then, with what begins that. While one batch is posted, the messages of the next are read.
    ///
    /// A batch is stored as pending before it is posted: if this process dies, the next one posts
    /// the same batch under the same idempotency key.
    ///
    /// # Errors
    ///
    /// [`SyncError`]: everything before the failure was delivered, deferred or set aside.
    pub(crate) async fn deliver(
        &self,
        backlog: &mut Backlog,
        reason: Reason,
        progress: &mut Progress,
    ) -> Result<(), SyncError> {
        let batches = {
            let state = self.state.lock().await;
            let most = self.settings.messages_per_hook.get();
            backlog.batches(&state, most.min(self.settings.extras.messages_at_once()))
        };
        let delivered = self
            .deliver_batches(backlog, &batches, reason, progress)
            .await;
        let saved = self.state.lock().await.save_deferred().await;
        delivered?;
        Ok(saved?)
    }

    async fn deliver_batches(
        &self,
        backlog: &mut Backlog,
        batches: &[Vec<usize>],
        reason: Reason,
        progress: &mut Progress,
    ) -> Result<(), SyncError> {
        let Some(first) = batches.first() else {
            return Ok(());
        };
        let mut read = self.reader.read(&backlog.arrivals_of(first)).await;
        for (number, batch) in batches.iter().enumerate() {
            let next = batches.get(number + 1).map_or(&[][..], Vec::as_slice);
            let next = backlog.arrivals_of(next);
            // Whether the next batch can begin as soon as this one has ended.
            let follows = AtomicBool::new(false);
            let reading = async {
                let read = self.reader.read(&next).await;
                let has_messages = read.as_ref().is_ok_and(|read| read.has_passed);
                follows.store(has_messages, Ordering::Relaxed);
                read
            };
            let delivering = self.deliver_batch(backlog, batch, read, reason, progress, &follows);
            let (delivered, next_read) = tokio::join!(delivering, reading);
            delivered?;
            self.reader.recent.forget(&backlog.arrivals_of(batch));
            read = next_read;
        }
        Ok(())
    }

    /// Delivers one batch that was read.
    async fn deliver_batch(
        &self,
        backlog: &mut Backlog,
        batch: &[usize],
        read: Result<ReadBatch, GmailError>,
        reason: Reason,
        progress: &mut Progress,
        follows: &AtomicBool,
    ) -> Result<(), SyncError> {
        let read = read?;
        let stopped = read.stopped;
        let has_passed = read.has_passed;
        let arrivals = backlog.arrivals_of(batch);
        let read = batch.iter().copied().zip(arrivals).zip(read.reads);
        let (items, blocked) = {
            let mut state = self.state.lock().await;
            if has_passed {
                prove(&mut state, Stage::Gmail);
            }
            let mut sorted = Sorted {
                has_passed,
                ..Sorted::default()
            };
            for ((index, arrival), read) in read {
                if sorted.blocked.is_some() {
                    break;
                }
                self.sort(&mut state, &mut sorted, index, arrival, read);
            }
            if has_passed {
                prove(&mut state, Stage::Gmail);
            }
            progress.deferred += sorted.deferred.len();
            backlog.finish(&sorted.deferred);
            (sorted.items, sorted.blocked)
        };
        backlog.note_times(&items);
        let mut time = FilesTime::default();
        // Its receiver may have it already, under the key of all its messages.
        let is_pending = self.state.lock().await.pending_ids == keys(&items);
        let requests = if is_pending {
            vec![items]
        } else {
            self.by_files(items)
        };
        for mut items in requests {
            if items.iter().any(|item| self.has_files(item)) {
                // They may take minutes.
                self.state.lock().await.save_deferred().await?;
            }
            for message in items.iter_mut().filter_map(|item| item.message.as_mut()) {
                let added = self.reader.extras.add_files(message, &mut time).await;
                if let Err(error) = added {
                    // Failed attempts are counted durably.
                    self.state.lock().await.save().await?;
                    return Err(error.into());
                }
            }
            self.poster
                .post(backlog, items, reason, progress, follows)
                .await?;
        }
        match blocked.or(stopped.map(SyncError::Gmail)) {
            Some(error) => {
                // The failed attempt is counted durably.
                self.state.lock().await.save().await?;
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Divides items so that one with files begins a request: those before it do not wait for its files.
    fn by_files(&self, items: Vec<Item>) -> Vec<Vec<Item>> {
        let mut requests: Vec<Vec<Item>> = Vec::new();
        for item in items {
            match requests.last_mut() {
                Some(request) if !self.has_files(&item) => request.push(item),
                _ => requests.push(vec![item]),
            }
        }
        requests
    }

    /// Whether files of this item are written.
    fn has_files(&self, item: &Item) -> bool {
        let message = item.message.as_ref();
        message.is_some_and(|message| self.reader.extras.has_files(message))
    }

    /// Turns what was read into items for the bot. A message that failed is counted.
    fn sort(
        &self,
        state: &mut WatchState,
        sorted: &mut Sorted,
        index: usize,
        arrival: Arrival,
        read: Read,
    ) {
        let mut item = Item::without_message(index, arrival);
        let retries = &self.settings.retries;
        let now = self.clock.now();
        let mut failed = |reason: &str| {
            let failure = Failure {
                stage: Stage::Gmail,
                reason,
                others_pass: sorted.has_passed,
            };
            retries.record(state, &item.arrival, failure, now)
        };
        match read {
            Read::Message(candidate) => item.set(*candidate),
            Read::Deletion | Read::Unwanted => {}
            Read::Missing => {
                if failed(NOT_FOUND) == Failed::TooMany {
                    // Without an entry, it would not be read again.
                    let error = GmailError::NotFound.into();
                    sorted.blocked = Some(SyncError::message(&item.arrival, error));
                    return;
                }
                // Its id stays in the batch, so that a repeat has the same key.
                item.is_missing = true;
            }
            Read::Failed(error) => {
                match failed(&with_causes(&error)) {
                    Failed::Deferred | Failed::SetAside => sorted.deferred.push(index),
                    Failed::InOrder => {
                        sorted.blocked = Some(SyncError::message(&item.arrival, error.into()));
                    }
                    Failed::TooMany => sorted.blocked = Some(error.into()),
                }
                return;
            }
        }
        sorted.items.push(item);
    }

    /// Delivers one message on its own, outside of the order.
    pub(crate) async fn deliver_alone(&self, arrival: &Arrival) -> Result<Alone, SyncError> {
        let mut read = self.reader.read(std::slice::from_ref(arrival)).await?;
        let mut item = Item::without_message(0, arrival.clone());
        match read.reads.pop() {
            Some(Read::Message(candidate)) => {
                prove(&mut *self.state.lock().await, Stage::Gmail);
                item.set(*candidate);
            }
            Some(Read::Unwanted) => {
                self.poster.post_alone(item).await?;
                return Ok(Alone::Unwanted);
            }
            Some(Read::Deletion) | None => {}
            Some(Read::Missing) => return Ok(Alone::Failed(Stage::Gmail, NOT_FOUND.to_owned())),
            Some(Read::Failed(error)) => {
                return Ok(Alone::Failed(Stage::Gmail, with_causes(&error)));
            }
        }
        if let Some(message) = &mut item.message {
            let mut time = FilesTime::default();
            self.reader.extras.add_files(message, &mut time).await?;
        }
        Ok(match self.poster.post_alone(item).await? {
            Posted::Accepted(count) => Alone::Delivered(count),
            Posted::Refused(error) => Alone::Failed(Stage::Webhook, error.to_string()),
        })
    }
}

/// The items of a batch, sorted by what happens to them.
#[derive(Default)]
struct Sorted {
    items: Vec<Item>,
    deferred: Vec<usize>,
    blocked: Option<SyncError>,
    has_passed: bool,
}

/// The result of delivering one message on its own.
pub(crate) enum Alone {
    /// The webhook accepted it.
    Delivered(usize),
    /// It is not for the bot.
    Unwanted,
    /// It failed again, at this stage, for this reason.
    Failed(Stage, String),
}
