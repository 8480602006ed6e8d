//! The wait of background tasks for a database that cannot be used yet.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Error;
use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{Clock, DeliveryQueue, StoreError, Tasks};
use postbell_store::Store;
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::Config;

/// The wait between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens once a store has taken a write. Clones are the same gate.
///
/// A database that was never reached is mostly a wrong password or name: one line says so, where each task would
/// log what it cannot do without.
#[derive(Clone)]
pub(super) struct StoreGate(Arc<Gate>);

struct Gate {
    /// The key of the store's URL.
    key: &'static str,
    store: Box<dyn ReadyStore>,
    opened: OnceCell<()>,
    /// The last problem that was logged. At a stop, another task may take over the question.
    reported: Mutex<Option<String>>,
}

/// The store that is asked whether it takes writes.
#[async_trait]
trait ReadyStore: Send + Sync {
    async fn check(&self) -> Result<(), StoreError>;
}

struct Queue(Arc<dyn DeliveryQueue>, Arc<dyn Clock>);

#[async_trait]
impl ReadyStore for Queue {
    async fn check(&self) -> Result<(), StoreError> {
        self.0.check_ready(self.1.now()).await
    }
}

impl StoreGate {
    pub(super) fn new(key: &'static str, store: &Store, clock: &Arc<dyn Clock>) -> Self {
        Self::of(key, Queue(store.queue(), Arc::clone(clock)))
    }

    /// The gate of a relay's tasks and that of a platform's in one process, which are one if the store is.
    pub(super) fn of_both(
        config: &Config,
        inbox: &Store,
        users: &Store,
        clock: &Arc<dyn Clock>,
    ) -> (Self, Self) {
        if config.relay.inbox == config.platform.store {
            let gate = Self::new("relay.inbox and platform.store", users, clock);
            return (gate.clone(), gate);
        }
        let of_users = Self::new("platform.store", users, clock);
        (Self::new("relay.inbox", inbox, clock), of_users)
    }

    fn of(key: &'static str, store: impl ReadyStore + 'static) -> Self {
        Self(Arc::new(Gate {
            key,
            store: Box::new(store),
            opened: OnceCell::new(),
            reported: Mutex::default(),
        }))
    }

    /// Starts a task that begins once the gate is open.
    pub(super) fn start<F>(
        &self,
        tasks: &Tasks,
        name: &'static str,
        task: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let gate = Arc::clone(&self.0);
        tasks.start(name, |stop| {
            let task = task(stop.clone());
            async move {
                let opened = gate.opened.get_or_init(|| gate.open());
                if stop.run_until_cancelled(opened).await.is_some() {
                    task.await;
                }
            }
        });
    }
}

impl Gate {
    async fn open(&self) {
        let key = self.key;
        while let Err(error) = self.store.check().await {
            let problem = format!("{:#}", Error::new(error));
            let before = self.reported.lock().replace(problem.clone());
            if before.as_ref() == Some(&problem) {
                debug!(problem, "Still waiting for {key}");
            } else {
                warn!(
                    "Waiting for {key}, and trying each second: {problem}. Until then, pushes are answered 503, and Google \
                     repeats them; `postbell doctor` says more"
                );
            }
            sleep(PAUSE).await;
        }
        if self.reported.lock().is_some() {
            info!("{key} takes writes");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    /// A store that takes writes after a number of checks.
    #[derive(Clone)]
    struct Away(Arc<AtomicU32>);

    #[async_trait]
    impl ReadyStore for Away {
        async fn check(&self) -> Result<(), StoreError> {
            let left = self.0.load(Ordering::Relaxed);
            if left == 0 {
                return Ok(());
            }
            self.0.store(left - 1, Ordering::Relaxed);
            Err(StoreError::Unavailable("28P01".into()))
        }
    }

    fn away(checks: u32) -> (Away, StoreGate) {
        let store = Away(Arc::new(AtomicU32::new(checks)));
        (store.clone(), StoreGate::of("relay.inbox", store))
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_begin_once_the_store_takes_writes() {
        let (store, gate) = away(3);
        let tasks = Tasks::new();
        let mut begun = Vec::new();
        for name in ["one", "two"] {
            let (begins, begin) = oneshot::channel();
            let store = store.clone();
            gate.clone().start(&tasks, name, |stop| async move {
                begins.send(store.0.load(Ordering::Relaxed)).unwrap();
                stop.cancelled().await;
            });
            begun.push(begin);
        }
        for begin in begun {
            assert_eq!(begin.await, Ok(0));
        }
        tasks.stop(PAUSE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_the_store() {
        let (_, gate) = away(u32::MAX);
        let tasks = Tasks::new();
        gate.start(&tasks, "one", |_| async {
            unreachable!("the store takes no writes")
        });
        sleep(PAUSE * 3).await;
        tasks.stop(PAUSE / 2).await.unwrap();
    }
}
