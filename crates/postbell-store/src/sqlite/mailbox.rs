//! One row per mailbox: its pending notification, its schedule and its lease.

mod pending;

use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Accepted, Claim, Depth, HistoryId, Notification, Replayed, Settlement, Timestamp, UserId,
};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) use self::pending::{failing, pending};
use super::columns::{self, in_order, parsed, parsed_if_any, time};
use super::failure::Failure;
use super::writer::Transaction;
use super::{dead_letter, delivery, message_id};

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
    UPDATE mailbox SET due_at = iif(due_at IS NULL, NULL, ?2), cooldown_until = 0
    WHERE user = ?1 AND leased_until <= ?2";

const DUE: &str = "
    SELECT user, message_id, history_id, body, accepted_at, attempt, lease
    FROM mailbox WHERE due_at <= ?1 ORDER BY due_at, user LIMIT ?2";

const LEASE: &str = "
    UPDATE mailbox SET due_at = ?2, leased_until = ?2, lease = ?3 WHERE user = ?1";

/// Finds the mailbox of a claim, unless the claim lost its lease or was settled.
const LEASED: &str = "
    SELECT message_id, cooldown_until, attempt, consecutive_failures FROM mailbox
    WHERE user = ?1 AND lease = ?2 AND leased_until > 0";

const COUNT_FAILURE: &str = "
    UPDATE mailbox SET consecutive_failures = consecutive_failures + 1,
        failing_since = coalesce(failing_since, ?2)
    WHERE user = ?1";

const CLEAR_FAILURES: &str = "
    UPDATE mailbox SET consecutive_failures = 0, failing_since = NULL WHERE user = ?1";

const RELEASE: &str = "
    UPDATE mailbox SET due_at = ?2, cooldown_until = ?3, attempt = ?4, leased_until = 0
    WHERE user = ?1";

const EMPTY: &str = "
    UPDATE mailbox SET message_id = NULL, history_id = NULL, body = NULL, accepted_at = NULL,
        due_at = NULL, cooldown_until = ?2, attempt = 0, leased_until = 0
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
        (SELECT count(*) FROM mailbox WHERE failing_since IS NOT NULL AND due_at IS NOT NULL)";

pub(super) fn remove_user(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    db.prepare_cached(EMPTY)?
        .execute(params![user.as_str(), 0])?;
    for statement in DELETE_USER {
        db.prepare_cached(statement)?.execute([user.as_str()])?;
    }
    Ok(())
}

pub(super) fn accept(
    db: &Connection,
    notification: &Notification,
    now: Timestamp,
) -> Result<Accepted> {
    if !message_id::is_first(db, &notification.user, &notification.message_id, now)? {
        return Ok(Accepted::Duplicate);
    }
    put(db, notification, now)
}

/// Makes a notification pending, unless the pending one covers it, and restarts the schedule.
fn put(db: &Connection, notification: &Notification, now: Timestamp) -> Result<Accepted> {
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

/// Makes a mailbox due because its machine checked in, and retries its exhausted dead letters.
/// Returns whether a notification is pending.
pub(super) fn check_in(db: &Connection, user: &UserId, now: Timestamp) -> Result<bool> {
    if let Some(notification) = dead_letter::take_exhausted(db, user)? {
        put(db, &notification, now)?;
    }
    make_due(db, user, now)?;
    Ok(find(db, user)?.is_some_and(|mailbox| mailbox.pending.is_some()))
}

pub(super) fn claim(
    db: &Connection,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Claim>> {
    let claims = due(db, now, limit)?;
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

pub(super) fn settle(
    db: &Connection,
    claim: &Claim,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<bool> {
    let user = &claim.notification.user;
    let mut leased = db.prepare_cached(LEASED)?;
    let leased = leased.query_row(params![user.as_str(), claim.lease], |row| {
        Ok((
            row.get::<_, String>("message_id")?,
            time(row, "cooldown_until")?,
            row.get("attempt")?,
            row.get("consecutive_failures")?,
        ))
    });
    let Some((pending, cooldown_until, attempt, failures)) = leased.optional()? else {
        return Ok(false);
    };
    delivery::record(db, claim, settlement, now)?;
    count_failures(db, user, settlement, failures, now)?;
    let has_newer = pending != claim.notification.message_id.as_str();
    match settlement {
        Settlement::Release => release(db, user, now, cooldown_until, attempt),
        Settlement::Delivered | Settlement::Unwanted if has_newer => release(db, user, now, now, 0),
        Settlement::Delivered | Settlement::Unwanted => empty(db, user, now),
        Settlement::Retry { cooldown, .. } | Settlement::DeadLetter { cooldown, .. }
            if has_newer =>
        {
            release(db, user, now + *cooldown, now + *cooldown, 0)
        }
        Settlement::Retry { wait, cooldown, .. } => release(
            db,
            user,
            now + *wait,
            now + *cooldown,
            claim.attempt.saturating_add(1),
        ),
        Settlement::DeadLetter {
            reason,
            failure,
            cooldown,
        } => {
            dead_letter::add(db, &claim.notification, *reason, failure, now)?;
            empty(db, user, now + *cooldown)
        }
    }?;
    Ok(true)
}

/// Counts consecutive failures, of which there were `failures`. Most deliveries write nothing here.
fn count_failures(
    db: &Connection,
    user: &UserId,
    settlement: &Settlement,
    failures: u32,
    now: Timestamp,
) -> Result<()> {
    match settlement {
        Settlement::Delivered | Settlement::Unwanted if failures > 0 => {
            db.prepare_cached(CLEAR_FAILURES)?
                .execute([user.as_str()])?;
        }
        Settlement::Retry { .. } | Settlement::DeadLetter { .. } => {
            let values = params![user.as_str(), now.as_millis()];
            db.prepare_cached(COUNT_FAILURE)?.execute(values)?;
        }
        Settlement::Delivered | Settlement::Unwanted | Settlement::Release => (),
    }
    Ok(())
}

fn release(
    db: &Connection,
    user: &UserId,
    due: Timestamp,
    cooldown_until: Timestamp,
    attempt: u32,
) -> Result<()> {
    let values = params![
        user.as_str(),
        due.as_millis(),
        cooldown_until.as_millis(),
        attempt
    ];
    db.prepare_cached(RELEASE)?.execute(values)?;
    Ok(())
}

/// Releases every claim, because the processes that made them have ended. Lease numbers stay, so that
/// none of these claims can settle anything.
pub(super) fn release_all(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(RELEASE_ALL)?.execute([]).map(drop)
}

fn empty(db: &Connection, user: &UserId, cooldown_until: Timestamp) -> Result<()> {
    db.prepare_cached(EMPTY)?
        .execute(params![user.as_str(), cooldown_until.as_millis()])?;
    Ok(())
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
        })
    })?)
}
