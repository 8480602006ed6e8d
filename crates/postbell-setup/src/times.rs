//! Times for people.

use jiff::Timestamp;

/// Formats milliseconds since the epoch as a day in UTC.
pub(crate) fn day(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(
        |_| millis.to_string(),
        |at| at.strftime("%Y-%m-%d").to_string(),
    )
}
