//! The time of day, and how it is asked for.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

mod system;

pub use system::SystemClock;

/// The longest pause of a wait: it ends at most this long after the machine has woken up.
const LONGEST_STEP: Duration = Duration::from_secs(15);

/// Milliseconds since the Unix epoch.
///
/// Every backend stores this without rounding, so a value read back equals the value written.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the time `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as in tokens.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads a time after the Unix epoch, or `None` from any other value: a field that another
    /// implementation writes differently must not make the whole message unreadable.
    ///
    /// # Errors
    ///
    /// Fails if the text around the value is malformed.
    pub fn deserialize_or_none<'de, D: Deserializer<'de>>(
        value: D,
    ) -> Result<Option<Self>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Time(Timestamp),
            Else(IgnoredAny),
        }
        Ok(match Said::deserialize(value)? {
            Said::Time(time) => Some(time).filter(|time| *time > Timestamp::default()),
            Said::Else(_) => None,
        })
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the end of time, because a configured wait may have any length.
    fn add(self, wait: Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// Returns the time from `earlier` to `self`; zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The only place where the program asks for the time.
pub trait Clock: Send + Sync {
    /// The time of day. It may jump, as system clocks do.
    fn now(&self) -> Timestamp;

    /// Time since the clock was created, with the time that the machine has slept. It never decreases, so durations are
    /// measured with it.
    fn elapsed(&self) -> Duration;
}

/// Waits until `time` has passed by `clock`.
///
/// Tokio's timers stand still while the machine sleeps (a closed laptop, a suspended virtual machine). They are right for
/// time-outs. Whatever is to happen hours or days later in the world waits with this.
pub async fn wait_for(clock: &dyn Clock, time: Duration) {
    let until = clock.elapsed().saturating_add(time);
    loop {
        let left = until.saturating_sub(clock.elapsed());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_STEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    use super::*;

    #[test]
    fn a_negative_difference_is_zero() {
        let early = Timestamp::from_millis(1_000);
        let late = Timestamp::from_millis(3_500);
        assert_eq!(late - early, Duration::from_millis(2_500));
        assert_eq!(early - late, Duration::ZERO);
    }

    #[test]
    fn an_addition_saturates_at_the_end_of_time() {
        let never = Timestamp::from_millis(5) + Duration::MAX;
        assert_eq!(never, Timestamp::from_millis(i64::MAX));
    }

    #[test]
    fn a_value_that_is_not_a_time_is_none() {
        let read = |millis: i64| {
            Timestamp::deserialize_or_none(IntoDeserializer::<Error>::into_deserializer(millis))
        };
        assert_eq!(read(7).unwrap(), Some(Timestamp::from_millis(7)));
        for no_time in [0, -1] {
            assert_eq!(read(no_time).unwrap(), None);
        }
        let text = IntoDeserializer::<Error>::into_deserializer("2026-12-01T14:03:00Z");
        assert_eq!(Timestamp::deserialize_or_none(text).unwrap(), None);
        let too_much = IntoDeserializer::<Error>::into_deserializer(u64::MAX);
        assert_eq!(Timestamp::deserialize_or_none(too_much).unwrap(), None);
        let nothing = IntoDeserializer::<Error>::into_deserializer(());
        assert_eq!(Timestamp::deserialize_or_none(nothing).unwrap(), None);
    }
}
