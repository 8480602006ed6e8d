//! The schedule on which a failed delivery is retried.

use std::time::Duration;

use crate::Backoff;

/// How often, and after what waits, a failed delivery is retried.
///
/// The default is that of protocol, section 3: 6 retries, after 60, 120, 240, 480, 960 and 1920 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySchedule {
    /// Retries after the first attempt.
    pub attempts: u32,

    /// The wait before the first retry; also the shortest time between two failures of a mailbox.
    pub first: Duration,

    /// The ratio of each wait to the one before. At least 1.
    pub factor: f64,
}

impl Default for RetrySchedule {
    fn default() -> Self {
        Self {
            attempts: 6,
            first: Duration::from_secs(60),
            factor: 2.0,
        }
    }
}

impl RetrySchedule {
    /// Returns the wait after the `failures`th failure in a row (from 1), or `None` once the
    /// retries are used up.
    #[must_use]
    pub fn wait_after(&self, failures: u32) -> Option<Duration> {
        let backoff = Backoff::new(self.first, Duration::MAX).with_factor(self.factor);
        (failures <= self.attempts).then(|| backoff.wait_after(failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_schedule_of_the_protocol() {
        let schedule = RetrySchedule::default();
        let waits: Vec<_> = (1..=7)
            .map(|failures| schedule.wait_after(failures).map(|w| w.as_secs()))
            .collect();
        let expected = [60, 120, 240, 480, 960, 1920].map(Some);
        assert_eq!(waits[..6], expected);
        assert_eq!(waits[6], None, "the seventh failure is the last");
    }
}
