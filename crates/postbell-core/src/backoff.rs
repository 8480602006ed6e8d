//! Growing waits between attempts, and jitter.

use std::time::Duration;

/// The longest wait that any schedule gives: a year.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 86_400);

/// The largest deviation of a jittered wait from the exact one, as a share of it (10 %).
const JITTER: f64 = 0.1;

/// Exponential back-off: each wait is a multiple of the one before, up to a maximum.
///
/// Only `fraction`, a random number from 0 to 1, makes a wait random: a back-off has no source of
/// randomness of its own, so tests are exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    factor: f64,
    failures: u32,
}

impl Backoff {
    /// A back-off that begins with `first` and doubles up to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            factor: 2.0,
            failures: 0,
        }
    }

    /// Multiplies with `factor` instead of 2. A factor below 1 counts as 1.
    #[must_use]
    pub const fn with_factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Returns the wait after one more failure, without jitter.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.peek();
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Returns the wait after one more failure, moved by up to a tenth so that peers that failed
    /// together do not retry together.
    pub fn next_jittered(&mut self, fraction: f64) -> Duration {
        jittered(self.next_wait(), Duration::ZERO, fraction)
    }

    /// Returns what [`next_wait`](Self::next_wait) would, and changes nothing.
    #[must_use]
    pub fn peek(&self) -> Duration {
        self.wait_after(self.failures.saturating_add(1))
    }

    /// Returns the wait after the `failures`th failure in a row (from 1), whatever was counted here.
    #[must_use]
    pub fn wait_after(&self, failures: u32) -> Duration {
        let steps = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.max(1.0).powi(steps);
        let longest = self.longest.min(LONGEST_WAIT);
        // `min` also replaces NaN, which 0 times infinity gives.
        Duration::from_secs_f64(seconds.min(longest.as_secs_f64()))
    }

    /// Begins anew with the first wait, after a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Moves a wait by up to a tenth, so that what failed together is not repeated together.
/// `fraction` is a random number from 0 to 1.
///
/// The wait never falls below `least`: a wait that would is lengthened by the same amount instead.
#[must_use]
pub fn jittered(wait: Duration, least: Duration, fraction: f64) -> Duration {
    let offset = wait.mul_f64(JITTER * (2.0 * fraction - 1.0).abs().min(1.0));
    let shorter = wait.saturating_sub(offset);
    if fraction < 0.5 && shorter >= least {
        shorter
    } else {
        wait.saturating_add(offset).max(least)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_reset() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let waits: Vec<_> = (0..4).map(|_| backoff.next_wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5]);
        backoff.reset();
        assert_eq!(backoff.peek(), SECOND);
        assert_eq!(backoff.next_wait(), SECOND);
    }

    #[test]
    fn another_factor_is_possible() {
        let mut backoff = Backoff::new(4 * SECOND, 8 * SECOND).with_factor(1.5);
        let waits: Vec<_> = (0..3).map(|_| backoff.next_wait().as_secs()).collect();
        assert_eq!(waits, [4, 6, 8]);
    }

    proptest! {
        #[test]
        fn jitter_moves_a_wait_by_a_tenth_at_most_and_never_below_the_least(
            wait in 0_u64..100_000, least in 0_u64..100_000, fraction in 0.0_f64..=1.0,
        ) {
            let [wait, least] = [wait, least].map(Duration::from_secs);
            let moved = jittered(wait, least, fraction);
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
            let first = Duration::from_secs(first);
            let backoff = Backoff::new(first, Duration::MAX).with_factor(factor);
            prop_assert!(backoff.wait_after(failures) <= backoff.wait_after(failures + 1));
        }
    }
}
