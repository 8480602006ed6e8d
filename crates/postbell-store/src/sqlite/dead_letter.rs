//! Dead letters.

use postbell_core::{
    Accepted, DEAD_LETTERS_KEPT, DeadLetter, DeadLetterReason, EmailAddress, Notification,
    Replayed, Timestamp, UNPARSEABLE_KEPT, UnparseableMessage, UserId,
};
use rusqlite::{Connection, OptionalExtension, params};
use tracing::warn;

use super::failure::Failure;
use super::writer::Transaction;
use crate::columns::{self, in_order, parsed};
use crate::loaded_mailbox::NewDeadLetter;

type Result<T> = std::result::Result<T, Failure>;

const ADD: &str = "
    INSERT INTO dead_letter (user, message_id, history_id, body, reason, cause, dead_lettered_at,
        failure_kind, address, published_at, trace)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

const IS_KEPT: &str = "
    SELECT 1 FROM dead_letter WHERE user = ?1 AND message_id = ?2 AND reason = 'malformed'";

/// Both lists walk an index backwards from a number.
const OF_ALL: &str = "
    SELECT id, user, message_id, history_id, reason, cause, failure_kind, dead_lettered_at FROM dead_letter
    WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
const OF_USER: &str = "
    SELECT id, user, message_id, history_id, reason, cause, failure_kind, dead_lettered_at FROM dead_letter
    WHERE user = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2";

const FIND: &str = "
    SELECT user, message_id, history_id, address, published_at, body, trace FROM dead_letter WHERE id = ?1";

const DROP: &str = "DELETE FROM dead_letter WHERE id = ?1 RETURNING user";

const COUNT: &str = "SELECT count(*) FROM dead_letter WHERE user = ?1";

const DROP_THROUGH: &str = "DELETE FROM dead_letter WHERE user = ?1 AND id <= ?2";

const LATEST_EXHAUSTED: &str = "
    SELECT user, message_id, history_id, address, published_at, body, trace FROM dead_letter
    WHERE user = ?1 AND reason = 'exhausted' ORDER BY history_id DESC LIMIT 1";

const DROP_EXHAUSTED: &str = "
    DELETE FROM dead_letter WHERE user = ?1 AND reason = 'exhausted'";

/// Deletes a user's oldest dead letters beyond the last so many.
const DROP_OLD: &str = "
    DELETE FROM dead_letter WHERE user = ?1 AND id <=
        (SELECT id FROM dead_letter WHERE user = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";

const COUNT_DROPPED: &str = "UPDATE dead_letter_dropped SET number = number + ?1";

/// Deletes a user's oldest unparseable messages beyond the last so many.
const DROP_OLD_UNPARSEABLE: &str = "
    DELETE FROM dead_letter WHERE user = ?1 AND reason = 'malformed' AND id <=
        (SELECT id FROM dead_letter WHERE user = ?1 AND reason = 'malformed'
         ORDER BY id DESC LIMIT 1 OFFSET ?2)";

pub(super) fn add(db: &Connection, new: &NewDeadLetter) -> Result<()> {
    let NewDeadLetter {
        notification,
        reason,
        failure,
        at,
    } = new;
    db.prepare_cached(ADD)?.execute(params![
        notification.user.as_str(),
        notification.message_id.as_str(),
        in_order(notification.history_id),
        &notification.body[..],
        reason.as_str(),
        failure.detail,
        at.as_millis(),
        failure.kind.to_string(),
        notification.address.as_ref().map(EmailAddress::as_str),
        notification.published_at.map(Timestamp::as_millis),
        notification.trace.map(|trace| trace.to_string()),
    ])?;
    drop_old(db, DROP_OLD, &notification.user, DEAD_LETTERS_KEPT)
}

/// Deletes a user's oldest dead letters beyond the last `kept`.
fn drop_old(db: &Connection, statement: &str, user: &UserId, kept: usize) -> Result<()> {
    let values = params![user.as_str(), columns::limit(kept)];
    let dropped = db.prepare_cached(statement)?.execute(values)?;
    if dropped > 0 {
        db.prepare_cached(COUNT_DROPPED)?
            .execute([columns::limit(dropped)])?;
        warn!(
            user.id = %user.masked(), dropped, kept,
            "Deleted the oldest dead letters of {}: there are too many", user.masked()
        );
    }
    Ok(())
}

pub(super) fn add_unparseable(
    db: &Connection,
    message: &UnparseableMessage,
    now: Timestamp,
) -> Result<Accepted> {
    let key = params![message.user.as_str(), message.message_id.as_str()];
    if db.prepare_cached(IS_KEPT)?.exists(key)? {
        return Ok(Accepted::Duplicate);
    }
    db.prepare_cached(ADD)?.execute(params![
        message.user.as_str(),
        message.message_id.as_str(),
        None::<String>,
        &message.body[..],
        DeadLetterReason::Malformed.as_str(),
        message.cause,
        now.as_millis(),
        None::<String>,
        None::<String>,
        None::<i64>,
        None::<String>,
    ])?;
    drop_old(db, DROP_OLD_UNPARSEABLE, &message.user, UNPARSEABLE_KEPT)?;
    drop_old(db, DROP_OLD, &message.user, DEAD_LETTERS_KEPT)?;
    Ok(Accepted::Queued)
}

pub(super) fn list(
    db: &Connection,
    user: Option<&UserId>,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<DeadLetter>> {
    let before = before.unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(if user.is_some() { OF_USER } else { OF_ALL })?;
    let mut rows = match user {
        Some(user) => statement.query(params![before, columns::limit(limit), user.as_str()])?,
        None => statement.query(params![before, columns::limit(limit)])?,
    };
    let mut dead_letters = Vec::new();
    while let Some(row) = rows.next()? {
        dead_letters.push(columns::dead_letter(row)?);
    }
    Ok(dead_letters)
}

/// Returns the user of a dead letter.
pub(super) fn user_of(db: &Connection, id: i64) -> Result<Option<UserId>> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(|row| parsed(row, "user")).transpose()
}

/// Removes a dead letter to replay it, and returns its notification, or why there is none.
pub(super) fn take(
    db: &Transaction<'_>,
    id: i64,
) -> Result<std::result::Result<Notification, Replayed>> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else {
        return Ok(Err(Replayed::Missing));
    };
    let Some(notification) = columns::notification(row)? else {
        return Ok(Err(Replayed::Unparseable));
    };
    drop_one(db, id)?;
    Ok(Ok(notification))
}

/// Deletes a dead letter, and returns its user.
pub(super) fn drop_one(db: &Transaction<'_>, id: i64) -> Result<Option<UserId>> {
    let mut statement = db.prepare_cached(DROP)?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let user = parsed(row, "user")?;
    db.changed(&user);
    // A statement takes effect only once all its rows are read.
    rows.next()?;
    Ok(Some(user))
}

pub(super) fn count(db: &Connection, user: &UserId) -> Result<u64> {
    let mut statement = db.prepare_cached(COUNT)?;
    let number: i64 = statement.query_row([user.as_str()], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

pub(super) fn drop_through(db: &Connection, user: &UserId, last: i64) -> Result<u64> {
    let mut statement = db.prepare_cached(DROP_THROUGH)?;
    Ok(statement.execute(params![user.as_str(), last])? as u64)
}

/// Returns the notification of a user's exhausted dead letter with the greatest history id.
pub(super) fn latest_exhausted(db: &Connection, user: &UserId) -> Result<Option<Notification>> {
    let mut statement = db.prepare_cached(LATEST_EXHAUSTED)?;
    let latest = statement.query_row([user.as_str()], |row| Ok(columns::notification(row)));
    let latest = latest.optional()?.transpose()?;
    Ok(latest.flatten())
}

pub(super) fn drop_exhausted(db: &Connection, user: &UserId) -> Result<()> {
    let mut statement = db.prepare_cached(DROP_EXHAUSTED)?;
    statement.execute([user.as_str()])?;
    Ok(())
}
