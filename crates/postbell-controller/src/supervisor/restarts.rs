//! How long to wait before a child that crashed is started again.

use std::time::Duration;

use super::Timing;

/// Grows with each crash in a row.
#[derive(Debug)]
pub(super) struct Restarts {
    timing: Timing,
    next: Duration,
}

impl Restarts {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            next: timing.first_wait,
        }
    }

    /// The wait after a crash of a child that ran for so long.
    pub(super) fn wait_after_crash(&mut self, ran: Duration) -> Duration {
        if ran >= self.timing.healthy_after {
            self.forget();
        }
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.timing.longest_wait);
        wait
    }

    /// The next crash is the first one.
    pub(super) fn forget(&mut self) {
        self.next = self.timing.first_wait;
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
}
