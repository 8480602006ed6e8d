//! The mailboxes that a transaction changes: read and locked together, and stored together.

use std::collections::{BTreeMap, BTreeSet};

use postbell_core::{EmailAddress, QueueCursor, Timestamp, UserId};
use tokio_postgres::Row;

use super::failure::Failure;
use super::parameter::{Parameter, Tid, column};
use super::session::{Call, Session};
use super::{columns, dead_letter, delivery};
use crate::columns::{self as shared, in_order, parsed, text};
use crate::loaded_mailbox::{self, PendingRow};

/// Adds rows without a notification, in the order of users, before any row is locked. A transaction that waits to add a row
/// then holds none that others see, and one that waits for a row that it sees does so in the order of users: no transactions
/// wait for each other in a circle. The statement in `rising.rs` does the same. A row that another transaction has added is not
/// returned, but it is there.
const RESERVE: &str = "
    INSERT INTO pending (user_id) SELECT unnest($1) ON CONFLICT (user_id) DO NOTHING RETURNING user_id";

/// Locks the rows in the order of `$1`, which is that of users. A subquery that locks is run for each user, through the index: the table is empty one moment and large
/// the next, so statistics of it mean nothing.
const LOCK: &str = "
    SELECT locked.* FROM (SELECT unnest($1) AS user_id) AS wanted CROSS JOIN LATERAL (
        SELECT ctid AS place, user_id, message_id, history_id, address, published_at, merged_ids,
            accepted_at, waiting_since, due_at, cooldown_until, leased_until, lease, attempt,
            consecutive_failures, failing_since, parked_for, checked_in_at
        FROM pending WHERE pending.user_id = wanted.user_id FOR UPDATE
    ) AS locked";

/// Read after the rows, so that no settlement comes between.
const CURSORS: &str = "
    SELECT user_id, address, history_id, message_ids, settled_at, published_at
    FROM cursor WHERE user_id = ANY($1)";

const EXHAUSTED: &str = "
    SELECT DISTINCT ON (user_id) user_id, message_id, history_id, address, published_at, body, trace
    FROM dead_letter WHERE user_id = ANY($1) AND reason = 'exhausted'
    ORDER BY user_id, history_id DESC";

/// A locked row has the same place until its transaction changes it.
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
    FROM (
        SELECT unnest($1) AS place, unnest($2) AS message_id, unnest($3) AS history_id,
            unnest($4) AS address, unnest($5) AS published_at, unnest($6) AS accepted_at,
            unnest($7) AS merged_ids, unnest($8) AS waiting_since, unnest($9) AS due_at,
            unnest($10) AS body, unnest($11) AS trace, unnest($12) AS cooldown_until,
            unnest($13) AS leased_until, unnest($14) AS lease, unnest($15) AS attempt,
            unnest($16) AS consecutive_failures, unnest($17) AS failing_since,
            unnest($18) AS parked_for, unnest($19) AS checked_in_at
    ) AS new
    WHERE pending.ctid = new.place";

const DELETE: &str = "DELETE FROM pending WHERE ctid = ANY($1)";

const PUT_CURSORS: &str = "
    INSERT INTO cursor (user_id, address, history_id, message_ids, settled_at, published_at)
    SELECT unnest($1), unnest($2), unnest($3), unnest($4), unnest($5), unnest($6)
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

/// A mailbox of a transaction, and where its row is.
pub(super) type LoadedMailbox = loaded_mailbox::LoadedMailbox<Tid>;

/// The parts of some users' mailboxes that are to be read.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) users: BTreeSet<UserId>,
    /// Those of whom the exhausted dead letters are read, too.
    pub(super) checked_in: Vec<String>,
    /// Those who get a row before all rows are locked, unless they have one.
    pub(super) reserved: BTreeSet<UserId>,
}

/// The mailboxes of a transaction, in the order of users. Their rows are locked.
pub(super) struct Mailboxes {
    by_user: BTreeMap<UserId, LoadedMailbox>,
}

/// What a transaction stores of the mailboxes.
#[derive(Default)]
struct Changes<'a> {
    replaced: Vec<(Tid, &'a PendingRow)>,
    deleted: Vec<Tid>,
    cursors: Vec<(&'a str, &'a str, &'a QueueCursor)>,
    deleted_cursors: Vec<(&'a str, &'a str)>,
    took_exhausted: Vec<&'a str>,
}

impl Mailboxes {
    /// Reads what is wanted, after the statements that begin the transaction, if it has not begun.
    pub(super) async fn load(
        session: &Session,
        begin: Option<&'static str>,
        wanted: &Wanted,
    ) -> Result<Self, Failure> {
        let ids = |users: &BTreeSet<UserId>| -> Box<dyn Parameter> {
            let ids = users.iter().map(|user| user.as_str().to_owned());
            Box::new(ids.collect::<Vec<_>>())
        };
        let mut calls: Vec<_> = begin
            .map(|begin| Call::new(begin, vec![]))
            .into_iter()
            .collect();
        let reserves = !wanted.reserved.is_empty();
        if reserves {
            calls.push(Call::new(RESERVE, vec![ids(&wanted.reserved)]));
        }
        let preceding = calls.len() - usize::from(reserves);
        calls.push(Call::new(LOCK, vec![ids(&wanted.users)]));
        calls.push(Call::new(CURSORS, vec![ids(&wanted.users)]));
        if !wanted.checked_in.is_empty() {
            let checked_in = wanted.checked_in.clone();
            calls.push(Call::new(EXHAUSTED, vec![Box::new(checked_in)]));
        }
        let answers = session.pipeline(calls).await?;
        let mut answers = answers.into_iter().skip(preceding);
        let mut next = |is_wanted: bool| {
            is_wanted
                .then(|| answers.next())
                .flatten()
                .unwrap_or_default()
        };
        let mailboxes = wanted.users.iter();
        let mut mailboxes = Self {
            by_user: mailboxes
                .map(|user| (user.clone(), LoadedMailbox::new(user.clone())))
                .collect(),
        };
        let mut reserved = BTreeSet::new();
        for row in next(reserves) {
            reserved.insert(parsed::<UserId, _>(&row, "user_id")?);
        }
        for row in next(true) {
            let mailbox = mailboxes.of_row(&row)?;
            mailbox.place = Some(columns::get(&row, "place")?);
            if !reserved.contains(&mailbox.user) {
                mailbox.row = Some(PendingRow::read(&row)?);
            }
        }
        for row in next(true) {
            let cursor = shared::cursor(&row)?;
            let address = text(&row, "address")?;
            mailboxes.of_row(&row)?.cursors.insert(address, cursor);
        }
        for row in next(!wanted.checked_in.is_empty()) {
            mailboxes.of_row(&row)?.exhausted = shared::notification(&row)?;
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

    /// Whether the mailbox of a user has a row, or one is reserved.
    pub(super) fn has_row(&self, user: &UserId) -> bool {
        let mailbox = self.by_user.get(user);
        mailbox.is_some_and(|mailbox| mailbox.place.is_some())
    }

    /// The users whose mailboxes need a row, and have none, as one that another transaction had added may have been deleted
    /// before it was locked.
    pub(super) fn without_row(&self) -> impl Iterator<Item = &UserId> {
        let mailboxes = self.by_user.values();
        mailboxes.filter_map(|mailbox| mailbox.is_added().then_some(&mailbox.user))
    }

    /// Stores what has changed, with the `last` statements. None may be [without a row](Self::without_row).
    pub(super) async fn store(
        &self,
        session: &Session,
        last: Vec<Call<'_>>,
    ) -> Result<(), Failure> {
        let mut calls = Vec::new();
        let mailboxes = || self.by_user.values();
        Changes::of(mailboxes()).push_to(&mut calls);
        let deliveries = mailboxes().filter_map(|one| one.delivery.as_ref());
        delivery::record(&deliveries.collect::<Vec<_>>(), &mut calls);
        let letters: Vec<_> = mailboxes().flat_map(|one| &one.dead_letters).collect();
        dead_letter::add(&letters, &mut calls);
        if calls.is_empty() {
            calls.push(Call::new(CONFIRM, vec![]));
        }
        calls.extend(last);
        session.pipeline(calls).await?;
        Ok(())
    }
}

impl<'a> Changes<'a> {
    fn of(mailboxes: impl Iterator<Item = &'a LoadedMailbox>) -> Self {
        let mut changes = Self::default();
        for mailbox in mailboxes {
            let user = mailbox.user.as_str();
            match (&mailbox.row, mailbox.place) {
                (Some(row), Some(place)) if mailbox.is_row_changed() => {
                    changes.replaced.push((place, row));
                }
                // Also one that was reserved in vain.
                (None, Some(place)) => changes.deleted.push(place),
                _ => (),
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

fn replace<'a>(rows: &[(Tid, &'a PendingRow)]) -> Call<'a> {
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

/// Where the rows are, and the columns from the message id to the trace.
fn notification_columns<'a>(rows: &[(Tid, &'a PendingRow)]) -> Vec<Box<dyn Parameter + 'a>> {
    let pending = || rows.iter().map(|(_, row)| row.mailbox.pending.as_ref());
    let places: Vec<Tid> = rows.iter().map(|(place, _)| *place).collect();
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
        Box::new(places),
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
