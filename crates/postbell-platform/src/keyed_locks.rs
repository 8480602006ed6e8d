//! One lock for each thing that at most one task changes at a time, such as a machine.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// How many tasks may hold or wait for one lock.
const MAX_WAITING: usize = 8;

/// The locks of all targets. A lock exists as long as a task holds it or waits for it.
pub(crate) struct KeyedLocks<Target> {
    locks: Mutex<HashMap<Target, Weak<AsyncMutex<()>>>>,
}

impl<Target> Default for KeyedLocks<Target> {
    fn default() -> Self {
        Self {
            locks: Mutex::default(),
        }
    }
}

impl<Target: Eq + Hash> KeyedLocks<Target> {
    /// Waits for the lock of a target. Returns `None` if too many tasks wait already.
    pub(crate) async fn lock(&self, target: Target) -> Option<OwnedMutexGuard<()>> {
        let lock = self.entry(target);
        if Arc::strong_count(&lock) > MAX_WAITING {
            return None;
        }
        Some(lock.lock_owned().await)
    }

    /// Takes the lock of a target if it is free.
    pub(crate) fn try_lock(&self, target: Target) -> Option<OwnedMutexGuard<()>> {
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

    #[tokio::test]
    async fn a_lock_has_one_holder_and_a_limited_queue() {
        let locks = KeyedLocks::<&str>::default();
        let first = locks.lock("ann").await.unwrap();
        assert!(locks.try_lock("ann").is_none());
        assert!(locks.try_lock("bob").is_some(), "another target");

        let waits = (1..MAX_WAITING).map(|_| Box::pin(locks.lock("ann")));
        let mut waiting: Vec<_> = waits.collect();
        for wait in &mut waiting {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert!(locks.lock("ann").await.is_none(), "one too many");
        drop(first);
        for wait in waiting {
            drop(wait.await.unwrap());
        }
        assert_eq!(locks.locks.lock()["ann"].strong_count(), 0);
    }
}
