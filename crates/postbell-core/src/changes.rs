//! Says of whom something has changed, to whoever listens in this process.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::UserId;

/// Of whom something has changed: a hint to look again, which carries nothing of what changed.
///
/// A clone is the same. Telling never waits, wakes those alone who listen to that user, and costs
/// next to nothing while nobody does. Many changes at once are one to whoever was busy meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<Listeners>);

#[derive(Debug, Default)]
struct Listeners {
    to_all: watch::Sender<u64>,
    to_one: Mutex<HashMap<UserId, watch::Sender<u64>>>,
}

/// Somebody who listens, until the value goes.
#[derive(Debug)]
pub struct Listener {
    /// `None` only while it goes.
    heard: Option<watch::Receiver<u64>>,
    /// To whom, and where they are forgotten in the end.
    to: Option<(UserId, Changes)>,
}

impl Changes {
    /// Nobody listens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that something of `user` has changed.
    pub fn tell(&self, user: &UserId) {
        let once_more = |times: &mut u64| *times = times.wrapping_add(1);
        if let Some(to_one) = self.0.to_one.lock().get(user) {
            to_one.send_modify(once_more);
        }
        if self.0.to_all.receiver_count() > 0 {
            self.0.to_all.send_modify(once_more);
        }
    }

    /// Listens to what changes of one user, from now on.
    #[must_use]
    pub fn listen_to(&self, user: &UserId) -> Listener {
        let mut to_one = self.0.to_one.lock();
        let heard = Some(to_one.entry(user.clone()).or_default().subscribe());
        let to = Some((user.clone(), self.clone()));
        Listener { heard, to }
    }

    /// Listens to what changes of anybody, from now on.
    #[must_use]
    pub fn listen_to_all(&self) -> Listener {
        let heard = Some(self.0.to_all.subscribe());
        Listener { heard, to: None }
    }
}

impl Listener {
    /// Completes once something has changed since this completed last, or was
    /// [caught up](Self::catch_up) with.
    pub async fn changed(&mut self) {
        if let Some(heard) = &mut self.heard
            && heard.changed().await.is_ok()
        {
            return;
        }
        // Nobody is left who could tell.
        std::future::pending().await
    }

    /// Takes all changes so far for heard.
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
            // While nobody else counts: of two that go at once, each would find the other still there.
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
    fn who_listens_hears_of_their_user_alone_and_once_of_many_changes() {
        let changes = Changes::new();
        changes.tell(&user("ann"));
        let mut to_ann = changes.listen_to(&user("ann"));
        let mut to_all = changes.listen_to_all();
        assert!(!has_heard(&mut to_ann) && !has_heard(&mut to_all));
        changes.tell(&user("bob"));
        assert!(!has_heard(&mut to_ann) && has_heard(&mut to_all));
        for _ in 0..3 {
            changes.tell(&user("ann"));
        }
        assert!(has_heard(&mut to_ann) && has_heard(&mut to_all));
        assert!(!has_heard(&mut to_ann) && !has_heard(&mut to_all));
        changes.tell(&user("ann"));
        to_ann.catch_up();
        assert!(!has_heard(&mut to_ann));
    }

    #[test]
    fn nothing_is_left_of_those_who_have_gone() {
        let changes = Changes::new();
        let one = changes.listen_to(&user("ann"));
        let mut other = changes.listen_to(&user("ann"));
        drop(one);
        changes.tell(&user("ann"));
        assert!(has_heard(&mut other));
        drop(other);
        assert!(changes.0.to_one.lock().is_empty());
    }

    #[test]
    fn nothing_is_left_of_those_who_go_at_once() {
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
