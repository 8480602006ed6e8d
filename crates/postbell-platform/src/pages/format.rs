//! Times, durations and statuses as text.

use std::time::Duration;

use jiff::Timestamp as Moment;
use maud::{Markup, html};
use postbell_core::{InstanceStatus, MachineLocation, Timestamp, UserRecord};

/// A time relative to now; the exact time is in its attributes.
pub(super) fn relative(at: Timestamp, now: Timestamp) -> Markup {
    let full = full(at);
    html! { time datetime=(full) title=(full) { (distance(at, now)) } }
}

/// A date and time in UTC, and its distance from now.
pub(super) fn date_and_distance(at: Timestamp, now: Timestamp) -> Markup {
    let full = full(at);
    html! {
        time class="date" datetime=(full) title=(full) { (day_and_time(at)) }
        " " span class="together" { "(" (distance(at, now)) ")" }
    }
}

/// A date and time in UTC.
fn day_and_time(at: Timestamp) -> String {
    Moment::from_second(at.as_secs()).map_or_else(
        |_| at.to_string(),
        |moment| moment.strftime("%-d %B, %H:%M UTC").to_string(),
    )
}

/// A time in UTC, to the second (RFC 3339).
pub(super) fn full(at: Timestamp) -> String {
    Moment::from_second(at.as_secs()).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

/// The distance of a time from now.
pub(super) fn distance(at: Timestamp, now: Timestamp) -> String {
    let is_past = at <= now;
    let far = if is_past { now - at } else { at - now };
    if far < Duration::from_secs(60) {
        let words = if is_past { "just now" } else { "in a moment" };
        return words.to_owned();
    }
    let far = rounded(far);
    if is_past {
        format!("{far} ago")
    } else {
        format!("in {far}")
    }
}

/// A duration in minutes or hours, or the nearest number of days.
pub(super) fn rounded(time: Duration) -> String {
    const DAY: u64 = 24 * 60;
    let minutes = time.as_secs() / 60;
    match minutes {
        0..=119 => format!("{minutes} min"),
        120..=2879 => format!("{} h", minutes / 60),
        _ => format!("{} days", (minutes + DAY / 2) / DAY),
    }
}

/// A duration with millisecond or second precision if it is short.
pub(super) fn precise(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..=999 => format!("{millis} ms"),
        1_000..=59_999 => format!("{:.1} s", time.as_secs_f64()),
        _ => rounded(time),
    }
}

/// Whether a machine has neither answered nor checked in yet. Fly says by itself whether one of its machines runs.
pub(super) fn is_not_seen_yet(record: &UserRecord) -> bool {
    record.never_seen && !matches!(record.location, MachineLocation::Managed(_))
}

/// The CSS class and the text of a machine's status. It runs only while it answers.
pub(super) fn machine_status(record: &UserRecord) -> (&'static str, &'static str) {
    if record.status == InstanceStatus::Running && is_not_seen_yet(record) {
        return ("quiet", "not seen yet");
    }
    if record.unreachable_since.is_some() {
        return ("bad", "does not answer");
    }
    match record.status {
        InstanceStatus::Provisioned => ("quiet", "never started"),
        InstanceStatus::Starting => ("warn", "starting"),
        InstanceStatus::Running => ("good", "running"),
        InstanceStatus::Stopped => ("quiet", "off"),
        InstanceStatus::Destroying => ("bad", "being removed"),
    }
}

/// A number with its noun.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_by_its_distance() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let at = |seconds: i64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1000);
        for (seconds, words) in [
            (0, "just now"),
            (-59, "just now"),
            (-60, "1 min ago"),
            (-7199, "119 min ago"),
            (-7200, "2 h ago"),
            (-172_800, "2 days ago"),
            (172_799, "in 47 h"),
            (172_800, "in 2 days"),
            (7 * 86_400 - 1, "in 7 days"),
            (5, "in a moment"),
            (120, "in 2 min"),
        ] {
            assert_eq!(distance(at(seconds), now), words, "{seconds}");
        }
        assert!(
            relative(at(0), now)
                .into_string()
                .contains("2023-11-14T22:13:20Z")
        );
    }

    #[test]
    fn a_future_time_is_shown_with_its_date() {
        let at = Timestamp::from_millis(1_796_133_780_000);
        let now = Timestamp::from_millis(1_796_133_780_000 - 6 * 86_400_000);
        assert_eq!(
            date_and_distance(at, now).into_string(),
            "<time class=\"date\" datetime=\"2026-12-01T14:03:00Z\" title=\"2026-12-01T14:03:00Z\">\
             1 December, 14:03 UTC</time> <span class=\"together\">(in 6 days)</span>"
        );
        // Must not panic beyond the calendar.
        date_and_distance(Timestamp::from_millis(i64::MAX), now);
    }

    #[test]
    fn a_duration_has_the_digits_that_matter() {
        for (millis, words) in [(7, "7 ms"), (1540, "1.5 s"), (60_000, "1 min")] {
            assert_eq!(precise(Duration::from_millis(millis)), words);
        }
    }
}
