//! When a failed delivery is tried again.

use std::time::Duration;

/// How often, and after what waits, a failed delivery is repeated.
///
/// The default is the contract's (section 3): 6 retries, after 60, 120, 240, 480, 960 and 1920 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySchedule {
    /// Retries after the first attempt.
    pub attempts: u32,

    /// The wait before the first retry; also the shortest time between two failures of a mailbox.
    pub first: Duration,

    /// What each wait is multiplied with to give the next one. At least 1.
    pub factor: f64,
}

/// The longest wait: a year. Beyond it a product of waits means nothing.
const LONGEST_WAIT_SECONDS: f64 = 365.0 * 86_400.0;

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
    /// The wait after the `failures`th failure in a row (from 1), or `None` where the delivery is
    /// to be given up.
    #[must_use]
    pub fn wait_after(&self, failures: u32) -> Option<Duration> {
        if failures > self.attempts {
            return None;
        }
        let doublings = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.max(1.0).powi(doublings);
        Some(Duration::from_secs_f64(seconds.min(LONGEST_WAIT_SECONDS)))
    }
}

/// How far a jittered wait may be from the schedule's, as a share of it (10 %).
const JITTER: f64 = 0.1;

/// Moves a wait by up to a tenth, so that what failed together is not repeated together; `chance`
/// is from 0 to 1. The wait never falls below `least`: what would, is stretched by as much instead.
#[must_use]
pub fn jittered(wait: Duration, least: Duration, chance: f64) -> Duration {
    let off_by = wait.mul_f64(JITTER * (2.0 * chance - 1.0).abs().min(1.0));
    let shorter = wait.saturating_sub(off_by);
    if chance < 0.5 && shorter >= least {
        shorter
    } else {
        wait.saturating_add(off_by).max(least)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_is_the_contracts_schedule() {
        let schedule = RetrySchedule::default();
        let waits: Vec<_> = (1..=7)
            .map(|failures| schedule.wait_after(failures).map(|w| w.as_secs()))
            .collect();
        let expected = [60, 120, 240, 480, 960, 1920].map(Some);
        assert_eq!(waits[..6], expected);
        assert_eq!(waits[6], None, "the seventh failure is the last");
    }

    proptest! {
        #[test]
        fn jitter_moves_a_wait_by_a_tenth_at_most_and_never_below_the_least(
            wait in 0_u64..100_000, least in 0_u64..100_000, chance in 0.0_f64..=1.0,
        ) {
            let [wait, least] = [wait, least].map(Duration::from_secs);
            let moved = jittered(wait, least, chance);
            prop_assert!(moved >= least);
            if wait >= least {
                let tolerance = wait.mul_f64(JITTER) + Duration::from_millis(1);
                prop_assert!(moved.abs_diff(wait) <= tolerance);
            }
        }

        #[test]
        fn waits_never_shrink_and_never_overflow(
            first in 0_u64..1_000_000, factor in 0.0_f64..1e9, failures in 1_u32..1_000,
        ) {
            let schedule =
                RetrySchedule { attempts: u32::MAX, first: Duration::from_secs(first), factor };
            let wait = schedule.wait_after(failures).unwrap();
            let next = schedule.wait_after(failures + 1).unwrap();
            prop_assert!(wait <= next);
        }
    }
}
