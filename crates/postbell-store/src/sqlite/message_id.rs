//! The ids of accepted messages.

use postbell_core::{DUPLICATE_WINDOW, MessageId, Timestamp, UserId};
use rusqlite::{Connection, params};

use super::columns;
use super::failure::Failure;

/// Changes nothing if the message was seen within the window.
const ADD: &str = "
    INSERT INTO seen_message (user, message_id, seen_at) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET seen_at = ?3 WHERE seen_at <= ?4";

const PRUNE: &str = "
    DELETE FROM seen_message WHERE (message_id, user) IN
        (SELECT message_id, user FROM seen_message WHERE seen_at <= ?1 ORDER BY seen_at LIMIT ?2)";

/// Stores a message id, and returns whether it is new.
pub(super) fn is_first(
    db: &Connection,
    user: &UserId,
    message: &MessageId,
    now: Timestamp,
) -> Result<bool, Failure> {
    let changed = db.prepare_cached(ADD)?.execute(params![
        user.as_str(),
        message.as_str(),
        now.as_millis(),
        newest_expired(now),
    ])?;
    Ok(changed > 0)
}

pub(super) fn prune(db: &Connection, now: Timestamp, limit: usize) -> Result<usize, Failure> {
    Ok(db
        .prepare_cached(PRUNE)?
        .execute(params![newest_expired(now), columns::limit(limit)])?)
}

/// Ids that were seen at this time or before have expired.
fn newest_expired(now: Timestamp) -> i64 {
    let window = i64::try_from(DUPLICATE_WINDOW.as_millis()).unwrap_or(i64::MAX);
    now.as_millis().saturating_sub(window)
}
