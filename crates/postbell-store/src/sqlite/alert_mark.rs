//! The last report about each subject.

use postbell_core::{AlertMark, Timestamp, UserId};
use rusqlite::{Connection, params};

use super::failure::Failure;
use crate::columns::{limit, mark, no_mark};

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

pub(super) fn find(db: &Connection, subject: &str) -> Result<AlertMark, Failure> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([subject])?;
    let found = rows.next()?.map(mark).transpose()?;
    Ok(found.unwrap_or_else(|| no_mark(subject)))
}

pub(super) fn due(db: &Connection, now: Timestamp, most: usize) -> Result<Vec<AlertMark>, Failure> {
    let mut statement = db.prepare_cached(DUE)?;
    let mut rows = statement.query(params![now.as_millis(), limit(most)])?;
    let mut marks = Vec::new();
    while let Some(row) = rows.next()? {
        marks.push(mark(row)?);
    }
    Ok(marks)
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
