//! Backups of a file.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use postbell_core::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::connection::{self, beside};
use super::schema;
use crate::backup::{Backup, BackupError, NamedKey};
use crate::{KeyRing, OpenError};

const DESCRIBE: &str = "
    DROP TABLE IF EXISTS backup;
    CREATE TABLE backup (made_at INTEGER NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL) STRICT";

/// The tables with secrets that storage keys encrypt.
const ENCRYPTED: &str = "
    SELECT DISTINCT tables.name FROM sqlite_master AS tables
    JOIN pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table' AND columns.name = 'key_id'";

/// The row of the backup itself, without a key.
const ITSELF: &str = "";

/// Where a replaced file is kept.
const REPLACED: &str = ".before-restore";

/// Writes a snapshot to a file beside the wanted one, which then gets its name: a backup that was interrupted
/// has another name.
pub(crate) fn backup(
    path: &Path,
    file: &Path,
    others: &[NamedKey],
    now: Timestamp,
) -> Result<Backup, BackupError> {
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let source = connection::open_for_reading(path)?;
    schema::check(&source)?;
    schema::refuse_unfinished_copy(&source)?;
    let part = Part::create(file)?;
    // One transaction that reads, so that those that write go on beside it.
    let name = part.0.to_string_lossy();
    let copied = source.execute("VACUUM INTO ?1", [&*name]);
    copied.map_err(OpenError::from)?;
    let db = Connection::open(&part.0).map_err(OpenError::from)?;
    describe(&db, others, now).map_err(OpenError::from)?;
    let made = read(&db)?;
    drop(db);
    part.publish(file)?;
    Ok(Backup {
        bytes: size(file)?,
        ..made
    })
}

fn describe(db: &Connection, others: &[NamedKey], now: Timestamp) -> rusqlite::Result<()> {
    db.execute_batch(DESCRIBE)?;
    let mut add = db.prepare("INSERT INTO backup VALUES (?1, ?2, ?3)")?;
    add.execute((now.as_millis(), ITSELF, ""))?;
    for other in others {
        add.execute((now.as_millis(), &other.name, &other.fingerprint))?;
    }
    Ok(())
}

/// Reads what a backup contains, after all of it was checked.
fn read(db: &Connection) -> Result<Backup, BackupError> {
    let not_ours = |error: rusqlite::Error| BackupError::NotABackup(error.to_string());
    let check = "PRAGMA integrity_check(1)";
    let found: String = db
        .query_row(check, [], |row| row.get(0))
        .map_err(not_ours)?;
    if found != "ok" {
        return Err(BackupError::NotABackup("it is damaged".to_owned()));
    }
    let made_at = db.query_row("SELECT made_at FROM backup WHERE name = ''", [], |row| {
        row.get(0)
    });
    let made_at: Option<i64> = made_at.optional().map_err(not_ours)?;
    let missing = || BackupError::NotABackup("it does not say when it was made".to_owned());
    let made_at = Timestamp::from_millis(made_at.ok_or_else(missing)?);
    let schema_version = match schema::check(db) {
        Ok(version) | Err(OpenError::TooOld { found: version, .. }) => version,
        Err(error) => return Err(error.into()),
    };
    let storage_keys = storage_keys(db).map_err(not_ours)?;
    let query = "SELECT name, fingerprint FROM backup WHERE name <> '' ORDER BY name";
    let mut statement = db.prepare(query).map_err(not_ours)?;
    let others = statement.query_map([], |row| {
        Ok(NamedKey {
            name: row.get(0)?,
            fingerprint: row.get(1)?,
        })
    });
    let others = others.and_then(Iterator::collect).map_err(not_ours)?;
    let users: i64 = db
        .query_row("SELECT count(*) FROM user_record", [], |row| row.get(0))
        .map_err(not_ours)?;
    Ok(Backup {
        made_at,
        schema_version,
        bytes: 0,
        users: users.unsigned_abs(),
        storage_keys,
        others,
    })
}

/// The fingerprints of the keys with which secrets are encrypted.
fn storage_keys(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut keys = BTreeSet::new();
    for table in texts(db, ENCRYPTED)? {
        keys.extend(texts(
            db,
            &format!("SELECT DISTINCT key_id FROM \"{table}\""),
        )?);
    }
    Ok(keys.into_iter().collect())
}

fn texts(db: &Connection, query: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(query)?;
    let texts = statement.query_map([], |row| row.get(0))?;
    texts.collect()
}

/// Checks a backup and puts a copy of it in the place of a file.
pub(crate) fn restore(
    file: &Path,
    path: &Path,
    keys: Option<&KeyRing>,
    replaces: bool,
) -> Result<(Backup, Option<PathBuf>), BackupError> {
    let part = Part::create(path)?;
    part.fill(file)?;
    let db = Connection::open(&part.0).map_err(OpenError::from)?;
    let backup = read(&db)?;
    let knows = |key: &&String| keys.is_some_and(|keys| keys.has(key));
    if let Some(missing) = backup.storage_keys.iter().find(|key| !knows(key)) {
        return Err(BackupError::MissingKey(missing.clone()));
    }
    // What the table said is of that moment; the store goes on.
    db.execute_batch("DROP TABLE backup")
        .map_err(OpenError::from)?;
    drop(db);
    let replaced = put_aside(path, replaces)?;
    part.publish(path)?;
    let bytes = size(file)?;
    Ok((Backup { bytes, ..backup }, replaced))
}

/// Renames a file that no process uses, after all of its log is in it.
fn put_aside(path: &Path, replaces: bool) -> Result<Option<PathBuf>, BackupError> {
    if !path.exists() {
        let log = beside(path, "-wal");
        return if log.exists() {
            Err(BackupError::Exists(log))
        } else {
            Ok(None)
        };
    }
    let kept = beside(path, REPLACED);
    for exists in [path, &kept] {
        if (exists == path && !replaces) || (exists == kept && kept.exists()) {
            return Err(BackupError::Exists(exists.to_owned()));
        }
    }
    // A file that cannot be read is kept as it is, with its log.
    match connection::open_exclusively(path) {
        Ok(db) => drop(db),
        Err(error) if connection::is_busy(&error) => return Err(BackupError::InUse),
        Err(_) => (),
    }
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (beside(path, suffix), beside(&kept, suffix));
        match fs::rename(&from, to) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(BackupError::File(from, error));
            }
            _ => (),
        }
    }
    Ok(Some(kept))
}

/// A file that is being written, beside the one that it will be. It is removed when this is dropped.
struct Part(PathBuf);

impl Part {
    /// Creates the file, empty and readable by its owner alone.
    fn create(beside_file: &Path) -> Result<Self, BackupError> {
        let path = beside(beside_file, ".part");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(BackupError::File(path, error));
            }
            _ => (),
        }
        connection::create(&path)?;
        Ok(Self(path))
    }

    /// Copies a file into it. Its permissions stay.
    fn fill(&self, from: &Path) -> Result<(), BackupError> {
        let copied = File::open(from).and_then(|mut from| {
            let mut to = OpenOptions::new().write(true).open(&self.0)?;
            io::copy(&mut from, &mut to)
        });
        copied.map_err(|error| BackupError::File(from.to_owned(), error))?;
        Ok(())
    }

    /// Gives the file its name, durably. No file is overwritten.
    fn publish(self, file: &Path) -> Result<(), BackupError> {
        let failed = |error| BackupError::File(file.to_owned(), error);
        File::open(&self.0)
            .and_then(|part| part.sync_all())
            .map_err(failed)?;
        // Unlike a rename, a link overwrites nothing. Not every file system has links.
        match fs::hard_link(&self.0, file) {
            Ok(()) => (),
            Err(_) if file.exists() => return Err(BackupError::Exists(file.to_owned())),
            Err(_) => fs::rename(&self.0, file).map_err(failed)?,
        }
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A second name of the finished file, or nothing of value, and what SQLite had beside it.
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(&self.0, suffix));
        }
    }
}

fn size(file: &Path) -> Result<u64, BackupError> {
    let metadata = file.metadata();
    metadata
        .map(|it| it.len())
        .map_err(|error| BackupError::File(file.to_owned(), error))
}
