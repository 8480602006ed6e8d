//! Up to where the notifications of each mailbox are settled.

use std::sync::LazyLock;

use postbell_core::{CURSORS_KEPT, Coverage, Notification, QueueCursor, Timestamp, UserId};
use rusqlite::{Connection, params};

use super::columns::InOrder;
use super::failure::Failure;
use crate::columns::{self, in_order};

const COLUMNS: &[&str] = &[
    "address",
    "history_id",
    "message_ids",
    "settled_at",
    "published_at",
];

/// A search for two addresses would build a table of them first.
pub(super) static OF_USER: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM cursor WHERE user = ?1", COLUMNS.join(", ")));

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

/// Compares a notification with the cursor of its mailbox. That of an unknown address applies to every address of
/// which there is none.
pub(super) fn coverage(
    db: &Connection,
    notification: &Notification,
    now: Timestamp,
) -> Result<Coverage, Failure> {
    let key = notification.mailbox_key();
    let cursor = find(db, &notification.user, &[&key, ""])?;
    Ok(cursor.map_or(Coverage::New, |cursor| cursor.coverage(notification, now)))
}

/// Raises the cursor of the mailbox of a notification to what was settled.
pub(super) fn raise(
    db: &Connection,
    notification: &Notification,
    settled: QueueCursor,
) -> Result<(), Failure> {
    let (user, key) = (&notification.user, notification.mailbox_key());
    let stored = find(db, user, &[&key])?;
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

/// Finds the cursor of the first of these addresses that has one.
fn find(
    db: &Connection,
    user: &UserId,
    addresses: &[&str],
) -> Result<Option<QueueCursor>, Failure> {
    let mut statement = db.prepare_cached(&OF_USER)?;
    let mut rows = statement.query([user.as_str()])?;
    let mut found = None;
    while let Some(row) = rows.next()? {
        let row = InOrder::new(row, COLUMNS);
        let address = columns::text(&row, "address")?;
        let rank = addresses.iter().position(|it| *it == address);
        if let Some(rank) = rank
            && found.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            found = Some((rank, columns::cursor(&row)?));
        }
    }
    Ok(found.map(|(_, cursor)| cursor))
}
