//! Which processes use the file: so that claims of dead ones are known for what they are.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::OpenError;

/// The mark that this process uses the file; the system takes it away when the process ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct Mark {
    _file: File,
}

/// Marks the file as used by this process. Where it is the only one, runs `if_alone` before any
/// other can come.
///
/// The lock is on a file of its own beside the database: SQLite's own locks would be lost if this
/// process opened and closed the database's file
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
pub(super) fn mark(
    database: &Path,
    if_alone: impl FnOnce() -> Result<(), OpenError>,
) -> Result<Mark, OpenError> {
    let unavailable = |error: std::io::Error| OpenError::Unavailable(error.into());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(database))
        .map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => if_alone()?,
        Err(TryLockError::WouldBlock) => (),
        Err(TryLockError::Error(error)) => return Err(unavailable(error)),
    }
    // Waits while another process finds out whether it is alone: a moment.
    file.lock_shared().map_err(unavailable)?;
    Ok(Mark { _file: file })
}

fn beside(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push("-users");
    name.into()
}
