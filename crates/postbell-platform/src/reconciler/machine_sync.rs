//! Machines get the variables that follow from what is stored.

use postbell_core::{BoxError, ManagedMachine, UserId, UserRecord, UsersError, update_user};
use tracing::{info, warn};

use super::keyed_locks::Target;
use crate::machines::{Configured, MachinesError};
use crate::user_service::{SyncOutcome, UserService};
use crate::variables::{Tarball, Variables};

/// How often a machine is configured anew where somebody else changed it meanwhile.
const TRIES: usize = 3;

impl UserService {
    /// Tells a user's machine what it has yet to be told, once nobody else does.
    pub(super) async fn tell(&self, user: &UserId) -> SyncOutcome {
        let whom = Target::User(user.clone());
        match self.orders.turns.take(whom.clone()).await {
            Some(_turn) => self.tell_in_turn(user, whom).await,
            None => {
                warn!(
                    user.id = %user.masked(),
                    "So many changes of {} wait for their machine already", user.masked()
                );
                SyncOutcome::Failed
            }
        }
    }

    /// The same for what was found untold: not while somebody else tells it, and not too soon after a
    /// failure. Pages and relays hear of it then.
    pub(super) async fn tell_at_last(&self, user: &UserId) {
        let whom = Target::User(user.clone());
        let turns = &self.orders.turns;
        if turns.rests(&whom, self.clock.elapsed()) {
            return;
        }
        let Some(_turn) = turns.take_if_free(whom.clone()) else {
            return;
        };
        if self.tell_in_turn(user, whom).await != SyncOutcome::Failed {
            info!(
                user.id = %user.masked(),
                "The machine of {} knows at last what has changed", user.masked()
            );
            self.tell_relays(user).await;
        }
    }

    async fn tell_in_turn(&self, user: &UserId, whom: Target) -> SyncOutcome {
        match self.try_to_tell(user).await {
            Ok(configured) => {
                self.orders.turns.has_succeeded(&whom);
                match configured {
                    Configured::Unchanged => SyncOutcome::Nothing,
                    Configured::Saved => SyncOutcome::WhenItStarts,
                    Configured::Restarting => SyncOutcome::Restarting,
                }
            }
            Err(error) => {
                self.orders.turns.has_failed(whom, self.clock.elapsed());
                let error = &*error as &dyn std::error::Error;
                warn!(
                    user.id = %user.masked(), error,
                    "Could not tell the machine of {} what has changed; it is tried again",
                    user.masked()
                );
                SyncOutcome::Failed
            }
        }
    }

    async fn try_to_tell(&self, user: &UserId) -> Result<Configured, BoxError> {
        let mut tries = 1;
        loop {
            // Read anew each time: whoever was faster may have told it something older.
            let record = self.instances.get(user).await?;
            let Some((record, mark)) = record.and_then(|it| it.untold.map(|mark| (it, mark)))
            else {
                return Ok(Configured::Unchanged);
            };
            let configured = match self.fleet.hands_on(&record) {
                None => Configured::Unchanged,
                Some((machines, machine)) => {
                    let variables = Variables::of(&record, self.tarball(&record).await?);
                    match machines.configure(machine, &variables).await {
                        Err(MachinesError::Changed) if tries < TRIES => {
                            tries += 1;
                            continue;
                        }
                        outcome => outcome?,
                    }
                }
            };
            self.note_told(user, mark, configured).await?;
            return Ok(configured);
        }
    }

    /// Notes that a machine knows what was written with version `mark`. Something newer has to be told
    /// still; and where another process has told it something newer meanwhile, that may have been
    /// overwritten just now.
    async fn note_told(
        &self,
        user: &UserId,
        mark: i64,
        configured: Configured,
    ) -> Result<(), UsersError> {
        let noted = update_user(&*self.instances, user, None, &*self.clock, |record| {
            match record.untold {
                Some(untold) if untold == mark => record.untold = None,
                None if configured != Configured::Unchanged => record.mark_pending_sync(),
                _ => (),
            }
            Ok::<_, UsersError>(())
        });
        noted.await.map(drop)
    }

    /// Takes from a machine that nobody has any more what it was told.
    pub(super) async fn clear(&self, machine: &ManagedMachine) {
        let whom = Target::Machine(machine.clone());
        let turns = &self.orders.turns;
        if turns.rests(&whom, self.clock.elapsed()) {
            return;
        }
        let Some(_turn) = turns.take_if_free(whom.clone()) else {
            return;
        };
        let ManagedMachine { app, machine: id } = machine;
        match self.try_to_clear(machine).await {
            Ok(()) => turns.has_succeeded(&whom),
            Err(error) => {
                turns.has_failed(whom, self.clock.elapsed());
                let error = &*error as &dyn std::error::Error;
                warn!(
                    error,
                    app,
                    machine = id,
                    "Could not clear a machine that nobody has any more"
                );
            }
        }
    }

    async fn try_to_clear(&self, machine: &ManagedMachine) -> Result<(), BoxError> {
        let Some(machines) = self.fleet.machines() else {
            return Ok(());
        };
        match machines.configure(machine, &Variables::nobodys()).await {
            // Whatever is gone holds nothing.
            Ok(_) | Err(MachinesError::Missing) => (),
            Err(error) => return Err(error.into()),
        }
        self.instances.remove_orphaned_machine(machine).await?;
        let ManagedMachine { app, machine } = machine;
        info!(
            app,
            machine, "A machine that nobody has any more was cleared"
        );
        Ok(())
    }

    async fn tarball(&self, record: &UserRecord) -> Result<Tarball, postbell_core::BoxError> {
        if record.google.is_none() {
            return Ok(Tarball::Gone);
        }
        let Some(key) = &self.key else {
            return Ok(Tarball::NotOurs);
        };
        let Some(credentials) = self.instances.credentials(&record.user).await? else {
            return Ok(Tarball::NotOurs);
        };
        Ok(Tarball::Given(key.decrypt_tarball(credentials.expose())?))
    }
}
