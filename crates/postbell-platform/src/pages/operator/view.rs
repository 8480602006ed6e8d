//! The data of *Operator*. Each list is one page of an index.

use postbell_core::{
    AuditEntry, DeadLetter, Depth, FleetCounts, PendingDelivery, ProblemCode, Timestamp, UserRecord,
};

use super::listing::UserQuery;
use crate::operator::{WATCH_ENDS_SOON, with_accounts};
use crate::pages::{PageError, Pages};

/// How many users are on a page.
const USERS: usize = 25;

/// How many failing deliveries, and how many dead letters, are shown.
const SHOWN: usize = 10;

/// The data that the page shows.
pub(super) struct View {
    pub(super) now: Timestamp,
    pub(super) users: u64,
    /// How many users have each problem.
    pub(super) problems: Vec<(ProblemCode, u64)>,
    pub(super) counts: FleetCounts,
    /// The latest entries of the audit log.
    pub(super) entries: Vec<AuditEntry>,
    /// How many permissions at Google are to be revoked.
    pub(super) revocations: u64,
    pub(super) query: UserQuery,
    /// Users with their further accounts, or accounts.
    pub(super) records: Vec<(UserRecord, Vec<UserRecord>)>,
    pub(super) has_more: bool,
    /// `None` if the relay runs in another process.
    pub(super) mail: Option<Mail>,
}

/// The notifications of all users.
pub(super) struct Mail {
    pub(super) depth: Depth,
    /// The longest-failing first.
    pub(super) failing: Vec<PendingDelivery>,
    pub(super) dead_letters: Vec<DeadLetter>,
}

impl View {
    /// How many users have a problem.
    pub(super) fn with_problem(&self) -> u64 {
        self.problems.iter().map(|(_, number)| number).sum()
    }

    /// How many users have a problem.
    pub(super) fn with(&self, code: ProblemCode) -> u64 {
        let mut problems = self.problems.iter();
        let found = problems.find(|(it, _)| *it == code);
        found.map_or(0, |(_, number)| *number)
    }

    /// Reads the data.
    pub(super) async fn load(pages: &Pages, query: UserQuery) -> Result<Self, PageError> {
        let store = &pages.users().store;
        let now = pages.now();
        let mut records = store.list(&query.listing(now), USERS + 1).await?;
        let has_more = records.len() > USERS;
        records.truncate(USERS);
        let mail = match &pages.parts().relay {
            None => None,
            Some(relay) => Some(Mail {
                depth: relay.log.depth().await?,
                failing: relay.log.failing(SHOWN).await?,
                dead_letters: relay.log.dead_letters(None, None, SHOWN).await?,
            }),
        };
        let operator = &pages.parts().operator;
        let revocations = match &pages.users().operator_client {
            Some(client) => client.count_kept().await?,
            None => 0,
        };
        Ok(Self {
            revocations,
            now,
            counts: store.fleet_counts(now, now + WATCH_ENDS_SOON).await?,
            entries: operator.latest_changes(None, SHOWN).await?,
            users: store.count().await?,
            problems: store.count_problems().await?,
            query,
            records: with_accounts(&**store, records).await?,
            has_more,
            mail,
        })
    }
}
