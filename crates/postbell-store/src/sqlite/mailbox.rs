//! The statements: one row a mailbox, one a message id, one a dead letter.

use std::time::Duration;

use bytes::Bytes;
use postbell_core::inbox::{DUPLICATE_WINDOW, UnreadableMessage};
use postbell_core::{
    Accepted, Claim, DeadLetter, HistoryId, MessageId, Notification, Settlement, Timestamp, UserId,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;

type Result<T> = std::result::Result<T, Failure>;

/// Remembers a message id; changes nothing where it was seen within the window.
const REMEMBER: &str = "
    INSERT INTO seen (user, message_id, seen_at) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET seen_at = ?3 WHERE seen_at <= ?4";

const FIND: &str = "SELECT history_id, rests_until, leased_until
    FROM mailbox WHERE user = ?1";

const ADD: &str = "
    INSERT INTO mailbox (user, message_id, history_id, body, accepted_at, due_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5)";

const REPLACE: &str = "
    UPDATE mailbox SET message_id = ?2, history_id = ?3, body = ?4, accepted_at = ?5, failures = 0
    WHERE user = ?1";

const START_OVER: &str = "UPDATE mailbox SET due_at = ?2, failures = 0 WHERE user = ?1";

const DUE: &str = "
    SELECT user, message_id, history_id, body, accepted_at, failures, lease
    FROM mailbox WHERE due_at <= ?1 ORDER BY due_at, user LIMIT ?2";

const LEASE: &str = "
    UPDATE mailbox SET due_at = ?2, leased_until = ?2, lease = lease + 1 WHERE user = ?1";

/// Finds the mailbox of a claim, unless the claim has lost its lease or was settled.
const HELD: &str = "
    SELECT message_id, rests_until FROM mailbox
    WHERE user = ?1 AND lease = ?2 AND leased_until > 0";

const RELEASE: &str = "
    UPDATE mailbox SET due_at = ?2, rests_until = ?3, failures = ?4, leased_until = 0
    WHERE user = ?1";

const EMPTY: &str = "
    UPDATE mailbox SET message_id = NULL, history_id = NULL, body = NULL, accepted_at = NULL,
        due_at = NULL, rests_until = ?2, failures = 0, leased_until = 0
    WHERE user = ?1";

const BURY: &str = "
    INSERT INTO dead_letter (user, message_id, history_id, body, cause, buried_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const FORGET: &str = "
    DELETE FROM seen WHERE (user, message_id) IN
        (SELECT user, message_id FROM seen WHERE seen_at <= ?1 ORDER BY seen_at LIMIT ?2)";

pub(super) fn accept(
    db: &Connection,
    notification: &Notification,
    now: Timestamp,
) -> Result<Accepted> {
    if !is_first(db, &notification.user, &notification.message_id, now)? {
        return Ok(Accepted::Duplicate);
    }
    let Some(mailbox) = find(db, &notification.user)? else {
        put(db, ADD, notification, now)?;
        return Ok(Accepted::Waiting);
    };
    if mailbox
        .waits_for
        .is_none_or(|waits_for| waits_for < notification.history_id)
    {
        put(db, REPLACE, notification, now)?;
    }
    // What is being delivered stays hidden; so does what rests after a failure.
    if mailbox.leased_until <= now {
        let due = now.max(mailbox.rests_until).as_millis();
        db.prepare_cached(START_OVER)?
            .execute(params![notification.user.as_str(), due])?;
    }
    Ok(if mailbox.waits_for.is_some() {
        Accepted::Merged
    } else {
        Accepted::Waiting
    })
}

fn put(
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
    rests_until: Timestamp,
    leased_until: Timestamp,
}

fn find(db: &Connection, user: &UserId) -> Result<Option<Mailbox>> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let is_empty = row.get_ref("history_id")? == ValueRef::Null;
    Ok(Some(Mailbox {
        waits_for: if is_empty {
            None
        } else {
            Some(id(row, "history_id")?)
        },
        rests_until: time(row, "rests_until")?,
        leased_until: time(row, "leased_until")?,
    }))
}

pub(super) fn bury_unreadable(
    db: &Connection,
    letter: &UnreadableMessage,
    now: Timestamp,
) -> Result<Accepted> {
    if !is_first(db, &letter.user, &letter.message_id, now)? {
        return Ok(Accepted::Duplicate);
    }
    db.prepare_cached(BURY)?.execute(params![
        letter.user.as_str(),
        letter.message_id.as_str(),
        None::<String>,
        &letter.body[..],
        letter.cause,
        now.as_millis(),
    ])?;
    Ok(Accepted::Waiting)
}

fn is_first(db: &Connection, user: &UserId, message: &MessageId, now: Timestamp) -> Result<bool> {
    let changed = db.prepare_cached(REMEMBER)?.execute(params![
        user.as_str(),
        message.as_str(),
        now.as_millis(),
        oldest_remembered(now),
    ])?;
    Ok(changed > 0)
}

/// The time at which, and before which, a message id was seen too long ago to matter.
fn oldest_remembered(now: Timestamp) -> i64 {
    let window = i64::try_from(DUPLICATE_WINDOW.as_millis()).unwrap_or(i64::MAX);
    now.as_millis().saturating_sub(window)
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
        db.prepare_cached(LEASE)?.execute(params![user, until])?;
    }
    Ok(claims)
}

/// Reads the mailboxes that are due, each with the number of the lease it is about to get.
fn due(db: &Connection, now: Timestamp, most: usize) -> Result<Vec<Claim>> {
    let mut statement = db.prepare_cached(DUE)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![now.as_millis(), most])?;
    let mut claims = Vec::new();
    while let Some(row) = rows.next()? {
        let notification = Notification {
            user: id(row, "user")?,
            message_id: id(row, "message_id")?,
            history_id: id(row, "history_id")?,
            body: Bytes::from(row.get::<_, Vec<u8>>("body")?),
        };
        claims.push(Claim {
            notification,
            failures: row.get("failures")?,
            accepted_at: time(row, "accepted_at")?,
            lease: row.get::<_, i64>("lease")? + 1,
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
        ))
    });
    let Some((waiting, rests_until)) = held.optional()? else {
        return Err(Failure::LeaseLost { user: user.clone() });
    };
    let has_newer = waiting != claim.notification.message_id.as_str();
    match settlement {
        Settlement::Release if has_newer => release(db, user, now, rests_until, 0),
        Settlement::Release => release(db, user, now, rests_until, claim.failures),
        Settlement::Done if has_newer => release(db, user, now, now, 0),
        Settlement::Done => empty(db, user, now),
        Settlement::Retry { rest, .. } | Settlement::Bury { rest, .. } if has_newer => {
            release(db, user, now + *rest, now + *rest, 0)
        }
        Settlement::Retry { wait, rest } => release(
            db,
            user,
            now + *wait,
            now + *rest,
            claim.failures.saturating_add(1),
        ),
        Settlement::Bury { cause, rest } => {
            bury(db, &claim.notification, cause, now)?;
            empty(db, user, now + *rest)
        }
    }
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

fn empty(db: &Connection, user: &UserId, rests_until: Timestamp) -> Result<()> {
    db.prepare_cached(EMPTY)?
        .execute(params![user.as_str(), rests_until.as_millis()])?;
    Ok(())
}

fn bury(db: &Connection, lost: &Notification, cause: &str, now: Timestamp) -> Result<()> {
    db.prepare_cached(BURY)?.execute(params![
        lost.user.as_str(),
        lost.message_id.as_str(),
        in_order(lost.history_id),
        &lost.body[..],
        cause,
        now.as_millis(),
    ])?;
    Ok(())
}

pub(super) fn next_due(db: &Connection) -> Result<Option<Timestamp>> {
    const NEXT: &str = "SELECT min(due_at) FROM mailbox WHERE due_at IS NOT NULL";
    let due: Option<i64> = db.prepare_cached(NEXT)?.query_row([], |row| row.get(0))?;
    Ok(due.map(Timestamp::from_millis))
}

pub(super) fn dead_letters(db: &Connection, most: usize) -> Result<Vec<DeadLetter>> {
    let mut statement = db.prepare_cached(
        "SELECT id, user, message_id, cause, buried_at FROM dead_letter ORDER BY id DESC LIMIT ?1",
    )?;
    let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut letters = Vec::new();
    while let Some(row) = rows.next()? {
        letters.push(DeadLetter {
            id: row.get("id")?,
            user: id(row, "user")?,
            message_id: id(row, "message_id")?,
            cause: row.get("cause")?,
            buried_at: time(row, "buried_at")?,
        });
    }
    Ok(letters)
}

pub(super) fn forget_old_ids(db: &Connection, now: Timestamp, most: usize) -> Result<usize> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Ok(db
        .prepare_cached(FORGET)?
        .execute(params![oldest_remembered(now), most])?)
}

/// A history id as 20 digits, so that text order is number order.
fn in_order(id: HistoryId) -> String {
    format!("{:020}", id.get())
}

fn time(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

/// Reads an id out of a column. One that does not parse is none that we wrote.
fn id<T>(row: &rusqlite::Row<'_>, column: &'static str) -> Result<T>
where
    T: std::str::FromStr<Err = postbell_core::InvalidId>,
{
    let corrupt = |source| Failure::Corrupt {
        what: column,
        source,
    };
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(|error| corrupt(error.into()))?;
    text.parse()
        .map_err(|error: postbell_core::InvalidId| corrupt(error.into()))
}
