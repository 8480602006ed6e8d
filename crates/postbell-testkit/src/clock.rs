//! A clock that follows tokio's paused time.

use std::time::Duration;

use postbell_core::{Clock, Timestamp};
use tokio::time::Instant;

/// A clock for tests that moves exactly as tokio's paused time moves.
#[derive(Clone, Copy, Debug)]
pub struct PausedClock {
    start: Instant,
    epoch: Timestamp,
}

impl PausedClock {
    /// A clock that shows `epoch` now.
    #[must_use]
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self {
            start: Instant::now(),
            epoch,
        }
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.start)
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
    }
}
