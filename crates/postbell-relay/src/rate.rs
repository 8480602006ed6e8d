//! How much each sender may send.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use postbell_core::Clock;

/// How much a sender may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

/// Counts what each sender sends.
pub struct RateLimit<K: Clone + Eq + Hash> {
    limiter: RateLimiter<K, DashMapStateStore<K>, Elapsed, NoOpMiddleware<Duration>>,
    clock: Elapsed,
}

#[derive(Clone)]
struct Elapsed(Arc<dyn Clock>);

impl GovernorClock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl<K: Clone + Eq + Hash> RateLimit<K> {
    /// Lets each sender send so much.
    #[must_use]
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let clock = Elapsed(clock);
        Self {
            limiter: RateLimiter::dashmap_with_clock(quota, clock.clone()),
            clock,
        }
    }

    /// Counts a request, or says after how many seconds it may be sent again.
    pub(crate) fn count(&self, sender: &K) -> Result<(), u64> {
        self.limiter.check_key(sender).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(self.clock.now());
            wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
        })
    }

    /// Forgets those who have sent little lately.
    pub(crate) fn forget_the_quiet(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use postbell_core::{Timestamp, UserId};
    use postbell_testkit::PausedClock;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_user_over_the_limit_is_told_when_and_nobody_else_is_harmed() {
        let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
        let [per_second, burst] = [2, 5].map(|number| NonZeroU32::new(number).unwrap());
        let limit = RateLimit::new(Rate { per_second, burst }, clock);
        let [ann, bob] = ["ann", "bob"].map(|name| name.parse::<UserId>().unwrap());
        for _ in 0..5 {
            assert_eq!(limit.count(&ann), Ok(()));
        }
        assert_eq!(limit.count(&ann), Err(1));
        assert_eq!(limit.count(&bob), Ok(()));

        sleep(Duration::from_millis(500)).await;
        assert_eq!(limit.count(&ann), Ok(()));
        assert_eq!(limit.count(&ann), Err(1));
        sleep(Duration::from_secs(60)).await;
        limit.forget_the_quiet();
        assert!(limit.limiter.is_empty());
    }
}
