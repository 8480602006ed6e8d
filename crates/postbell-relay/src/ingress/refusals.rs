//! Logs refused pushes by user.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postbell_core::UserId;
use tracing::warn;

/// The shortest time between two lines about one user.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// For how many users refusals are counted: any client can send a push that is refused.
const MAX_USERS: usize = 1000;

/// Counts refused pushes. The first one of a user is logged at once, the others with the next line.
#[derive(Default)]
pub(super) struct Refusals(Mutex<BTreeMap<UserId, Refused>>);

struct Refused {
    logged_at: Duration,
    /// Not logged yet.
    count: u64,
}

impl Refusals {
    /// Counts a push that claims to be of `user`, at `now`.
    pub(super) fn add(&self, user: UserId, reason: &'static str, now: Duration) {
        if let Some(count) = self.count(&user, now) {
            let masked = user.masked();
            warn!(user = %masked, pushes = count, reason, "Refused pushes");
        }
    }

    /// Returns how many refused pushes are to be logged.
    fn count(&self, user: &UserId, now: Duration) -> Option<u64> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |one: &Refused| now.saturating_sub(one.logged_at) >= PAUSE;
        if let Some(one) = refused.get_mut(user) {
            one.count += 1;
            if !is_over(one) {
                return None;
            }
            one.logged_at = now;
            return Some(std::mem::take(&mut one.count));
        }
        if refused.len() >= MAX_USERS {
            refused.retain(|_, one| !is_over(one));
        }
        if refused.len() >= MAX_USERS {
            return None;
        }
        let (logged_at, count) = (now, 0);
        refused.insert(user.clone(), Refused { logged_at, count });
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_of_a_user_is_logged_and_the_others_are_counted() {
        let refusals = Refusals::default();
        let user = |name: &str| UserId::try_from(name.to_owned()).unwrap();
        let (ann, bob) = (user("ann"), user("bob"));
        let now = Duration::from_secs(5);
        assert_eq!(refusals.count(&ann, now), Some(1));
        assert_eq!(refusals.count(&ann, now + PAUSE / 2), None);
        assert_eq!(refusals.count(&bob, now + PAUSE / 2), Some(1));
        assert_eq!(refusals.count(&ann, now + PAUSE), Some(2));
        assert_eq!(refusals.count(&ann, now + PAUSE), None);
    }

    #[test]
    fn strangers_can_fill_neither_memory_nor_log() {
        let refusals = Refusals::default();
        let now = Duration::from_secs(5);
        let logged = (0..2 * MAX_USERS).filter(|number| {
            let user = UserId::try_from(format!("user{number}")).unwrap();
            refusals.count(&user, now).is_some()
        });
        assert_eq!(logged.count(), MAX_USERS);
        let user = UserId::try_from("another".to_owned()).unwrap();
        assert_eq!(refusals.count(&user, now + PAUSE), Some(1));
        assert_eq!(refusals.0.lock().unwrap().len(), 1);
    }
}
