//! The quota of one user's mailbox
//! (<https://developers.google.com/workspace/gmail/api/reference/quota>).

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::Clock;
use tokio::time::sleep;

use super::failure::GmailError;

/// Units per minute and user of projects created after April 2026; older ones have 15,000.
pub const UNITS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(6000).unwrap();

/// The quota is spent once in any period of this length: a minute, and a second for calls that take longer on their way
/// to Google than later ones. Google documents a sliding minute for its Calendar
/// (<https://developers.google.com/workspace/calendar/api/guides/quota>), and does not say how it counts for Gmail.
const PERIOD: Duration = Duration::from_secs(61);

/// Units spent within such a part of the time are kept together.
const PART: Duration = Duration::from_millis(250);

/// The cost of a call in units.
pub(super) mod units {
    pub(crate) const HISTORY: u32 = 2;
    pub(crate) const LABELS: u32 = 1;
    pub(crate) const MESSAGES: u32 = 5;
    pub(crate) const PROFILE: u32 = 1;
    /// A message, or an attachment.
    pub(crate) const READ: u32 = 20;
    pub(crate) const SEND_AS: u32 = 1;
    pub(crate) const STOP: u32 = 50;
    pub(crate) const THREAD: u32 = 40;
    pub(crate) const WATCH: u32 = 100;
}

/// What a call costs.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    pub(super) units: u32,
    /// Whether the first attempt spends nothing, because its units were spent before.
    pub(super) is_paid: bool,
}

impl From<u32> for Cost {
    fn from(units: u32) -> Self {
        Self {
            units,
            is_paid: false,
        }
    }
}

/// Keeps calls within the quota.
pub(super) struct Quota {
    clock: Arc<dyn Clock>,
    units: u64,
    spent: Mutex<Spent>,
    /// The end of a pause that Gmail asked for.
    held_until: Mutex<Duration>,
}

/// Units that have been spent, or will be, and when; the oldest first. Those that are regained are removed.
#[derive(Default)]
struct Spent {
    parts: VecDeque<(Duration, u64)>,
    sum: u64,
}

impl Quota {
    pub(super) fn per_minute(units: NonZeroU32, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            units: units.get().into(),
            spent: Mutex::default(),
            held_until: Mutex::new(Duration::ZERO),
        }
    }

    /// Pauses all calls, as Gmail asked.
    pub(super) fn hold(&self, time: Duration) {
        let mut held_until = self.held_until.lock();
        *held_until = (self.clock.elapsed() + time).max(*held_until);
    }

    /// Refuses a call during a pause that Gmail asked for.
    pub(super) fn check_hold(&self) -> Result<(), GmailError> {
        match self.hold_left() {
            None => Ok(()),
            retry_after => Err(GmailError::Quota { retry_after }),
        }
    }

    /// The remaining time of a pause that Gmail asked for.
    fn hold_left(&self) -> Option<Duration> {
        let held_until = *self.held_until.lock();
        let left = held_until.saturating_sub(self.clock.elapsed());
        (!left.is_zero()).then_some(left)
    }

    /// Waits until these units can be spent, after those that wait already.
    pub(super) async fn take(&self, units: u32) {
        let now = self.clock.elapsed();
        let at = self.spent.lock().add(units.into(), self.units, now);
        let early = at.saturating_sub(now);
        if !early.is_zero() {
            sleep(early).await;
        }
    }
}

impl Spent {
    /// Spends units as early as the quota allows, and returns when that is.
    fn add(&mut self, units: u64, quota: u64, now: Duration) -> Duration {
        let last = self.parts.back().map_or(Duration::ZERO, |(at, _)| *at);
        let mut at = now.max(last);
        while let Some((first, spent)) = self.parts.front() {
            let regained = *first + PERIOD;
            if regained > at && self.sum + units <= quota {
                break;
            }
            at = at.max(regained);
            self.sum -= spent;
            self.parts.pop_front();
        }
        self.sum += units;
        let part = |time: Duration| time.as_millis() / PART.as_millis();
        match self.parts.back_mut() {
            Some((last, spent)) if part(*last) == part(at) => {
                *last = at;
                *spent += units;
            }
            _ => self.parts.push_back((at, units)),
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use postbell_core::Timestamp;
    use postbell_testkit::PausedClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn gmail_is_left_alone_as_long_as_it_wants() {
        let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
        let quota = Quota::per_minute(UNITS_PER_MINUTE, clock);
        assert_eq!(quota.hold_left(), None);
        quota.hold(Duration::from_secs(30));
        quota.hold(SECOND);
        sleep(Duration::from_secs(29)).await;
        assert_eq!(quota.hold_left(), Some(SECOND));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(quota.hold_left(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_units_of_a_minute_are_spent_at_once_and_again_after_it() {
        let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
        let quota = Quota::per_minute(UNITS_PER_MINUTE, clock.clone());
        for minute in 0..3 {
            for _ in 0..300 {
                quota.take(units::READ).await;
            }
            assert_eq!(clock.elapsed(), minute * PERIOD);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_above_the_quota_of_a_minute_is_made() {
        let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
        let quota = Quota::per_minute(NonZeroU32::MIN, clock.clone());
        quota.take(units::THREAD).await;
        quota.take(units::THREAD).await;
        assert_eq!(clock.elapsed(), PERIOD);
    }

    #[test]
    fn no_minute_has_more_than_the_quota() {
        let (quota, mut spent) = (6000, Spent::default());
        let mut calls: Vec<(Duration, u64)> = Vec::new();
        // Calls of several costs, in bursts and at a rate above and below the quota.
        for number in 0..3000_u64 {
            let now = match number % 1000 {
                few @ 0..400 => Duration::from_millis(number / 1000 * 300_000 + few),
                many => Duration::from_millis(number / 1000 * 300_000 + many * 150),
            };
            let units = [20, 2, 40, 5][usize::try_from(number % 4).unwrap()];
            let at = spent.add(units, quota, now);
            assert!(at >= now);
            calls.push((at, units));
        }
        for (begin, _) in &calls {
            let within = |at: Duration| at >= *begin && at < *begin + 60 * SECOND;
            let sum: u64 = calls
                .iter()
                .filter(|call| within(call.0))
                .map(|call| call.1)
                .sum();
            assert!(sum <= quota, "{sum} units in the minute from {begin:?}");
        }
        assert!(spent.parts.len() < 300, "bounded");
    }
}
