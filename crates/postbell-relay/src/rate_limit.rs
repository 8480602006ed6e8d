//! Rate limits.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use postbell_core::Clock;

/// A rate limit: a steady rate and a burst.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Requests per second in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
}

/// Limits the rate of each sender.
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
    /// Allows `rate` to each sender.
    #[must_use]
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let clock = Elapsed(clock);
        Self {
            limiter: RateLimiter::dashmap_with_clock(quota, clock.clone()),
            clock,
        }
    }

    /// Counts a request, or returns after how many seconds the sender may retry.
    pub(crate) fn check(&self, sender: &K) -> Result<(), u64> {
        self.limiter.check_key(sender).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(self.clock.now());
            wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
        })
    }

    /// Removes senders whose limit is unused.
    pub(crate) fn prune_idle(&self) {
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
    async fn a_user_over_the_limit_learns_when_to_retry_and_others_are_unaffected() {
        let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
        let [per_second, burst] = [2, 5].map(|number| NonZeroU32::new(number).unwrap());
        let limit = RateLimit::new(Rate { per_second, burst }, clock);
        let [ann, bob] = ["ann", "bob"].map(|name| name.parse::<UserId>().unwrap());
        for _ in 0..5 {
            assert_eq!(limit.check(&ann), Ok(()));
        }
        assert_eq!(limit.check(&ann), Err(1));
        assert_eq!(limit.check(&bob), Ok(()));

        sleep(Duration::from_millis(500)).await;
        assert_eq!(limit.check(&ann), Ok(()));
        assert_eq!(limit.check(&ann), Err(1));
        sleep(Duration::from_secs(60)).await;
        limit.prune_idle();
        assert!(limit.limiter.is_empty());
    }
}
