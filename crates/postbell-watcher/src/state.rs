//! What the watcher remembers, in the file that `gog` uses too (contract, section 5).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postbell_protocol::watch_state::{WatchState, file_name};
use tempfile::NamedTempFile;

/// Where the state is kept, and the right to be the only one who changes it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another watcher has the account.
    #[error("another watcher runs for this account: stop it first ({path} is locked)")]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },

    /// What is in the file is no state.
    #[error("{path} is no state file: mend or remove it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },

    /// The disk does not do it. The file is as it was.
    #[error("{path} cannot be read or written")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl StateFile {
    /// Opens the state of `account` in `folder`, which is made where it is missing.
    ///
    /// # Errors
    ///
    /// [`StateError::InUse`] where another process has it open.
    pub fn open(folder: &Path, account: &str) -> Result<Self, StateError> {
        let path = path(folder, account);
        let lock_path = path.with_extension("lock");
        let disk = |source| StateError::Disk {
            path: path.clone(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(disk)?;
        let lock = private()
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(disk)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::InUse { path: lock_path }),
            Err(fs::TryLockError::Error(source)) => Err(StateError::Disk { path, source }),
        }
    }

    /// Reads the state, or gives an empty one where there is no file yet.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn read(&self) -> Result<WatchState, StateError> {
        Ok(read(&self.path)?.unwrap_or_default())
    }

    /// Reads the state of `account` beside a watcher that may be running, or `None` where there is
    /// none.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn peek(folder: &Path, account: &str) -> Result<Option<WatchState>, StateError> {
        read(&path(folder, account))
    }

    /// Removes the state: the watch has been stopped.
    ///
    /// # Errors
    ///
    /// [`StateError::Disk`]
    pub fn remove(self) -> Result<(), StateError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::Disk {
                path: self.path,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Writes the state whole, and returns once it is on disk. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StateError::Disk`]; the file is then as it was.
    pub fn write(&self, state: &WatchState) -> Result<(), StateError> {
        self.write_for_now(state)?;
        // The name, too, must survive the loss of power.
        File::open(self.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.disk(error))
    }

    /// The same, but that the loss of power may bring back what was there before; the end of the
    /// process does not.
    ///
    /// # Errors
    ///
    /// [`StateError::Disk`]; the file is then as it was.
    pub fn write_for_now(&self, state: &WatchState) -> Result<(), StateError> {
        self.replace(state).map_err(|error| self.disk(error))
    }

    fn replace(&self, state: &WatchState) -> io::Result<()> {
        let mut fresh = NamedTempFile::new_in(self.folder())?;
        let mut text = serde_json::to_vec_pretty(state)?;
        text.push(b'\n');
        fresh.write_all(&text)?;
        fresh.as_file().sync_data()?;
        fresh.persist(&self.path)?;
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn disk(&self, source: io::Error) -> StateError {
        StateError::Disk {
            path: self.path.clone(),
            source,
        }
    }
}

fn path(folder: &Path, account: &str) -> PathBuf {
    folder.join(file_name(account))
}

fn read(path: &Path) -> Result<Option<WatchState>, StateError> {
    let path_of_error = || path.to_owned();
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StateError::Unreadable {
            path: path_of_error(),
            source,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Disk {
            path: path_of_error(),
            source,
        }),
    }
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use postbell_core::HistoryId;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_gog_wrote_is_read_and_what_we_do_not_know_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path(), "a@b").unwrap();
        let gogs = r#"{"account":"a@b","topic":"projects/p/topics/t","labels":["INBOX"],
            "historyId":"18446744073709551615","expirationMs":5,"hook":{"url":"http://x","new":1},
            "lastPushMessageId":"7"}"#;
        fs::write(folder.path().join("a_b.json"), gogs).unwrap();

        let mut state = file.read().unwrap();
        assert_eq!(state.history_id, Some(HistoryId::new(u64::MAX)));
        state.last_delivery_status = "ok".to_owned();
        file.write(&state).unwrap();

        let written = fs::read(folder.path().join("a_b.json")).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written["historyId"], "18446744073709551615");
        assert_eq!(written["expirationMs"], 5);
        assert_eq!(written["hook"]["url"], "http://x");
        assert_eq!(written["hook"]["new"], 1);
        assert_eq!(written["lastPushMessageId"], "7");
    }

    #[test]
    fn a_second_watcher_for_the_account_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFile::open(folder.path(), "a@b").unwrap();
        let second = StateFile::open(folder.path(), "A@B");
        assert!(
            matches!(second, Err(StateError::InUse { .. })),
            "{second:?}"
        );
        drop(first);
        StateFile::open(folder.path(), "a@b").unwrap();
    }

    #[test]
    fn a_file_that_is_no_state_is_never_overwritten_by_reading() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path(), "a@b").unwrap();
        fs::write(folder.path().join("a_b.json"), "{").unwrap();
        assert!(matches!(file.read(), Err(StateError::Unreadable { .. })));
        assert_eq!(
            fs::read_to_string(folder.path().join("a_b.json")).unwrap(),
            "{"
        );
    }
}
