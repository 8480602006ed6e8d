//! How long to wait before a child that ended by itself is started again.

use std::time::Duration;

use super::Timing;

/// How often in a row a child may end well without having run for the first wait. One that does so
/// on and on would keep the machine busy with nothing else.
const HASTY_ENDS: u32 = 5;

/// Grows with each crash in a row.
#[derive(Debug)]
pub(super) struct Restarts {
    timing: Timing,
    next: Duration,
    hasty_ends: u32,
}

impl Restarts {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            next: timing.first_wait,
            hasty_ends: 0,
        }
    }

    /// The wait after a crash of a child that ran for so long.
    pub(super) fn wait_after_crash(&mut self, ran: Duration) -> Duration {
        if ran >= self.timing.healthy_after {
            self.reset();
        }
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.timing.longest_wait);
        wait
    }

    /// The wait after a child that ran for so long has ended well: none, for so it asks to be
    /// started again, unless it does nothing else.
    pub(super) fn wait_after_clean_end(&mut self, ran: Duration) -> Duration {
        if ran < self.timing.first_wait {
            self.hasty_ends += 1;
        } else {
            self.hasty_ends = 0;
        }
        if self.hasty_ends > HASTY_ENDS {
            self.wait_after_crash(ran)
        } else {
            Duration::ZERO
        }
    }

    /// The next crash is the first one.
    pub(super) fn reset(&mut self) {
        self.next = self.timing.first_wait;
        self.hasty_ends = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_doubled_up_to_five_minutes_and_again_a_second_after_health() {
        let mut restarts = Restarts::new(Timing::default());
        let mut wait = |ran: u64| {
            let ran = Duration::from_secs(ran);
            restarts.wait_after_crash(ran).as_secs()
        };
        let waits: Vec<_> = (0..11).map(|_| wait(0)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(wait(29), 300);
        assert_eq!(wait(30), 1);
        assert_eq!(wait(0), 2);
    }

    #[test]
    fn a_clean_end_is_no_crash_unless_nothing_else_happens() {
        let mut restarts = Restarts::new(Timing::default());
        let mut wait = |ran: u64| {
            let ran = Duration::from_secs(ran);
            restarts.wait_after_clean_end(ran).as_secs()
        };
        let waits: Vec<_> = (0..8).map(|_| wait(0)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4]);
        assert_eq!(wait(1), 0);
        assert_eq!(wait(0), 0);
    }

    #[test]
    fn a_clean_end_is_no_health() {
        let mut restarts = Restarts::new(Timing::default());
        let brief = Duration::from_secs(2);
        assert_eq!(restarts.wait_after_crash(brief).as_secs(), 1);
        assert!(restarts.wait_after_clean_end(brief).is_zero());
        assert_eq!(restarts.wait_after_crash(brief).as_secs(), 2);
    }
}
