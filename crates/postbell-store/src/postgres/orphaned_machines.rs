//! Managed machines without a user, whose configuration was not cleared yet.

use async_trait::async_trait;
use postbell_core::{MachineLocation, ManagedMachine, OrphanedMachines, StoreError};

use super::advisory_locks;
use super::failure::Failure;
use super::session::Session;
use super::users::PostgresUsers;
use crate::columns::{self, machine};

const ADD_IF_UNUSED: &str = "
    INSERT INTO orphaned_machine (app, machine)
    SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM user_record WHERE app = $1 AND machine = $2)
    ON CONFLICT DO NOTHING";

const REMOVE: &str = "DELETE FROM orphaned_machine WHERE app = $1 AND machine = $2";

const LIST: &str = "
    SELECT app, machine FROM orphaned_machine WHERE (app, machine) > ($1, $2)
    ORDER BY app, machine LIMIT $3";

#[async_trait]
impl OrphanedMachines for PostgresUsers {
    async fn orphaned_machines(
        &self,
        after: Option<&ManagedMachine>,
        limit: usize,
    ) -> Result<Vec<ManagedMachine>, StoreError> {
        let after = after.map(|it| (it.app.as_str(), it.machine.as_str()));
        let (app, name) = after.unwrap_or_default();
        let listed = self.database.read(|db| async move {
            let rows = db
                .query(LIST, &[&app, &name, &columns::limit(limit)])
                .await?;
            rows.iter().map(machine).collect()
        });
        listed.await
    }

    async fn remove_orphaned_machine(&self, machine: &ManagedMachine) -> Result<(), StoreError> {
        let removed = self
            .database
            .write(|db| async move { remove(&db, machine).await });
        removed.await
    }
}

/// Adds the machine that a user has left unless another user has it, and removes the one that a user has
/// taken. Called after the record was written, and after all else that can wait for another transaction.
pub(super) async fn moved(
    db: &Session,
    left: Option<&MachineLocation>,
    taken: Option<&MachineLocation>,
) -> Result<(), Failure> {
    let (left, taken) = (left.and_then(managed), taken.and_then(managed));
    let mut both: Vec<_> = left.into_iter().chain(taken).collect();
    // Of two transactions that take the same machine from a user or give it to one, the second waits for the first, so
    // that it sees who has the machine then; in one order, so that they do not wait for each other.
    both.sort_unstable();
    for ManagedMachine { app, machine } in both {
        db.query(advisory_locks::MACHINE, &[&&**app, &&**machine])
            .await?;
    }
    if let Some(ManagedMachine { app, machine }) = left {
        db.execute(ADD_IF_UNUSED, &[&&**app, &&**machine]).await?;
    }
    match taken {
        Some(machine) => remove(db, machine).await,
        None => Ok(()),
    }
}

fn managed(location: &MachineLocation) -> Option<&ManagedMachine> {
    match location {
        MachineLocation::Managed(machine) => Some(machine),
        MachineLocation::Url(_) | MachineLocation::Unknown => None,
    }
}

async fn remove(db: &Session, machine: &ManagedMachine) -> Result<(), Failure> {
    let ManagedMachine { app, machine } = machine;
    db.execute(REMOVE, &[&&**app, &&**machine]).await.map(drop)
}
