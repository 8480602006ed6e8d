//! The mailboxes that a transaction changes: read and locked together, and stored together.

use std::collections::{BTreeMap, BTreeSet};

use postbell_core::{EmailAddress, QueueCursor, Timestamp, UserId};
use tokio_postgres::Row;

use super::failure::Failure;
use super::mailbox_row::{LoadedMailbox, PendingRow, Place};
use super::parameter::{Parameter, column};
use super::session::{Call, Session};
use super::{dead_letter, delivery};
use crate::columns::{self, in_order, parsed, text};

/// Locks the rows in the order of `$1`, which is that of users, so that two transactions wait for each other in one
/// direction only. A subquery that locks is run for each user, through the index: the table is empty one moment and large
/// the next, so statistics of it mean nothing.
const LOCK: &str = "
    SELECT locked.* FROM unnest($1) AS wanted (user_id) CROSS JOIN LATERAL (
        SELECT ctid::text AS place, xmin::text AS version, user_id, message_id, history_id, address,
            published_at, merged_ids, accepted_at, waiting_since, due_at, cooldown_until, leased_until,
            lease, attempt, consecutive_failures, failing_since, parked_for, checked_in_at
        FROM pending WHERE pending.user_id = wanted.user_id FOR UPDATE
    ) AS locked";

/// The rows without a lock, which costs as much as the change. They are changed only in the version that was read.
const READ: &str = "
    SELECT ctid::text AS place, xmin::text AS version, user_id, message_id, history_id, address,
        published_at, merged_ids, accepted_at, waiting_since, due_at, cooldown_until, leased_until, lease,
        attempt, consecutive_failures, failing_since, parked_for, checked_in_at
    FROM pending WHERE user_id = ANY($1)";

/// Read after the rows, so that no settlement comes between.
const CURSORS: &str = "
    SELECT user_id, address, history_id, message_ids, settled_at, published_at
    FROM cursor WHERE user_id = ANY($1)";

const EXHAUSTED: &str = "
    SELECT DISTINCT ON (user_id) user_id, message_id, history_id, address, published_at, body, trace
    FROM dead_letter WHERE user_id = ANY($1) AND reason = 'exhausted'
    ORDER BY user_id, history_id DESC";

/// A row that another transaction has added since is not returned. Nor is any if the transaction began five seconds ago, and
/// a push that waited five before it arrived ten seconds ago: Pub/Sub repeats it, and another relay may have delivered the
/// repeat, whose cursor was not read (<https://cloud.google.com/pubsub/docs/push>: ten seconds are the shortest deadline).
const ADD: &str = "
    INSERT INTO pending (user_id, message_id, history_id, address, published_at, accepted_at,
        merged_ids, waiting_since, due_at, body, trace)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS new (user_id)
    WHERE clock_timestamp() < now() + interval '5 seconds'
    ORDER BY new.user_id
    ON CONFLICT (user_id) DO NOTHING RETURNING user_id";

/// What accepting changes of rows that are not locked, in the order of users. A row that another transaction has changed
/// since it was read is not returned: it has another version, also if this statement waited for its lock.
const MERGE: &str = "
    UPDATE pending SET message_id = new.message_id, history_id = new.history_id,
        address = new.address, published_at = new.published_at, accepted_at = new.accepted_at,
        merged_ids = new.merged_ids, waiting_since = new.waiting_since, due_at = new.due_at,
        attempt = new.attempt, body = coalesce(new.body, pending.body),
        trace = CASE WHEN new.body IS NULL THEN pending.trace ELSE new.trace END
    FROM unnest($1::tid[], $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::xid[], $13)
        AS new (place, message_id, history_id, address, published_at, accepted_at, merged_ids,
            waiting_since, due_at, body, trace, version, attempt)
    WHERE pending.ctid = new.place AND pending.xmin = new.version
    RETURNING pending.user_id";

/// A locked row stays where it is until its transaction changes it.
const REPLACE: &str = "
    UPDATE pending SET message_id = new.message_id, history_id = new.history_id,
        address = new.address, published_at = new.published_at, accepted_at = new.accepted_at,
        merged_ids = new.merged_ids, waiting_since = new.waiting_since, due_at = new.due_at,
        cooldown_until = new.cooldown_until, leased_until = new.leased_until, lease = new.lease,
        attempt = new.attempt, consecutive_failures = new.consecutive_failures,
        failing_since = new.failing_since, parked_for = new.parked_for,
        checked_in_at = new.checked_in_at,
        body = CASE WHEN new.message_id IS NOT NULL THEN coalesce(new.body, pending.body) END,
        trace = CASE WHEN new.message_id IS NULL THEN NULL
            WHEN new.body IS NULL THEN pending.trace ELSE new.trace END
    FROM unnest($1::tid[], $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
        AS new (place, message_id, history_id, address, published_at, accepted_at, merged_ids,
            waiting_since, due_at, body, trace, cooldown_until, leased_until, lease, attempt,
            consecutive_failures, failing_since, parked_for, checked_in_at)
    WHERE pending.ctid = new.place";

const DELETE: &str = "DELETE FROM pending WHERE ctid = ANY($1::tid[])";

const PUT_CURSORS: &str = "
    INSERT INTO cursor (user_id, address, history_id, message_ids, settled_at, published_at)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6) AS new (user_id, address)
    ORDER BY new.user_id, new.address
    ON CONFLICT (user_id, address) DO UPDATE SET history_id = excluded.history_id,
        message_ids = excluded.message_ids, settled_at = excluded.settled_at,
        published_at = excluded.published_at";

const DELETE_CURSORS: &str = "
    DELETE FROM cursor USING unnest($1, $2) AS old (user_id, address)
    WHERE cursor.user_id = old.user_id AND cursor.address = old.address";

/// Only a transaction that has written to the log waits for the standby when it commits. What one has read that changes
/// nothing, and confirms, is then on the standby as well.
const CONFIRM: &str = "SELECT pg_logical_emit_message(true, 'postbell', '')";

const TAKE_EXHAUSTED: &str = "
    DELETE FROM dead_letter WHERE user_id = ANY($1) AND reason = 'exhausted'";

/// The mailboxes of a transaction, in the order of users.
pub(super) struct Mailboxes {
    by_user: BTreeMap<UserId, LoadedMailbox>,
    locking: Locking,
}

/// Whether the rows of a transaction are locked when they are read.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Locking {
    /// Needed unless nothing but a row changes of each mailbox.
    Locked,
    /// Another transaction may change them before this one does, which then stores nothing of these mailboxes.
    Unlocked,
}

/// What a transaction stores of the mailboxes.
#[derive(Default)]
struct Changes<'a> {
    added: Vec<&'a LoadedMailbox>,
    merged: Vec<(&'a UserId, &'a Place, &'a PendingRow)>,
    replaced: Vec<(&'a str, &'a PendingRow)>,
    deleted: Vec<&'a str>,
    cursors: Vec<(&'a str, &'a str, &'a QueueCursor)>,
    deleted_cursors: Vec<(&'a str, &'a str)>,
    took_exhausted: Vec<&'a str>,
}

impl Mailboxes {
    /// Reads the mailboxes of `users`: the transaction has begun, or begins with it. Reads the exhausted dead letters of
    /// `checked_in`.
    pub(super) async fn load(
        session: &Session,
        begin: bool,
        users: BTreeSet<UserId>,
        locking: Locking,
        checked_in: Vec<String>,
    ) -> Result<Self, Failure> {
        let ids = || -> Vec<String> { users.iter().map(|user| user.as_str().to_owned()).collect() };
        let mut calls = Vec::new();
        if begin {
            calls.push(Call::new("BEGIN", vec![]));
        }
        let rows = match locking {
            Locking::Locked => LOCK,
            Locking::Unlocked => READ,
        };
        calls.push(Call::new(rows, vec![Box::new(ids())]));
        calls.push(Call::new(CURSORS, vec![Box::new(ids())]));
        if !checked_in.is_empty() {
            calls.push(Call::new(EXHAUSTED, vec![Box::new(checked_in)]));
        }
        let answers = session.pipeline(calls).await?;
        let mut answers = answers.into_iter().skip(usize::from(begin));
        let mailboxes = users.into_iter();
        let mut mailboxes = Self {
            by_user: mailboxes
                .map(|user| (user.clone(), LoadedMailbox::new(user)))
                .collect(),
            locking,
        };
        for row in answers.next().unwrap_or_default() {
            let mailbox = mailboxes.of_row(&row)?;
            mailbox.row = Some(PendingRow::read(&row)?);
            mailbox.place = Some(Place {
                row: text(&row, "place")?,
                version: text(&row, "version")?,
            });
        }
        for row in answers.next().unwrap_or_default() {
            let cursor = columns::cursor(&row)?;
            let address = text(&row, "address")?;
            mailboxes.of_row(&row)?.cursors.insert(address, cursor);
        }
        for row in answers.next().unwrap_or_default() {
            mailboxes.of_row(&row)?.exhausted = columns::notification(&row)?;
        }
        Ok(mailboxes)
    }

    fn of_row(&mut self, row: &Row) -> Result<&mut LoadedMailbox, Failure> {
        let user: UserId = parsed(row, "user_id")?;
        Ok(self.of(&user))
    }

    /// The mailbox of a user, which was loaded.
    pub(super) fn of(&mut self, user: &UserId) -> &mut LoadedMailbox {
        self.by_user
            .entry(user.clone())
            .or_insert_with(|| LoadedMailbox::new(user.clone()))
    }

    /// The users of whom something is to be announced.
    pub(super) fn announced(&self) -> impl Iterator<Item = &UserId> {
        let mailboxes = self.by_user.values();
        mailboxes.filter_map(|mailbox| mailbox.is_announced.then_some(&mailbox.user))
    }

    /// When something was scheduled last.
    pub(super) fn scheduled_at(&self) -> Option<Timestamp> {
        let times = self.by_user.values().map(|mailbox| mailbox.scheduled_at);
        times.max().flatten()
    }

    /// Whether something has to be stored.
    pub(super) fn are_changed(&self) -> bool {
        self.by_user.values().any(LoadedMailbox::is_changed)
    }

    /// Stores what has changed, with the `last` statements, and returns the mailboxes of which nothing
    /// is stored because another transaction has added or changed their rows since they were read.
    pub(super) async fn store(
        &self,
        session: &Session,
        last: Vec<Call<'_>>,
    ) -> Result<BTreeSet<UserId>, Failure> {
        let mut kept: Vec<&LoadedMailbox> = self.by_user.values().collect();
        let changes = Changes::of(&kept, self.locking);
        // What else changes of these mailboxes must not be stored without the row.
        let mut added = changes.added.iter();
        let decides = added.any(|mailbox| mailbox.changes_more_than_its_row());
        let (mut calls, mut returned) = changes.uncertain();
        let mut stale = BTreeSet::new();
        if decides {
            let answers = session.pipeline(std::mem::take(&mut calls)).await?;
            stale = missing(&std::mem::take(&mut returned), answers)?;
            kept.retain(|mailbox| !stale.contains(&mailbox.user));
        }
        let uncertain = calls.len();
        Changes::of(&kept, self.locking).push_to(&mut calls);
        delivery::record(
            &kept
                .iter()
                .filter_map(|one| one.delivery.as_ref())
                .collect::<Vec<_>>(),
            &mut calls,
        );
        let letters: Vec<_> = kept.iter().flat_map(|one| &one.dead_letters).collect();
        dead_letter::add(&letters, &mut calls);
        let confirms = !self.by_user.values().all(LoadedMailbox::is_changed);
        if confirms && calls.len() == uncertain {
            calls.push(Call::new(CONFIRM, vec![]));
        }
        calls.extend(last);
        let answers = session.pipeline(calls).await?;
        stale.extend(missing(&returned, answers)?);
        Ok(stale)
    }
}

/// Returns the users that the first answers should contain, and do not.
fn missing(returned: &[Vec<&UserId>], answers: Vec<Vec<Row>>) -> Result<BTreeSet<UserId>, Failure> {
    let mut missing: BTreeSet<UserId> = returned.iter().flatten().copied().cloned().collect();
    for row in answers.iter().take(returned.len()).flatten() {
        missing.remove(&parsed::<UserId, _>(row, "user_id")?);
    }
    Ok(missing)
}

impl<'a> Changes<'a> {
    fn of(mailboxes: &[&'a LoadedMailbox], locking: Locking) -> Self {
        let mut changes = Self::default();
        for &mailbox in mailboxes {
            let user = mailbox.user.as_str();
            match (&mailbox.row, &mailbox.place) {
                _ if !mailbox.is_row_changed => (),
                (Some(_), None) => changes.added.push(mailbox),
                (Some(row), Some(place)) if locking == Locking::Unlocked => {
                    changes.merged.push((&mailbox.user, place, row));
                }
                (Some(row), Some(place)) => changes.replaced.push((&place.row, row)),
                (None, Some(place)) => changes.deleted.push(&place.row),
                (None, None) => (),
            }
            for address in &mailbox.changed_cursors {
                match mailbox.cursors.get(address) {
                    Some(cursor) => changes.cursors.push((user, address, cursor)),
                    None => changes.deleted_cursors.push((user, address)),
                }
            }
            if mailbox.takes_exhausted {
                changes.took_exhausted.push(user);
            }
        }
        changes
    }

    /// Returns the statements that change only what no other transaction has changed, and the users that each returns if
    /// it has. Rows that exist are changed first, as other transactions lock them first.
    fn uncertain(&self) -> (Vec<Call<'a>>, Vec<Vec<&'a UserId>>) {
        let (mut calls, mut returned) = (Vec::new(), Vec::new());
        if !self.merged.is_empty() {
            calls.push(merge(&self.merged));
            returned.push(self.merged.iter().map(|(user, ..)| *user).collect());
        }
        if !self.added.is_empty() {
            calls.push(add(&self.added));
            returned.push(self.added.iter().map(|mailbox| &mailbox.user).collect());
        }
        (calls, returned)
    }

    /// Appends the other statements.
    fn push_to(self, calls: &mut Vec<Call<'a>>) {
        if !self.replaced.is_empty() {
            calls.push(replace(&self.replaced));
        }
        if !self.deleted.is_empty() {
            calls.push(Call::new(DELETE, vec![Box::new(self.deleted)]));
        }
        if !self.cursors.is_empty() {
            calls.push(put_cursors(&self.cursors));
        }
        if !self.deleted_cursors.is_empty() {
            let (users, addresses): (Vec<_>, Vec<_>) = self.deleted_cursors.into_iter().unzip();
            let parameters: Vec<Box<dyn Parameter + 'a>> =
                vec![Box::new(users), Box::new(addresses)];
            calls.push(Call::new(DELETE_CURSORS, parameters));
        }
        if !self.took_exhausted.is_empty() {
            calls.push(Call::new(
                TAKE_EXHAUSTED,
                vec![Box::new(self.took_exhausted)],
            ));
        }
    }
}

fn add<'a>(mailboxes: &[&'a LoadedMailbox]) -> Call<'a> {
    let rows = mailboxes.iter().filter_map(|mailbox| {
        let row = mailbox.row.as_ref()?;
        Some((mailbox.user.as_str(), row))
    });
    Call::new(ADD, notification_columns(&rows.collect::<Vec<_>>()))
}

fn merge<'a>(rows: &[(&'a UserId, &'a Place, &'a PendingRow)]) -> Call<'a> {
    let places = rows.iter().map(|(_, place, row)| (&*place.row, *row));
    let mut columns = notification_columns(&places.collect::<Vec<_>>());
    columns.push(column(rows.iter().map(|(_, place, _)| &*place.version)));
    columns.push(column(
        rows.iter()
            .map(|(.., row)| row.mailbox.attempt.cast_signed()),
    ));
    Call::new(MERGE, columns)
}

fn replace<'a>(rows: &[(&'a str, &'a PendingRow)]) -> Call<'a> {
    let mut columns = notification_columns(rows);
    let mut number = |value: fn(&PendingRow) -> i64| {
        columns.push(column(rows.iter().map(|(_, row)| value(row))));
    };
    number(|row| row.mailbox.cooldown_until.as_millis());
    number(|row| row.mailbox.leased_until.as_millis());
    number(|row| row.lease);
    number(|row| row.mailbox.attempt.into());
    number(|row| row.mailbox.consecutive_failures.into());
    let failing = rows
        .iter()
        .map(|(_, row)| row.failing_since.map(Timestamp::as_millis));
    columns.push(Box::new(failing.collect::<Vec<_>>()));
    let parked = rows
        .iter()
        .map(|(_, row)| row.mailbox.parked_for.as_deref());
    columns.push(Box::new(parked.collect::<Vec<_>>()));
    let checked = rows
        .iter()
        .map(|(_, row)| row.mailbox.checked_in_at.as_millis());
    columns.push(Box::new(checked.collect::<Vec<_>>()));
    Call::new(REPLACE, columns)
}

/// What tells the rows apart, and the columns from the message id to the trace.
fn notification_columns<'a>(rows: &[(&'a str, &'a PendingRow)]) -> Vec<Box<dyn Parameter + 'a>> {
    let pending = || rows.iter().map(|(_, row)| row.mailbox.pending.as_ref());
    let keys: Vec<&str> = rows.iter().map(|(key, _)| *key).collect();
    let message_ids: Vec<_> = pending()
        .map(|one| one.map(|one| &*one.message_id))
        .collect();
    let history_ids: Vec<_> = pending()
        .map(|one| one.map(|one| in_order(one.history_id)))
        .collect();
    let addresses: Vec<_> = pending()
        .map(|one| {
            one.and_then(|one| one.address.as_ref())
                .map(EmailAddress::as_str)
        })
        .collect();
    let published: Vec<_> = pending()
        .map(|one| {
            one.and_then(|one| one.published_at)
                .map(Timestamp::as_millis)
        })
        .collect();
    let merged: Vec<String> = pending()
        .map(|one| one.map(|one| one.merged.to_string()).unwrap_or_default())
        .collect();
    let time = |value: fn(&PendingRow) -> Option<Timestamp>| -> Vec<Option<i64>> {
        let times = rows.iter().map(|(_, row)| value(row));
        times.map(|time| time.map(Timestamp::as_millis)).collect()
    };
    let accepted = time(|row| row.accepted_at);
    let waiting = time(|row| row.waiting_since);
    let due = time(|row| row.mailbox.due_at);
    let bodies: Vec<Option<&[u8]>> = rows.iter().map(|(_, row)| row.body.as_deref()).collect();
    let traces = rows.iter().map(|(_, row)| row.trace);
    let traces: Vec<_> = traces.map(|one| one.map(|one| one.to_string())).collect();
    vec![
        Box::new(keys),
        Box::new(message_ids),
        Box::new(history_ids),
        Box::new(addresses),
        Box::new(published),
        Box::new(accepted),
        Box::new(merged),
        Box::new(waiting),
        Box::new(due),
        Box::new(bodies),
        Box::new(traces),
    ]
}

fn put_cursors<'a>(cursors: &[(&'a str, &'a str, &'a QueueCursor)]) -> Call<'a> {
    let users: Vec<_> = cursors.iter().map(|(user, ..)| *user).collect();
    let addresses: Vec<_> = cursors.iter().map(|(_, address, _)| *address).collect();
    let cursors = || cursors.iter().map(|(.., cursor)| cursor);
    let history_ids: Vec<_> = cursors().map(|one| in_order(one.history_id)).collect();
    let message_ids: Vec<_> = cursors().map(|one| one.message_ids.to_string()).collect();
    let settled: Vec<_> = cursors().map(|one| one.settled_at.as_millis()).collect();
    let published = cursors().map(|one| one.published_at.map(Timestamp::as_millis));
    let published: Vec<_> = published.collect();
    Call::new(
        PUT_CURSORS,
        vec![
            Box::new(users),
            Box::new(addresses),
            Box::new(history_ids),
            Box::new(message_ids),
            Box::new(settled),
            Box::new(published),
        ],
    )
}
