//! What shows that another process has changed something of a user.

use postbell_core::UserId;
use rusqlite::{Connection, OptionalExtension};

use super::failure::Failure;

/// Reads the mark of each user with a query that has the id as its parameter. No server has to be asked,
/// so a query for each costs no more than one for all.
pub(super) fn read(
    db: &Connection,
    query: &str,
    users: &[UserId],
) -> Result<Vec<(UserId, String)>, Failure> {
    let mut statement = db.prepare_cached(query)?;
    let mut marks = Vec::new();
    for user in users {
        let mark = statement.query_row([user.as_str()], |row| row.get(0));
        if let Some(mark) = mark.optional()? {
            marks.push((user.clone(), mark));
        }
    }
    Ok(marks)
}
