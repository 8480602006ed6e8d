//! Times, durations and addresses in words.

use std::time::Duration;

use jiff::Timestamp as Moment;
use maud::{Markup, html};
use postbell_core::{InstanceStatus, Timestamp};

/// A time, as far from now, and in full for machines and for those who point at it.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> Markup {
    let full = full(at);
    html! { time datetime=(full) title=(full) { (distance(at, now)) } }
}

/// A time that somebody may want to write down, and how far from now it is.
pub(super) fn when(at: Timestamp, now: Timestamp) -> Markup {
    let full = full(at);
    html! {
        time datetime=(full) title=(full) { (day_and_time(at)) }
        " " span class="together" { "(" (distance(at, now)) ")" }
    }
}

/// A day and a time of it, in UTC.
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

/// How far from now a time is.
pub(super) fn distance(at: Timestamp, now: Timestamp) -> String {
    let is_past = at <= now;
    let far = if is_past { now - at } else { at - now };
    if far < Duration::from_secs(60) {
        let words = if is_past { "just now" } else { "in a moment" };
        return words.to_owned();
    }
    let far = rough(far);
    if is_past {
        format!("{far} ago")
    } else {
        format!("in {far}")
    }
}

/// A long time in its largest unit.
pub(super) fn rough(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..=119 => format!("{minutes} min"),
        120..=2879 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / (24 * 60)),
    }
}

/// A short time, with as many digits as anybody wants to know.
pub(super) fn exact(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..=999 => format!("{millis} ms"),
        1_000..=59_999 => format!("{:.1} s", time.as_secs_f64()),
        _ => rough(time),
    }
}

/// What a machine does, and whether that is well.
pub(super) const fn machine(status: InstanceStatus) -> (&'static str, &'static str) {
    match status {
        InstanceStatus::Provisioned => ("quiet", "never started"),
        InstanceStatus::Starting => ("warn", "starting"),
        InstanceStatus::Running => ("good", "running"),
        InstanceStatus::Stopped => ("quiet", "off"),
        InstanceStatus::Destroying => ("bad", "being removed"),
    }
}

/// So many of something.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_its_distance() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let at = |seconds: i64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1000);
        for (seconds, words) in [
            (0, "just now"),
            (-59, "just now"),
            (-60, "1 min ago"),
            (-7199, "119 min ago"),
            (-7200, "2 h ago"),
            (-172_800, "2 days ago"),
            (5, "in a moment"),
            (120, "in 2 min"),
        ] {
            assert_eq!(distance(at(seconds), now), words, "{seconds}");
        }
        assert!(
            ago(at(0), now)
                .into_string()
                .contains("2023-11-14T22:13:20Z")
        );
    }

    #[test]
    fn a_time_to_come_is_told_with_its_day() {
        let at = Timestamp::from_millis(1_796_133_780_000);
        let now = Timestamp::from_millis(1_796_133_780_000 - 6 * 86_400_000);
        assert_eq!(
            when(at, now).into_string(),
            "<time datetime=\"2026-12-01T14:03:00Z\" title=\"2026-12-01T14:03:00Z\">\
             1 December, 14:03 UTC</time> <span class=\"together\">(in 6 days)</span>"
        );
        // No calendar goes so far.
        when(Timestamp::from_millis(i64::MAX), now);
    }

    #[test]
    fn a_duration_has_the_digits_that_matter() {
        for (millis, words) in [(7, "7 ms"), (1540, "1.5 s"), (60_000, "1 min")] {
            assert_eq!(exact(Duration::from_millis(millis)), words);
        }
    }
}
