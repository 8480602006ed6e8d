//! Announces, inside a process, whose data has changed.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

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
    heard: Vec<watch::Receiver<u64>>,
    /// The users, and the registry to remove this from.
    to: Option<(Vec<UserId>, Changes)>,
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
        self.listen_to_each(std::slice::from_ref(user))
    }

    /// Listens to the changes of each of these users from now on.
    #[must_use]
    pub fn listen_to_each(&self, users: &[UserId]) -> Listener {
        let mut to_one = self.0.to_one.lock();
        let heard = users.iter();
        let heard = heard.map(|user| to_one.entry(user.clone()).or_default().subscribe());
        Listener {
            heard: heard.collect(),
            to: Some((users.to_vec(), self.clone())),
        }
    }

    /// Returns the users who have a listener of their own.
    #[must_use]
    pub fn listened_to(&self) -> Vec<UserId> {
        self.0.to_one.lock().keys().cloned().collect()
    }

    /// Listens to the changes of every user from now on.
    #[must_use]
    pub fn listen_to_all(&self) -> Listener {
        let heard = vec![self.0.to_all.subscribe()];
        Listener { heard, to: None }
    }
}

impl Listener {
    /// Completes at the first change since this completed last, or since
    /// [`catch_up`](Self::catch_up).
    pub async fn changed(&mut self) {
        let changed = self.heard.iter_mut();
        let mut changed: Vec<_> = changed.map(|it| Some(Box::pin(it.changed()))).collect();
        poll_fn(|context| {
            for one in &mut changed {
                match one.as_mut().map(|it| it.as_mut().poll(context)) {
                    Some(Poll::Ready(Ok(()))) => return Poll::Ready(()),
                    // No sender is left.
                    Some(Poll::Ready(Err(_))) => *one = None,
                    Some(Poll::Pending) | None => (),
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// Marks all changes so far as seen.
    pub fn catch_up(&mut self) {
        self.heard
            .iter_mut()
            .for_each(watch::Receiver::mark_unchanged);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((users, changes)) = &self.to {
            let mut to_one = changes.0.to_one.lock();
            // Under the lock: of two listeners dropped at once, each would count the other.
            self.heard.clear();
            for user in users {
                if to_one.get(user).is_some_and(|it| it.receiver_count() == 0) {
                    to_one.remove(user);
                }
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
    fn a_listener_to_several_users_sees_each() {
        let changes = Changes::new();
        let mut listener = changes.listen_to_each(&["ann", "ann.team"].map(user));
        for (announced, is_heard) in [("ann", true), ("bob", false), ("ann.team", true)] {
            changes.announce(&user(announced));
            assert_eq!(has_heard(&mut listener), is_heard, "{announced}");
        }
        changes.announce(&user("ann.team"));
        changes.announce(&user("ann"));
        assert!(has_heard(&mut listener));
        listener.catch_up();
        assert!(!has_heard(&mut listener));
        assert_eq!(changes.listened_to().len(), 2);
        drop(listener);
        assert!(changes.listened_to().is_empty());
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
