//! One row per mailbox with a pending notification or a failure: its schedule and its lease.

mod list;
mod settle;

use std::sync::LazyLock;
use std::time::Duration;

use postbell_core::{
    Accepted, Claim, Coverage, Depth, EmailAddress, MessageIds, Notification, ProblemCode, RelayId,
    Replayed, Timestamp, UserId,
};
use rusqlite::{Connection, params};

pub(super) use self::list::{failing, find as pending};
pub(super) use self::settle::settle;
use super::columns::InOrder;
use super::failure::Failure;
use super::writer::Transaction;
use super::{clock, cursor, dead_letter};
use crate::columns::{self, count, in_order, parsed, time};
use crate::mailbox::{Effect, Mailbox};

type Result<T> = std::result::Result<T, Failure>;

/// The columns of a [`Mailbox`], in the order in which it reads them.
const MAILBOX: &[&str] = &[
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
];

static FIND: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM pending WHERE user = ?1", MAILBOX.join(", ")));

const ADD: &str = "
    INSERT INTO pending (user, message_id, history_id, address, published_at, body, accepted_at,
        waiting_since, merged_ids, due_at, trace)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?7, ?9)";

const REPLACE: &str = "
    UPDATE pending SET message_id = ?2, history_id = ?3, address = ?4, published_at = ?5, body = ?6,
        accepted_at = ?7, merged_ids = ?8, trace = ?9, attempt = 0
    WHERE user = ?1";

const BEGIN_TO_WAIT: &str = "UPDATE pending SET waiting_since = accepted_at WHERE user = ?1";

/// A message that a delivery in progress may not cover begins to wait now.
const MERGE: &str = "
    UPDATE pending SET merged_ids = ?2, published_at = ?3,
        accepted_at = iif(leased_until > 0, ?4, accepted_at)
    WHERE user = ?1";

const RESTART_SCHEDULE: &str = "UPDATE pending SET due_at = ?2, attempt = 0 WHERE user = ?1";

/// Makes the pending notification due at once, and ends the cooldown, unless a delivery is in progress.
const MAKE_DUE: &str = "
    UPDATE pending SET due_at = iif(due_at IS NULL, NULL, ?2), cooldown_until = 0, parked_for = NULL
    WHERE user = ?1 AND leased_until <= ?2";

/// Remembers a check-in without a problem during a delivery.
const PROBLEM_IS_OVER: &str = "
    UPDATE pending SET checked_in_at = ?2 WHERE user = ?1 AND leased_until > ?2";

const IS_PARKED: &str = "SELECT 1 FROM pending WHERE user = ?1 AND parked_for IS NOT NULL";

/// The columns of a [`Claim`], in the order in which it is read.
const CLAIM: &[&str] = &[
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

static DUE: LazyLock<String> = LazyLock::new(|| {
    let columns = CLAIM.join(", ");
    format!("SELECT {columns} FROM pending WHERE due_at <= ?1 ORDER BY due_at, user LIMIT ?2")
});

static LATEST_DUE: LazyLock<String> =
    LazyLock::new(|| DUE.replace("due_at, user LIMIT", "due_at DESC, user DESC LIMIT"));

const LEASE: &str = "
    UPDATE pending SET due_at = ?2, leased_until = ?2, lease = ?3, holder = ?4 WHERE user = ?1";

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

/// Separate queries, because each is then answered from an index alone.
const DEPTH: &str = "
    SELECT
        (SELECT count(*) FROM pending WHERE due_at IS NOT NULL),
        (SELECT min(waiting_since) FROM pending WHERE due_at IS NOT NULL),
        (SELECT count(*) FROM dead_letter),
        (SELECT count(*) FROM pending WHERE failing_since IS NOT NULL AND due_at IS NOT NULL),
        (SELECT count(*) FROM pending WHERE parked_for IS NOT NULL),
        (SELECT number FROM dead_letter_dropped)";

pub(super) fn remove_user(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    cursor::remove_user(db, user)?;
    for statement in DELETE_USER {
        db.prepare_cached(statement)?.execute([user.as_str()])?;
    }
    Ok(())
}

/// Makes a notification pending, unless it is a repeat or covered.
pub(super) fn accept(
    db: &Connection,
    notification: &Notification,
    now: Timestamp,
) -> Result<Accepted> {
    let mailbox = find(db, &notification.user)?;
    if let Some(mailbox) = &mailbox
        && let Some(accepted) = mailbox.covers(notification)
    {
        if accepted == Accepted::Merged {
            apply(db, &mailbox.effect_of(notification), notification, now)?;
        }
        return Ok(accepted);
    }
    match cursor::coverage(db, notification, now)? {
        Coverage::Repeat => Ok(Accepted::Duplicate),
        Coverage::Covered => Ok(Accepted::Covered),
        Coverage::New => put_into(db, mailbox, notification, now),
    }
}

/// Makes a notification pending, unless the pending one covers it, and restarts the schedule.
fn put(db: &Connection, notification: &Notification, now: Timestamp) -> Result<Accepted> {
    let mailbox = find(db, &notification.user)?;
    put_into(db, mailbox, notification, now)
}

fn put_into(
    db: &Connection,
    mailbox: Option<Mailbox>,
    notification: &Notification,
    now: Timestamp,
) -> Result<Accepted> {
    let user = notification.user.as_str();
    let Some(mailbox) = mailbox else {
        clock::mark(db, now)?;
        let published_at = notification.published_at;
        write(
            db,
            ADD,
            notification,
            published_at,
            &MessageIds::default(),
            now,
        )?;
        return Ok(Accepted::Queued);
    };
    apply(db, &mailbox.effect_of(notification), notification, now)?;
    if mailbox.pending.is_none() {
        db.prepare_cached(BEGIN_TO_WAIT)?.execute([user])?;
    }
    if let Some(due) = mailbox.restart(now) {
        clock::mark(db, now)?;
        let values = params![user, due.as_millis()];
        db.prepare_cached(RESTART_SCHEDULE)?.execute(values)?;
    }
    Ok(if mailbox.pending.is_some() {
        Accepted::Merged
    } else {
        Accepted::Queued
    })
}

fn apply(
    db: &Connection,
    effect: &Effect,
    notification: &Notification,
    now: Timestamp,
) -> Result<()> {
    match effect {
        Effect::Replaced {
            merged,
            published_at,
        } => write(db, REPLACE, notification, *published_at, merged, now)?,
        Effect::Merged {
            merged,
            published_at,
        } => {
            db.prepare_cached(MERGE)?.execute(params![
                notification.user.as_str(),
                merged.to_string(),
                published_at.map(Timestamp::as_millis),
                now.as_millis(),
            ])?;
        }
        Effect::None => (),
    }
    Ok(())
}

fn write(
    db: &Connection,
    statement: &str,
    notification: &Notification,
    published_at: Option<Timestamp>,
    merged: &MessageIds,
    now: Timestamp,
) -> Result<()> {
    db.prepare_cached(statement)?.execute(params![
        notification.user.as_str(),
        notification.message_id.as_str(),
        in_order(notification.history_id),
        notification.address.as_ref().map(EmailAddress::as_str),
        published_at.map(Timestamp::as_millis),
        &notification.body[..],
        now.as_millis(),
        merged.to_string(),
        notification.trace.map(|trace| trace.to_string()),
    ])?;
    Ok(())
}

fn find(db: &Connection, user: &UserId) -> Result<Option<Mailbox>> {
    let mut statement = db.prepare_cached(&FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    let row = rows.next()?.map(|row| InOrder::new(row, MAILBOX));
    row.as_ref().map(Mailbox::read).transpose()
}

fn make_due(db: &Connection, user: &UserId, now: Timestamp) -> Result<()> {
    clock::mark(db, now)?;
    db.prepare_cached(MAKE_DUE)?
        .execute(params![user.as_str(), now.as_millis()])?;
    Ok(())
}

/// Makes the notification of a dead letter pending again, and due.
pub(super) fn replay(db: &Transaction<'_>, id: i64, now: Timestamp) -> Result<Replayed> {
    let notification = match dead_letter::take(db, id)? {
        Ok(notification) => notification,
        Err(outcome) => return Ok(outcome),
    };
    put(db, &notification, now)?;
    make_due(db, &notification.user, now)?;
    Ok(Replayed::Queued)
}

/// Makes a mailbox due because its machine checked in, and retries its exhausted dead letters, unless
/// it is parked and the machine still has a problem. Returns whether a notification is pending.
pub(super) fn check_in(
    db: &Connection,
    user: &UserId,
    problem: Option<ProblemCode>,
    now: Timestamp,
) -> Result<bool> {
    let has_problem = problem.is_some();
    let stays_parked = has_problem && db.prepare_cached(IS_PARKED)?.exists([user.as_str()])?;
    if !stays_parked {
        if let Some(notification) = dead_letter::take_exhausted(db, user)? {
            put(db, &notification, now)?;
        }
        make_due(db, user, now)?;
    }
    if !has_problem {
        let values = params![user.as_str(), now.as_millis()];
        db.prepare_cached(PROBLEM_IS_OVER)?.execute(values)?;
    }
    Ok(find(db, user)?.is_some_and(|mailbox| mailbox.pending.is_some()))
}

/// Makes a retry due that waits for its time, and returns whether one did.
pub(super) fn retry_now(db: &Connection, user: &UserId, now: Timestamp) -> Result<bool> {
    let waits = find(db, user)?.is_some_and(|mailbox| mailbox.waits_for_retry(now));
    if waits {
        make_due(db, user, now)?;
    }
    Ok(waits)
}

pub(super) fn claim(
    db: &Connection,
    relay: RelayId,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Claim>> {
    clock::correct(db, now, lease)?;
    lease_all(db, relay, now, lease, due(db, &DUE, now, limit)?)
}

pub(super) fn claim_latest(
    db: &Connection,
    relay: RelayId,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Claim>> {
    clock::correct(db, now, lease)?;
    lease_all(db, relay, now, lease, due(db, &LATEST_DUE, now, limit)?)
}

fn lease_all(
    db: &Connection,
    relay: RelayId,
    now: Timestamp,
    lease: Duration,
    mut claims: Vec<Claim>,
) -> Result<Vec<Claim>> {
    if claims.is_empty() {
        return Ok(claims);
    }
    clock::mark(db, now)?;
    number_leases(db, &mut claims)?;
    let until = (now + lease).as_millis();
    for claim in &claims {
        let user = claim.notification.user.as_str();
        db.prepare_cached(LEASE)?
            .execute(params![user, until, claim.lease, relay.get()])?;
    }
    Ok(claims)
}

/// Gives each claim the number of its lease.
fn number_leases(db: &Connection, claims: &mut [Claim]) -> Result<()> {
    let mut statement = db.prepare_cached(TAKE_LEASES)?;
    let mut rows = statement.query([columns::limit(claims.len())])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let last: i64 = row.get("number")?;
    // SQLite completes a statement only when its rows are read to the end.
    rows.next()?;
    for (back, claim) in (0..).zip(claims.iter_mut().rev()) {
        claim.lease = last - back;
    }
    Ok(())
}

/// Reads the due mailboxes.
fn due(db: &Connection, statement: &str, now: Timestamp, limit: usize) -> Result<Vec<Claim>> {
    let mut statement = db.prepare_cached(statement)?;
    let mut rows = statement.query(params![now.as_millis(), columns::limit(limit)])?;
    let mut claims = Vec::new();
    while let Some(row) = rows.next()? {
        let row = InOrder::new(row, CLAIM);
        let notification = columns::notification(&row)?;
        let missing = || columns::corrupt("pending", "a due row has no notification");
        claims.push(Claim {
            notification: notification.ok_or_else(missing)?,
            accepted_at: time(&row, "accepted_at")?,
            attempt: count(&row, "attempt")?,
            claimed_at: now,
            lease: 0,
        });
    }
    Ok(claims)
}

/// Releases the claims of relays that are not in the table, and returns the users. Lease numbers stay, so
/// that none of these claims can settle anything.
pub(super) fn release_orphaned(db: &Connection) -> Result<Vec<UserId>> {
    let mut statement = db.prepare_cached(RELEASE_ORPHANED)?;
    let mut rows = statement.query([])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(parsed(row, "user")?);
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
