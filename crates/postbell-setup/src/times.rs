//! Times for people.

use jiff::Timestamp;

/// The day of a time in milliseconds since the epoch, in UTC.
pub(crate) fn day(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(
        |_| millis.to_string(),
        |at| at.strftime("%Y-%m-%d").to_string(),
    )
}

/// The minute of a time in milliseconds since the epoch, in UTC.
pub(crate) fn minute(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(
        |_| millis.to_string(),
        |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// So many milliseconds, in the greatest unit of which there are two.
pub(crate) fn in_words(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] = [
        (86_400_000, "days"),
        (3_600_000, "hours"),
        (60_000, "minutes"),
        (1_000, "seconds"),
    ];
    let unit = UNITS.iter().find(|(unit, _)| millis >= 2 * unit);
    match unit {
        Some((unit, name)) => format!("{} {name}", millis / unit),
        None => format!("{}.{:03} s", millis / 1000, millis % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_in_the_unit_that_fits() {
        for (millis, words) in [
            (0, "0.000 s"),
            (1_234, "1.234 s"),
            (119_000, "119 seconds"),
            (7_200_000, "2 hours"),
            (i64::MAX, "106751991167 days"),
        ] {
            assert_eq!(in_words(millis), words);
        }
    }
}
