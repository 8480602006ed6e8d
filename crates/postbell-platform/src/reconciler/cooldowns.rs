//! The wait after a failed sync before the machine is tried again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::Backoff;

use super::machine_sync::Target;

/// The wait after the first failure, doubled with each further one.
const FIRST_COOLDOWN: Duration = Duration::from_secs(15);

/// The longest wait.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(3600);

/// The targets whose last sync failed.
#[derive(Default)]
pub(super) struct Cooldowns {
    failed: Mutex<HashMap<Target, Cooldown>>,
}

struct Cooldown {
    consecutive_failures: u32,
    until: Duration,
}

impl Cooldowns {
    /// Returns whether a target must not be retried yet.
    pub(super) fn is_active(&self, target: &Target, now: Duration) -> bool {
        let failed = self.failed.lock();
        failed.get(target).is_some_and(|it| now < it.until)
    }

    pub(super) fn record_success(&self, target: &Target) {
        self.failed.lock().remove(target);
    }

    /// `asked` is how long the machine's host asks to wait.
    pub(super) fn record_failure(&self, target: Target, now: Duration, asked: Option<Duration>) {
        let backoff = Backoff::new(FIRST_COOLDOWN, LONGEST_COOLDOWN);
        let mut failed = self.failed.lock();
        let failures = failed.get(&target).map_or(0, |it| it.consecutive_failures);
        let consecutive_failures = failures + 1;
        let asked = asked.unwrap_or_default().min(LONGEST_COOLDOWN);
        let until = now + backoff.wait_after(consecutive_failures).max(asked);
        let cooldown = Cooldown {
            consecutive_failures,
            until,
        };
        failed.insert(target, cooldown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_cooldown_up_to_an_hour() {
        let ann = || Target::User("ann".parse().unwrap());
        let cooldowns = Cooldowns::default();
        let mut now = Duration::ZERO;
        let second = Duration::from_secs(1);
        for seconds in [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            cooldowns.record_failure(ann(), now, None);
            let wait = Duration::from_secs(seconds);
            assert!(
                cooldowns.is_active(&ann(), now + wait - second),
                "{seconds}"
            );
            now += wait;
            assert!(!cooldowns.is_active(&ann(), now), "{seconds}");
        }
        cooldowns.record_success(&ann());
        cooldowns.record_failure(ann(), now, None);
        assert!(
            !cooldowns.is_active(&ann(), now + second * 15),
            "it restarts"
        );
    }

    #[test]
    fn a_cooldown_is_at_least_as_long_as_the_host_asks_within_reason() {
        let cooldowns = Cooldowns::default();
        for (asked, expected) in [(1, 15), (600, 600), (999_999, 3600)] {
            let ann = Target::User("ann".parse().unwrap());
            let asked = Some(Duration::from_secs(asked));
            cooldowns.record_failure(ann.clone(), Duration::ZERO, asked);
            let end = Duration::from_secs(expected);
            assert!(cooldowns.is_active(&ann, end - Duration::from_secs(1)));
            assert!(!cooldowns.is_active(&ann, end), "{expected}");
            cooldowns.record_success(&ann);
        }
    }
}
