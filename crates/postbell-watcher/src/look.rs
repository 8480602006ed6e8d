//! One look: what came since the last one, from Gmail to the hook.

mod batch;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{HistoryId, Timestamp};
use postbell_google::{GmailError, HistoryRecord, HistoryType, MessageRef};
use postbell_protocol::watch_state::WatchState;
use tracing::{info, warn};

use crate::hook::HookError;
use crate::state::{StateError, StateFile};
use crate::watcher::{Looked, Watcher};

/// How far back a resync reaches at most, and how many messages it brings.
const RESYNC_REACH: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const RESYNC_MESSAGES: usize = 500;

/// How much further back than the last delivery a resync reaches: clocks differ, and mails are late.
const RESYNC_OVERLAP: Duration = Duration::from_secs(60 * 60);

/// Why a look failed. Nothing was skipped: the next one begins at the same place.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Gmail did not tell.
    #[error(transparent)]
    Gmail(#[from] GmailError),

    /// The bot did not take it.
    #[error(transparent)]
    Hook(#[from] HookError),

    /// The place cannot be written down. The hook may be repeated.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a look that finds nothing does with the place in history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Empty {
    /// It stays: Gmail's index may lag behind the notification, and show the mail later.
    StayHere,
    /// It moves to the present.
    MoveOn,
}

/// A message that came or changed, and the place in history where it did.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: HistoryId,
    pub(crate) message: MessageRef,
    pub(crate) change: HistoryType,
}

impl Arrival {
    /// What the arrival is remembered by. A message comes once, and may change often.
    pub(crate) fn key(&self) -> String {
        let id = &self.message.id;
        match self.change {
            HistoryType::MessageAdded => id.clone(),
            _ => format!("{id}@{}", self.at),
        }
    }
}

impl Watcher {
    /// Brings what came since the stored place to the hook, and moves the place there.
    pub(crate) async fn look(
        &self,
        state: &mut WatchState,
        empty: Empty,
    ) -> Result<Looked, LookError> {
        let Some(start) = state.history_id else {
            return Ok(Looked::NothingNew);
        };
        let (arrivals, present) = self.arrivals_since(start).await?;
        let arrivals = self.unknown(state, arrivals);
        if arrivals.is_empty() {
            if empty == Empty::MoveOn && present > start {
                state.history_id = Some(present);
                self.save(state).await?;
            }
            return Ok(Looked::NothingNew);
        }
        let messages = self.deliver(state, &arrivals, false).await?;
        self.move_to(state, present).await?;
        Ok(if messages == 0 {
            Looked::NothingNew
        } else {
            Looked::Delivered(messages)
        })
    }

    /// All pages of what changed after `start`, oldest first, and the mailbox's present place.
    async fn arrivals_since(
        &self,
        start: HistoryId,
    ) -> Result<(Vec<Arrival>, HistoryId), LookError> {
        let types = &self.settings.history_types;
        let mut arrivals = Vec::new();
        let mut page = self.gmail.history(start, types, None).await?;
        loop {
            arrivals.extend(page.history.into_iter().flat_map(arrivals_of));
            match page.next_page_token {
                None => break,
                Some(next) => page = self.gmail.history(start, types, Some(&next)).await?,
            }
        }
        arrivals.retain(|arrival| types.contains(&arrival.change));
        Ok((arrivals, page.history_id))
    }

    /// Leaves out what the hook has, what is named twice, and what is not for the bot.
    fn unknown(&self, state: &WatchState, arrivals: Vec<Arrival>) -> Vec<Arrival> {
        let mut known: HashSet<String> = state.delivered_ids.iter().cloned().collect();
        let mut arrivals = arrivals;
        arrivals.retain(|arrival| {
            !self.is_excluded(&arrival.message.label_ids) && known.insert(arrival.key())
        });
        arrivals
    }

    /// Whether a message with these labels is not for the bot.
    pub(crate) fn is_excluded(&self, labels: &[String]) -> bool {
        labels
            .iter()
            .any(|label| self.settings.exclude_labels.contains(label))
    }

    /// Brings the mails since the last delivery, because the place in history is too old for
    /// Gmail to know.
    pub(crate) async fn resync(&self, state: &mut WatchState) -> Result<Looked, LookError> {
        let since = self.resync_start(state);
        warn!("The place in history is lost; bringing the mails of the last days instead");
        // The present is asked for first: what comes meanwhile is brought again, not skipped.
        let present = self.gmail.profile().await?.history_id;
        let mut found = Vec::new();
        let search = format!("after:{}", since.as_secs());
        let mut page = self.gmail.messages(&search, None).await?;
        loop {
            found.append(&mut page.messages);
            match page.next_page_token {
                Some(next) if found.len() < RESYNC_MESSAGES => {
                    page = self.gmail.messages(&search, Some(&next)).await?;
                }
                left_out => {
                    if left_out.is_some() || found.len() > RESYNC_MESSAGES {
                        warn!("There are more than {RESYNC_MESSAGES}; the older are left out");
                    }
                    break;
                }
            }
        }
        found.truncate(RESYNC_MESSAGES);
        let oldest_first = found.into_iter().rev();
        let arrivals = oldest_first
            .map(|message| Arrival {
                at: present,
                message,
                change: HistoryType::MessageAdded,
            })
            .collect();
        let arrivals = self.unknown(state, arrivals);
        let messages = self.deliver(state, &arrivals, true).await?;
        state.history_id = Some(present);
        self.save(state).await?;
        info!(messages, "Caught up");
        Ok(if messages == 0 {
            Looked::NothingNew
        } else {
            Looked::Delivered(messages)
        })
    }

    fn resync_start(&self, state: &WatchState) -> Timestamp {
        let furthest = self
            .clock
            .now()
            .as_millis()
            .saturating_sub(millis(RESYNC_REACH));
        let last = state
            .last_delivery_at_ms
            .saturating_sub(millis(RESYNC_OVERLAP));
        Timestamp::from_millis(last.max(furthest))
    }

    /// Moves the place in history forward, never back.
    pub(crate) async fn move_to(
        &self,
        state: &mut WatchState,
        place: HistoryId,
    ) -> Result<(), LookError> {
        if state.history_id.is_none_or(|here| here < place) {
            state.history_id = Some(place);
        }
        self.save(state).await
    }

    /// Writes the state down, on a thread that may wait for the disk.
    pub(crate) async fn save(&self, state: &mut WatchState) -> Result<(), LookError> {
        self.write(state, StateFile::write).await
    }

    /// The same for what the loss of power may take back.
    pub(crate) async fn save_for_now(&self, state: &mut WatchState) -> Result<(), LookError> {
        self.write(state, StateFile::write_for_now).await
    }

    async fn write(
        &self,
        state: &mut WatchState,
        write: fn(&StateFile, &WatchState) -> Result<(), StateError>,
    ) -> Result<(), LookError> {
        state.updated_at_ms = self.clock.now().as_millis();
        let (file, copy) = (Arc::clone(&self.file), state.clone());
        let written = tokio::task::spawn_blocking(move || write(&file, &copy)).await;
        match written {
            Ok(written) => Ok(written?),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

fn arrivals_of(record: HistoryRecord) -> impl Iterator<Item = Arrival> {
    let changes = [
        (HistoryType::MessageAdded, record.messages_added),
        (HistoryType::LabelAdded, record.labels_added),
        (HistoryType::LabelRemoved, record.labels_removed),
        (HistoryType::MessageDeleted, record.messages_deleted),
    ];
    changes.into_iter().flat_map(move |(change, messages)| {
        messages.into_iter().map(move |changed| Arrival {
            at: record.id,
            message: changed.message,
            change,
        })
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
