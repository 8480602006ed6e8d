//! The machine's own clock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Clock, Timestamp};

/// A leap of the time of day that counts as sleep. Shorter ones are corrections of the clock, which would spoil
/// measured durations.
const LEAP: Duration = Duration::from_secs(10);

/// The most of a leap that counts. A clock that falls to 1970 and comes back again and again must not lead to durations
/// that rate limits cannot count (584 years in nanoseconds).
const LONGEST_LEAP: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long the machine is awake before leaps are looked for again: the relay reads the clock several times for each push.
const PAUSE: Duration = Duration::from_secs(1);

/// The sleep of this machine, as far as this process has noticed.
static SLEEP: LazyLock<Mutex<Sleep>> = LazyLock::new(|| Mutex::new(Sleep::new(time_of_day())));

/// The machine's own clock.
///
/// The system's monotonic clock stands still while the machine sleeps, and that of a virtual machine knows nothing of a
/// suspension by its host. The time of day is right again after both, so that its leaps tell how long the sleep was.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
    slept_before: Duration,
}

impl SystemClock {
    /// The clock of this machine.
    #[must_use]
    pub fn new() -> Self {
        let (start, slept_before) = clocks();
        Self {
            start,
            slept_before,
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        time_of_day()
    }

    fn elapsed(&self) -> Duration {
        let (now, slept) = clocks();
        now.saturating_duration_since(self.start) + slept.saturating_sub(self.slept_before)
    }
}

/// The monotonic clock, and how long the machine has slept.
fn clocks() -> (Instant, Duration) {
    /// Milliseconds of the monotonic clock since the first reading at which leaps are looked for next.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    /// The sleep in milliseconds.
    static SLEPT: AtomicU64 = AtomicU64::new(0);
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    let start = *START;
    let now = Instant::now();
    if millis(now.saturating_duration_since(start)) >= NEXT.load(Ordering::Relaxed) {
        // Read under the lock: a reading of before the last one would look like a clock that was put back.
        let mut sleep = SLEEP.lock();
        let awake = start.elapsed();
        let slept = sleep.observe(time_of_day(), awake);
        SLEPT.store(millis(slept), Ordering::Relaxed);
        NEXT.store(millis(awake + PAUSE), Ordering::Relaxed);
    }
    (now, Duration::from_millis(SLEPT.load(Ordering::Relaxed)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the time of day"
)]
fn time_of_day() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default() + since_epoch
}

/// How long the machine has slept.
struct Sleep {
    /// The time of day at the start, by the last leap.
    began: Timestamp,
    total: Duration,
}

impl Sleep {
    fn new(began: Timestamp) -> Self {
        Self {
            began,
            total: Duration::ZERO,
        }
    }

    /// Adds a leap of the time of day ahead of the time awake. One that was put back counts from there.
    fn observe(&mut self, now: Timestamp, awake: Duration) -> Duration {
        let expected = self.began + awake;
        let (ahead, behind) = (now - expected, expected - now);
        if ahead > LEAP || behind > LEAP {
            let moved = i64::try_from((ahead + behind).as_millis()).unwrap_or(i64::MAX);
            let moved = if ahead > behind { moved } else { -moved };
            self.began = Timestamp::from_millis(self.began.as_millis().saturating_add(moved));
            self.total = self.total.saturating_add(ahead.min(LONGEST_LEAP));
        }
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_leap_of_the_time_of_day_is_sleep() {
        let mut sleep = Sleep::new(NOON);
        assert_eq!(sleep.observe(NOON + SECOND, SECOND), Duration::ZERO);
        assert_eq!(sleep.observe(NOON + HOUR, SECOND), HOUR - SECOND);
        let later = NOON + HOUR + SECOND;
        assert_eq!(sleep.observe(later, SECOND * 2), HOUR - SECOND);
        assert_eq!(sleep.observe(later + HOUR, SECOND * 2), HOUR * 2 - SECOND);
    }

    #[test]
    fn a_corrected_clock_is_no_sleep_and_hides_none() {
        let mut sleep = Sleep::new(NOON + HOUR);
        assert_eq!(sleep.observe(NOON, Duration::ZERO), Duration::ZERO);
        assert_eq!(sleep.observe(NOON + 5 * SECOND, SECOND), Duration::ZERO);
        assert_eq!(sleep.observe(NOON + SECOND, 5 * SECOND), Duration::ZERO);
        assert_eq!(sleep.observe(NOON + HOUR, 5 * SECOND), HOUR - 5 * SECOND);
    }

    #[test]
    fn a_clock_that_falls_to_1970_and_comes_back_has_slept_a_year_at_most() {
        let mut sleep = Sleep::new(NOON);
        for times in 1..=3 {
            sleep.observe(Timestamp::default(), Duration::ZERO);
            assert_eq!(sleep.observe(NOON, Duration::ZERO), LONGEST_LEAP * times);
        }
        assert_eq!(
            sleep.observe(NOON + HOUR, Duration::ZERO),
            LONGEST_LEAP * 3 + HOUR
        );
    }

    #[test]
    fn short_sleeps_add_up() {
        let mut sleep = Sleep::new(NOON);
        assert_eq!(
            sleep.observe(NOON + 9 * SECOND, Duration::ZERO),
            Duration::ZERO
        );
        assert_eq!(
            sleep.observe(NOON + 18 * SECOND, Duration::ZERO),
            18 * SECOND
        );
    }
}
