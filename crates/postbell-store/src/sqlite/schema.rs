//! The file: how it is opened, and what is in it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use crate::OpenError;

/// How long a statement waits for another process that writes: `postbell dead-letters` beside a
/// relay, say.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// After how many pages the log is copied into the file: 32 MB. A page that was written often in
/// between is copied once.
const CHECKPOINT_PAGES: i64 = 8192;

/// What each version adds. Forward only, and old code must run on the new schema: a step that has
/// been released is never edited.
///
/// A history id is written as 20 digits with leading zeros: a 64-bit number without a sign has no
/// other form in SQLite that both sorts rightly and can be read by a person.
const MIGRATIONS: &[M<'static>] = &[
    M::up(
        "CREATE TABLE mailbox (
         user         TEXT    NOT NULL PRIMARY KEY,
         -- The waiting notification; all NULL where none waits.
         message_id   TEXT,
         history_id   TEXT,
         body         BLOB,
         accepted_at  INTEGER,
         -- When it may be claimed; the end of the lease while it is claimed.
         due_at       INTEGER,
         -- Nothing makes the mailbox due before.
         rests_until  INTEGER NOT NULL DEFAULT 0,
         leased_until INTEGER NOT NULL DEFAULT 0,
         -- Grows with each claim. The row stays when nothing waits, so that a number never returns.
         lease        INTEGER NOT NULL DEFAULT 0,
         failures     INTEGER NOT NULL DEFAULT 0
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX mailbox_by_due ON mailbox (due_at) WHERE due_at IS NOT NULL;

     CREATE TABLE seen (
         user       TEXT    NOT NULL,
         message_id TEXT    NOT NULL,
         seen_at    INTEGER NOT NULL,
         PRIMARY KEY (user, message_id)
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX seen_by_time ON seen (seen_at);

     CREATE TABLE dead_letter (
         id          INTEGER PRIMARY KEY AUTOINCREMENT,
         user        TEXT    NOT NULL,
         message_id  TEXT    NOT NULL,
         -- NULL where the message could not be read.
         history_id  TEXT,
         body        BLOB    NOT NULL,
         reason      TEXT    NOT NULL,
         cause       TEXT    NOT NULL,
         buried_at   INTEGER NOT NULL
     ) STRICT;
     CREATE INDEX dead_letter_by_user ON dead_letter (user, id);

     -- The last deliveries of each mailbox, in a ring: a new one takes the oldest one's slot.
     CREATE TABLE delivery (
         user        TEXT    NOT NULL,
         slot        INTEGER NOT NULL,
         lease       INTEGER NOT NULL,
         message_id  TEXT    NOT NULL,
         history_id  TEXT    NOT NULL,
         outcome     TEXT    NOT NULL,
         cause       TEXT,
         failures    INTEGER NOT NULL,
         accepted_at INTEGER NOT NULL,
         claimed_at  INTEGER NOT NULL,
         settled_at  INTEGER NOT NULL,
         PRIMARY KEY (user, slot)
     ) STRICT, WITHOUT ROWID;",
    ),
    // Pub/Sub's message ids grow with time: in this order, those that come together lie together,
    // and a commit of many touches few pages.
    M::up(
        "CREATE TABLE seen_in_order (
         message_id TEXT    NOT NULL,
         user       TEXT    NOT NULL,
         seen_at    INTEGER NOT NULL,
         PRIMARY KEY (message_id, user)
     ) STRICT, WITHOUT ROWID;
     INSERT INTO seen_in_order SELECT message_id, user, seen_at FROM seen;
     DROP TABLE seen;
     ALTER TABLE seen_in_order RENAME TO seen;
     CREATE INDEX seen_by_time ON seen (seen_at);",
    ),
    M::up(
        "CREATE TABLE instance (
         user          TEXT    NOT NULL PRIMARY KEY,
         sandbox_id    TEXT    NOT NULL,
         status        TEXT    NOT NULL,
         -- On Fly, or at a URL of its own; all NULL where nobody has said yet.
         app           TEXT,
         machine       TEXT,
         url           TEXT,
         -- The connected Google account; all NULL where none is.
         connected_at  INTEGER,
         email         TEXT,
         push_account  TEXT,
         notifications INTEGER NOT NULL,
         history_id    TEXT,
         wake_on_mail  INTEGER NOT NULL,
         created_at    INTEGER NOT NULL,
         updated_at    INTEGER NOT NULL,
         -- Grows with each write.
         version       INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE UNIQUE INDEX instance_by_sandbox ON instance (sandbox_id);
     CREATE INDEX instance_by_email ON instance (email, user) WHERE email IS NOT NULL;

     -- Apart from the records, which stay small so that a list of them is read from few pages.
     CREATE TABLE credential (
         user        TEXT NOT NULL PRIMARY KEY,
         -- Which key it is encrypted with.
         sealed_with TEXT NOT NULL,
         sealed      BLOB NOT NULL
     ) STRICT;
     CREATE INDEX credential_by_key ON credential (sealed_with);

     -- To count a million rows takes a while; this is always known.
     CREATE TABLE instance_count (number INTEGER NOT NULL) STRICT;
     INSERT INTO instance_count VALUES (0);
     CREATE TRIGGER instance_added AFTER INSERT ON instance
         BEGIN UPDATE instance_count SET number = number + 1; END;
     CREATE TRIGGER instance_removed AFTER DELETE ON instance
         BEGIN UPDATE instance_count SET number = number - 1; END;",
    ),
    M::up(
        "-- How many deliveries of each mailbox ended in an hour, in a ring of a day: a new hour takes the
     -- slot of the one a day before.
     CREATE TABLE delivery_hour (
         user      TEXT    NOT NULL,
         slot      INTEGER NOT NULL,
         -- Since the Unix epoch.
         hour      INTEGER NOT NULL,
         delivered INTEGER NOT NULL,
         failed    INTEGER NOT NULL,
         PRIMARY KEY (user, slot)
     ) STRICT, WITHOUT ROWID;
     -- Few fail at a time, so few rows are in it.
     CREATE INDEX mailbox_failing ON mailbox (user) WHERE failures > 0;

     CREATE TABLE sign_in_link (
         -- SHA-256 of the secret in it.
         digest     BLOB    NOT NULL PRIMARY KEY,
         user       TEXT,
         operator   TEXT,
         expires_at INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX sign_in_link_by_end ON sign_in_link (expires_at);

     -- Sessions of an earlier epoch are over; where there is no row it is 0.
     CREATE TABLE session_epoch (
         subject TEXT    NOT NULL PRIMARY KEY,
         epoch   INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;",
    ),
    // When Gmail's watch ends; NULL where the machine has not said.
    M::up("ALTER TABLE instance ADD COLUMN watch_expires_at INTEGER;"),
    M::up(
        "-- The version of what the machine has yet to be told; NULL where it knows everything.
     ALTER TABLE instance ADD COLUMN untold INTEGER;
     CREATE INDEX instance_untold ON instance (user) WHERE untold IS NOT NULL;
     CREATE INDEX instance_by_machine ON instance (app, machine) WHERE app IS NOT NULL;

     -- Machines that were a user's, are nobody's any more, and hold what they were told.
     CREATE TABLE left_machine (
         app     TEXT NOT NULL,
         machine TEXT NOT NULL,
         PRIMARY KEY (app, machine)
     ) STRICT, WITHOUT ROWID;",
    ),
    M::up(
        "-- How many deliveries in a row have failed, and since when, whatever starts the schedule over.
     ALTER TABLE mailbox ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE mailbox ADD COLUMN failing_since INTEGER;
     UPDATE mailbox SET failed = failures, failing_since = accepted_at
         WHERE failures > 0 AND due_at IS NOT NULL;
     DROP INDEX mailbox_failing;
     CREATE INDEX mailbox_failing ON mailbox (failing_since, user, due_at)
         WHERE failing_since IS NOT NULL AND due_at IS NOT NULL;
     -- What waits is counted here, and what waits longest is found: not in the rows, which have the
     -- bodies in them.
     CREATE INDEX mailbox_waiting ON mailbox (accepted_at) WHERE due_at IS NOT NULL;",
    ),
];

/// Opens the file, makes it where there is none, and brings it to the present version.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, OpenError> {
    make_private(path)?;
    let mut db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Each commit is fsynced: what was acknowledged survives the loss of power.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.set_prepared_statement_cache_capacity(64);
    Migrations::from_slice(MIGRATIONS).to_latest(&mut db)?;
    Ok(db)
}

/// Opens the file a second time, for reading only.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}

/// Makes the file, readable by its owner alone: notifications hold mail addresses. SQLite gives
/// its log the same permissions.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(OpenError::Unavailable(error.into()))
        }
        _ => Ok(()),
    }
}

/// A database in memory of the present version.
#[cfg(test)]
pub(super) fn in_memory() -> Connection {
    let mut db = Connection::open_in_memory().unwrap();
    Migrations::from_slice(MIGRATIONS)
        .to_latest(&mut db)
        .unwrap();
    db
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_apply() {
        Migrations::from_slice(MIGRATIONS).validate().unwrap();
    }
}
