//! The message ids that were accepted lately.

use postbell_core::{DUPLICATE_WINDOW, MessageId, Timestamp, UserId};
use rusqlite::{Connection, params};

use super::columns::limit;
use super::failure::Failure;

/// Changes nothing where the message was seen within the window.
const REMEMBER: &str = "
    INSERT INTO seen (user, message_id, seen_at) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET seen_at = ?3 WHERE seen_at <= ?4";

const FORGET: &str = "
    DELETE FROM seen WHERE (message_id, user) IN
        (SELECT message_id, user FROM seen WHERE seen_at <= ?1 ORDER BY seen_at LIMIT ?2)";

/// Returns whether the message is new, and remembers it.
pub(super) fn is_first(
    db: &Connection,
    user: &UserId,
    message: &MessageId,
    now: Timestamp,
) -> Result<bool, Failure> {
    let changed = db.prepare_cached(REMEMBER)?.execute(params![
        user.as_str(),
        message.as_str(),
        now.as_millis(),
        oldest_remembered(now),
    ])?;
    Ok(changed > 0)
}

pub(super) fn forget_old(db: &Connection, now: Timestamp, most: usize) -> Result<usize, Failure> {
    Ok(db
        .prepare_cached(FORGET)?
        .execute(params![oldest_remembered(now), limit(most)])?)
}

/// The time at which, and before which, a message was seen too long ago to matter.
fn oldest_remembered(now: Timestamp) -> i64 {
    let window = i64::try_from(DUPLICATE_WINDOW.as_millis()).unwrap_or(i64::MAX);
    now.as_millis().saturating_sub(window)
}
