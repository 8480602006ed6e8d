//! The watcher's state files, for setup and doctor.

use postbell_protocol::watch_state::WatchState;
use postbell_setup::{Blocker, SavedWatch, SetupError, WatchStates};
use postbell_watcher::{StateError, StateFile};

use crate::config::Env;
use postbell_watcher::GogDirs;

/// The watcher's state files in the folders of `gog`.
pub(crate) struct StateFiles {
    folders: GogDirs,
}

impl StateFiles {
    /// Finds the folders from the environment.
    ///
    /// # Errors
    ///
    /// If there is no home folder.
    pub(crate) fn from_env(env: &Env) -> anyhow::Result<Self> {
        Ok(Self {
            folders: GogDirs::from_variables(|name| env.variable(name))?,
        })
    }
}

impl WatchStates for StateFiles {
    fn load(&self, mailbox: &str) -> Result<Option<SavedWatch>, SetupError> {
        let folder = self.folders.watch_state(mailbox);
        let state = StateFile::peek(&folder, mailbox).map_err(|error| file_error(&error))?;
        let Some(state) = state else {
            return Ok(None);
        };
        let watcher_runs = matches!(
            StateFile::open(&folder, mailbox),
            Err(StateError::InUse { .. })
        );
        Ok(Some(SavedWatch {
            state,
            watcher_runs,
        }))
    }

    fn update(&self, mailbox: &str, change: &dyn Fn(&mut WatchState)) -> Result<(), SetupError> {
        let folder = self.folders.watch_state(mailbox);
        let file = match StateFile::open(&folder, mailbox) {
            // A running watcher renews the watch and saves it.
            Err(StateError::InUse { .. }) => return Ok(()),
            file => file.map_err(|error| file_error(&error))?,
        };
        let mut state = file.read().map_err(|error| file_error(&error))?;
        change(&mut state);
        file.write(&state).map_err(|error| file_error(&error))
    }

    fn remove(&self, mailbox: &str) -> Result<(), SetupError> {
        let folder = self.folders.watch_state(mailbox);
        if matches!(StateFile::peek(&folder, mailbox), Ok(None)) {
            return Ok(());
        }
        match StateFile::open(&folder, mailbox) {
            // A running watcher notices that the watch has stopped.
            Err(StateError::InUse { .. }) => Ok(()),
            file => {
                let file = file.map_err(|error| file_error(&error))?;
                StateFile::remove(file).map_err(|error| file_error(&error))
            }
        }
    }
}

fn file_error(error: &StateError) -> SetupError {
    SetupError::new(Blocker::File(error.to_string()))
}
