//! Since when an observer observes without a gap.

use std::time::Duration;

use postbell_core::Timestamp;
use serde::{Deserialize, Serialize};

/// A longer time between two observations is a gap: the process did not run, or its machine slept. Observers observe at
/// least once a minute.
const GAP: Duration = Duration::from_secs(5 * 60);

/// Since when an observer observes without a gap.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ObservedSince {
    since: Timestamp,
    last: Timestamp,
}

impl ObservedSince {
    /// Observations begin now.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            last: now,
        }
    }

    /// An observer that has observed from `since` until now.
    pub(crate) const fn until(now: Timestamp, since: Timestamp) -> Self {
        Self { since, last: now }
    }

    /// How long ago the last observation was, if there is no gap until now.
    pub(crate) fn pause_until(&self, now: Timestamp) -> Option<Duration> {
        let pause = now - self.last;
        (now >= self.last && pause <= GAP).then_some(pause)
    }

    /// Since when there was no gap, by the last observation.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Records an observation, and returns since when there was no gap.
    pub fn observe(&mut self, now: Timestamp) -> Timestamp {
        // The clock may have been put back, too.
        if now < self.since || now - self.last > GAP {
            self.since = now;
        }
        self.last = now;
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_new_beginning() {
        const MINUTE: Duration = Duration::from_secs(60);
        let start = Timestamp::from_millis(1_790_000_000_000);
        let mut observed = ObservedSince::new(start);
        for minutes in 1..100 {
            assert_eq!(observed.observe(start + MINUTE * minutes), start);
        }
        let awoken = start + MINUTE * 1_000;
        assert_eq!(observed.observe(awoken), awoken);
        assert_eq!(observed.observe(awoken + MINUTE), awoken);
        // The clock was put right.
        assert_eq!(observed.observe(start), start);
    }
}
