//! Times and durations for people. Times are milliseconds since the epoch, shown in UTC.

use jiff::Timestamp;

/// Formats a time as a day.
pub(crate) fn day(millis: i64) -> String {
    format(millis, "%Y-%m-%d")
}

/// Formats a time as a minute.
pub(crate) fn minute(millis: i64) -> String {
    format(millis, "%Y-%m-%d %H:%M UTC")
}

fn format(millis: i64, pattern: &str) -> String {
    Timestamp::from_millisecond(millis).map_or_else(
        |_| millis.to_string(),
        |at| at.strftime(pattern).to_string(),
    )
}

/// Formats milliseconds in the greatest unit of which there are at least two.
pub(crate) fn duration(millis: i64) -> String {
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
    fn a_duration_has_the_unit_that_fits() {
        for (millis, words) in [
            (0, "0.000 s"),
            (1_234, "1.234 s"),
            (119_000, "119 seconds"),
            (7_200_000, "2 hours"),
            (i64::MAX, "106751991167 days"),
        ] {
            assert_eq!(duration(millis), words);
        }
    }
}
