//! Up to where the notifications of each mailbox are settled.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use postbell_core::{QueueCursor, Timestamp, UserId};
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

pub(super) static OF_USER: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM cursor WHERE user = ?1", COLUMNS.join(", ")));

const PUT: &str = "
    INSERT OR REPLACE INTO cursor (user, address, history_id, message_ids, settled_at, published_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const REMOVE: &str = "DELETE FROM cursor WHERE user = ?1 AND address = ?2";

const REMOVE_USER: &str = "DELETE FROM cursor WHERE user = ?1";

/// The cursors of a user by the key of the address.
pub(super) type Cursors = BTreeMap<String, QueueCursor>;

pub(super) fn read(db: &Connection, user: &UserId) -> Result<Cursors, Failure> {
    let mut statement = db.prepare_cached(&OF_USER)?;
    let mut rows = statement.query([user.as_str()])?;
    let mut cursors = Cursors::new();
    while let Some(row) = rows.next()? {
        let row = InOrder::new(row, COLUMNS);
        cursors.insert(columns::text(&row, "address")?, columns::cursor(&row)?);
    }
    Ok(cursors)
}

/// Stores the cursor of an address, or deletes it if there is none.
pub(super) fn store(
    db: &Connection,
    user: &UserId,
    address: &str,
    cursor: Option<&QueueCursor>,
) -> Result<(), Failure> {
    let user = user.as_str();
    match cursor {
        None => db.prepare_cached(REMOVE)?.execute([user, address])?,
        Some(cursor) => db.prepare_cached(PUT)?.execute(params![
            user,
            address,
            in_order(cursor.history_id),
            cursor.message_ids.to_string(),
            cursor.settled_at.as_millis(),
            cursor.published_at.map(Timestamp::as_millis),
        ])?,
    };
    Ok(())
}

pub(super) fn remove_user(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(REMOVE_USER)?;
    statement.execute([user.as_str()]).map(drop)
}
