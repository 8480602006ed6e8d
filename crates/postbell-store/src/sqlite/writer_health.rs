//! Whether the last commit failed, for readiness checks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postbell_core::Timestamp;
use rusqlite::Connection;

/// The shortest time between two writes that only test whether writing works again.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// What a readiness check does.
#[derive(Debug)]
pub(super) enum Check {
    /// Reads: the last commit that wrote something succeeded.
    Healthy,
    /// Writes: the last commit failed a while ago.
    Probe,
    /// Nothing: the last commit failed, and was tried again within the last second.
    Failing(Arc<rusqlite::Error>),
}

/// The result of the last commit.
#[derive(Debug, Default)]
pub(super) struct WriterHealth(Mutex<Option<Failing>>);

#[derive(Debug)]
struct Failing {
    error: Arc<rusqlite::Error>,
    probed_at: Option<Timestamp>,
}

impl WriterHealth {
    /// Records that a commit wrote something.
    pub(super) fn succeeded(&self) {
        *self.failing() = None;
    }

    /// Records that a commit failed.
    pub(super) fn failed(&self, error: &Arc<rusqlite::Error>) {
        let mut failing = self.failing();
        let probed_at = failing.as_ref().and_then(|failing| failing.probed_at);
        *failing = Some(Failing {
            error: Arc::clone(error),
            probed_at,
        });
    }

    /// Decides what a readiness check at `now` does. A probe counts from then on.
    pub(super) fn check(&self, now: Timestamp) -> Check {
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

    fn failing(&self) -> MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The smallest read.
pub(super) fn read(db: &Connection) -> rusqlite::Result<()> {
    let statement = "SELECT latest FROM queue_clock";
    let mut statement = db.prepare_cached(statement)?;
    statement
        .query_row([], |row| row.get::<_, i64>(0))
        .map(drop)
}

/// Writes as much as the largest push. A smaller write may still fit on a disk that is full for pushes.
pub(super) fn write(db: &Connection) -> rusqlite::Result<()> {
    let statement = "INSERT OR REPLACE INTO write_probe (id, data) VALUES (1, zeroblob(65536))";
    db.prepare_cached(statement)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_commit_is_tried_again_at_most_once_a_second() {
        let health = WriterHealth::default();
        let at = Timestamp::from_millis;
        assert!(matches!(health.check(at(0)), Check::Healthy));
        let error = Arc::new(rusqlite::Error::QueryReturnedNoRows);
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
