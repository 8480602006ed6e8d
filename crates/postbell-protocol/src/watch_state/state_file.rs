//! The state file, which `gog` uses, too (protocol, section 5).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postbell_core::{ProblemCode, Timestamp};
use tempfile::NamedTempFile;

use super::WatchState;
use super::state_path::state_path;

/// An account's state file. Holds its lock: only one process may change the state.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Locked while it is open.
    _lock: File,
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process holds the lock.
    #[error("another watcher runs for this account: stop it first ({path} is locked)")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },

    /// The file is not a state file.
    #[error("{path} is not a state file: repair or remove it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The parse error.
        #[source]
        source: serde_json::Error,
    },

    /// The file cannot be read or written. It is unchanged.
    #[error("{path} cannot be read or written")]
    Disk {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl StateFile {
    /// Returns the accounts whose states are in `folder`, in order; none if it cannot be read.
    #[must_use]
    pub fn accounts(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).into_iter().flatten();
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        let files = files.filter(|file| file.extension().is_some_and(|ending| ending == "json"));
        let accounts = files.filter_map(|file| {
            let state: WatchState = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
            Some(state.account).filter(|account| !account.is_empty())
        });
        let accounts: BTreeSet<_> = accounts.collect();
        accounts.into_iter().collect()
    }

    /// Opens the state of `account` in `folder`, which is created if it is missing.
    ///
    /// # Errors
    ///
    /// [`StateError::InUse`] if another process has it open.
    pub fn open(folder: &Path, account: &str) -> Result<Self, StateError> {
        let path = state_path(folder, account);
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

    /// Reads the state; an empty one if there is no file yet.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn read(&self) -> Result<WatchState, StateError> {
        Ok(read(&self.path)?.unwrap_or_default())
    }

    /// Reads the state of `account` without the lock, beside a watcher that may be running. Returns
    /// `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn peek(folder: &Path, account: &str) -> Result<Option<WatchState>, StateError> {
        read(&state_path(folder, account))
    }

    /// Whether a process uses the state of `account`: a watcher runs.
    #[must_use]
    pub fn is_in_use(folder: &Path, account: &str) -> bool {
        let lock = state_path(folder, account).with_extension("lock");
        let Ok(lock) = File::open(lock) else {
            return false;
        };
        matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }

    /// Stores a problem for `watch status` and the controller if no watcher can run to store it.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn store_problem(
        &self,
        code: ProblemCode,
        detail: &str,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let mut state = self.read()?;
        if state.problem_code != code.as_str() {
            state.problem_code = code.to_string();
            state.problem_since_ms = now.as_millis();
        }
        detail.clone_into(&mut state.problem);
        self.write(&state)
    }

    /// Removes the file after the watch was stopped.
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

    /// Replaces the file atomically and durably. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StateError::Disk`]; the file is unchanged then.
    pub fn write(&self, state: &WatchState) -> Result<(), StateError> {
        self.write_without_sync(state)?;
        // The rename, too, must survive a power failure.
        File::open(self.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.disk(error))
    }

    /// Replaces the file atomically. A power failure may bring the previous one back; the end of the
    /// process does not.
    ///
    /// # Errors
    ///
    /// [`StateError::Disk`]; the file is unchanged then.
    pub fn write_without_sync(&self, state: &WatchState) -> Result<(), StateError> {
        self.replace(state).map_err(|error| self.disk(error))
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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
    fn unknown_fields_of_gog_are_kept_in_the_file() {
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
    fn a_second_watcher_of_the_account_is_refused() {
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
    fn reading_never_overwrites_a_malformed_file() {
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
