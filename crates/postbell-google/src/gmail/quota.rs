//! The quota of one user's mailbox
//! (<https://developers.google.com/workspace/gmail/api/reference/quota>).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::Clock;
use tokio::time::sleep;

/// Units per minute and user of projects created after April 2026; older ones have 15,000.
pub const UNITS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(6000).unwrap();

/// The burst after a pause: the units of one minute, as Google counts them.
const BURST: Duration = Duration::from_secs(60);

/// The cost of a call in units.
pub(super) mod units {
    pub(crate) const ATTACHMENT: u32 = 20;
    pub(crate) const HISTORY: u32 = 2;
    pub(crate) const LABELS: u32 = 1;
    pub(crate) const MESSAGE: u32 = 20;
    pub(crate) const MESSAGES: u32 = 5;
    pub(crate) const PROFILE: u32 = 1;
    pub(crate) const SEND_AS: u32 = 1;
    pub(crate) const THREAD: u32 = 40;
    pub(crate) const WATCH: u32 = 100;
}

/// Keeps calls within the quota.
pub(super) struct Quota {
    clock: Arc<dyn Clock>,
    unit: Duration,
    /// When all spent units have been regained.
    earned_at: Mutex<Duration>,
    /// The end of a pause that Gmail asked for.
    held_until: Mutex<Duration>,
}

impl Quota {
    pub(super) fn per_minute(units: NonZeroU32, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            unit: Duration::from_secs(60) / units.get(),
            earned_at: Mutex::new(Duration::ZERO),
            held_until: Mutex::new(Duration::ZERO),
        }
    }

    /// Pauses all calls, as Gmail asked.
    pub(super) fn hold(&self, time: Duration) {
        let mut held_until = self.held_until.lock();
        *held_until = (self.clock.elapsed() + time).max(*held_until);
    }

    /// The remaining time of a pause that Gmail asked for.
    pub(super) fn hold_left(&self) -> Option<Duration> {
        let held_until = *self.held_until.lock();
        let left = held_until.saturating_sub(self.clock.elapsed());
        (!left.is_zero()).then_some(left)
    }

    /// Waits until these units can be spent.
    pub(super) async fn take(&self, units: u32) {
        let now = self.clock.elapsed();
        let taken = {
            let mut earned_at = self.earned_at.lock();
            *earned_at = now.max(*earned_at) + self.unit * units;
            *earned_at
        };
        let early = taken.saturating_sub(now + BURST);
        if early > Duration::ZERO {
            sleep(early).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use postbell_core::Timestamp;
    use postbell_testkit::PausedClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gmail_is_left_alone_as_long_as_it_wants() {
        let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
        let quota = Quota::per_minute(UNITS_PER_MINUTE, clock);
        assert_eq!(quota.hold_left(), None);
        quota.hold(Duration::from_secs(30));
        quota.hold(Duration::from_secs(1));
        sleep(Duration::from_secs(29)).await;
        assert_eq!(quota.hold_left(), Some(Duration::from_secs(1)));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(quota.hold_left(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_units_at_once_and_then_as_they_are_earned() {
        let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
        let quota = Quota::per_minute(UNITS_PER_MINUTE, clock.clone());
        for _ in 0..300 {
            quota.take(units::MESSAGE).await;
        }
        assert_eq!(clock.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            quota.take(units::MESSAGE).await;
        }
        // The timer counts whole milliseconds.
        assert_eq!(clock.elapsed().as_secs(), 2);
    }
}
