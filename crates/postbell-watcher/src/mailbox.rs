//! Lists what changed in the mailbox.

use std::collections::HashSet;
use std::sync::Arc;

use postbell_core::{HistoryId, Timestamp};
use postbell_google::{Gmail, GmailError, HistoryType};

use crate::arrival::Arrival;
use crate::settings::WatcherSettings;

/// How many changes are listed before they are delivered: a week's changes may not fit in memory.
const CHANGES_AT_ONCE: usize = 10_000;

/// How many pages are read at most, of 500 changes or messages each.
const MAX_PAGES: usize = 1_000;

/// Changes of the mailbox, the oldest first.
pub(crate) struct Changes {
    pub(crate) arrivals: Vec<Arrival>,
    /// The history id after them.
    pub(crate) end: HistoryId,
    pub(crate) rest: Rest,
}

/// What follows the listed changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rest {
    /// Nothing: `end` is the mailbox's history id.
    None,
    /// More changes, after `end`.
    More,
    /// Pages without an end: Gmail repeats a page token, or returns too many pages.
    Endless,
}

/// Lists what changed in the mailbox.
pub(crate) struct Mailbox {
    pub(crate) gmail: Arc<Gmail>,
    pub(crate) settings: Arc<WatcherSettings>,
}

/// The pages read so far.
#[derive(Default)]
struct Pages {
    tokens: HashSet<String>,
}

impl Mailbox {
    /// Lists the changes after `cursor`, up to a bounded number.
    pub(crate) async fn changes_after(&self, cursor: HistoryId) -> Result<Changes, GmailError> {
        let types = &self.settings.history_types;
        let mut arrivals: Vec<Arrival> = Vec::new();
        let mut pages = Pages::default();
        // The last two history ids: records of the last one may continue on the next page.
        let (mut last, mut before_last) = (cursor, cursor);
        let mut page = self.gmail.history(cursor, types, None).await?;
        let rest = loop {
            for record in page.history {
                if record.id > last {
                    (before_last, last) = (last, record.id);
                }
                let changes = Arrival::in_record(record);
                arrivals.extend(changes.filter(|one| types.contains(&one.change)));
            }
            let Some(next) = page.next_page_token else {
                break Rest::None;
            };
            if !pages.may_follow(&next) {
                break Rest::Endless;
            }
            if arrivals.len() >= CHANGES_AT_ONCE && before_last > cursor {
                break Rest::More;
            }
            page = self.gmail.history(cursor, types, Some(&next)).await?;
        };
        let end = match rest {
            Rest::None => page.history_id,
            Rest::More | Rest::Endless => before_last,
        };
        Ok(Changes {
            arrivals,
            end,
            rest,
        })
    }

    /// Lists all messages since a time: history that old may be unknown to Gmail.
    pub(crate) async fn messages_since(&self, since: Timestamp) -> Result<Changes, GmailError> {
        // Before the search: a message that arrives during the search is delivered again, not skipped.
        let end = self.history_id().await?;
        let mut found = Vec::new();
        let mut pages = Pages::default();
        let search = format!("after:{}", since.as_secs());
        let mut page = self.gmail.messages(&search, None).await?;
        let rest = loop {
            found.append(&mut page.messages);
            let Some(next) = page.next_page_token else {
                break Rest::None;
            };
            if !pages.may_follow(&next) {
                break Rest::Endless;
            }
            page = self.gmail.messages(&search, Some(&next)).await?;
        };
        let arrivals = found.into_iter().rev().map(|message| Arrival {
            at: end,
            message,
            change: HistoryType::MessageAdded,
        });
        Ok(Changes {
            arrivals: arrivals.collect(),
            end,
            rest,
        })
    }

    /// The mailbox's present history id.
    pub(crate) async fn history_id(&self) -> Result<HistoryId, GmailError> {
        Ok(self.gmail.profile().await?.history_id)
    }
}

impl Pages {
    /// Whether the page of this token may be read.
    fn may_follow(&mut self, token: &str) -> bool {
        self.tokens.len() < MAX_PAGES && self.tokens.insert(token.to_owned())
    }
}
