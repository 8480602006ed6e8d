//! The watcher's state files on this machine.

use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::{StateError, StateFile, WatchState};

use crate::error::{Blocker, Result, SetupError};

/// The labels that setup watches.
pub(crate) const WATCH_LABELS: [&str; 1] = ["INBOX"];

/// Reads and updates the watcher's state files in the folders of `gog`. Blocks on the disk.
pub struct WatchStates(pub GogDirs);

/// A state file, and whether a watcher is running.
#[derive(Clone, Debug, Default)]
pub struct SavedWatch {
    /// The content of the file.
    pub state: WatchState,
    /// Whether a watcher is running.
    pub watcher_runs: bool,
}

impl WatchStates {
    /// Loads the state of a mailbox, if there is one on this machine.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn load(&self, mailbox: &str) -> Result<Option<SavedWatch>> {
        let folder = self.0.watch_state(mailbox);
        let Some(state) = StateFile::peek(&folder, mailbox)? else {
            return Ok(None);
        };
        Ok(Some(SavedWatch {
            state,
            watcher_runs: StateFile::is_in_use(&folder, mailbox),
        }))
    }

    /// Changes the state of a mailbox, unless a watcher is running: that one renews the watch itself.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(crate) fn update(&self, mailbox: &str, change: impl Fn(&mut WatchState)) -> Result<()> {
        let file = match StateFile::open(&self.0.watch_state(mailbox), mailbox) {
            Err(StateError::InUse { .. }) => return Ok(()),
            file => file?,
        };
        let mut state = file.read()?;
        change(&mut state);
        Ok(file.write(&state)?)
    }

    /// Removes the state of a mailbox, unless a watcher is running: that one notices that the watch
    /// has stopped.
    ///
    /// # Errors
    ///
    /// If the file cannot be removed.
    pub(crate) fn remove(&self, mailbox: &str) -> Result<()> {
        let folder = self.0.watch_state(mailbox);
        if matches!(StateFile::peek(&folder, mailbox), Ok(None)) {
            return Ok(());
        }
        match StateFile::open(&folder, mailbox) {
            Err(StateError::InUse { .. }) => Ok(()),
            file => Ok(file?.remove()?),
        }
    }
}

impl From<StateError> for SetupError {
    fn from(error: StateError) -> Self {
        Self::new(Blocker::File(error.to_string()))
    }
}
