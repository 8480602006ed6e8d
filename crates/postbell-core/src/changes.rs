//! Announces, inside a process, whose data has changed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::UserId;

/// The announcements of one process: a hint to read again, which does not carry what changed.
///
/// Clones share the listeners. An announcement never waits, and wakes only the listeners of that
/// user. Several announcements that a listener has not seen yet count as one.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<Listeners>);

#[derive(Debug, Default)]
struct Listeners {
    to_all: watch::Sender<u64>,
    to_one: Mutex<HashMap<UserId, watch::Sender<u64>>>,
}

/// A registered listener. Dropping it removes it.
#[derive(Debug)]
pub struct Listener {
    /// `None` only while it is dropped.
    heard: Option<watch::Receiver<u64>>,
    /// The user, and the registry to remove this from.
    to: Option<(UserId, Changes)>,
}

impl Changes {
    /// Creates a registry without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces that data of `user` has changed.
    pub fn announce(&self, user: &UserId) {
        let once_more = |times: &mut u64| *times = times.wrapping_add(1);
        if let Some(to_one) = self.0.to_one.lock().get(user) {
            to_one.send_modify(once_more);
        }
        if self.0.to_all.receiver_count() > 0 {
            self.0.to_all.send_modify(once_more);
        }
    }

    /// Listens to the changes of one user from now on.
    #[must_use]
    pub fn listen_to(&self, user: &UserId) -> Listener {
        let mut to_one = self.0.to_one.lock();
        let heard = Some(to_one.entry(user.clone()).or_default().subscribe());
        let to = Some((user.clone(), self.clone()));
        Listener { heard, to }
    }

    /// Returns the users who have a listener of their own.
    #[must_use]
    pub fn listened_to(&self) -> Vec<UserId> {
        self.0.to_one.lock().keys().cloned().collect()
    }

    /// Listens to the changes of every user from now on.
    #[must_use]
    pub fn listen_to_all(&self) -> Listener {
        let heard = Some(self.0.to_all.subscribe());
        Listener { heard, to: None }
    }
}

impl Listener {
    /// Completes at the first change since this completed last, or since
    /// [`catch_up`](Self::catch_up).
    pub async fn changed(&mut self) {
        if let Some(heard) = &mut self.heard
            && heard.changed().await.is_ok()
        {
            return;
        }
        // No sender is left.
        std::future::pending().await
    }

    /// Marks all changes so far as seen.
    pub fn catch_up(&mut self) {
        if let Some(heard) = &mut self.heard {
            heard.mark_unchanged();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((user, changes)) = &self.to {
            let mut to_one = changes.0.to_one.lock();
            // Under the lock: of two listeners dropped at once, each would count the other.
            drop(self.heard.take());
            if to_one.get(user).is_some_and(|it| it.receiver_count() == 0) {
                to_one.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn has_heard(listener: &mut Listener) -> bool {
        listener.changed().now_or_never().is_some()
    }

    #[test]
    fn a_listener_sees_its_user_only_and_several_changes_once() {
        let changes = Changes::new();
        changes.announce(&user("ann"));
        let mut to_ann = changes.listen_to(&user("ann"));
        let mut to_all = changes.listen_to_all();
        assert!(!has_heard(&mut to_ann) && !has_heard(&mut to_all));
        changes.announce(&user("bob"));
        assert!(!has_heard(&mut to_ann) && has_heard(&mut to_all));
        for _ in 0..3 {
            changes.announce(&user("ann"));
        }
        assert!(has_heard(&mut to_ann) && has_heard(&mut to_all));
        assert!(!has_heard(&mut to_ann) && !has_heard(&mut to_all));
        changes.announce(&user("ann"));
        to_ann.catch_up();
        assert!(!has_heard(&mut to_ann));
    }

    #[test]
    fn a_dropped_listener_is_removed() {
        let changes = Changes::new();
        let one = changes.listen_to(&user("ann"));
        let mut other = changes.listen_to(&user("ann"));
        drop(one);
        changes.announce(&user("ann"));
        assert!(has_heard(&mut other));
        drop(other);
        assert!(changes.0.to_one.lock().is_empty());
    }

    #[test]
    fn listeners_dropped_at_once_are_removed() {
        let changes = Changes::new();
        let barrier = std::sync::Barrier::new(2);
        for _ in 0..500 {
            let listeners = [(); 2].map(|()| changes.listen_to(&user("ann")));
            std::thread::scope(|threads| {
                for listener in listeners {
                    threads.spawn(|| {
                        barrier.wait();
                        drop(listener);
                    });
                }
            });
            assert!(changes.0.to_one.lock().is_empty());
        }
    }
}
