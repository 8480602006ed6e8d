//! Managed machines without a user, whose configuration was not cleared yet.

use postbell_core::{MachineLocation, ManagedMachine};
use rusqlite::{Connection, OptionalExtension, params};

use crate::columns;

const HAS_USER: &str = "SELECT 1 FROM user_record WHERE app = ?1 AND machine = ?2 LIMIT 1";

const ADD: &str = "INSERT OR IGNORE INTO orphaned_machine (app, machine) VALUES (?1, ?2)";

const REMOVE: &str = "DELETE FROM orphaned_machine WHERE app = ?1 AND machine = ?2";

const LIST: &str = "
    SELECT app, machine FROM orphaned_machine WHERE (app, machine) > (?1, ?2)
    ORDER BY app, machine LIMIT ?3";

/// Adds the machine that a user had, if it is managed and no other user has it.
pub(super) fn add_if_unused(db: &Connection, location: &MachineLocation) -> rusqlite::Result<()> {
    let MachineLocation::Managed(ManagedMachine { app, machine }) = location else {
        return Ok(());
    };
    let mut has_user = db.prepare_cached(HAS_USER)?;
    let has_user = has_user.query_row([app, machine], |_| Ok(())).optional()?;
    if has_user.is_none() {
        db.prepare_cached(ADD)?.execute([app, machine])?;
    }
    Ok(())
}

/// Removes the machine at a location that a user has now.
pub(super) fn remove_at(db: &Connection, location: &MachineLocation) -> rusqlite::Result<()> {
    match location {
        MachineLocation::Managed(machine) => remove(db, machine),
        MachineLocation::Url(_) | MachineLocation::Unknown => Ok(()),
    }
}

pub(super) fn remove(db: &Connection, machine: &ManagedMachine) -> rusqlite::Result<()> {
    let ManagedMachine { app, machine } = machine;
    let removed = db.prepare_cached(REMOVE)?.execute([app, machine]);
    removed.map(drop)
}

pub(super) fn list(
    db: &Connection,
    after: Option<&ManagedMachine>,
    limit: usize,
) -> rusqlite::Result<Vec<ManagedMachine>> {
    let after = after.map(|it| (it.app.as_str(), it.machine.as_str()));
    let (app, machine) = after.unwrap_or_default();
    let mut statement = db.prepare_cached(LIST)?;
    let rows = statement.query_map(params![app, machine, columns::limit(limit)], |row| {
        Ok(ManagedMachine {
            app: row.get("app")?,
            machine: row.get("machine")?,
        })
    })?;
    rows.collect()
}
