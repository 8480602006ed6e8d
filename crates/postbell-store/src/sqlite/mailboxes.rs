//! The mailboxes that the writer reads, remembers and stores.

use std::collections::HashMap;
use std::sync::LazyLock;

use postbell_core::{EmailAddress, Timestamp, UserId};
use rusqlite::{Connection, Params, ToSql, params};

use super::columns::InOrder;
use super::failure::Failure;
use super::writer::Transaction;
use super::{clock, cursor, dead_letter, delivery};
use crate::columns::{in_order, number};
use crate::loaded_mailbox::{self, PendingRow};
use crate::mailbox::Pending;

type Result<T> = std::result::Result<T, Failure>;

/// A mailbox of a transaction.
pub(super) type LoadedMailbox = loaded_mailbox::LoadedMailbox<RowId>;

/// The number of a mailbox's row in the table. It is given again once the row is deleted, so that no statement changes a row by it
/// without comparing the user.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct RowId(pub(super) i64);

/// How many rows before the last one no mailbox is moved: some 3 MB. In debug builds few, so that tests move them.
const NEAR: i64 = if cfg!(debug_assertions) { 2 } else { 4096 };

/// How many mailboxes are remembered, with some 1,500 bytes each.
const REMEMBERED: usize = 4096;

/// The number of a row and the columns of a [`PendingRow`], in the order in which it reads them.
const ROW: &[&str] = &[
    "id",
    "message_id",
    "history_id",
    "address",
    "published_at",
    "merged_ids",
    "due_at",
    "cooldown_until",
    "leased_until",
    "attempt",
    "consecutive_failures",
    "parked_for",
    "checked_in_at",
    "lease",
    "accepted_at",
    "waiting_since",
    "failing_since",
];

pub(super) static FIND: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM pending WHERE user = ?1", ROW.join(", ")));

pub(super) const ADD: &str = "
    INSERT INTO pending (user, message_id, history_id, address, published_at, body, accepted_at,
        merged_ids, trace, attempt, waiting_since, due_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// No index contains one of these columns.
pub(super) const REPLACE: &str = "
    UPDATE pending SET message_id = ?2, history_id = ?3, address = ?4, published_at = ?5, body = ?6,
        accepted_at = ?7, merged_ids = ?8, trace = ?9, attempt = ?10
    WHERE id = ?11 AND user = ?1";

/// The body and the trace are those of the stored notification.
pub(super) const MERGE: &str = "
    UPDATE pending SET merged_ids = ?2, published_at = ?3, accepted_at = ?4
    WHERE id = ?5 AND user = ?1";

/// The notification is done, but the mailbox is failing.
const EMPTY: &str = "
    UPDATE pending SET message_id = NULL, history_id = NULL, address = NULL, published_at = NULL,
        body = NULL, trace = NULL, accepted_at = NULL, merged_ids = ''
    WHERE id = ?2 AND user = ?1";

const SCHEDULE: &str = "
    UPDATE pending SET waiting_since = ?2, due_at = ?3, cooldown_until = ?4, leased_until = ?5,
        attempt = ?6, consecutive_failures = ?7, failing_since = ?8, parked_for = ?9, checked_in_at = ?10
    WHERE id = ?11 AND user = ?1";

pub(super) const DELETE: &str = "DELETE FROM pending WHERE id = ?2 AND user = ?1";

const LAST: &str = "SELECT coalesce(max(id), 0) FROM pending";

const MOVE: &str = "UPDATE pending SET id = ?3 WHERE id = ?2 AND user = ?1";

/// A number that is another one once another process has committed
/// (<https://www.sqlite.org/pragma.html#pragma_data_version>).
const DATA_VERSION: &str = "PRAGMA data_version";

/// Mailboxes as they are in the file: those that were read or changed last.
///
/// The tables `pending` and `cursor` are changed by the functions of this module, or what is remembered of
/// the mailbox is changed with the row, or forgotten. Everything is forgotten when another process has committed, and when a
/// transaction, or a part of it, was rolled back. Debug builds compare what is remembered with the tables.
#[derive(Default)]
pub(super) struct Mailboxes {
    by_user: HashMap<UserId, Remembered>,
    /// Until then nothing that is scheduled needs a later mark of the clock.
    marked_until: Option<Timestamp>,
    /// No row has a greater number.
    last: Option<RowId>,
    version: Option<i64>,
}

#[derive(Debug, PartialEq)]
struct Remembered {
    place: Option<RowId>,
    row: Option<PendingRow>,
    cursors: cursor::Cursors,
}

impl Mailboxes {
    /// Begins a transaction, in which no other process can commit.
    pub(super) fn begin(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut statement = db.prepare_cached(DATA_VERSION)?;
        let version = statement.query_row([], |row| row.get(0))?;
        if self.version.replace(version) != Some(version) {
            self.forget_all();
        }
        Ok(())
    }

    pub(super) fn forget_all(&mut self) {
        self.by_user.clear();
        self.marked_until = None;
        self.last = None;
    }

    pub(super) fn remembers(&self, user: &UserId) -> bool {
        self.by_user.contains_key(user)
    }

    pub(super) fn forget(&mut self, user: &UserId) {
        self.by_user.remove(user);
    }

    /// Notes that a mailbox was claimed.
    pub(super) fn leased(&mut self, user: &UserId, until: Timestamp, lease: i64) {
        let remembered = self.by_user.get_mut(user);
        if let Some(row) = remembered.and_then(|one| one.row.as_mut()) {
            row.mailbox.due_at = Some(until);
            row.mailbox.leased_until = until;
            row.lease = lease;
        }
    }
}

/// Takes a mailbox, which is forgotten until it is [stored](store).
pub(super) fn load(db: &Transaction<'_>, user: &UserId) -> Result<LoadedMailbox> {
    let remembered = db.mailboxes().by_user.remove_entry(user);
    let (user, remembered) = match remembered {
        Some((user, remembered)) => {
            debug_assert_eq!(read(db, &user).ok().as_ref(), Some(&remembered));
            (user, remembered)
        }
        None => (user.clone(), read(db, user)?),
    };
    Ok(LoadedMailbox {
        place: remembered.place,
        row: remembered.row,
        cursors: remembered.cursors,
        ..LoadedMailbox::new(user)
    })
}

/// Moves the row of a mailbox that gets pushes again and again behind the last one, if it is far from there. Such mailboxes then
/// lie together, so that their pushes change few pages, however many others wait.
pub(super) fn move_behind(db: &Transaction<'_>, mailbox: &mut LoadedMailbox) -> Result<()> {
    let Some(RowId(id)) = mailbox.place else {
        return Ok(());
    };
    let known = db.mailboxes().last;
    let RowId(last) = match known {
        Some(last) => last,
        None => RowId(db.prepare_cached(LAST)?.query_row([], |row| row.get(0))?),
    };
    db.mailboxes().last = Some(RowId(last));
    if id.saturating_add(NEAR) < last {
        let next = last + 1;
        change_row(db, MOVE, params![mailbox.user.as_str(), id, next])?;
        mailbox.place = Some(RowId(next));
        db.mailboxes().last = Some(RowId(next));
    }
    Ok(())
}

fn read(db: &Connection, user: &UserId) -> Result<Remembered> {
    let mut statement = db.prepare_cached(&FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    let row = rows.next()?.map(|row| InOrder::new(row, ROW));
    let id = row.as_ref().map(|row| number(row, "id")).transpose()?;
    Ok(Remembered {
        place: id.map(RowId),
        row: row.as_ref().map(PendingRow::read).transpose()?,
        cursors: cursor::read(db, user)?,
    })
}

/// Stores what has changed of a mailbox, and remembers it.
pub(super) fn store(db: &Transaction<'_>, mut mailbox: LoadedMailbox) -> Result<()> {
    if let Some(at) = mailbox.scheduled_at {
        mark(db, at)?;
    }
    if let Some(delivery) = &mailbox.delivery {
        delivery::record(db, delivery)?;
    }
    for address in &mailbox.changed_cursors {
        cursor::store(db, &mailbox.user, address, mailbox.cursors.get(address))?;
    }
    if mailbox.takes_exhausted {
        dead_letter::drop_exhausted(db, &mailbox.user)?;
    }
    for letter in &mailbox.dead_letters {
        dead_letter::add(db, letter)?;
    }
    let place = store_row(db, &mailbox)?;
    if let Some(row) = &mut mailbox.row {
        row.body = None;
        row.trace = None;
    }
    let remembered = Remembered {
        place,
        row: mailbox.row,
        cursors: mailbox.cursors,
    };
    let mut mailboxes = db.mailboxes();
    // Unknown until it is needed.
    mailboxes.last = mailboxes.last.map(|last| last.max(place.unwrap_or(last)));
    if mailboxes.by_user.len() >= REMEMBERED {
        mailboxes.by_user.clear();
    }
    mailboxes.by_user.insert(mailbox.user, remembered);
    Ok(())
}

/// Adds, changes or deletes the row of a mailbox, and returns its number.
fn store_row(db: &Connection, mailbox: &LoadedMailbox) -> Result<Option<RowId>> {
    if !mailbox.is_row_changed() {
        return Ok(mailbox.place);
    }
    let user = mailbox.user.as_str();
    match (&mailbox.row, mailbox.place) {
        (None, None) => Ok(None),
        (None, Some(RowId(id))) => {
            change_row(db, DELETE, params![user, id])?;
            Ok(None)
        }
        (Some(row), None) => {
            let schedule: [&dyn ToSql; 2] = [
                &row.waiting_since.map(Timestamp::as_millis),
                &row.mailbox.due_at.map(Timestamp::as_millis),
            ];
            let Some(pending) = &row.mailbox.pending else {
                return Ok(None);
            };
            write_notification(db, ADD, user, row, pending, &schedule)?;
            Ok(Some(RowId(db.last_insert_rowid())))
        }
        (Some(row), Some(place)) => {
            if mailbox.changed.notification {
                update_notification(db, user, place, row)?;
            }
            if mailbox.changed.schedule {
                update_schedule(db, user, place, row)?;
            }
            Ok(Some(place))
        }
    }
}

fn update_notification(
    db: &Connection,
    user: &str,
    RowId(id): RowId,
    row: &PendingRow,
) -> Result<()> {
    match &row.mailbox.pending {
        None => change_row(db, EMPTY, params![user, id]),
        Some(pending) if row.body.is_none() => {
            let merged = params![
                user,
                pending.merged.to_string(),
                pending.published_at.map(Timestamp::as_millis),
                row.accepted_at.map(Timestamp::as_millis),
                id,
            ];
            change_row(db, MERGE, merged)
        }
        Some(pending) => write_notification(db, REPLACE, user, row, pending, &[&id]),
    }
}

/// Runs a statement with the columns from the user to the attempt as its parameters, and `more` ones.
fn write_notification(
    db: &Connection,
    statement: &str,
    user: &str,
    row: &PendingRow,
    pending: &Pending,
    more: &[&dyn ToSql],
) -> Result<()> {
    let columns = params![
        user,
        pending.message_id,
        in_order(pending.history_id),
        pending.address.as_ref().map(EmailAddress::as_str),
        pending.published_at.map(Timestamp::as_millis),
        row.body.as_deref(),
        row.accepted_at.map(Timestamp::as_millis),
        pending.merged.to_string(),
        row.trace.map(|trace| trace.to_string()),
        row.mailbox.attempt,
    ];
    let columns = rusqlite::params_from_iter(columns.iter().chain(more));
    change_row(db, statement, columns)
}

fn update_schedule(db: &Connection, user: &str, RowId(id): RowId, row: &PendingRow) -> Result<()> {
    let mailbox = &row.mailbox;
    let schedule = params![
        user,
        row.waiting_since.map(Timestamp::as_millis),
        mailbox.due_at.map(Timestamp::as_millis),
        mailbox.cooldown_until.as_millis(),
        mailbox.leased_until.as_millis(),
        mailbox.attempt,
        mailbox.consecutive_failures,
        row.failing_since.map(Timestamp::as_millis),
        mailbox.parked_for,
        mailbox.checked_in_at.as_millis(),
        id,
    ];
    change_row(db, SCHEDULE, schedule)
}

/// Runs a statement that changes one row. It fails if there is none, as if what is remembered of a mailbox were wrong: then
/// nothing of it is acknowledged, and the next write reads the table.
fn change_row(db: &Connection, statement: &str, columns: impl Params) -> Result<()> {
    match db.prepare_cached(statement)?.execute(columns)? {
        1 => Ok(()),
        changed => Err(rusqlite::Error::StatementChangedRows(changed).into()),
    }
}

/// Remembers that something was scheduled at `at`.
pub(super) fn mark(db: &Transaction<'_>, at: Timestamp) -> Result<()> {
    let marked_until = db.mailboxes().marked_until;
    if marked_until.is_none_or(|until| at > until) {
        let until = clock::mark(db, at)?;
        db.mailboxes().marked_until = Some(until);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use postbell_core::{HistoryId, Notification};

    use super::*;
    use crate::loaded_mailbox::RowChange;
    use crate::sqlite::schema;

    const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn a_change_of_a_row_that_is_not_there_or_of_another_user_fails() {
        let db = schema::in_memory();
        db.execute("INSERT INTO pending (id, user) VALUES (1, 'ben')", [])
            .unwrap();
        let notification = Notification {
            user: "ann".parse().unwrap(),
            address: None,
            message_id: "m1".parse().unwrap(),
            published_at: None,
            history_id: HistoryId::new(1),
            trace: None,
            body: Bytes::new(),
        };
        let changes: [fn(&mut LoadedMailbox); 5] = [
            |_| (),
            |merged| merged.row.as_mut().unwrap().body = None,
            |emptied| emptied.row.as_mut().unwrap().mailbox.pending = None,
            |scheduled| {
                scheduled.changed = RowChange {
                    notification: false,
                    schedule: true,
                };
            },
            |deleted| deleted.row = None,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut mailbox = LoadedMailbox::new(notification.user.clone());
            mailbox.put(&notification, T0);
            change(&mut mailbox);
            for id in [1, 2] {
                mailbox.place = Some(RowId(id));
                store_row(&db, &mailbox).expect_err(&format!("change {number} of row {id}"));
            }
        }
    }
}
