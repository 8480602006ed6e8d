//! The waits before a child is restarted.

use std::time::Duration;

use postbell_core::Backoff;

use super::spec::Timing;

/// Clean exits in a row, each within the first wait, that are restarted without a wait. More would
/// keep the machine busy with restarts.
const MAX_QUICK_EXITS: u32 = 5;

/// Chooses the wait before a restart: an exponential back-off over crashes in a row.
#[derive(Debug)]
pub(super) struct RestartPolicy {
    timing: Timing,
    backoff: Backoff,
    quick_exits: u32,
}

impl RestartPolicy {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            backoff: Backoff::new(timing.first_wait, timing.longest_wait),
            quick_exits: 0,
        }
    }

    /// Returns the wait after a crash that followed a run of length `ran`.
    pub(super) fn wait_after_crash(&mut self, ran: Duration) -> Duration {
        if ran >= self.timing.healthy_after {
            self.reset();
        }
        self.backoff.next_wait()
    }

    /// Returns the wait after exit code 0. That asks for a restart, so there is none, unless the
    /// child keeps exiting quickly.
    pub(super) fn wait_after_clean_exit(&mut self, ran: Duration) -> Duration {
        if ran < self.timing.first_wait {
            self.quick_exits += 1;
        } else {
            self.quick_exits = 0;
        }
        if self.quick_exits > MAX_QUICK_EXITS {
            self.wait_after_crash(ran)
        } else {
            Duration::ZERO
        }
    }

    pub(super) fn reset(&mut self) {
        self.backoff.reset();
        self.quick_exits = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_reset_after_a_healthy_run() {
        let mut restarts = RestartPolicy::new(Timing::default());
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
    fn repeated_quick_clean_exits_wait_like_crashes() {
        let mut restarts = RestartPolicy::new(Timing::default());
        let mut wait = |ran: u64| {
            let ran = Duration::from_secs(ran);
            restarts.wait_after_clean_exit(ran).as_secs()
        };
        let waits: Vec<_> = (0..8).map(|_| wait(0)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4]);
        assert_eq!(wait(1), 0);
        assert_eq!(wait(0), 0);
    }

    #[test]
    fn a_clean_exit_does_not_reset_the_waits() {
        let mut restarts = RestartPolicy::new(Timing::default());
        let brief = Duration::from_secs(2);
        assert_eq!(restarts.wait_after_crash(brief).as_secs(), 1);
        assert!(restarts.wait_after_clean_exit(brief).is_zero());
        assert_eq!(restarts.wait_after_crash(brief).as_secs(), 2);
    }
}
