//! The schema: its versions, and how a file gets from one to the next.
//!
//! The version of a file is SQLite's `user_version`. Beside it, in the table `compatibility`, stands
//! the oldest version whose code can work with the file. Code of version K accepts a file of
//! version N
//!
//! - if N = K;
//! - if N > K and the file's minimum is at most K: a newer release has extended it;
//! - if N < K, after it has migrated the file, which only `serve`, `relay`, `platform` and `migrate`
//!   do.
//!
//! The rule for a change is *expand, then contract*. A release adds tables, columns with a default
//! and indexes ([`Migration::Expand`]); code of the release before still runs on the result, so an
//! operator can go back by one release. Unused columns and tables are renamed or removed only by a
//! later release ([`Migration::Contract`]), which raises the minimum. A migration that has been
//! released is never edited.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::OpenError;

/// One step from a version to the next.
enum Migration {
    /// Code of the version before can work with the result.
    Expand(&'static str),
    /// Code of the version before cannot.
    Contract(&'static str),
}

use Migration::{Contract, Expand};

/// The first one leads to version 1.
///
/// A history id is stored as 20 digits with leading zeros: SQLite has no unsigned 64-bit integer, and
/// this form sorts correctly and can be read by a person.
const MIGRATIONS: &[Migration] = &[
    Expand(include_str!("migrations/0001_queue.sql")),
    Expand(include_str!("migrations/0002_seen_by_message.sql")),
    Expand(include_str!("migrations/0003_users.sql")),
    Expand(include_str!("migrations/0004_hours_and_sign_ins.sql")),
    Expand(include_str!("migrations/0005_watch_expiry.sql")),
    Expand(include_str!("migrations/0006_pending_sync.sql")),
    Expand(include_str!("migrations/0007_failing_since.sql")),
    Expand(include_str!("migrations/0008_compatibility.sql")),
    Expand(include_str!("migrations/0009_failure_kind.sql")),
    Contract(include_str!("migrations/0010_terms.sql")),
    Contract(include_str!("migrations/0011_problem.sql")),
    Expand(include_str!("migrations/0012_alerts.sql")),
    Expand(include_str!("migrations/0013_mailbox_key.sql")),
    Expand(include_str!("migrations/0014_mail_dead_letters.sql")),
    Contract(include_str!("migrations/0015_cursor.sql")),
    Contract(include_str!("migrations/0016_progress.sql")),
    Expand(include_str!("migrations/0017_published.sql")),
    Expand(include_str!("migrations/0018_relay.sql")),
    Expand(include_str!("migrations/0019_started.sql")),
    Expand(include_str!("migrations/0020_operator.sql")),
    Expand(include_str!("migrations/0021_trace.sql")),
    Expand(include_str!("migrations/0022_machine_contact.sql")),
    Expand(include_str!("migrations/0023_operator_more.sql")),
    Expand(include_str!("migrations/0024_never_seen.sql")),
    Expand(include_str!("migrations/0025_accounts.sql")),
    Expand(include_str!("migrations/0026_depth.sql")),
    Expand(include_str!("migrations/0027_revocation.sql")),
];

/// The statements that bring an empty file to [`LATEST`] at once: a start with a new file does not run all
/// migrations, most of whose time is spent on tables that a later one replaces.
const NEWEST: &str = include_str!("newest.sql");

/// The version that this code reads and writes.
pub(super) const LATEST: u32 = MIGRATIONS.len() as u32;

/// The first version that has the table `compatibility`. Code of earlier ones accepts no newer file.
const FIRST_WITH_MINIMUM: u32 = 8;

/// The version of a file before and after its migration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Migrated {
    /// 0 for an empty file.
    pub from: u32,
    /// Not below the version of this code; above it if a newer release has extended the file.
    pub to: u32,
}

impl Migration {
    fn sql(&self) -> &'static str {
        match self {
            Self::Expand(sql) | Self::Contract(sql) => sql,
        }
    }
}

/// Brings a file to [`LATEST`] in one transaction, so that another process sees all of it or nothing.
///
/// # Errors
///
/// [`OpenError::TooNew`] if an incompatible release has written the file.
pub(super) fn migrate(db: &mut Connection) -> Result<Migrated, OpenError> {
    migrate_to(db, LATEST)
}

fn migrate_to(db: &mut Connection, to: u32) -> Result<Migrated, OpenError> {
    // Most files are up to date, and then no process that writes has to be waited for.
    if version(db)? >= to {
        let from = check(db)?;
        return Ok(Migrated { from, to: from });
    }
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let from = apply(&transaction, to)?;
    transaction.commit()?;
    Ok(Migrated {
        from,
        to: from.max(to),
    })
}

/// Creates the tables of an empty file in a transaction that writes more. Returns whether it was empty.
pub(super) fn create(transaction: &Transaction<'_>) -> Result<bool, OpenError> {
    let is_empty = version(transaction)? == 0;
    if is_empty {
        apply(transaction, LATEST)?;
    }
    Ok(is_empty)
}

fn apply(transaction: &Transaction<'_>, to: u32) -> Result<u32, OpenError> {
    let from = version(transaction)?;
    if from == 0 && to == LATEST {
        transaction.execute_batch(NEWEST)?;
    } else {
        for migration in &MIGRATIONS[from.min(to) as usize..to as usize] {
            transaction.execute_batch(migration.sql())?;
        }
    }
    if from < to {
        if to >= FIRST_WITH_MINIMUM {
            let minimum = minimum_after(to);
            // Rows that older code would misread may have raised it.
            let raise = "UPDATE compatibility SET min_version = max(min_version, ?1)";
            transaction.execute(raise, [minimum])?;
        }
        transaction.pragma_update(None, "user_version", to)?;
    }
    Ok(from)
}

/// Returns the version of a file that this code can use as it is.
///
/// # Errors
///
/// [`OpenError::TooOld`] or [`OpenError::TooNew`].
pub(super) fn check(db: &Connection) -> Result<u32, OpenError> {
    let found = version(db)?;
    if found < LATEST {
        return Err(OpenError::TooOld {
            found,
            ours: LATEST,
        });
    }
    if found > LATEST {
        let needs = db.query_row("SELECT min_version FROM compatibility", [], |row| {
            row.get(0)
        })?;
        if needs > LATEST {
            return Err(OpenError::TooNew {
                found,
                needs,
                ours: LATEST,
            });
        }
    }
    Ok(found)
}

/// The tables, and what runs by itself: a trigger's text counts, that of a table depends on the versions that have
/// migrated it.
const OBJECTS: &str = "
    SELECT type || ' ' || name || iif(type = 'table', '', ' ' || sql) AS object, type, name FROM sqlite_master
    WHERE type IN ('table', 'trigger', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name";

/// How the objects of a file are not those of its version.
#[derive(Default)]
pub(super) struct Difference {
    /// The triggers and views that it should not have.
    pub(super) extra: Vec<Object>,
    /// The names of tables and triggers that it should have and has not.
    pub(super) missing: Vec<String>,
}

/// A table, trigger or view.
pub(super) struct Object {
    kind: String,
    pub(super) name: String,
}

impl Object {
    /// Removes it, unless it was removed with another one.
    pub(super) fn remove(&self, db: &Connection) -> rusqlite::Result<()> {
        let Self { kind, name } = self;
        let name = name.replace('"', "\"\"");
        db.execute_batch(&format!("DROP {kind} IF EXISTS \"{name}\""))
    }
}

/// Compares a file with what its version has. Of a version that is newer than this code, nothing is known.
pub(super) fn difference(db: &Connection, version: u32) -> Result<Difference, OpenError> {
    if version > LATEST {
        return Ok(Difference::default());
    }
    let mut model = Connection::open_in_memory()?;
    migrate_to(&mut model, version)?;
    let (expected, found) = (objects(&model)?, objects(db)?);
    let missing = expected
        .iter()
        .filter(|(text, _)| !found.contains_key(*text));
    let missing = missing.map(|(_, object)| object.name.clone()).collect();
    let extra = found.into_iter();
    // A table does nothing by itself: Litestream keeps one in each file.
    let extra =
        extra.filter(|(text, object)| object.kind != "table" && !expected.contains_key(text));
    Ok(Difference {
        extra: extra.map(|(_, object)| object).collect(),
        missing,
    })
}

/// The objects by a text that two have only if they do the same.
fn objects(db: &Connection) -> rusqlite::Result<BTreeMap<String, Object>> {
    let mut statement = db.prepare(OBJECTS)?;
    let objects = statement.query_map([], |row| {
        let (kind, name) = (row.get(1)?, row.get(2)?);
        Ok((row.get(0)?, Object { kind, name }))
    })?;
    objects.collect()
}

/// Returns whether a file is the target of a copy that is not done.
pub(super) fn is_unfinished_copy(db: &Connection) -> rusqlite::Result<bool> {
    let find = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'store_copy')";
    db.query_row(find, [], |row| row.get(0))
}

/// Fails if a file is the target of a copy that is not done.
pub(super) fn refuse_unfinished_copy(db: &Connection) -> Result<(), OpenError> {
    if is_unfinished_copy(db)? {
        return Err(OpenError::UnfinishedCopy);
    }
    Ok(())
}

fn version(db: &Connection) -> rusqlite::Result<u32> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// The oldest version whose code can work with a file of version `version`.
fn minimum_after(version: u32) -> u32 {
    let steps = (1_u32..).zip(MIGRATIONS).take(version as usize);
    let breaking = steps.filter(|(_, step)| matches!(step, Migration::Contract(_)));
    breaking
        .map(|(version, _)| version)
        .max()
        .unwrap_or(0)
        .max(FIRST_WITH_MINIMUM)
}

/// A database in memory of the latest version.
#[cfg(test)]
pub(super) fn in_memory() -> Connection {
    let mut db = Connection::open_in_memory().unwrap();
    migrate(&mut db).unwrap();
    db
}

#[cfg(test)]
mod tests;
