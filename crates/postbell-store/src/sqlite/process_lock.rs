//! Which processes deliver from the file, so that the claims of dead ones are released.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::connection::beside;
use crate::OpenError;

/// A shared lock that a process holds while it may claim. The system releases it when the process
/// ends, however it ends.
#[derive(Debug)]
pub(super) struct ProcessLock {
    _file: File,
}

/// Takes the lock. If no other process holds it, runs `if_alone` before another one can take it.
///
/// The lock is on a file of its own beside the database: SQLite's own locks would be lost if this
/// process opened and closed the database's file a second time
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
pub(super) fn acquire(
    database: &Path,
    if_alone: impl FnOnce() -> Result<(), OpenError>,
) -> Result<ProcessLock, OpenError> {
    let unavailable = |error: std::io::Error| OpenError::Unavailable(error.into());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(database, "-users"))
        .map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => if_alone()?,
        Err(TryLockError::WouldBlock) => (),
        Err(TryLockError::Error(error)) => return Err(unavailable(error)),
    }
    // Blocks only while another process runs its `if_alone`.
    file.lock_shared().map_err(unavailable)?;
    Ok(ProcessLock { _file: file })
}
