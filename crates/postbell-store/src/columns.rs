//! Conversions between values and columns, the same for every engine.

mod alert;
mod audit;
mod delivery;
mod user;

use std::str::FromStr;

use postbell_core::{BoxError, HistoryId, InvalidId, Timestamp};

pub(crate) use self::alert::{
    SealedTarget, claimed, mark, no_mark, recipient_column, sealed, sealed_target,
};
pub(crate) use self::audit::{access_token, audit_entry};
pub(crate) use self::delivery::{
    count, cursor, dead_letter, delivery_record, hourly_count, notification, pending_delivery,
};
pub(crate) use self::user::{
    UserColumns, fleet_counts, machine, principal, problem_count, record, sign_in_link,
};

/// A row of an engine's answer.
pub(crate) trait Columns {
    /// The column with a user's id. `user` is a reserved word of PostgreSQL.
    const USER: &'static str;

    /// Why a row cannot be read.
    type Failure: From<Corrupt>;

    /// Reads a text or NULL.
    fn text(&self, column: &'static str) -> Result<Option<&str>, Self::Failure>;

    /// Reads a number or NULL.
    fn integer(&self, column: &'static str) -> Result<Option<i64>, Self::Failure>;

    /// Reads a truth value.
    fn flag(&self, column: &'static str) -> Result<bool, Self::Failure>;

    /// Reads bytes.
    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, Self::Failure>;
}

/// A stored value that this program does not write.
#[derive(Debug)]
pub(crate) struct Corrupt {
    pub(crate) what: &'static str,
    pub(crate) source: BoxError,
}

/// Writes a history id as 20 digits, so that text order is number order.
pub(crate) fn in_order(id: HistoryId) -> String {
    const DIGITS: usize = 20;
    let number = id.get().to_string();
    let mut text = String::with_capacity(DIGITS);
    text.extend(std::iter::repeat_n('0', DIGITS - number.len()));
    text.push_str(&number);
    text
}

/// Converts a limit or a number of rows into the integer of the databases.
pub(crate) fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// Returns a text that sorts after all texts that begin with `prefix` and before all later ones: it
/// ends with the last character of all.
pub(crate) fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

/// PostgreSQL's text contains no NUL.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Returns the failure of a stored value that this program does not write.
pub(crate) fn corrupt(what: &'static str, source: impl Into<BoxError>) -> Corrupt {
    Corrupt {
        what,
        source: source.into(),
    }
}

/// Reads a number.
pub(crate) fn number<R: Columns>(row: &R, column: &'static str) -> Result<i64, R::Failure> {
    let number = row.integer(column)?;
    Ok(number.ok_or_else(|| corrupt(column, "it is NULL"))?)
}

/// Reads a text.
pub(crate) fn text<R: Columns>(row: &R, column: &'static str) -> Result<String, R::Failure> {
    let text = row.text(column)?;
    Ok(text
        .ok_or_else(|| corrupt(column, "it is NULL"))?
        .to_owned())
}

/// Reads a time.
pub(crate) fn time<R: Columns>(row: &R, column: &'static str) -> Result<Timestamp, R::Failure> {
    number(row, column).map(Timestamp::from_millis)
}

/// Reads a time or NULL.
pub(crate) fn time_if_any<R: Columns>(
    row: &R,
    column: &'static str,
) -> Result<Option<Timestamp>, R::Failure> {
    Ok(row.integer(column)?.map(Timestamp::from_millis))
}

/// Reads an id or a word. One that does not parse was not written by this program.
pub(crate) fn parsed<T, R>(row: &R, column: &'static str) -> Result<T, R::Failure>
where
    T: FromStr<Err = InvalidId>,
    R: Columns,
{
    let found = parsed_if_any(row, column)?;
    Ok(found.ok_or_else(|| corrupt(column, "it is NULL"))?)
}

/// Reads an id or NULL.
pub(crate) fn parsed_if_any<T, R>(row: &R, column: &'static str) -> Result<Option<T>, R::Failure>
where
    T: FromStr<Err = InvalidId>,
    R: Columns,
{
    let text = row.text(column)?;
    let parsed = text.map(str::parse).transpose();
    Ok(parsed.map_err(|error: InvalidId| corrupt(column, error))?)
}
