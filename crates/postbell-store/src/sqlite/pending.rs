//! One row per mailbox with a pending notification or a failure: its schedule and its lease.

mod list;

use std::sync::LazyLock;
use std::time::Duration;

use postbell_core::{
    Accepted, Claim, ClaimOrder, Depth, Notification, ProblemCode, RelayId, Replayed, Settlement,
    Timestamp, UserId,
};
use rusqlite::{Connection, params};

pub(super) use self::list::{failing, find as pending};
use super::columns::InOrder;
use super::failure::Failure;
use super::mailboxes::RowId;
use super::writer::Transaction;
use super::{clock, cursor, dead_letter, mailboxes};
use crate::columns::{self, count, parsed, time};

type Result<T> = std::result::Result<T, Failure>;

/// A mailbox with more than one push in this time is moved to others of which that is true.
const BUSY: Duration = Duration::from_secs(60);

/// The number of a row and the columns of a [`Claim`], in the order in which it is read.
const CLAIM: &[&str] = &[
    "id",
    "history_id",
    "user",
    "address",
    "message_id",
    "published_at",
    "trace",
    "body",
    "accepted_at",
    "attempt",
];

static LONGEST_DUE: LazyLock<String> = LazyLock::new(|| due_by("due_at, user"));

static LATEST_DUE: LazyLock<String> = LazyLock::new(|| due_by("due_at DESC, user DESC"));

const LEASE: &str = "
    UPDATE pending SET due_at = ?2, leased_until = ?2, lease = ?3, holder = ?4 WHERE id = ?1";

/// Takes the numbers of so many leases, and returns the last one.
const TAKE_LEASES: &str = "UPDATE last_lease SET number = number + ?1 RETURNING number";

const DELETE_USER: [&str; 4] = [
    "DELETE FROM pending WHERE user = ?1",
    "DELETE FROM dead_letter WHERE user = ?1",
    "DELETE FROM delivery WHERE user = ?1",
    "DELETE FROM delivery_hour WHERE user = ?1",
];

/// Claimed mailboxes become due as before.
const RELEASE_ORPHANED: &str = "
    UPDATE pending SET due_at = cooldown_until, leased_until = 0
    WHERE due_at IS NOT NULL AND leased_until > 0
        AND (holder IS NULL OR holder NOT IN (SELECT id FROM relay))
    RETURNING user";

const NEXT_DUE: &str = "SELECT min(due_at) FROM pending WHERE due_at IS NOT NULL";

/// A delivery that is settled has the greatest lease of its user's.
pub(super) const MARKS: &str = "
    SELECT printf('%s %s %s',
        (SELECT printf('%s %s %d %d %d %s', message_id, history_id, due_at, leased_until,
            consecutive_failures, parked_for) FROM pending WHERE user = ?1),
        (SELECT max(lease) FROM delivery WHERE user = ?1),
        (SELECT count(*) || ' ' || coalesce(max(id), 0) FROM dead_letter WHERE user = ?1))";

/// Triggers keep the numbers, so that reading them costs the same however many mailboxes wait.
const DEPTH: &str = "
    SELECT waiting, (SELECT min(waiting_since) FROM pending WHERE due_at IS NOT NULL),
        dead_letters, failing, parked, (SELECT number FROM dead_letter_dropped)
    FROM depth";

pub(super) fn remove_user(db: &Transaction<'_>, user: &UserId) -> rusqlite::Result<()> {
    db.mailboxes().forget(user);
    cursor::remove_user(db, user)?;
    for statement in DELETE_USER {
        db.prepare_cached(statement)?.execute([user.as_str()])?;
    }
    Ok(())
}

/// Makes a notification pending, unless it is a repeat or covered.
pub(super) fn accept(
    db: &Transaction<'_>,
    notification: &Notification,
    now: Timestamp,
) -> Result<Accepted> {
    let is_remembered = db.mailboxes().remembers(&notification.user);
    let mut mailbox = mailboxes::load(db, &notification.user)?;
    let before = mailbox.row.as_ref().and_then(|row| row.accepted_at);
    // Of more than are remembered, each would be far from the last one at each push.
    if is_remembered && before.is_some_and(|before| now - before < BUSY) {
        mailboxes::move_behind(db, &mut mailbox)?;
    }
    let accepted = mailbox.accept(notification, now);
    mailboxes::store(db, mailbox)?;
    Ok(accepted)
}

/// Settles a claim, and returns whether it had the lease.
pub(super) fn settle(
    db: &Transaction<'_>,
    claim: &Claim,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<bool> {
    let mut mailbox = mailboxes::load(db, &claim.notification.user)?;
    let has_lease = mailbox.settle(claim, settlement, now);
    mailboxes::store(db, mailbox)?;
    Ok(has_lease)
}

/// Makes the notification of a dead letter pending again, and due.
pub(super) fn replay(db: &Transaction<'_>, id: i64, now: Timestamp) -> Result<Replayed> {
    let notification = match dead_letter::take(db, id)? {
        Ok(notification) => notification,
        Err(outcome) => return Ok(outcome),
    };
    let mut mailbox = mailboxes::load(db, &notification.user)?;
    mailbox.put(&notification, now);
    mailbox.make_due(now);
    mailboxes::store(db, mailbox)?;
    Ok(Replayed::Queued)
}

/// Makes a mailbox due because its machine checked in, and retries its exhausted dead letters, unless
/// it is parked and the machine still has a problem. Returns whether a notification is pending.
pub(super) fn check_in(
    db: &Transaction<'_>,
    user: &UserId,
    problem: Option<ProblemCode>,
    now: Timestamp,
) -> Result<bool> {
    let mut mailbox = mailboxes::load(db, user)?;
    mailbox.exhausted = dead_letter::latest_exhausted(db, user)?;
    let is_pending = mailbox.check_in(problem, now);
    mailboxes::store(db, mailbox)?;
    Ok(is_pending)
}

/// Makes a retry due that waits for its time, and returns whether one did.
pub(super) fn retry_now(db: &Transaction<'_>, user: &UserId, now: Timestamp) -> Result<bool> {
    let mut mailbox = mailboxes::load(db, user)?;
    let waits = mailbox.retry_now(now);
    mailboxes::store(db, mailbox)?;
    Ok(waits)
}

fn due_by(order: &str) -> String {
    let columns = CLAIM.join(", ");
    format!("SELECT {columns} FROM pending WHERE due_at <= ?1 ORDER BY {order} LIMIT ?2")
}

pub(super) fn claim(
    db: &Transaction<'_>,
    order: ClaimOrder,
    relay: RelayId,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Claim>> {
    clock::correct(db, now, lease)?;
    let statement = match order {
        ClaimOrder::LongestDue => &LONGEST_DUE,
        ClaimOrder::LatestDue => &LATEST_DUE,
    };
    let mut due = due(db, statement, now, limit)?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    mailboxes::mark(db, now)?;
    number_leases(db, &mut due)?;
    let until = now + lease;
    for (RowId(id), claim) in &due {
        let values = params![id, until.as_millis(), claim.lease, relay.get()];
        db.prepare_cached(LEASE)?.execute(values)?;
        let user = &claim.notification.user;
        db.mailboxes().leased(user, until, claim.lease);
    }
    Ok(due.into_iter().map(|(_, claim)| claim).collect())
}

/// Gives each claim the number of its lease.
fn number_leases(db: &Connection, claims: &mut [(RowId, Claim)]) -> Result<()> {
    let mut statement = db.prepare_cached(TAKE_LEASES)?;
    let mut rows = statement.query([columns::limit(claims.len())])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let last: i64 = row.get("number")?;
    // SQLite completes a statement only when its rows are read to the end.
    rows.next()?;
    for (back, (_, claim)) in (0..).zip(claims.iter_mut().rev()) {
        claim.lease = last - back;
    }
    Ok(())
}

/// Reads the due mailboxes, and the numbers of their rows.
fn due(
    db: &Connection,
    statement: &str,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(RowId, Claim)>> {
    let mut statement = db.prepare_cached(statement)?;
    let mut rows = statement.query(params![now.as_millis(), columns::limit(limit)])?;
    let mut claims = Vec::new();
    while let Some(row) = rows.next()? {
        let row = InOrder::new(row, CLAIM);
        let place = RowId(columns::number(&row, "id")?);
        let notification = columns::notification(&row)?;
        let missing = || columns::corrupt("pending", "a due row has no notification");
        let claim = Claim {
            notification: notification.ok_or_else(missing)?,
            accepted_at: time(&row, "accepted_at")?,
            attempt: count(&row, "attempt")?,
            claimed_at: now,
            lease: 0,
        };
        claims.push((place, claim));
    }
    Ok(claims)
}

/// Releases the claims of relays that are not in the table, and returns the users. Lease numbers stay, so
/// that none of these claims can settle anything.
pub(super) fn release_orphaned(db: &Transaction<'_>) -> Result<Vec<UserId>> {
    let mut statement = db.prepare_cached(RELEASE_ORPHANED)?;
    let mut rows = statement.query([])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        let user = parsed(row, "user")?;
        db.mailboxes().forget(&user);
        users.push(user);
    }
    Ok(users)
}

pub(super) fn next_due(db: &Connection) -> Result<Option<Timestamp>> {
    let due: Option<i64> = db
        .prepare_cached(NEXT_DUE)?
        .query_row([], |row| row.get(0))?;
    Ok(due.map(Timestamp::from_millis))
}

pub(super) fn depth(db: &Connection) -> Result<Depth> {
    Ok(db.prepare_cached(DEPTH)?.query_row([], |row| {
        Ok(Depth {
            pending: row.get::<_, i64>(0)?.unsigned_abs(),
            oldest_accepted_at: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis),
            dead_letters: row.get::<_, i64>(2)?.unsigned_abs(),
            failing: row.get::<_, i64>(3)?.unsigned_abs(),
            parked: row.get::<_, i64>(4)?.unsigned_abs(),
            dead_letters_dropped: row.get::<_, i64>(5)?.unsigned_abs(),
        })
    })?)
}

#[cfg(test)]
mod tests;
