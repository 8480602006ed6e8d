//! One lock per machine, so that at most one task configures it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use postbell_core::{ManagedMachine, UserId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// How many tasks may hold or wait for the lock of one machine.
const MAX_WAITING: usize = 8;

/// The machine that a task configures.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Target {
    /// The present machine of a user.
    User(UserId),
    /// A machine that no longer belongs to a user.
    Orphaned(ManagedMachine),
}

/// The locks of all targets. A lock exists as long as a task holds it or waits for it.
#[derive(Default)]
pub(super) struct KeyedLocks {
    locks: Mutex<HashMap<Target, Weak<AsyncMutex<()>>>>,
}

impl KeyedLocks {
    /// Waits for the lock of a target. Returns `None` if too many tasks wait already.
    pub(super) async fn lock(&self, target: Target) -> Option<OwnedMutexGuard<()>> {
        let lock = self.entry(target);
        if Arc::strong_count(&lock) > MAX_WAITING {
            return None;
        }
        Some(lock.lock_owned().await)
    }

    /// Takes the lock of a target if it is free.
    pub(super) fn try_lock(&self, target: Target) -> Option<OwnedMutexGuard<()>> {
        self.entry(target).try_lock_owned().ok()
    }

    fn entry(&self, target: Target) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock();
        if let Some(lock) = locks.get(&target).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(target, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Target {
        Target::User(name.parse().unwrap())
    }

    #[tokio::test]
    async fn a_lock_has_one_holder_and_a_limited_queue() {
        let locks = KeyedLocks::default();
        let first = locks.lock(user("ann")).await.unwrap();
        assert!(locks.try_lock(user("ann")).is_none());
        assert!(locks.try_lock(user("bob")).is_some(), "another machine");

        let waits = (1..MAX_WAITING).map(|_| Box::pin(locks.lock(user("ann"))));
        let mut waiting: Vec<_> = waits.collect();
        for wait in &mut waiting {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert!(locks.lock(user("ann")).await.is_none(), "one too many");
        drop(first);
        for wait in waiting {
            drop(wait.await.unwrap());
        }
        assert_eq!(locks.locks.lock()[&user("ann")].strong_count(), 0);
    }
}
