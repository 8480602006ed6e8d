//! Lists what changed in the mailbox.

use std::sync::Arc;

use postbell_core::{HistoryId, Timestamp};
use postbell_google::{Gmail, GmailError, HistoryType};
use tracing::warn;

use crate::arrival::Arrival;
use crate::settings::WatcherSettings;

/// The largest number of messages in a resync.
const RESYNC_MESSAGES: usize = 500;

/// Changes of the mailbox, the oldest first.
pub(crate) struct Changes {
    pub(crate) arrivals: Vec<Arrival>,
    /// The mailbox's history id after them.
    pub(crate) end: HistoryId,
}

/// Lists what changed in the mailbox.
pub(crate) struct Mailbox {
    pub(crate) gmail: Arc<Gmail>,
    pub(crate) settings: Arc<WatcherSettings>,
}

impl Mailbox {
    /// Lists all changes after `cursor`.
    pub(crate) async fn changes_after(&self, cursor: HistoryId) -> Result<Changes, GmailError> {
        let types = &self.settings.history_types;
        let mut arrivals = Vec::new();
        let mut page = self.gmail.history(cursor, types, None).await?;
        loop {
            arrivals.extend(page.history.into_iter().flat_map(Arrival::in_record));
            match page.next_page_token {
                None => break,
                Some(next) => page = self.gmail.history(cursor, types, Some(&next)).await?,
            }
        }
        arrivals.retain(|arrival| types.contains(&arrival.change));
        let end = page.history_id;
        Ok(Changes { arrivals, end })
    }

    /// Lists the newest messages since a time: history that old may be unknown to Gmail.
    pub(crate) async fn messages_since(&self, since: Timestamp) -> Result<Changes, GmailError> {
        // Before the search: a message that arrives during the search is delivered again, not skipped.
        let end = self.gmail.profile().await?.history_id;
        let mut found = Vec::new();
        let search = format!("after:{}", since.as_secs());
        let mut page = self.gmail.messages(&search, None).await?;
        loop {
            found.append(&mut page.messages);
            match page.next_page_token {
                Some(next) if found.len() < RESYNC_MESSAGES => {
                    page = self.gmail.messages(&search, Some(&next)).await?;
                }
                next => {
                    if next.is_some() || found.len() > RESYNC_MESSAGES {
                        warn!("The resync is limited to the newest {RESYNC_MESSAGES} messages");
                    }
                    break;
                }
            }
        }
        found.truncate(RESYNC_MESSAGES);
        let arrivals = found.into_iter().rev().map(|message| Arrival {
            at: end,
            message,
            change: HistoryType::MessageAdded,
        });
        Ok(Changes {
            arrivals: arrivals.collect(),
            end,
        })
    }
}
