//! How a file is opened: for writing, or so that no byte of it changes.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::OpenError;

/// How long a statement waits for another process that writes, such as `postbell dead-letters drop`
/// beside a relay.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 64;

/// The name of a file for SQLite, which takes `file:…` for a URI and `:memory:` for no file
/// (<https://www.sqlite.org/c3ref/open.html>), but no name with a folder.
fn file_name(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

/// Opens a file for reading and writing, as it is.
pub(super) fn open_plainly(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file_name(path), flags)
}

/// Writes a snapshot of a database to an empty file.
pub(super) fn write_snapshot(db: &Connection, path: &Path) -> rusqlite::Result<()> {
    let name = file_name(path);
    // A file's name need not be UTF-8.
    let name = ValueRef::Text(name.as_os_str().as_bytes());
    db.execute("VACUUM INTO ?1", [ToSqlOutput::Borrowed(name)])?;
    Ok(())
}

/// Opens a file for reading and writing.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, OpenError> {
    let db = open_plainly(path)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Each commit is fsynced: what was acknowledged survives a loss of power.
    db.pragma_update(None, "synchronous", "FULL")?;
    keep_statements(&db)?;
    Ok(db)
}

/// Keeps prepared statements, with their plans: a query whose limit is a parameter would be prepared again for each value
/// (<https://www.sqlite.org/queryplanner-ng.html#qpsg>).
pub(super) fn keep_statements(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Opens a file that no other connection has open, and keeps it locked.
pub(super) fn open_exclusively(path: &Path) -> rusqlite::Result<Connection> {
    let db = open_plainly(path)?;
    // A process that is just ending may still have it.
    db.busy_timeout(Duration::from_secs(1))?;
    // Before the first access, so that the file is locked rather than its memory shared.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
    Ok(db)
}

/// Returns whether another connection has the file.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Opens a file a second time, for reading beside this process's own writer.
pub(super) fn open_beside_writer(path: &Path) -> Result<Connection, OpenError> {
    let db = Connection::open_with_flags(file_name(path), READ_ONLY)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    keep_statements(&db)?;
    Ok(db)
}

const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Opens a file so that neither it nor its log changes and no file is created.
///
/// In WAL mode a plain read-only connection creates a missing log (`-wal`) and its index
/// (`-shm`), and fails if it may not. Which files exist tells what to do instead
/// (<https://www.sqlite.org/wal.html#read_only_databases>):
///
/// - Both exist: a process has the file open, or was killed. The plain way creates nothing.
/// - No log, or an empty one without an index: no process has the file open and all is in it. It is read
///   as an immutable one.
/// - A log without its index, as in a copy of a backup: no process has the file open. Without locks,
///   SQLite builds the index in memory.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    let log = beside(path, "-wal").metadata().map_or(0, |log| log.len());
    let has_index = beside(path, "-shm").exists();
    let db = if has_index && beside(path, "-wal").exists() {
        Connection::open_with_flags(file_name(path), READ_ONLY)?
    } else if log == 0 {
        Connection::open_with_flags(immutable(path), READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        let db = Connection::open_with_flags_and_vfs(file_name(path), READ_ONLY, c"unix-none")?;
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        db
    };
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}

/// The URI of a file that no process changes (<https://www.sqlite.org/uri.html>).
fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for &byte in file_name(path).as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' => {
                uri.push(byte.into())
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}

/// Creates the file if it is missing, and returns whether it was. It is readable by its owner alone:
/// notifications hold mail addresses. SQLite gives its log the same permissions.
pub(super) fn create(path: &Path) -> Result<bool, OpenError> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(file) => {
            give_to_owner_of_folder(&file, path)
                .map_err(|error| OpenError::Unavailable(error.into()))?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(OpenError::Unavailable(error.into())),
    }
}

/// Gives a new file to the owner of its folder, if root has created it: a command that root runs before the service
/// must not create a file that the service cannot open. SQLite gives its log the owner of the database.
fn give_to_owner_of_folder(file: &File, path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).metadata()?;
    if file.metadata()?.uid() == 0 && folder.uid() != 0 {
        fchown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

/// The path with a suffix, where SQLite and this crate keep what belongs to the file.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn a_name_that_means_something_to_sqlite_is_that_of_a_file() {
        let path = |name: &str| file_name(Path::new(name)).display().to_string();
        for name in ["file:x", "file:x?mode=memory", ":memory:", "file::memory:"] {
            assert_eq!(path(name), format!("./{name}"));
        }
        assert_eq!(path("/var/file:x"), "/var/file:x");
        let uri = immutable(Path::new(":memory:"));
        assert_eq!(uri, "file:./%3Amemory%3A?immutable=1");
    }

    #[test]
    fn a_snapshot_may_have_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE it (x)").unwrap();
        for name in [&b"file:x"[..], b"\xff\xfe", b"a%20b?c#d"] {
            let path = folder.path().join(std::ffi::OsStr::from_bytes(name));
            create(&path).unwrap();
            write_snapshot(&db, &path).unwrap();
            let copy = open_plainly(&path).unwrap();
            copy.execute_batch("SELECT x FROM it").unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_new_file_belongs_to_the_owner_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        // Only root may, and only root would create a file that the folder's owner cannot open.
        let _ = chown(folder.path(), Some(65_534), Some(65_534));
        let path = folder.path().join("new.db");
        assert!(create(&path).unwrap());
        let owner = |path: &Path| path.metadata().map(|it| (it.uid(), it.gid())).unwrap();
        assert_eq!(owner(&path), owner(folder.path()));
    }
}
