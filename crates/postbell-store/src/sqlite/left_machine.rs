//! Machines that nobody has any more, and that hold what they were told.

use postbell_core::{MachineLocation, ManagedMachine};
use rusqlite::{Connection, OptionalExtension, params};

const OWNED: &str = "SELECT 1 FROM instance WHERE app = ?1 AND machine = ?2 LIMIT 1";

const LEAVE: &str = "INSERT OR IGNORE INTO left_machine (app, machine) VALUES (?1, ?2)";

const FORGET: &str = "DELETE FROM left_machine WHERE app = ?1 AND machine = ?2";

const LIST: &str = "
    SELECT app, machine FROM left_machine WHERE (app, machine) > (?1, ?2)
    ORDER BY app, machine LIMIT ?3";

/// Keeps a place in mind that a user had, if it is on Fly and nobody has it now.
pub(super) fn leave(db: &Connection, place: &MachineLocation) -> rusqlite::Result<()> {
    let MachineLocation::Managed(ManagedMachine { app, machine }) = place else {
        return Ok(());
    };
    let mut owned = db.prepare_cached(OWNED)?;
    let owned = owned.query_row([app, machine], |_| Ok(())).optional()?;
    if owned.is_none() {
        db.prepare_cached(LEAVE)?.execute([app, machine])?;
    }
    Ok(())
}

/// Somebody has this place now.
pub(super) fn take(db: &Connection, place: &MachineLocation) -> rusqlite::Result<()> {
    match place {
        MachineLocation::Managed(machine) => forget(db, machine),
        MachineLocation::Url(_) | MachineLocation::Unknown => Ok(()),
    }
}

pub(super) fn forget(db: &Connection, machine: &ManagedMachine) -> rusqlite::Result<()> {
    let ManagedMachine { app, machine } = machine;
    let forgotten = db.prepare_cached(FORGET)?.execute([app, machine]);
    forgotten.map(drop)
}

pub(super) fn list(
    db: &Connection,
    after: Option<&ManagedMachine>,
    most: usize,
) -> rusqlite::Result<Vec<ManagedMachine>> {
    let after = after.map(|it| (it.app.as_str(), it.machine.as_str()));
    let (app, machine) = after.unwrap_or_default();
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(LIST)?;
    let rows = statement.query_map(params![app, machine, most], |row| {
        Ok(ManagedMachine {
            app: row.get("app")?,
            machine: row.get("machine")?,
        })
    })?;
    rows.collect()
}
