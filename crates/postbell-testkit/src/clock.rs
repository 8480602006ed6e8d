//! A clock that follows tokio's paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postbell_core::{Clock, Timestamp};
use tokio::time::Instant;

/// A clock for tests that moves as tokio's paused time moves, and while its machine sleeps.
#[derive(Clone, Debug)]
pub struct PausedClock {
    start: Instant,
    epoch: Timestamp,
    slept_ms: Arc<AtomicU64>,
}

impl PausedClock {
    /// A clock that shows `epoch` now.
    #[must_use]
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self {
            start: Instant::now(),
            epoch,
            slept_ms: Arc::default(),
        }
    }

    /// Lets the machine sleep: the clock and its clones go on, tokio's time does not.
    pub fn sleep(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.slept_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        let slept = Duration::from_millis(self.slept_ms.load(Ordering::Relaxed));
        Instant::now().saturating_duration_since(self.start) + slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_paused_clock_moves_with_paused_time() {
        let clock = PausedClock::starting_at(Timestamp::from_millis(7));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(2_007));
        clock.clone().sleep(Duration::from_secs(3));
        assert_eq!(clock.elapsed(), Duration::from_secs(5));
    }
}
