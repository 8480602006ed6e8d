//! One row per mailbox: its pending notification, its schedule and its lease.

mod pending;
mod settle;

use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Accepted, Claim, Depth, HistoryId, Notification, ProblemCode, Replayed, Timestamp, UserId,
};
use rusqlite::{Connection, params};

pub(super) use self::pending::{failing, pending};
pub(super) use self::settle::settle;
use super::columns::{self, in_order, parsed, parsed_if_any, time};
use super::failure::Failure;
use super::writer::Transaction;
use super::{clock, dead_letter};

type Result<T> = std::result::Result<T, Failure>;

const FIND: &str = "
    SELECT history_id, due_at, cooldown_until, leased_until, attempt FROM mailbox WHERE user = ?1";

const ADD: &str = "
    INSERT INTO mailbox (user, message_id, history_id, body, accepted_at, due_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5)";

const REPLACE: &str = "
    UPDATE mailbox SET message_id = ?2, history_id = ?3, body = ?4, accepted_at = ?5, attempt = 0
    WHERE user = ?1";

const RESTART_SCHEDULE: &str = "UPDATE mailbox SET due_at = ?2, attempt = 0 WHERE user = ?1";

/// Makes the pending notification due at once, and ends the cooldown, unless a delivery is in progress.
const MAKE_DUE: &str = "
    UPDATE mailbox SET due_at = iif(due_at IS NULL, NULL, ?2), cooldown_until = 0, parked_for = NULL
    WHERE user = ?1 AND leased_until <= ?2";

/// Remembers a check-in without a problem during a delivery.
const PROBLEM_IS_OVER: &str = "
    UPDATE mailbox SET checked_in_at = ?2 WHERE user = ?1 AND leased_until > ?2";

const IS_PARKED: &str = "SELECT 1 FROM mailbox WHERE user = ?1 AND parked_for IS NOT NULL";

const DUE: &str = "
    SELECT user, message_id, history_id, body, accepted_at, attempt, lease
    FROM mailbox WHERE due_at <= ?1 ORDER BY due_at, user LIMIT ?2";

const LEASE: &str = "
    UPDATE mailbox SET due_at = ?2, leased_until = ?2, lease = ?3 WHERE user = ?1";

const EMPTY: &str = "
    UPDATE mailbox SET message_id = NULL, history_id = NULL, body = NULL, accepted_at = NULL,
        due_at = NULL, cooldown_until = ?2, attempt = 0, leased_until = 0, parked_for = NULL
    WHERE user = ?1";

/// The row of the mailbox stays, so that a lease number never returns.
const DELETE_USER: [&str; 4] = [
    "DELETE FROM seen_message WHERE user = ?1",
    "DELETE FROM dead_letter WHERE user = ?1",
    "DELETE FROM delivery WHERE user = ?1",
    "DELETE FROM delivery_hour WHERE user = ?1",
];

/// Claimed mailboxes become due as before.
const RELEASE_ALL: &str = "
    UPDATE mailbox SET due_at = cooldown_until, leased_until = 0
    WHERE due_at IS NOT NULL AND leased_until > 0";

const NEXT_DUE: &str = "SELECT min(due_at) FROM mailbox WHERE due_at IS NOT NULL";

/// Separate queries, because each is then answered from an index alone.
const DEPTH: &str = "
    SELECT
        (SELECT count(*) FROM mailbox WHERE due_at IS NOT NULL),
        (SELECT min(accepted_at) FROM mailbox WHERE due_at IS NOT NULL),
        (SELECT count(*) FROM dead_letter),
        (SELECT count(*) FROM mailbox WHERE failing_since IS NOT NULL AND due_at IS NOT NULL),
        (SELECT count(*) FROM mailbox WHERE parked_for IS NOT NULL),
        (SELECT number FROM dead_letter_dropped)";

pub(super) fn remove_user(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    db.prepare_cached(EMPTY)?
        .execute(params![user.as_str(), 0])?;
    for statement in DELETE_USER {
        db.prepare_cached(statement)?.execute([user.as_str()])?;
    }
    Ok(())
}

/// Makes a notification pending, unless the pending one covers it, and restarts the schedule.
pub(super) fn put(
    db: &Connection,
    notification: &Notification,
    now: Timestamp,
) -> Result<Accepted> {
    clock::mark(db, now)?;
    let mailbox = find(db, &notification.user)?;
    let statement = match &mailbox {
        None => Some(ADD),
        Some(mailbox) => mailbox
            .pending
            .is_none_or(|pending| pending < notification.history_id)
            .then_some(REPLACE),
    };
    if let Some(statement) = statement {
        db.prepare_cached(statement)?.execute(params![
            notification.user.as_str(),
            notification.message_id.as_str(),
            in_order(notification.history_id),
            &notification.body[..],
            now.as_millis(),
        ])?;
    }
    let Some(mailbox) = mailbox else {
        return Ok(Accepted::Queued);
    };
    // A mailbox whose delivery is in progress, or that is in its cooldown, is not made due. One that
    // is due already keeps its place in the index.
    let due = now.max(mailbox.cooldown_until);
    let is_due_already = mailbox.attempt == 0 && mailbox.due_at.is_some_and(|at| at <= due);
    if mailbox.leased_until <= now && !is_due_already {
        let values = params![notification.user.as_str(), due.as_millis()];
        db.prepare_cached(RESTART_SCHEDULE)?.execute(values)?;
    }
    Ok(if mailbox.pending.is_some() {
        Accepted::Merged
    } else {
        Accepted::Queued
    })
}

struct Mailbox {
    pending: Option<HistoryId>,
    due_at: Option<Timestamp>,
    cooldown_until: Timestamp,
    leased_until: Timestamp,
    attempt: u32,
}

fn find(db: &Connection, user: &UserId) -> Result<Option<Mailbox>> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Mailbox {
        pending: parsed_if_any(row, "history_id")?,
        due_at: row
            .get::<_, Option<i64>>("due_at")?
            .map(Timestamp::from_millis),
        cooldown_until: time(row, "cooldown_until")?,
        leased_until: time(row, "leased_until")?,
        attempt: row.get("attempt")?,
    }))
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

pub(super) fn claim(
    db: &Connection,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Claim>> {
    clock::correct(db, now, lease)?;
    let claims = due(db, now, limit)?;
    if !claims.is_empty() {
        clock::mark(db, now)?;
    }
    let until = (now + lease).as_millis();
    for claim in &claims {
        let user = claim.notification.user.as_str();
        db.prepare_cached(LEASE)?
            .execute(params![user, until, claim.lease])?;
    }
    Ok(claims)
}

/// Reads the due mailboxes, each with the number of its next lease.
fn due(db: &Connection, now: Timestamp, limit: usize) -> Result<Vec<Claim>> {
    let mut statement = db.prepare_cached(DUE)?;
    let mut rows = statement.query(params![now.as_millis(), columns::limit(limit)])?;
    let mut claims = Vec::new();
    while let Some(row) = rows.next()? {
        let notification = Notification {
            user: parsed(row, "user")?,
            message_id: parsed(row, "message_id")?,
            history_id: parsed(row, "history_id")?,
            body: Bytes::from(row.get::<_, Vec<u8>>("body")?),
        };
        claims.push(Claim {
            notification,
            attempt: row.get("attempt")?,
            accepted_at: time(row, "accepted_at")?,
            claimed_at: now,
            lease: row.get::<_, i64>("lease")?.saturating_add(1),
        });
    }
    Ok(claims)
}

/// Releases every claim, because the processes that made them have ended. Lease numbers stay, so that
/// none of these claims can settle anything.
pub(super) fn release_all(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(RELEASE_ALL)?.execute([]).map(drop)
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
