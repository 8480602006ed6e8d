//! What an operator sees, read at once. Each list is a page of an index.

use postbell_core::{DeadLetter, Depth, PendingDelivery, Timestamp, UserRecord};

use super::listing::Wanted;
use crate::pages::{PageError, Pages};

/// How many users are on a page.
const USERS: usize = 25;

/// How many of those that fail, and of what was given up, are shown.
const SHOWN: usize = 10;

/// What an operator sees.
pub(super) struct View {
    pub(super) now: Timestamp,
    pub(super) users: u64,
    pub(super) wanted: Wanted,
    pub(super) records: Vec<UserRecord>,
    /// Whether more follow.
    pub(super) has_more: bool,
    /// `None` where the relay runs elsewhere.
    pub(super) mail: Option<Mail>,
}

/// What waits, what fails, and what was given up.
pub(super) struct Mail {
    pub(super) depth: Depth,
    /// Those that fail longest.
    pub(super) failing: Vec<PendingDelivery>,
    pub(super) letters: Vec<DeadLetter>,
}

impl View {
    /// Reads it.
    pub(super) async fn of(pages: &Pages, wanted: Wanted) -> Result<Self, PageError> {
        let instances = &pages.users().instances;
        let mut records = instances.list(&wanted.listing(), USERS + 1).await?;
        let has_more = records.len() > USERS;
        records.truncate(USERS);
        let mail = match &pages.parts().relay {
            None => None,
            Some(relay) => Some(Mail {
                depth: relay.inbox.depth().await?,
                failing: relay.inbox.failing(SHOWN).await?,
                letters: relay.inbox.dead_letters(None, None, SHOWN).await?,
            }),
        };
        Ok(Self {
            now: pages.now(),
            users: instances.count().await?,
            wanted,
            records,
            has_more,
            mail,
        })
    }
}
