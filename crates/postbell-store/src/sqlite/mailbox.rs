//! One row a mailbox: what waits, since when, and until when it is hidden.

mod shown;

use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Accepted, Claim, Depth, HistoryId, Notification, Settlement, Timestamp, UserId,
};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) use self::shown::{failing, waiting};
use super::columns::{in_order, limit, parsed, parsed_if_any, time};
use super::failure::Failure;
use super::{dead_letter, delivery, seen};

type Result<T> = std::result::Result<T, Failure>;

const FIND: &str = "
    SELECT history_id, due_at, rests_until, leased_until, failures FROM mailbox WHERE user = ?1";

const ADD: &str = "
    INSERT INTO mailbox (user, message_id, history_id, body, accepted_at, due_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5)";

const REPLACE: &str = "
    UPDATE mailbox SET message_id = ?2, history_id = ?3, body = ?4, accepted_at = ?5, failures = 0
    WHERE user = ?1";

const START_OVER: &str = "UPDATE mailbox SET due_at = ?2, failures = 0 WHERE user = ?1";

/// What waits is due at once, and what comes next does not rest, unless a delivery is under way.
const WAKE: &str = "
    UPDATE mailbox SET due_at = iif(due_at IS NULL, NULL, ?2), rests_until = 0
    WHERE user = ?1 AND leased_until <= ?2";

const DUE: &str = "
    SELECT user, message_id, history_id, body, accepted_at, failures, lease
    FROM mailbox WHERE due_at <= ?1 ORDER BY due_at, user LIMIT ?2";

const LEASE: &str = "
    UPDATE mailbox SET due_at = ?2, leased_until = ?2, lease = ?3 WHERE user = ?1";

/// Finds the mailbox of a claim, unless the claim has lost its lease or was settled.
const HELD: &str = "
    SELECT message_id, rests_until, failures, failed FROM mailbox
    WHERE user = ?1 AND lease = ?2 AND leased_until > 0";

const FAILED_ONCE_MORE: &str = "
    UPDATE mailbox SET failed = failed + 1, failing_since = coalesce(failing_since, ?2)
    WHERE user = ?1";

const FAILS_NO_MORE: &str = "
    UPDATE mailbox SET failed = 0, failing_since = NULL WHERE user = ?1";

const RELEASE: &str = "
    UPDATE mailbox SET due_at = ?2, rests_until = ?3, failures = ?4, leased_until = 0
    WHERE user = ?1";

const EMPTY: &str = "
    UPDATE mailbox SET message_id = NULL, history_id = NULL, body = NULL, accepted_at = NULL,
        due_at = NULL, rests_until = ?2, failures = 0, leased_until = 0
    WHERE user = ?1";

/// Of each table but that of mailboxes, whose row stays, so that the number of a lease never returns.
const FORGET: [&str; 4] = [
    "DELETE FROM seen WHERE user = ?1",
    "DELETE FROM dead_letter WHERE user = ?1",
    "DELETE FROM delivery WHERE user = ?1",
    "DELETE FROM delivery_hour WHERE user = ?1",
];

/// What was claimed is due as it was before.
const RELEASE_ALL: &str = "
    UPDATE mailbox SET due_at = rests_until, leased_until = 0
    WHERE due_at IS NOT NULL AND leased_until > 0";

const NEXT_DUE: &str = "SELECT min(due_at) FROM mailbox WHERE due_at IS NOT NULL";

/// Each of its own: an index alone answers it then.
const DEPTH: &str = "
    SELECT
        (SELECT count(*) FROM mailbox WHERE due_at IS NOT NULL),
        (SELECT min(accepted_at) FROM mailbox WHERE due_at IS NOT NULL),
        (SELECT count(*) FROM dead_letter),
        (SELECT count(*) FROM mailbox WHERE failing_since IS NOT NULL AND due_at IS NOT NULL)";

pub(super) fn forget_user(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    db.prepare_cached(EMPTY)?
        .execute(params![user.as_str(), 0])?;
    for forget in FORGET {
        db.prepare_cached(forget)?.execute([user.as_str()])?;
    }
    Ok(())
}

pub(super) fn accept(
    db: &Connection,
    notification: &Notification,
    now: Timestamp,
) -> Result<Accepted> {
    if !seen::is_first(db, &notification.user, &notification.message_id, now)? {
        return Ok(Accepted::Duplicate);
    }
    put(db, notification, now)
}

/// Lets a notification wait, unless what waits covers it, and starts the schedule over.
pub(super) fn put(
    db: &Connection,
    notification: &Notification,
    now: Timestamp,
) -> Result<Accepted> {
    let Some(mailbox) = find(db, &notification.user)? else {
        write(db, ADD, notification, now)?;
        return Ok(Accepted::Queued);
    };
    if mailbox
        .waits_for
        .is_none_or(|waits_for| waits_for < notification.history_id)
    {
        write(db, REPLACE, notification, now)?;
    }
    // What is being delivered stays hidden; so does what rests after a failure. What is due
    // already stays where it is in the index.
    let due = now.max(mailbox.rests_until);
    let is_as_it_should = mailbox.failures == 0 && mailbox.due_at.is_some_and(|at| at <= due);
    if mailbox.leased_until <= now && !is_as_it_should {
        let values = params![notification.user.as_str(), due.as_millis()];
        db.prepare_cached(START_OVER)?.execute(values)?;
    }
    Ok(if mailbox.waits_for.is_some() {
        Accepted::Merged
    } else {
        Accepted::Queued
    })
}

fn write(
    db: &Connection,
    statement: &str,
    notification: &Notification,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    db.prepare_cached(statement)?.execute(params![
        notification.user.as_str(),
        notification.message_id.as_str(),
        in_order(notification.history_id),
        &notification.body[..],
        now.as_millis(),
    ])
}

struct Mailbox {
    waits_for: Option<HistoryId>,
    due_at: Option<Timestamp>,
    rests_until: Timestamp,
    leased_until: Timestamp,
    failures: u32,
}

fn find(db: &Connection, user: &UserId) -> Result<Option<Mailbox>> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Mailbox {
        waits_for: parsed_if_any(row, "history_id")?,
        due_at: row
            .get::<_, Option<i64>>("due_at")?
            .map(Timestamp::from_millis),
        rests_until: time(row, "rests_until")?,
        leased_until: time(row, "leased_until")?,
        failures: row.get("failures")?,
    }))
}

pub(super) fn wake(db: &Connection, user: &UserId, now: Timestamp) -> Result<()> {
    db.prepare_cached(WAKE)?
        .execute(params![user.as_str(), now.as_millis()])?;
    Ok(())
}

/// A machine reported in: what waits for it, and what was given up because it did not answer, is
/// due. Returns whether anything waits.
pub(super) fn check_in(db: &Connection, user: &UserId, now: Timestamp) -> Result<bool> {
    if let Some(notification) = dead_letter::take_exhausted(db, user)? {
        put(db, &notification, now)?;
    }
    wake(db, user, now)?;
    Ok(find(db, user)?.is_some_and(|mailbox| mailbox.waits_for.is_some()))
}

pub(super) fn claim(
    db: &Connection,
    now: Timestamp,
    lease: Duration,
    most: usize,
) -> Result<Vec<Claim>> {
    let claims = due(db, now, most)?;
    let until = (now + lease).as_millis();
    for claim in &claims {
        let user = claim.notification.user.as_str();
        db.prepare_cached(LEASE)?
            .execute(params![user, until, claim.lease])?;
    }
    Ok(claims)
}

/// Reads the mailboxes that are due, each with the number of the lease it is about to get.
fn due(db: &Connection, now: Timestamp, most: usize) -> Result<Vec<Claim>> {
    let mut statement = db.prepare_cached(DUE)?;
    let mut rows = statement.query(params![now.as_millis(), limit(most)])?;
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
            failures: row.get("failures")?,
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
) -> Result<()> {
    let user = &claim.notification.user;
    let mut held = db.prepare_cached(HELD)?;
    let held = held.query_row(params![user.as_str(), claim.lease], |row| {
        Ok((
            row.get::<_, String>("message_id")?,
            time(row, "rests_until")?,
            row.get("failures")?,
            row.get("failed")?,
        ))
    });
    let Some((waiting, rests_until, failures, failed)) = held.optional()? else {
        return Err(Failure::LeaseLost { user: user.clone() });
    };
    delivery::record(db, claim, settlement, now)?;
    count_in_a_row(db, user, settlement, failed, now)?;
    let has_newer = waiting != claim.notification.message_id.as_str();
    match settlement {
        Settlement::Release => release(db, user, now, rests_until, failures),
        Settlement::Delivered | Settlement::Unwanted if has_newer => release(db, user, now, now, 0),
        Settlement::Delivered | Settlement::Unwanted => empty(db, user, now),
        Settlement::Retry { rest, .. } | Settlement::DeadLetter { rest, .. } if has_newer => {
            release(db, user, now + *rest, now + *rest, 0)
        }
        Settlement::Retry { wait, rest, .. } => release(
            db,
            user,
            now + *wait,
            now + *rest,
            claim.failures.saturating_add(1),
        ),
        Settlement::DeadLetter {
            reason,
            cause,
            rest,
        } => {
            dead_letter::bury(db, &claim.notification, *reason, cause, now)?;
            empty(db, user, now + *rest)
        }
    }
}

/// Counts the failures in a row, of which there were `failed`; most deliveries write nothing here.
fn count_in_a_row(
    db: &Connection,
    user: &UserId,
    settlement: &Settlement,
    failed: u32,
    now: Timestamp,
) -> Result<()> {
    match settlement {
        Settlement::Delivered | Settlement::Unwanted if failed > 0 => {
            db.prepare_cached(FAILS_NO_MORE)?.execute([user.as_str()])?;
        }
        Settlement::Retry { .. } | Settlement::DeadLetter { .. } => {
            let values = params![user.as_str(), now.as_millis()];
            db.prepare_cached(FAILED_ONCE_MORE)?.execute(values)?;
        }
        Settlement::Delivered | Settlement::Unwanted | Settlement::Release => (),
    }
    Ok(())
}

fn release(
    db: &Connection,
    user: &UserId,
    due: Timestamp,
    rests_until: Timestamp,
    failures: u32,
) -> Result<()> {
    let values = params![
        user.as_str(),
        due.as_millis(),
        rests_until.as_millis(),
        failures
    ];
    db.prepare_cached(RELEASE)?.execute(values)?;
    Ok(())
}

/// Releases every claim: those who made them are gone. The number of each lease stays, so that
/// none of them can settle anything.
pub(super) fn release_all(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(RELEASE_ALL)?.execute([]).map(drop)
}

fn empty(db: &Connection, user: &UserId, rests_until: Timestamp) -> Result<()> {
    db.prepare_cached(EMPTY)?
        .execute(params![user.as_str(), rests_until.as_millis()])?;
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
            waiting: row.get::<_, i64>(0)?.unsigned_abs(),
            oldest_accepted_at: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis),
            dead_letters: row.get::<_, i64>(2)?.unsigned_abs(),
            failing: row.get::<_, i64>(3)?.unsigned_abs(),
        })
    })?)
}
