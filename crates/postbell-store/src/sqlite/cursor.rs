//! Up to where the notifications of each mailbox are settled.

use postbell_core::{CURSORS_KEPT, Coverage, Notification, QueueCursor, Timestamp, UserId};
use rusqlite::{Connection, params};

use super::failure::Failure;
use crate::columns::{self, in_order};

/// The cursor of an unknown address applies to every address of which there is none.
const FIND: &str = "
    SELECT history_id, message_ids, settled_at, published_at FROM cursor
    WHERE user = ?1 AND address IN (?2, '') ORDER BY address DESC LIMIT 1";

const OF_ADDRESS: &str = "
    SELECT history_id, message_ids, settled_at, published_at FROM cursor
    WHERE user = ?1 AND address = ?2";

const PUT: &str = "
    INSERT OR REPLACE INTO cursor (user, address, history_id, message_ids, settled_at, published_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Deletes what the new cursor of address `?2` replaces: that of an unknown address, and all but the
/// latest `?3` others.
const PRUNE: &str = "
    DELETE FROM cursor WHERE user = ?1 AND address <> ?2 AND (address = '' OR address NOT IN
        (SELECT address FROM cursor WHERE user = ?1 AND address NOT IN (?2, '')
         ORDER BY settled_at DESC, address LIMIT ?3))";

const REMOVE_USER: &str = "DELETE FROM cursor WHERE user = ?1";

/// Compares a notification with the cursor of its mailbox.
pub(super) fn coverage(
    db: &Connection,
    notification: &Notification,
    now: Timestamp,
) -> Result<Coverage, Failure> {
    let key = notification.mailbox_key();
    let cursor = find(db, FIND, &notification.user, &key)?;
    Ok(cursor.map_or(Coverage::New, |cursor| cursor.coverage(notification, now)))
}

/// Raises the cursor of the mailbox of a notification to what was settled.
pub(super) fn raise(
    db: &Connection,
    notification: &Notification,
    settled: QueueCursor,
) -> Result<(), Failure> {
    let (user, key) = (&notification.user, notification.mailbox_key());
    let stored = find(db, OF_ADDRESS, user, &key)?;
    let is_new = stored.is_none();
    let cursor = match stored {
        None => settled,
        Some(mut cursor) => {
            cursor.raise(settled);
            cursor
        }
    };
    db.prepare_cached(PUT)?.execute(params![
        user.as_str(),
        key,
        in_order(cursor.history_id),
        cursor.message_ids.to_string(),
        cursor.settled_at.as_millis(),
        cursor.published_at.map(Timestamp::as_millis),
    ])?;
    if is_new {
        let values = params![user.as_str(), key, columns::limit(CURSORS_KEPT - 1)];
        db.prepare_cached(PRUNE)?.execute(values)?;
    }
    Ok(())
}

pub(super) fn remove_user(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(REMOVE_USER)?;
    statement.execute([user.as_str()]).map(drop)
}

fn find(
    db: &Connection,
    statement: &str,
    user: &UserId,
    key: &str,
) -> Result<Option<QueueCursor>, Failure> {
    let mut statement = db.prepare_cached(statement)?;
    let mut rows = statement.query(params![user.as_str(), key])?;
    rows.next()?.map(columns::cursor).transpose()
}
