//! The last report about each subject.

use postbell_core::{AlertMark, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{limit, time_if_any};

const FIND: &str = "SELECT subject, state, due_at, version FROM alert_mark WHERE subject = ?1";

const DUE: &str = "
    SELECT subject, state, due_at, version FROM alert_mark
    WHERE due_at <= ?1 ORDER BY due_at, subject LIMIT ?2";

const ADD: &str = "
    INSERT OR IGNORE INTO alert_mark (subject, state, due_at, version) VALUES (?1, ?2, ?3, 1)";

const REPLACE: &str = "
    UPDATE alert_mark SET state = ?2, due_at = ?3, version = version + 1
    WHERE subject = ?1 AND version = ?4";

const REMOVE: &str = "DELETE FROM alert_mark WHERE subject = ?1";

pub(super) fn find(db: &Connection, subject: &str) -> rusqlite::Result<AlertMark> {
    let mut statement = db.prepare_cached(FIND)?;
    let found = statement.query_row([subject], mark).optional()?;
    Ok(found.unwrap_or_else(|| AlertMark {
        subject: subject.to_owned(),
        state: String::new(),
        due_at: None,
        version: 0,
    }))
}

pub(super) fn due(
    db: &Connection,
    now: Timestamp,
    most: usize,
) -> rusqlite::Result<Vec<AlertMark>> {
    let mut statement = db.prepare_cached(DUE)?;
    let rows = statement.query_map(params![now.as_millis(), limit(most)], mark)?;
    rows.collect()
}

/// Writes a mark, and returns whether it had not changed.
pub(super) fn write(db: &Connection, mark: &AlertMark) -> rusqlite::Result<bool> {
    let due_at = mark.due_at.map(Timestamp::as_millis);
    let written = if mark.version == 0 {
        let values = params![mark.subject, mark.state, due_at];
        db.prepare_cached(ADD)?.execute(values)?
    } else {
        let values = params![mark.subject, mark.state, due_at, mark.version];
        db.prepare_cached(REPLACE)?.execute(values)?
    };
    Ok(written > 0)
}

pub(super) fn remove(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    let removed = db.prepare_cached(REMOVE)?.execute([user.as_str()]);
    removed.map(drop)
}

fn mark(row: &Row<'_>) -> rusqlite::Result<AlertMark> {
    Ok(AlertMark {
        subject: row.get("subject")?,
        state: row.get("state")?,
        due_at: time_if_any(row, "due_at")?,
        version: row.get("version")?,
    })
}
