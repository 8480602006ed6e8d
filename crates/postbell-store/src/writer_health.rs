//! Whether the last commit failed, for readiness checks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postbell_core::Timestamp;

/// The shortest time between two writes that only test whether writing works again.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// What a readiness check does.
#[derive(Debug)]
pub(crate) enum Check<E> {
    /// Reads: the last commit that wrote something succeeded.
    Healthy,
    /// Writes: the last commit failed a while ago.
    Probe,
    /// Nothing: the last commit failed, and was tried again within the last second.
    Failing(Arc<E>),
}

/// The result of the last commit.
#[derive(Debug)]
pub(crate) struct WriterHealth<E>(Mutex<Option<Failing<E>>>);

#[derive(Debug)]
struct Failing<E> {
    error: Arc<E>,
    probed_at: Option<Timestamp>,
}

impl<E> Default for WriterHealth<E> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<E> WriterHealth<E> {
    /// Records that a commit wrote something.
    pub(crate) fn succeeded(&self) {
        *self.failing() = None;
    }

    /// Records that a commit failed.
    pub(crate) fn failed(&self, error: &Arc<E>) {
        let mut failing = self.failing();
        let probed_at = failing.as_ref().and_then(|failing| failing.probed_at);
        *failing = Some(Failing {
            error: Arc::clone(error),
            probed_at,
        });
    }

    /// Decides what a readiness check at `now` does. A probe counts from then on.
    pub(crate) fn check(&self, now: Timestamp) -> Check<E> {
        let mut failing = self.failing();
        let Some(failing) = failing.as_mut() else {
            return Check::Healthy;
        };
        // A clock that was set back does not stop the probes.
        let is_recent = |at: Timestamp| at <= now && now - at < PROBE_PAUSE;
        if failing.probed_at.is_some_and(is_recent) {
            return Check::Failing(Arc::clone(&failing.error));
        }
        failing.probed_at = Some(now);
        Check::Probe
    }

    fn failing(&self) -> MutexGuard<'_, Option<Failing<E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_commit_is_tried_again_at_most_once_a_second() {
        let health = WriterHealth::default();
        let at = Timestamp::from_millis;
        assert!(matches!(health.check(at(0)), Check::Healthy));
        let error = Arc::new("disk full");
        health.failed(&error);
        assert!(matches!(health.check(at(10_000)), Check::Probe));
        health.failed(&error);
        assert!(matches!(health.check(at(10_999)), Check::Failing(_)));
        assert!(matches!(health.check(at(11_000)), Check::Probe));
        assert!(matches!(health.check(at(5_000)), Check::Probe), "set back");
        health.succeeded();
        assert!(matches!(health.check(at(5_000)), Check::Healthy));
    }
}
