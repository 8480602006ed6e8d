//! Applies the changes of users and brings their machines to the stored configuration.
//!
//! A change is committed together with a pending sync; then the machine is synced. A sync that failed,
//! or that belongs to another or a killed process, is found by polling the store and retried.

mod accounts;
mod command_queue;
mod cooldowns;
mod machine_sync;
mod releases;

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    Actor, AuditedPorts, Clock, ManagedMachine, OrphanedMachines, Sessions, UserId, UserRecord,
    Users, UsersError, update_user,
};
use postbell_google::TokenError;
use postbell_protocol::api::operator::GooglePermission;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::accounts::Stored;
pub use self::command_queue::CommandQueue;
pub(crate) use self::command_queue::UnusedGrant;
use self::command_queue::{ChangeReply, Command, Exchange};
use self::machine_sync::{MachineSync, MachineSyncParts};
use self::releases::{Releases, last_moment};
use crate::account_sessions::count_connection;
use crate::change::{Change, ChangeError, Changed, SyncOutcome};
use crate::operator_client::NewGrant;
use crate::random::Random;
use crate::{Controllers, Fleet, OperatorClient, Relays, Tarballs};

/// How often the store is polled for pending syncs and orphaned machines.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// How many pending syncs, and how many orphaned machines, a poll takes. The next poll continues
/// after them.
const BATCH: usize = 64;

/// How many commands and syncs run at once. Further commands wait in the queue.
const MAX_IN_FLIGHT: usize = 1024;

/// How often a change begins again because the connection that it ends has changed.
const MAX_CONFLICTS: usize = 10;

/// The dependencies of the reconciler.
pub struct ReconcilerParts {
    /// The users' records.
    pub store: Arc<dyn Users>,
    /// The same, for an actor.
    pub ports: Arc<dyn AuditedPorts>,
    /// Their credentials.
    pub tarballs: Tarballs,
    /// The controllers on their machines.
    pub controllers: Arc<dyn Controllers>,
    /// The machines without a user.
    pub orphaned_machines: Arc<dyn OrphanedMachines>,
    /// The users' machines.
    pub fleet: Arc<Fleet>,
    /// The store of the delivery queue, if the relay is in this process.
    pub queue: Option<Arc<dyn AuditedPorts>>,
    /// Generates the ends of ids.
    pub random: Random,
    /// The relays to notify of changes.
    pub relays: Arc<dyn Relays>,
    /// Revokes the permissions of accounts that are disconnected, if the operator has an OAuth client.
    pub operator_client: Option<Arc<OperatorClient>>,
    /// Counts connections, by which sessions end.
    pub sessions: Arc<dyn Sessions>,
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
        let (command_queue, commands) = CommandQueue::new(MAX_IN_FLIGHT);
        let ReconcilerParts {
            store,
            ports,
            tarballs,
            controllers,
            orphaned_machines,
            fleet,
            queue,
            random,
            relays,
            operator_client,
            sessions,
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
            ports,
            queue,
            random,
            orphaned_machines,
            relays,
            releases: Releases::new(operator_client.clone()),
            operator_client,
            sessions,
            clock,
            machines,
        };
        let reconciler = Self {
            worker: Arc::new(worker),
            commands,
            last_user: None,
            last_machine: None,
        };
        (command_queue, reconciler)
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

    /// Starts what is pending in the store: syncs, and the end of permissions.
    async fn poll(&mut self, in_flight: &mut JoinSet<()>, stop: &CancellationToken) {
        for due in self.worker.releases.due().await {
            let (worker, stop) = (Arc::clone(&self.worker), stop.clone());
            in_flight.spawn(async move { worker.releases.repeat(due, &stop).await });
        }
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
    ports: Arc<dyn AuditedPorts>,
    queue: Option<Arc<dyn AuditedPorts>>,
    random: Random,
    orphaned_machines: Arc<dyn OrphanedMachines>,
    relays: Arc<dyn Relays>,
    operator_client: Option<Arc<OperatorClient>>,
    releases: Releases,
    sessions: Arc<dyn Sessions>,
    clock: Arc<dyn Clock>,
    machines: MachineSync,
}

impl Worker {
    /// Executes a command and replies. The caller may be gone.
    async fn execute(self: Arc<Self>, command: Command, stop: CancellationToken) {
        match command {
            Command::Change(user, change, by, reply) => {
                self.change(&user, &change, &by, reply, &stop).await;
            }
            Command::Exchange(exchange) => self.exchange(*exchange, &stop).await,
            Command::Release(grant, reply) => {
                let permission = self.releases.release(&grant, &stop).await;
                let _caller_is_gone = reply.send(permission);
                self.releases.finish(&grant, permission, &stop).await;
            }
        }
    }

    /// Exchanges a code for a grant. A reply that nobody awaits is dropped, and with it an unused grant. A stop waits a moment.
    async fn exchange(&self, exchange: Exchange, stop: &CancellationToken) {
        let Some(client) = &self.operator_client else {
            return;
        };
        let Exchange {
            request,
            code,
            reply,
            queue,
        } = exchange;
        let exchanged = async {
            let grant = client.exchange(&request, &code).await?;
            let new = client.authorized_user(&grant).map(NewGrant::Unknown);
            Ok::<_, TokenError>((grant, UnusedGrant::new(new, queue)))
        };
        tokio::select! {
            exchanged = exchanged => drop(reply.send(exchanged)),
            () = last_moment(stop) => (),
        }
    }

    /// Commits a change, syncs the machine, and has Google revoke the permission of an account that was disconnected.
    async fn change(
        &self,
        user: &UserId,
        change: &Change,
        by: &Actor,
        reply: ChangeReply,
        stop: &CancellationToken,
    ) {
        let (record, ended) = match self.commit(user, change, by).await {
            Ok(committed) => committed,
            Err(error) => {
                let _caller_is_gone = reply.send(Err(error));
                return;
            }
        };
        let ended = ended.map(NewGrant::Of);
        // The record of a further account that was disconnected is gone.
        let synced = match record.google {
            Some(_) => &record.user,
            None => record.bot(),
        };
        let synced = stop.run_until_cancelled(self.machines.sync(synced));
        let released = async {
            match &ended {
                Some(grant) => self.releases.release(grant, stop).await,
                None => GooglePermission::OwnProject,
            }
        };
        let (synced, permission) = tokio::join!(synced, released);
        let _caller_is_gone = reply.send(Ok(Changed {
            record,
            machine: synced.unwrap_or(SyncOutcome::Failed),
            permission,
        }));
        if let Some(grant) = &ended {
            self.releases.finish(grant, permission, stop).await;
        }
    }

    /// Stores a change and has the relays drop what they cached of the user. Also returns the grant of the operator's client
    /// that the user had, if the account is no longer connected with it.
    async fn commit(
        &self,
        user: &UserId,
        change: &Change,
        by: &Actor,
    ) -> Result<Stored, ChangeError> {
        let client = self.operator_client.as_deref();
        let _lock = match client.zip(change.new_grant()) {
            Some((client, grant)) => {
                let lock = client.reserve(grant).await?;
                Some(lock.ok_or(ChangeError::GrantRevoked)?)
            }
            None => None,
        };
        let (record, ended) = self.store(user, change, by).await?;
        let ended = match client.zip(ended) {
            Some((client, ended)) if client.keeps(&ended, &record) => {
                client.forget(&NewGrant::Of(ended)).await;
                None
            }
            ended => ended.map(|(_, ended)| ended),
        };
        self.relays.user_changed(&record.user).await;
        Ok((record, ended))
    }

    /// Stores a change. Also returns the grant of the operator's client that the user had before.
    async fn store(
        &self,
        user: &UserId,
        change: &Change,
        by: &Actor,
    ) -> Result<Stored, ChangeError> {
        if let Some(new) = change.further() {
            return self.store_further(user, change, new, by).await;
        }
        if matches!(change, Change::Disconnect) {
            let record = self.store.get(user).await?;
            let record = record.ok_or(ChangeError::UnknownUser)?;
            if record.owner.is_some() {
                return self.remove_account(user, by).await;
            }
        }
        if let Change::Connect(new, _) = change {
            let mailbox = new.connection.email.as_ref();
            count_connection(&*self.sessions, user, mailbox).await?;
        }
        self.store_record(user, change, by).await
    }

    /// Stores a change in one record. The grant is read first, because it is deleted with the connection.
    async fn store_record(
        &self,
        user: &UserId,
        change: &Change,
        by: &Actor,
    ) -> Result<Stored, ChangeError> {
        let client = self.operator_client.as_deref();
        let client = client.filter(|_| change.ends_connections());
        let users = self.ports.users(by);
        let mut conflicts = 0;
        loop {
            let before = match client {
                Some(_) => self.store.get(user).await?,
                None => None,
            };
            let grant = match client.zip(before.as_ref()) {
                Some((client, before)) => client.keep_grant_of(before).await?,
                None => None,
            };
            let apply = |record: &mut UserRecord| {
                let before = before.as_ref();
                if before.is_some_and(|before| before.google != record.google) {
                    let user = user.clone();
                    return Err(ChangeError::Store(UsersError::Changed { user }));
                }
                change.apply(record)
            };
            let credentials = change.credentials();
            let stored = update_user(&*users, user, credentials, &*self.clock, apply).await;
            match stored {
                Err(ChangeError::Store(UsersError::Changed { .. }))
                    if conflicts < MAX_CONFLICTS =>
                {
                    conflicts += 1;
                }
                stored => return Ok((stored?.ok_or(ChangeError::UnknownUser)?, grant)),
            }
        }
    }

    /// Retries a pending sync. If it succeeds, relays and pages are notified.
    async fn sync_pending(&self, user: &UserId) {
        if self.machines.retry(user).await {
            self.relays.user_changed(user).await;
        }
    }
}
