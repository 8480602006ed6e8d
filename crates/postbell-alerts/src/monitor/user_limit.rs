//! A limit of the alerts of each user: a machine can check in with a new problem as often as it likes,
//! and its owner chooses where the alerts go.

use std::collections::HashMap;
use std::time::Duration;

use postbell_core::{Timestamp, UserId};

/// How many events of one user are reported in an hour. The page shows the present state in any case.
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60 * 60);

/// Counts the events of each user.
#[derive(Debug, Default)]
pub(super) struct UserLimit {
    since: Option<Timestamp>,
    reported: HashMap<UserId, u32>,
}

impl UserLimit {
    /// Whether a further event of the user is not reported.
    pub(super) fn is_reached(&mut self, user: &UserId, now: Timestamp) -> bool {
        if self.since.is_none_or(|since| now - since >= WINDOW) {
            self.since = Some(now);
            self.reported.clear();
        }
        self.reported
            .get(user)
            .is_some_and(|number| *number >= MOST)
    }

    /// Counts an event that was stored.
    pub(super) fn count(&mut self, user: &UserId) {
        let number = self.reported.entry(user.clone()).or_default();
        *number = number.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_twenty_events_in_an_hour_and_no_other_user_is_affected() {
        let [ann, bob] = ["ann", "bob"].map(|id| id.parse::<UserId>().unwrap());
        let mut limit = UserLimit::default();
        let start = Timestamp::from_millis(0);
        for _ in 0..MOST {
            assert!(!limit.is_reached(&ann, start));
            limit.count(&ann);
        }
        assert!(limit.is_reached(&ann, start));
        assert!(!limit.is_reached(&bob, start));
        assert!(!limit.is_reached(&ann, start + WINDOW));
    }
}
