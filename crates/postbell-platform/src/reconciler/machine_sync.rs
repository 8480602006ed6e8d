//! Writes the stored configuration of users into their machines.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    BoxError, Clock, Credentials, ManagedMachine, OrphanedMachines, UserId, UserRecord, Users,
    UsersError, update_user,
};
use postbell_protocol::credential_envelope::PlatformKey;
use tracing::{info, warn};

use super::cooldowns::Cooldowns;
use super::keyed_locks::{KeyedLocks, Target};
use crate::Fleet;
use crate::change::SyncOutcome;
use crate::machines::{Configured, MachinesError};
use crate::variables::{Tarball, Variables};

/// How often a sync starts over if another program changes the machine.
const MAX_CONFLICTS: usize = 3;

/// Syncs machines, one task per machine at a time.
pub(super) struct MachineSync {
    parts: MachineSyncParts,
    locks: KeyedLocks,
    cooldowns: Cooldowns,
}

/// What a [`MachineSync`] is built from.
pub(super) struct MachineSyncParts {
    pub(super) store: Arc<dyn Users>,
    pub(super) credentials: Arc<dyn Credentials>,
    pub(super) orphaned_machines: Arc<dyn OrphanedMachines>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) key: Option<Arc<PlatformKey>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl MachineSync {
    pub(super) fn new(parts: MachineSyncParts) -> Self {
        Self {
            parts,
            locks: KeyedLocks::default(),
            cooldowns: Cooldowns::default(),
        }
    }

    /// Syncs a user's machine as soon as no other task does.
    pub(super) async fn sync(&self, user: &UserId) -> SyncOutcome {
        let target = Target::User(user.clone());
        match self.locks.lock(target.clone()).await {
            Some(_lock) => self.sync_locked(user, target).await,
            None => {
                warn!(
                    user.id = %user.masked(),
                    "Too many changes of {} wait for their machine", user.masked()
                );
                SyncOutcome::Failed
            }
        }
    }

    /// Retries the pending sync of a user, unless another task syncs the machine or it cools down
    /// after a failure. Returns whether the machine is in sync now.
    pub(super) async fn retry(&self, user: &UserId) -> bool {
        let target = Target::User(user.clone());
        if self
            .cooldowns
            .is_active(&target, self.parts.clock.elapsed())
        {
            return false;
        }
        let Some(_lock) = self.locks.try_lock(target.clone()) else {
            return false;
        };
        let is_synced = self.sync_locked(user, target).await != SyncOutcome::Failed;
        if is_synced {
            info!(
                user.id = %user.masked(),
                "The pending sync of the machine of {} succeeded", user.masked()
            );
        }
        is_synced
    }

    async fn sync_locked(&self, user: &UserId, target: Target) -> SyncOutcome {
        match self.try_sync(user).await {
            Ok(configured) => {
                self.cooldowns.record_success(&target);
                match configured {
                    Configured::Unchanged => SyncOutcome::UpToDate,
                    Configured::Saved => SyncOutcome::AtNextStart,
                    Configured::Restarting => SyncOutcome::Restarting,
                }
            }
            Err(error) => {
                let now = self.parts.clock.elapsed();
                self.cooldowns
                    .record_failure(target, now, asked_wait(&error));
                let error = &*error as &dyn std::error::Error;
                warn!(
                    user.id = %user.masked(), error,
                    "Could not sync the machine of {}; it is retried", user.masked()
                );
                SyncOutcome::Failed
            }
        }
    }

    async fn try_sync(&self, user: &UserId) -> Result<Configured, BoxError> {
        let mut conflicts = 0;
        loop {
            // The record is read again after each conflict: it may have changed.
            let record = self.parts.store.get(user).await?;
            let Some((record, generation)) =
                record.and_then(|it| it.pending_sync.map(|mark| (it, mark)))
            else {
                return Ok(Configured::Unchanged);
            };
            let configured = match self.parts.fleet.managed_machine(&record) {
                None => Configured::Unchanged,
                Some((machines, machine)) => {
                    let variables = Variables::of(&record, self.tarball(&record).await?);
                    match machines.configure(machine, &variables).await {
                        Err(MachinesError::Changed) if conflicts + 1 < MAX_CONFLICTS => {
                            conflicts += 1;
                            continue;
                        }
                        outcome => outcome?,
                    }
                }
            };
            self.finish(user, generation, configured).await?;
            return Ok(configured);
        }
    }

    /// Clears the pending sync if its generation is still the one that the machine has.
    ///
    /// A newer generation stays pending. If another process has cleared the mark, this
    /// sync may have overwritten a newer configuration, so the machine becomes pending again.
    async fn finish(
        &self,
        user: &UserId,
        generation: i64,
        configured: Configured,
    ) -> Result<(), UsersError> {
        let stored = update_user(
            &*self.parts.store,
            user,
            None,
            &*self.parts.clock,
            |record| {
                match record.pending_sync {
                    Some(pending) if pending == generation => record.pending_sync = None,
                    None if configured != Configured::Unchanged => record.mark_pending_sync(),
                    _ => (),
                }
                Ok::<_, UsersError>(())
            },
        );
        stored.await.map(drop)
    }

    /// Removes the configuration of a former user from a machine.
    pub(super) async fn clear_orphaned(&self, machine: &ManagedMachine) {
        let target = Target::Orphaned(machine.clone());
        if self
            .cooldowns
            .is_active(&target, self.parts.clock.elapsed())
        {
            return;
        }
        let Some(_lock) = self.locks.try_lock(target.clone()) else {
            return;
        };
        let ManagedMachine { app, machine: id } = machine;
        match self.try_clear(machine).await {
            Ok(()) => self.cooldowns.record_success(&target),
            Err(error) => {
                let now = self.parts.clock.elapsed();
                self.cooldowns
                    .record_failure(target, now, asked_wait(&error));
                let error = &*error as &dyn std::error::Error;
                warn!(
                    error,
                    app,
                    machine = id,
                    "Could not clear an orphaned machine"
                );
            }
        }
    }

    async fn try_clear(&self, machine: &ManagedMachine) -> Result<(), BoxError> {
        let Some(machines) = self.parts.fleet.machines() else {
            return Ok(());
        };
        match machines.configure(machine, &Variables::cleared()).await {
            // A deleted machine holds nothing.
            Ok(_) | Err(MachinesError::Missing) => (),
            Err(error) => return Err(error.into()),
        }
        self.parts
            .orphaned_machines
            .remove_orphaned_machine(machine)
            .await?;
        let ManagedMachine { app, machine } = machine;
        info!(app, machine, "Cleared an orphaned machine");
        Ok(())
    }

    async fn tarball(&self, record: &UserRecord) -> Result<Tarball, BoxError> {
        if record.google.is_none() {
            return Ok(Tarball::Remove);
        }
        let Some(key) = &self.parts.key else {
            return Ok(Tarball::Keep);
        };
        Ok(
            match self.parts.credentials.credentials(&record.user).await? {
                Some(credentials) => Tarball::Set(key.decrypt_tarball(credentials.expose())?),
                None => Tarball::Keep,
            },
        )
    }
}

/// How long the machine's host asks to wait after a failure.
fn asked_wait(error: &BoxError) -> Option<Duration> {
    match error.downcast_ref()? {
        MachinesError::Unavailable { retry_after, .. } => *retry_after,
        _ => None,
    }
}
