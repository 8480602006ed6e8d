//! Backups of a file.

mod access;
mod part;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use postbell_core::{AUDIT_KEPT, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use self::part::{Part, is_same};
use super::connection::{self, beside};
use super::schema;
use crate::backup::{Backup, BackupError, NamedKey, Restored};
use crate::{KeyRing, OpenError};

const DESCRIBE: &str = "
    DROP TABLE IF EXISTS backup;
    CREATE TABLE backup (made_at INTEGER NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL) STRICT";

/// The tables with secrets that storage keys encrypt. A permission that is to be revoked is no loss that keeps a store from
/// being restored: without its key, it only stays at Google.
const ENCRYPTED: &str = "
    SELECT DISTINCT tables.name FROM sqlite_master AS tables
    JOIN pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table' AND columns.name = 'key_id' AND tables.name <> 'revocation'";

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
    let version = schema::check(&source)?;
    schema::refuse_unfinished_copy(&source)?;
    let part = Part::create(file)?;
    // One transaction that reads, so that those that write go on beside it.
    let copied = connection::write_snapshot(&source, part.path());
    copied.map_err(OpenError::from)?;
    let db = connection::open_plainly(part.path()).map_err(OpenError::from)?;
    let left_out = leave_out(&db, version)?;
    describe(&db, others, now).map_err(OpenError::from)?;
    let made = read(&db).map_err(|error| match error {
        BackupError::NotABackup(problem) => BackupError::NotWhole(problem),
        error => error,
    })?;
    drop(db);
    part.publish(file)?;
    Ok(Backup {
        bytes: size(file)?,
        left_out,
        ..made
    })
}

/// Removes triggers and views that are not Postbell's: an operator may have added some, and a backup that has them is
/// not restored.
fn leave_out(db: &Connection, version: u32) -> Result<Vec<String>, BackupError> {
    let extra = schema::difference(db, version)?.extra;
    for object in &extra {
        object.remove(db).map_err(OpenError::from)?;
    }
    Ok(extra.into_iter().map(|object| object.name).collect())
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
    let schema::Difference { extra, missing } = schema::difference(db, schema_version)?;
    let mut names = extra.into_iter().map(|object| object.name).chain(missing);
    if let Some(name) = names.next() {
        let problem = format!("its {name} is not that of schema version {schema_version}");
        return Err(BackupError::NotABackup(problem));
    }
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
        left_out: Vec::new(),
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

/// Checks a backup and puts a copy of it in the place of a file. Sessions and sign-in links of the copy have ended.
pub(crate) fn restore(
    file: &Path,
    path: &Path,
    keys: Option<&KeyRing>,
    replaces: bool,
    now: Timestamp,
) -> Result<Restored, BackupError> {
    let metadata = file.metadata();
    let metadata = metadata.map_err(|error| BackupError::File(file.to_owned(), error))?;
    if !metadata.is_file() {
        return Err(BackupError::NotABackup("it is no file".to_owned()));
    }
    let part = Part::create(path)?;
    part.fill(file)?;
    let db = connection::open_plainly(part.path()).map_err(OpenError::from)?;
    let backup = read(&db)?;
    let knows = |key: &&String| keys.is_some_and(|keys| keys.has(key));
    if let Some(missing) = backup.storage_keys.iter().find(|key| !knows(key)) {
        return Err(BackupError::MissingKey(missing.clone()));
    }
    // What the table said is of that moment; the store goes on.
    db.execute_batch("DROP TABLE backup")
        .map_err(OpenError::from)?;
    let tokens = access::end(&db, now).map_err(OpenError::from)?;
    let last = access::last_entry(&db).map_err(OpenError::from)?;
    // Of an older one, the replaced store's log may have lost a part.
    let last = last.filter(|_| now < backup.made_at + AUDIT_KEPT);
    drop(db);
    let replaced = put_aside(path, replaces)?;
    let lock = replaced
        .as_ref()
        .and_then(|replaced| replaced.lock.as_ref());
    // It may be of any version, or damaged.
    let ended = lock
        .zip(last)
        .and_then(|(db, last)| access::ended_since(db, &last).ok()?);
    match replaced {
        None => part.publish(path)?,
        Some(_) => part.replace(path)?,
    }
    Ok(Restored {
        backup: Backup {
            bytes: size(file)?,
            ..backup
        },
        replaced: replaced.map(|replaced| replaced.kept),
        tokens,
        ended,
    })
}

/// A file that is about to be replaced.
struct Replaced {
    /// Its second name.
    kept: PathBuf,
    /// Locks it until it is replaced; `None` if it cannot be read.
    lock: Option<Connection>,
}

/// Gives a file that no process uses a second name, after all of its log is in it. It keeps the first one until it
/// is replaced, so that an interruption leaves no moment without a store.
fn put_aside(path: &Path, replaces: bool) -> Result<Option<Replaced>, BackupError> {
    if !path.exists() {
        let log = beside(path, "-wal");
        return if log.exists() {
            Err(BackupError::Exists(log))
        } else {
            Ok(None)
        };
    }
    let kept = beside(path, REPLACED);
    // After an interruption it has its second name already.
    let has_both_names = is_same(path, &kept);
    for exists in [path, &kept] {
        if (exists == path && !replaces) || (exists == kept && kept.exists() && !has_both_names) {
            return Err(BackupError::Exists(exists.to_owned()));
        }
    }
    let lock = lock(path)?;
    let failed = |error| BackupError::File(kept.clone(), error);
    // Not every file system has links.
    if !has_both_names && fs::hard_link(path, &kept).is_err() {
        keep_copy(path, &kept, lock.as_ref())?;
    }
    // Only a file that cannot be read has a log now: it is no log of the restored one.
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&kept, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => (),
        }
    }
    part::sync_folder_of(&kept)?;
    Ok(Some(Replaced { kept, lock }))
}

/// Copies a file that has no second name. SQLite reads one that is locked: if this process opened and closed it, that
/// would end the lock.
fn keep_copy(path: &Path, kept: &Path, lock: Option<&Connection>) -> Result<(), BackupError> {
    let part = Part::create(kept)?;
    match lock {
        Some(db) => {
            let copied = connection::write_snapshot(db, part.path());
            copied.map_err(OpenError::from)?;
        }
        None => part.fill(path)?,
    }
    part.publish(kept)
}

/// Locks a file, and brings all of its log into it. A file that cannot be read is kept as it is, with its log.
fn lock(path: &Path) -> Result<Option<Connection>, BackupError> {
    // Without a log, because closing would remove the log of a file that has got this name.
    let locked = connection::open_exclusively(path).and_then(|db| {
        db.pragma_update(None, "journal_mode", "DELETE")?;
        Ok(db)
    });
    match locked {
        Ok(db) => Ok(Some(db)),
        Err(error) if connection::is_busy(&error) => Err(BackupError::InUse),
        Err(_) => Ok(None),
    }
}

fn size(file: &Path) -> Result<u64, BackupError> {
    let metadata = file.metadata();
    metadata
        .map(|it| it.len())
        .map_err(|error| BackupError::File(file.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema::in_memory;

    /// Whether this process has a lock on a file (<https://man7.org/linux/man-pages/man5/proc_locks.5.html>).
    #[cfg(target_os = "linux")]
    fn is_locked(file: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let inode = format!(":{} ", file.metadata().unwrap().ino());
        let process = format!(" {} ", std::process::id());
        locks
            .lines()
            .any(|lock| lock.contains(&inode) && lock.contains(&process))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_store_stays_locked_while_it_is_copied_where_there_are_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postbell.db");
        let name = path.to_str().unwrap();
        in_memory().execute("VACUUM INTO ?1", [name]).unwrap();
        let held = lock(&path).unwrap();
        assert!(held.is_some() && is_locked(&path));
        let kept = folder.path().join("kept");
        keep_copy(&path, &kept, held.as_ref()).unwrap();
        assert!(is_locked(&path));
        let copy = Connection::open(&kept).unwrap();
        assert!(
            schema::difference(&copy, schema::LATEST)
                .unwrap()
                .missing
                .is_empty()
        );
        assert!(!beside(&kept, ".part").exists());
    }
}
