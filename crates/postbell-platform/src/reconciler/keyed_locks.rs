//! Who may speak to a machine: one at a time, and not again at once after a failure.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{ManagedMachine, RetrySchedule, UserId};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// How many changes of a user may wait for their turn.
const WAITING: usize = 8;

/// The longest time without an attempt.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// The wait after the first failure, doubled with each one more.
const FIRST_REST: Duration = Duration::from_secs(15);

/// Who is spoken to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Target {
    /// A user's machine, whichever that is.
    User(UserId),
    /// One that nobody has any more.
    Machine(ManagedMachine),
}

/// Whose turn it is, and who rests after failures.
#[derive(Default)]
pub(super) struct KeyedLocks {
    lines: Mutex<HashMap<Target, Weak<Turn<()>>>>,
    rests: Mutex<HashMap<Target, Rest>>,
}

struct Rest {
    failures: u32,
    until: Duration,
}

impl KeyedLocks {
    /// Waits for a turn; `None` where too many wait already.
    pub(super) async fn take(&self, whom: Target) -> Option<OwnedMutexGuard<()>> {
        let line = self.line(whom);
        if Arc::strong_count(&line) > WAITING {
            return None;
        }
        Some(line.lock_owned().await)
    }

    /// Takes a turn, unless somebody has it.
    pub(super) fn take_if_free(&self, whom: Target) -> Option<OwnedMutexGuard<()>> {
        self.line(whom).try_lock_owned().ok()
    }

    fn line(&self, whom: Target) -> Arc<Turn<()>> {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get(&whom).and_then(Weak::upgrade) {
            return line;
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::default();
        lines.insert(whom, Arc::downgrade(&line));
        line
    }

    /// Whether it has failed so lately that it is not tried again yet.
    pub(super) fn rests(&self, whom: &Target, now: Duration) -> bool {
        let rests = self.rests.lock();
        rests.get(whom).is_some_and(|rest| now < rest.until)
    }

    pub(super) fn has_succeeded(&self, whom: &Target) {
        self.rests.lock().remove(whom);
    }

    pub(super) fn has_failed(&self, whom: Target, now: Duration) {
        let schedule = RetrySchedule {
            attempts: u32::MAX,
            first: FIRST_REST,
            factor: 2.0,
        };
        let mut rests = self.rests.lock();
        let failures = rests.get(&whom).map_or(0, |rest| rest.failures) + 1;
        let wait = schedule.wait_after(failures).unwrap_or(LONGEST_REST);
        let until = now + wait.min(LONGEST_REST);
        rests.insert(whom, Rest { failures, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Target {
        Target::User("ann".parse().unwrap())
    }

    #[test]
    fn each_failure_doubles_the_rest_up_to_an_hour() {
        let turns = KeyedLocks::default();
        let mut now = Duration::ZERO;
        let second = Duration::from_secs(1);
        for seconds in [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            turns.has_failed(ann(), now);
            let rest = Duration::from_secs(seconds);
            assert!(turns.rests(&ann(), now + rest - second), "{seconds}");
            now += rest;
            assert!(!turns.rests(&ann(), now), "{seconds}");
        }
        turns.has_succeeded(&ann());
        turns.has_failed(ann(), now);
        assert!(!turns.rests(&ann(), now + second * 15), "it began anew");
    }

    #[tokio::test]
    async fn turns_are_taken_one_after_the_other_and_not_too_many_wait() {
        let turns = Arc::new(KeyedLocks::default());
        let first = turns.take(ann()).await.unwrap();
        assert!(turns.take_if_free(ann()).is_none());
        let bob = Target::User("bob".parse().unwrap());
        assert!(turns.take_if_free(bob).is_some(), "another one's machine");

        let waits = (1..WAITING).map(|_| Box::pin(turns.take(ann())));
        let mut waiting: Vec<_> = waits.collect();
        for wait in &mut waiting {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert!(turns.take(ann()).await.is_none(), "one too many");
        drop(first);
        for wait in waiting {
            drop(wait.await.unwrap());
        }
        assert_eq!(turns.lines.lock()[&ann()].strong_count(), 0);
    }
}
