//! Pushes that are refused because they prove no sender.
//!
//! Without a line in the log, mail that comes only by the poll looks slow and not broken: the sender is Google, and a person
//! does not see its answers. A stranger can send any number of such pushes, so there is one line a minute at most.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::Clock;
use tracing::warn;

use crate::metrics::Metrics;

/// The shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// Counts refused pushes, and logs them.
pub(crate) struct Refusals {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    pending: Mutex<Pending>,
}

/// What the next line says.
#[derive(Default)]
struct Pending {
    refused: u64,
    last_line: Option<Duration>,
}

impl Refusals {
    pub(crate) fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            metrics,
            clock,
            pending: Mutex::default(),
        }
    }

    /// Counts a push that lacked `expected`, and returns the number of pushes in the line that it caused, if it did.
    pub(crate) fn count(&self, expected: &'static str) -> Option<u64> {
        self.metrics.push_refused();
        let now = self.clock.elapsed();
        let mut pending = self.pending.lock();
        pending.refused += 1;
        if pending.last_line.is_some_and(|last| now < last + PAUSE) {
            return None;
        }
        let refused = std::mem::take(&mut pending.refused);
        pending.last_line = Some(now);
        drop(pending);
        warn!(
            refused,
            expected,
            "Refused a push (401): mail comes only by the poll until its sender is set right"
        );
        Some(refused)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use postbell_core::Timestamp;
    use postbell_protocol::watch_state::WatchState;

    use super::*;

    /// Its seconds.
    #[derive(Default)]
    struct SetClock(AtomicU64);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0) + self.elapsed()
        }

        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn refused_pushes_are_logged_once_a_minute_with_their_number() {
        let clock = Arc::new(SetClock::default());
        let metrics = Arc::new(Metrics::default());
        let refusals = Refusals::new(Arc::clone(&metrics), Arc::clone(&clock) as _);
        let mut lines = Vec::new();
        for _ in 0..150 {
            lines.extend(refusals.count("a token"));
            clock.0.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(lines, [1, 60, 60]);
        let text = metrics.encode(&WatchState::default(), Timestamp::from_millis(0));
        assert!(
            text.contains("postbell_watch_pushes_refused_total 150"),
            "{text}"
        );
    }
}
