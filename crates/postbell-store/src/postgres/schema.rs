//! The schema: its versions, and how a database gets from one to the next.
//!
//! The rules are those of the SQLite schema (`sqlite/schema.rs`): *expand, then contract*, and a
//! migration that has been released is never edited. The versions are counted separately. The table
//! `schema_version` holds the version of the database and the oldest version whose code can work with it.

use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use super::advisory_locks;
use super::failure::Failure;
use super::session::Session;
use crate::columns::{Columns, number};
use crate::{Migrated, OpenError};

/// The first one leads to version 1.
///
/// A history id is stored as 20 digits with leading zeros: PostgreSQL has no unsigned 64-bit integer,
/// and this form sorts correctly. Text is compared by bytes (`COLLATE "C"`), as in SQLite and Rust.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_operator.sql"),
    include_str!("migrations/0003_trace.sql"),
    include_str!("migrations/0004_machine_contact.sql"),
    include_str!("migrations/0005_vacuum.sql"),
    include_str!("migrations/0006_operator_more.sql"),
    include_str!("migrations/0007_never_seen.sql"),
    include_str!("migrations/0008_pending_index.sql"),
    include_str!("migrations/0009_accounts.sql"),
    include_str!("migrations/0010_revocation.sql"),
];

/// The version that this code reads and writes.
const LATEST: u32 = MIGRATIONS.len() as u32;

/// The oldest version whose code can work with the latest.
const MINIMUM: u32 = 1;

/// Reads the catalog itself: its cache, which `to_regclass` uses, may be older than the wait for the lock.
const EXISTS: &str = "
    SELECT EXISTS (
        SELECT FROM pg_class WHERE relname = 'schema_version' AND pg_table_is_visible(oid)
    ) AS has_schema";

const IS_COPY: &str = "SELECT to_regclass('store_copy') IS NOT NULL AS is_copy";

const VERSION: &str = "SELECT version, min_version FROM schema_version";

/// Rows that older code would misread may have raised the minimum.
const SET_VERSION: &str =
    "UPDATE schema_version SET version = $1, min_version = greatest(min_version, $2)";

/// How long a migration waits for a table. Every later statement waits behind it, so it must not wait for the end of a
/// backup or a report, which hold a lock all the time. But longer than `deadlock_timeout` (one second unless set): only then
/// the server ends an autovacuum that has the table
/// (<https://www.postgresql.org/docs/current/routine-vacuuming.html>).
const LOCK_TIMEOUT: &str = "
    SELECT set_config('lock_timeout', (setting::int8 + 1000)::text, true)
    FROM pg_settings WHERE name = 'deadlock_timeout'";

/// How often a migration tries to lock the tables, and the pause in between.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_secs(5);

/// The versions that a database contains.
#[derive(Clone, Copy)]
pub(super) struct Version {
    found: u32,
    needs: u32,
}

/// Returns the version of a database; `None` if it has no schema.
pub(super) async fn version(session: &Session) -> Result<Option<Version>, Failure> {
    let row = session.query_one(EXISTS, &[]).await?;
    if !row.flag("has_schema")? {
        return Ok(None);
    }
    let row = session.query_one(VERSION, &[]).await?;
    let number = |name| Ok::<_, Failure>(u32::try_from(number(&row, name)?).unwrap_or_default());
    Ok(Some(Version {
        found: number("version")?,
        needs: number("min_version")?,
    }))
}

/// Fails unless this code can work with the database.
pub(super) async fn check(session: &Session) -> Result<(), Failure> {
    let version = version(session).await?;
    let checked = version.ok_or(OpenError::NoSchema).and_then(|version| {
        if version.found < LATEST {
            return Err(OpenError::TooOld {
                found: version.found,
                ours: LATEST,
            });
        }
        check_minimum(version)
    });
    checked.map_err(|error| Failure::Unusable(error.into()))?;
    if is_unfinished_copy(session).await? {
        return Err(Failure::Unusable(OpenError::UnfinishedCopy.into()));
    }
    Ok(())
}

/// Returns whether a database is the target of a copy that is not done.
pub(super) async fn is_unfinished_copy(session: &Session) -> Result<bool, Failure> {
    let row = session.query_one(IS_COPY, &[]).await?;
    row.flag("is_copy")
}

fn check_minimum(version: Version) -> Result<(), OpenError> {
    if version.found > LATEST && version.needs > LATEST {
        return Err(OpenError::TooNew {
            found: version.found,
            needs: version.needs,
            ours: LATEST,
        });
    }
    Ok(())
}

/// Brings a database to the latest version in one transaction. Two processes do it one after the other.
pub(super) async fn migrate(session: &Session) -> Result<Migrated, Failure> {
    for _ in 1..ATTEMPTS {
        match attempt(session).await {
            Err(failure) if failure.is_locked() => {
                warn!(
                    "A migration gives way to a session that keeps a table locked, and is repeated"
                );
                sleep(PAUSE).await;
            }
            migrated => return migrated,
        }
    }
    attempt(session).await
}

async fn attempt(session: &Session) -> Result<Migrated, Failure> {
    session.batch("BEGIN").await?;
    let migrated = apply(session).await;
    let end = if migrated.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    session.batch(end).await?;
    migrated
}

/// Does the same in a transaction that writes more.
pub(super) async fn apply(session: &Session) -> Result<Migrated, Failure> {
    session.batch(advisory_locks::SCHEMA).await?;
    session.batch(LOCK_TIMEOUT).await?;
    let version = version(session).await?;
    if let Some(version) = version {
        check_minimum(version).map_err(|error| Failure::Unusable(error.into()))?;
    }
    let from = version.map_or(0, |version| version.found);
    for migration in MIGRATIONS.iter().skip(from as usize) {
        session.batch(migration).await?;
    }
    if from < LATEST {
        let (latest, minimum) = (LATEST.cast_signed(), MINIMUM.cast_signed());
        session.execute(SET_VERSION, &[&latest, &minimum]).await?;
    }
    Ok(Migrated {
        from,
        to: from.max(LATEST),
    })
}

#[cfg(test)]
mod tests;
