//! Conversions between values and columns.

use std::str::FromStr;

use postbell_core::{BoxError, HistoryId, InvalidId, Timestamp};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::failure::Failure;

/// Writes a history id as 20 digits, so that text order is number order.
pub(super) fn in_order(id: HistoryId) -> String {
    format!("{:020}", id.get())
}

/// Converts a limit or a number of rows into SQLite's integer.
pub(super) fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

/// Reads a time or NULL.
pub(super) fn time_if_any(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}

/// Reads an id or a word. One that does not parse was not written by this program.
pub(super) fn parsed<T>(row: &Row<'_>, column: &'static str) -> Result<T, Failure>
where
    T: FromStr<Err = InvalidId>,
{
    let text = row.get_ref(column)?.as_str();
    let text = text.map_err(|error| corrupt(column, error))?;
    text.parse()
        .map_err(|error: InvalidId| corrupt(column, error))
}

/// Returns the failure of a stored value that this program does not write.
pub(super) fn corrupt(what: &'static str, source: impl Into<BoxError>) -> Failure {
    Failure::Corrupt {
        what,
        source: source.into(),
    }
}

/// Reads an id or NULL.
pub(super) fn parsed_if_any<T>(row: &Row<'_>, column: &'static str) -> Result<Option<T>, Failure>
where
    T: FromStr<Err = InvalidId>,
{
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}
