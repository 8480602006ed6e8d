//! The usual push: its history id is greater than all that is stored of its mailbox. One statement accepts a group of such
//! pushes, without reading anything first; a push that it does not accept is decided like every other write.

use std::collections::BTreeMap;

use postbell_core::{Accepted, EmailAddress, Notification, Timestamp, UserId};
use tokio_postgres::Row;

use super::failure::Failure;
use super::parameter::{Parameter, column};
use super::session::{Call, Session};
use crate::columns::{Columns, in_order, parsed};

/// Stores what [`Mailbox::effect_of`](crate::mailbox::Mailbox::effect_of) and
/// [`Mailbox::restart`](crate::mailbox::Mailbox::restart) say of a pending notification with a lower history id, and a new
/// row if there is none. A row that another transaction changes has another version then, and is not returned; nor
/// is a mailbox with a cursor that may cover the push. Rows are found by the index and changed by their place, whatever the
/// statistics of the table say: it is empty one moment and large the next.
///
/// Rows are added first, in the order of users, and then replaced in that order, as in `mailboxes.rs`: no transactions wait
/// for each other in a circle.
///
/// `$11` is the latest time of all, which the clock's mark records if something was scheduled (`clock.rs`).
///
/// No row is added if the statement began five seconds ago, and a push that waited five before it arrived ten seconds ago:
/// Pub/Sub repeats it, and another relay may have delivered the repeat, whose cursor was not read
/// (<https://cloud.google.com/pubsub/docs/push>: ten seconds are the shortest deadline).
const ACCEPT: &str = "
    WITH new AS MATERIALIZED (
        SELECT pushed.*, found.place, found.version, found.due_at, found.is_below
        FROM (
            SELECT unnest($1) AS user_id, unnest($2) AS message_id, unnest($3) AS least_id,
                unnest($4) AS history_id, unnest($5) AS address, unnest($6) AS published_at,
                unnest($7) AS waiting_since, unnest($8) AS accepted_at, unnest($9) AS body,
                unnest($10) AS trace
        ) AS pushed LEFT JOIN LATERAL (
            SELECT ctid AS place, xmin AS version, due_at,
                address = pushed.address AND history_id < pushed.least_id AS is_below
            FROM pending WHERE pending.user_id = pushed.user_id OFFSET 0
        ) AS found ON true
        WHERE NOT EXISTS (
            SELECT FROM cursor
            WHERE cursor.user_id = pushed.user_id AND cursor.history_id >= pushed.least_id OFFSET 0)
    ), replaced AS (
        UPDATE pending SET message_id = new.message_id, history_id = new.history_id,
            published_at = greatest(new.published_at, pending.published_at),
            accepted_at = new.accepted_at, merged_ids = '',
            due_at = CASE WHEN pending.leased_until > new.waiting_since OR pending.attempt = 0
                    AND pending.due_at <= greatest(new.waiting_since, pending.cooldown_until)
                THEN pending.due_at ELSE greatest(new.waiting_since, pending.cooldown_until) END,
            attempt = 0, body = new.body, trace = new.trace
        FROM new WHERE pending.ctid = new.place AND pending.xmin = new.version AND new.is_below
        RETURNING pending.user_id, pending.due_at <> new.due_at AS is_scheduled
    ), added AS (
        INSERT INTO pending (user_id, message_id, history_id, address, published_at, accepted_at,
            waiting_since, due_at, body, trace)
        SELECT user_id, message_id, history_id, address, published_at, accepted_at, waiting_since,
            waiting_since, body, trace
        FROM new WHERE place IS NULL AND clock_timestamp() < now() + interval '5 seconds'
        ON CONFLICT (user_id) DO NOTHING RETURNING user_id
    ), marked AS (
        UPDATE queue_clock SET latest = $11 WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM queue_clock WHERE latest < $11 - 1000
                AND (EXISTS (SELECT FROM added) OR EXISTS (SELECT FROM replaced WHERE is_scheduled))
            FOR UPDATE SKIP LOCKED))
    )
    SELECT user_id, true AS is_added FROM added
    UNION ALL SELECT user_id, false FROM replaced";

/// A push, and when it arrived.
pub(super) struct Push {
    pub(super) notification: Notification,
    pub(super) now: Timestamp,
}

/// The pushes of a group that may be accepted by one statement, in the order of users.
pub(super) struct Rising<'a>(BTreeMap<&'a UserId, Run<'a>>);

/// Pushes of one mailbox that arrived one after the other and whose history ids rise: the last stands for all.
struct Run<'a> {
    first: &'a Push,
    last: &'a Push,
    address: &'a EmailAddress,
    published_at: Timestamp,
    /// Their places in the group.
    members: Vec<usize>,
    /// A further one of the user has to wait for these.
    is_over: bool,
}

impl<'a> Run<'a> {
    /// A push without an address or a publish time needs a decision.
    fn new(place: usize, push: &'a Push) -> Option<Self> {
        Some(Self {
            first: push,
            last: push,
            address: push.notification.address.as_ref()?,
            published_at: push.notification.published_at?,
            members: vec![place],
            is_over: false,
        })
    }

    fn extend(&mut self, place: usize, push: &'a Push) {
        let notification = &push.notification;
        let same_address = notification.address.as_ref() == Some(self.address);
        let published_at = notification.published_at.filter(|_| {
            same_address && notification.history_id > self.last.notification.history_id
        });
        match published_at {
            Some(at) if !self.is_over => {
                self.last = push;
                self.published_at = self.published_at.max(at);
                self.members.push(place);
            }
            _ => self.is_over = true,
        }
    }
}

impl<'a> Rising<'a> {
    /// Chooses from the pushes of a group, in the order of arrival.
    pub(super) fn of(pushes: impl Iterator<Item = (usize, &'a Push)>) -> Self {
        let mut by_user = BTreeMap::<&UserId, Option<Run<'a>>>::new();
        for (place, push) in pushes {
            by_user
                .entry(&push.notification.user)
                .and_modify(|run| {
                    if let Some(run) = run {
                        run.extend(place, push);
                    }
                })
                .or_insert_with(|| Run::new(place, push));
        }
        let runs = by_user.into_iter();
        Self(runs.filter_map(|(user, run)| Some((user, run?))).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Accepts them, and returns what became of those that are accepted, by their places in the group.
    pub(super) async fn accept(
        &self,
        session: &Session,
    ) -> Result<BTreeMap<usize, Accepted>, Failure> {
        let accept = Call::new(ACCEPT, self.columns());
        let calls = if session.prepares() {
            vec![accept]
        } else {
            // The session is that of another transaction next time. A join that reads the whole table would replace rows in
            // the order in which they lie there.
            let call = |sql| Call::new(sql, vec![]);
            vec![
                call("BEGIN"),
                call("SET LOCAL enable_seqscan = off"),
                call("SET LOCAL jit = off"),
                accept,
                call("COMMIT"),
            ]
        };
        let answers = session.pipeline(calls);
        let mut accepted = BTreeMap::new();
        for row in answers.await?.iter().flatten() {
            self.add(row, &mut accepted)?;
        }
        Ok(accepted)
    }

    fn add(&self, row: &Row, accepted: &mut BTreeMap<usize, Accepted>) -> Result<(), Failure> {
        let user: UserId = parsed(row, "user_id")?;
        let mut outcome = if row.flag("is_added")? {
            Accepted::Queued
        } else {
            Accepted::Merged
        };
        for place in self.0.get(&user).into_iter().flat_map(|run| &run.members) {
            accepted.insert(*place, outcome);
            outcome = Accepted::Merged;
        }
        Ok(())
    }

    fn columns(&self) -> Vec<Box<dyn Parameter + '_>> {
        let runs = || self.0.values();
        let last = || runs().map(|run| &run.last.notification);
        let first_id = |run: &Run<'_>| in_order(run.first.notification.history_id);
        let traces = last().map(|one| one.trace.map(|trace| trace.to_string()));
        vec![
            column(self.0.keys().map(|user| user.as_str())),
            column(last().map(|one| one.message_id.as_str())),
            column(runs().map(first_id)),
            column(last().map(|one| in_order(one.history_id))),
            column(runs().map(|run| run.address.as_str())),
            column(runs().map(|run| run.published_at.as_millis())),
            column(runs().map(|run| run.first.now.as_millis())),
            column(runs().map(|run| run.last.now.as_millis())),
            column(last().map(|one| &*one.body)),
            column(traces),
            Box::new(
                runs()
                    .map(|run| run.last.now.as_millis())
                    .max()
                    .unwrap_or_default(),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use postbell_core::HistoryId;

    use super::*;

    fn push(user: &str, history_id: u64, is_known: bool) -> Push {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let notification = Notification {
            user: user.parse().unwrap(),
            address: is_known.then(|| format!("{user}@example.com").parse().unwrap()),
            message_id: format!("m{history_id}").parse().unwrap(),
            published_at: Some(now),
            history_id: HistoryId::new(history_id),
            trace: None,
            body: Bytes::new(),
        };
        Push { notification, now }
    }

    #[test]
    fn pushes_of_a_mailbox_are_one_row_while_their_history_ids_rise() {
        let pushes = [
            push("bob", 5, true),
            push("ann", 7, true),
            push("ann", 9, true),
            push("cat", 1, false),
            push("ann", 8, true),
            // It must not be accepted before the one that came earlier.
            push("ann", 10, true),
            push("cat", 2, true),
        ];
        let rising = Rising::of(pushes.iter().enumerate());
        let runs = rising.0.iter().map(|(user, run)| {
            let ids = [run.first, run.last].map(|push| push.notification.history_id.get());
            (user.as_str(), ids, run.members.clone())
        });
        let expected = [("ann", [7, 9], vec![1, 2]), ("bob", [5, 5], vec![0])];
        assert_eq!(runs.collect::<Vec<_>>(), expected);
    }
}
