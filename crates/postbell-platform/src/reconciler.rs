//! Applies the changes of users and brings their machines to the stored configuration.
//!
//! A change is committed together with a pending sync; then the machine is synced. A sync that failed,
//! or that belongs to another or a killed process, is found by polling the store and retried.

mod command_queue;
mod cooldowns;
mod keyed_locks;
mod machine_sync;

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    Clock, ManagedMachine, OrphanedMachines, UserId, UserRecord, Users, update_user,
};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::command_queue::Command;
pub use self::command_queue::CommandQueue;
use self::machine_sync::{MachineSync, MachineSyncParts};
use crate::change::{Change, ChangeError, Changed, SyncOutcome};
use crate::{Controllers, Fleet, Relays, Tarballs};

/// How often the store is polled for pending syncs and orphaned machines.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// How many pending syncs, and how many orphaned machines, a poll takes. The next poll continues
/// after them.
const BATCH: usize = 64;

/// How many commands and syncs run at once. Further commands wait in the queue.
const MAX_IN_FLIGHT: usize = 1024;

/// The dependencies of the reconciler.
pub struct ReconcilerParts {
    /// The users' records.
    pub store: Arc<dyn Users>,
    /// Their credentials.
    pub tarballs: Tarballs,
    /// The controllers on their machines.
    pub controllers: Arc<dyn Controllers>,
    /// The machines without a user.
    pub orphaned_machines: Arc<dyn OrphanedMachines>,
    /// The users' machines.
    pub fleet: Arc<Fleet>,
    /// The relays to notify of changes.
    pub relays: Arc<dyn Relays>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// Executes commands from its queue, and retries pending syncs.
pub struct Reconciler {
    worker: Arc<Worker>,
    commands: mpsc::Receiver<Command>,
    /// Where the next poll begins.
    last_user: Option<UserId>,
    last_machine: Option<ManagedMachine>,
}

impl Reconciler {
    /// Creates a reconciler and the queue that feeds it.
    #[must_use]
    pub fn new(parts: ReconcilerParts) -> (CommandQueue, Self) {
        let (queue, commands) = CommandQueue::new(MAX_IN_FLIGHT);
        let ReconcilerParts {
            store,
            tarballs,
            controllers,
            orphaned_machines,
            fleet,
            relays,
            clock,
        } = parts;
        let machines = MachineSync::new(MachineSyncParts {
            store: Arc::clone(&store),
            tarballs,
            controllers,
            orphaned_machines: Arc::clone(&orphaned_machines),
            fleet,
            clock: Arc::clone(&clock),
        });
        let worker = Worker {
            store,
            orphaned_machines,
            relays,
            clock,
            machines,
        };
        let reconciler = Self {
            worker: Arc::new(worker),
            commands,
            last_user: None,
            last_machine: None,
        };
        (queue, reconciler)
    }

    /// Runs until `stop` is cancelled. Commands that are queued by then are still committed; their
    /// machines are synced by the next process.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut in_flight = JoinSet::new();
        let mut next_poll = Box::pin(sleep(Duration::ZERO));
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => (),
                Some(command) = self.commands.recv(), if in_flight.len() < MAX_IN_FLIGHT => {
                    in_flight.spawn(Arc::clone(&self.worker).execute(command, stop.clone()));
                }
                Some(ended) = in_flight.join_next() => log_panic(ended),
                () = &mut next_poll => {
                    self.poll(&mut in_flight, &stop).await;
                    next_poll.set(sleep(POLL_INTERVAL));
                }
            }
        }
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            in_flight.spawn(Arc::clone(&self.worker).execute(command, stop.clone()));
        }
        while let Some(ended) = in_flight.join_next().await {
            log_panic(ended);
        }
    }

    /// Starts the syncs that are pending in the store.
    async fn poll(&mut self, in_flight: &mut JoinSet<()>, stop: &CancellationToken) {
        let store = &self.worker.store;
        let pending = store.pending_sync(self.last_user.as_ref(), BATCH).await;
        let orphaned = &self.worker.orphaned_machines;
        let orphaned = orphaned.orphaned_machines(self.last_machine.as_ref(), BATCH);
        let (pending, orphaned) = match (pending, orphaned.await) {
            (Ok(pending), Ok(orphaned)) => (pending, orphaned),
            (Err(error), _) | (_, Err(error)) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not read the pending syncs of machines");
                return;
            }
        };
        self.last_user = pending.last().cloned();
        self.last_machine = orphaned.last().cloned();
        for user in pending {
            let (worker, stop) = (Arc::clone(&self.worker), stop.clone());
            in_flight.spawn(async move {
                stop.run_until_cancelled(worker.sync_pending(&user)).await;
            });
        }
        for machine in orphaned {
            let (worker, stop) = (Arc::clone(&self.worker), stop.clone());
            in_flight.spawn(async move {
                let cleared = worker.machines.clear_orphaned(&machine);
                stop.run_until_cancelled(cleared).await;
            });
        }
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        warn!(%error, "A task of the reconciler panicked");
    }
}

/// What the tasks of a reconciler share.
struct Worker {
    store: Arc<dyn Users>,
    orphaned_machines: Arc<dyn OrphanedMachines>,
    relays: Arc<dyn Relays>,
    clock: Arc<dyn Clock>,
    machines: MachineSync,
}

impl Worker {
    /// Commits a change, syncs the machine and replies. The caller may be gone.
    async fn execute(self: Arc<Self>, command: Command, stop: CancellationToken) {
        let Command {
            user,
            change,
            reply,
        } = command;
        let record = match self.commit(&user, &change).await {
            Ok(record) => record,
            Err(error) => {
                let _caller_is_gone = reply.send(Err(error));
                return;
            }
        };
        let synced = stop.run_until_cancelled(self.machines.sync(&user)).await;
        let machine = synced.unwrap_or(SyncOutcome::Failed);
        let _caller_is_gone = reply.send(Ok(Changed { record, machine }));
    }

    /// Stores a change and has the relays drop what they cached of the user.
    async fn commit(&self, user: &UserId, change: &Change) -> Result<UserRecord, ChangeError> {
        let apply = |record: &mut UserRecord| change.apply(record);
        let credentials = change.credentials();
        let stored = update_user(&*self.store, user, credentials, &*self.clock, apply);
        let record = stored.await?.ok_or(ChangeError::UnknownUser)?;
        self.relays.user_changed(user).await;
        Ok(record)
    }

    /// Retries a pending sync. If it succeeds, relays and pages are notified.
    async fn sync_pending(&self, user: &UserId) {
        if self.machines.retry(user).await {
            self.relays.user_changed(user).await;
        }
    }
}
