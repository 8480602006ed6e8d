//! Many like events in one alert.

use std::time::Duration;

use postbell_core::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a burst is collected before it is reported: what is set aside together is one
/// alert.
const COLLECT: Duration = Duration::from_secs(60);

/// The shortest time between two alerts.
const PAUSE: Duration = Duration::from_secs(3600);

/// Counts like events and reports them together, at most once an hour.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Burst {
    waiting: u64,
    since: Option<Timestamp>,
    #[serde(rename = "toldAt")]
    reported_at: Option<Timestamp>,
}

impl Burst {
    /// Adds events that happened now.
    pub fn add(&mut self, number: u64, now: Timestamp) {
        if number > 0 {
            self.waiting = self.waiting.saturating_add(number);
            self.since.get_or_insert(now);
        }
    }

    /// Returns how many events to report now, and since when they are, and begins to count anew.
    pub fn take_due(&mut self, now: Timestamp) -> Option<(u64, Timestamp)> {
        let since = self.since?;
        if self.due_at()? > now {
            return None;
        }
        let number = self.waiting;
        *self = Self {
            waiting: 0,
            since: None,
            reported_at: Some(now),
        };
        Some((number, since))
    }

    /// Whether events wait to be reported.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// Whether nothing waits and the next event is reported without a pause.
    pub(crate) fn is_idle(&self, now: Timestamp) -> bool {
        let is_paused = self
            .reported_at
            .is_some_and(|reported_at| now < reported_at + PAUSE);
        self.since.is_none() && !is_paused
    }

    /// When [`take_due`](Self::take_due) returns something.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        let collected = self.since? + COLLECT;
        Some(match self.reported_at {
            Some(reported_at) => collected.max(reported_at + PAUSE),
            None => collected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_hundred_in_a_burst_are_one_alert_with_a_count() {
        let mut burst = Burst::default();
        let start = Timestamp::from_millis(1_000_000);
        for second in 0..50 {
            burst.add(2, start + second * SECOND);
        }
        assert_eq!(burst.take_due(start + 59 * SECOND), None);
        assert_eq!(burst.take_due(start + 60 * SECOND), Some((100, start)));
        assert_eq!(burst.take_due(start + 61 * SECOND), None);
    }

    #[test]
    fn the_next_burst_waits_an_hour() {
        let mut burst = Burst::default();
        let start = Timestamp::from_millis(1_000_000);
        burst.add(1, start);
        let reported = start + 60 * SECOND;
        assert!(burst.take_due(reported).is_some());
        burst.add(1, reported + SECOND);
        burst.add(1, reported + 1_000 * SECOND);
        assert_eq!(burst.take_due(reported + 3_599 * SECOND), None);
        let next = burst.take_due(reported + 3_600 * SECOND);
        assert_eq!(next, Some((2, reported + SECOND)));
    }

    #[test]
    fn nothing_is_reported_of_nothing() {
        let mut burst = Burst::default();
        burst.add(0, Timestamp::from_millis(1));
        assert_eq!(burst.take_due(Timestamp::from_millis(i64::MAX)), None);
        assert_eq!(burst.due_at(), None);
    }
}
