//! Writes the stored configuration of users into their machines.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    BoxError, Clock, MachineLocation, ManagedMachine, OrphanedMachines, StoreError, UserId,
    UserRecord, Users, UsersError, update_user,
};
use tracing::{info, warn};

use super::cooldowns::Cooldowns;
use crate::change::SyncOutcome;
use crate::controllers::{Controllers, Reload};
use crate::keyed_locks::KeyedLocks;
use crate::machines::{Configured, MachinesError};
use crate::variables::Variables;
use crate::{Fleet, Tarballs};

/// How often a sync starts over if another program changes the machine.
const MAX_CONFLICTS: usize = 3;

/// Syncs machines, one task per machine at a time.
pub(super) struct MachineSync {
    parts: MachineSyncParts,
    locks: KeyedLocks<Target>,
    cooldowns: Cooldowns,
}

/// The machine that a task configures.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Target {
    /// The present machine of a user, for all accounts of the user.
    User(UserId),
    /// A machine that no longer belongs to a user.
    Orphaned(ManagedMachine),
}

/// What a [`MachineSync`] is built from.
pub(super) struct MachineSyncParts {
    pub(super) store: Arc<dyn Users>,
    pub(super) tarballs: Tarballs,
    pub(super) controllers: Arc<dyn Controllers>,
    pub(super) orphaned_machines: Arc<dyn OrphanedMachines>,
    pub(super) fleet: Arc<Fleet>,
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

    /// Syncs the machine of a user, or of the owner of a further account, as soon as no other task does.
    pub(super) async fn sync(&self, user: &UserId) -> SyncOutcome {
        let target = match self.target(user).await {
            Ok(target) => target,
            Err(error) => {
                let (user, error) = (user.masked(), &error as &dyn std::error::Error);
                warn!(user.id = %user, error, "Could not read whose machine is that of {user}; its sync is retried");
                return SyncOutcome::Failed;
            }
        };
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
        let Ok(target) = self.target(user).await else {
            return false;
        };
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

    /// The machine of a user, or of the owner of a further account.
    async fn target(&self, user: &UserId) -> Result<Target, StoreError> {
        let record = self.parts.store.get(user).await?;
        let owner = record.and_then(|record| record.owner);
        Ok(Target::User(owner.unwrap_or_else(|| user.clone())))
    }

    async fn sync_locked(&self, user: &UserId, target: Target) -> SyncOutcome {
        match self.try_sync(user).await {
            Ok(outcome) => {
                self.cooldowns.record_success(&target);
                outcome
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

    async fn try_sync(&self, user: &UserId) -> Result<SyncOutcome, BoxError> {
        let mut conflicts = 0;
        loop {
            // The record is read again after each conflict: it may have changed.
            let record = self.parts.store.get(user).await?;
            let Some((record, generation)) =
                record.and_then(|it| it.pending_sync.map(|mark| (it, mark)))
            else {
                return Ok(SyncOutcome::UpToDate);
            };
            let record = match &record.owner {
                Some(owner) => self.parts.store.get(owner).await?,
                None => Some(record),
            };
            let Some(record) = record else {
                return Ok(SyncOutcome::UpToDate);
            };
            let outcome = match self.configure(&record).await {
                Err(MachinesError::Changed) if conflicts + 1 < MAX_CONFLICTS => {
                    conflicts += 1;
                    continue;
                }
                Ok(Configured::Fetches) => self.reload(&record).await?,
                Ok(Configured::Unchanged) => SyncOutcome::UpToDate,
                Ok(Configured::Saved) => SyncOutcome::AtNextStart,
                Ok(Configured::Restarting) => SyncOutcome::Restarting,
                Err(error) => return Err(error.into()),
            };
            self.finish(user, generation, outcome).await?;
            return Ok(outcome);
        }
    }

    /// Writes the configuration into the machine, unless the machine fetches it.
    async fn configure(&self, record: &UserRecord) -> Result<Configured, MachinesError> {
        match &record.location {
            MachineLocation::Unknown => Ok(Configured::Unchanged),
            MachineLocation::Url(_) => Ok(Configured::Fetches),
            MachineLocation::Managed(_) => match self.parts.fleet.managed_machine(record) {
                None => Ok(Configured::Unchanged),
                Some((machines, machine)) => {
                    let tarball = self.parts.tarballs.of(record).await;
                    let tarball =
                        tarball.map_err(|source| MachinesError::Credentials { source })?;
                    let variables = Variables::of(record, tarball);
                    machines.configure(machine, &variables).await
                }
            },
        }
    }

    /// Has the machine fetch its configuration. A machine at a URL that does not fetch it is configured by its
    /// owner.
    async fn reload(&self, record: &UserRecord) -> Result<SyncOutcome, BoxError> {
        let is_at_url = matches!(record.location, MachineLocation::Url(_));
        let error = match self.parts.controllers.reload(record).await {
            Ok(Reload::Done) => return Ok(SyncOutcome::Reloaded),
            Ok(Reload::NotSupported) if is_at_url => return Ok(SyncOutcome::UpToDate),
            // One that has never fetched its configuration may not do so, and else fetches it at its start.
            Err(_) if is_at_url && record.config_fetched_at.is_none() => {
                return Ok(SyncOutcome::UpToDate);
            }
            Ok(Reload::NotSupported) => "its controller does not take its configuration".into(),
            Err(error) => error,
        };
        // It may have fetched the configuration, which has cleared the mark, and not be able to use it.
        let (store, clock) = (&*self.parts.store, &*self.parts.clock);
        let marked = update_user(store, &record.user, None, clock, |stored| {
            if stored.pending_sync.is_none() {
                stored.mark_pending_sync();
            }
            Ok::<_, UsersError>(())
        });
        marked.await?;
        Err(error)
    }

    /// Clears the pending sync if its generation is still the one that the machine has.
    ///
    /// A newer generation stays pending. If another process has cleared the mark, this
    /// sync may have overwritten a newer configuration, so the machine becomes pending again.
    async fn finish(
        &self,
        user: &UserId,
        generation: i64,
        outcome: SyncOutcome,
    ) -> Result<(), UsersError> {
        let is_written = matches!(outcome, SyncOutcome::AtNextStart | SyncOutcome::Restarting);
        let stored = update_user(
            &*self.parts.store,
            user,
            None,
            &*self.parts.clock,
            |record| {
                match record.pending_sync {
                    Some(pending) if pending == generation => record.pending_sync = None,
                    None if is_written => record.mark_pending_sync(),
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
}

/// How long the machine's host asks to wait after a failure.
fn asked_wait(error: &BoxError) -> Option<Duration> {
    match error.downcast_ref()? {
        MachinesError::Unavailable { retry_after, .. } => *retry_after,
        _ => None,
    }
}
