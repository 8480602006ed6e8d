//! Limits how often each sender may ask for something.

use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::UserId;
use quick_cache::unsync::Cache;

/// How many senders are counted. If there are more, those that ask least are forgotten.
const SENDERS_COUNTED: usize = 10_000;

/// Allows each sender a burst, and then one request per interval.
pub(crate) struct RequestLimit<K> {
    /// At which time the requests of a sender no longer count.
    counted_until: Mutex<Cache<K, Duration>>,
    burst: Duration,
    interval: Duration,
}

impl<K: Clone + Eq + Hash> RequestLimit<K> {
    pub(crate) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            counted_until: Mutex::new(Cache::new(SENDERS_COUNTED)),
            burst: interval * burst,
            interval,
        }
    }

    /// Counts a request at `now`, a time of a clock that never decreases. Returns whether it is allowed.
    pub(crate) fn take(&self, sender: &K, now: Duration) -> bool {
        let mut counted = self.counted_until.lock();
        let before = counted.get(sender).copied().unwrap_or_default();
        let until = before.max(now) + self.interval;
        let is_allowed = until <= now + self.burst;
        if is_allowed {
            counted.insert(sender.clone(), until);
        }
        is_allowed
    }

    /// Whether a request at `now` would not be allowed.
    pub(crate) fn is_reached(&self, sender: &K, now: Duration) -> bool {
        let counted = self.counted_until.lock();
        let before = counted.get(sender).copied().unwrap_or_default();
        before.max(now) + self.interval > now + self.burst
    }
}

/// Limits the changes of each user. Each is an entry of the audit log, which keeps it for a year: 2,880 a day at most.
pub(crate) fn change_limit() -> RequestLimit<UserId> {
    RequestLimit::new(30, Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_has_a_burst_and_then_one_request_per_interval() {
        let interval = Duration::from_secs(30);
        let limit = RequestLimit::new(10, interval);
        let allowed = |sender, now| (0..20).filter(|_| limit.take(&sender, now)).count();
        let start = Duration::from_secs(1_000);
        assert_eq!(allowed("ann", start), 10);
        assert_eq!(allowed("bob", start), 10);
        assert_eq!(allowed("ann", start + interval / 2), 0);
        assert_eq!(allowed("ann", start + interval), 1);
        assert_eq!(allowed("ann", start + interval * 20), 10);
    }
}
