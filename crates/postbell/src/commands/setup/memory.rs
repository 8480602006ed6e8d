//! What the watcher on this machine remembers, for setup and doctor.

use std::path::{Path, PathBuf};

use postbell_core::Timestamp;
use postbell_protocol::watch_state::{SavedHook, WatchState};
use postbell_setup::{Begun, HookWish, Remembered, Trouble, Wall, WatchMemory};
use postbell_watcher::{StateError, StateFile};

use crate::config::Surroundings;
use crate::gog::GogFolders;

/// The watcher's state files.
pub(crate) struct StateMemory {
    folders: GogFolders,
    usual: PathBuf,
}

impl StateMemory {
    /// Where they are by what the variables say.
    ///
    /// # Errors
    ///
    /// Where there is no home.
    pub(crate) fn of(surroundings: &Surroundings) -> anyhow::Result<Self> {
        let folders = GogFolders::of(surroundings)?;
        let usual = folders.watch_state("");
        Ok(Self { folders, usual })
    }
}

impl WatchMemory for StateMemory {
    fn recall(&self, mailbox: &str) -> Result<Option<Remembered>, Trouble> {
        let folder = self.folders.watch_state(mailbox);
        let state = StateFile::peek(&folder, mailbox).map_err(|error| trouble(&error))?;
        let Some(state) = state else {
            return Ok(None);
        };
        let watcher_runs = matches!(
            StateFile::open(&folder, mailbox),
            Err(StateError::InUse { .. })
        );
        Ok(Some(remembered(state, watcher_runs)))
    }

    fn note(&self, mailbox: &str, begun: &Begun<'_>) -> Result<(), Trouble> {
        let folder = self.folders.watch_state(mailbox);
        let file = match StateFile::open(&folder, mailbox) {
            // It renews the watch by itself, and notes that.
            Err(StateError::InUse { .. }) => return Ok(()),
            file => file.map_err(|error| trouble(&error))?,
        };
        let state = file.read().map_err(|error| trouble(&error))?;
        let ends_at = begun.ends_at.as_millis();
        let state = WatchState {
            account: mailbox.to_owned(),
            topic: begun.topic.to_owned(),
            labels: begun.labels.iter().map(|&label| label.to_owned()).collect(),
            // How far the bot has read is not moved: what it has not had yet is still to come.
            history_id: state.history_id.or(Some(begun.history_id)),
            expiration_ms: ends_at,
            provider_expiration_ms: ends_at,
            renewal_problem: String::new(),
            ..state
        };
        file.write(&state).map_err(|error| trouble(&error))
    }

    fn forget(&self, mailbox: &str) -> Result<(), Trouble> {
        let folder = self.folders.watch_state(mailbox);
        if matches!(StateFile::peek(&folder, mailbox), Ok(None)) {
            return Ok(());
        }
        match StateFile::open(&folder, mailbox) {
            // Its owner stops it, or it finds out by itself.
            Err(StateError::InUse { .. }) => Ok(()),
            file => {
                let file = file.map_err(|error| trouble(&error))?;
                StateFile::remove(file).map_err(|error| trouble(&error))
            }
        }
    }

    fn folder(&self) -> &Path {
        &self.usual
    }
}

fn remembered(state: WatchState, watcher_runs: bool) -> Remembered {
    let ends_at = state.provider_expiration_ms.max(state.expiration_ms);
    Remembered {
        topic: state.topic,
        ends_at: Timestamp::from_millis(ends_at),
        watcher_runs,
        problem: state.problem,
        renewal_problem: state.renewal_problem,
        last_delivery: state.last_delivery_status,
        last_delivery_at: Timestamp::from_millis(state.last_delivery_at_ms),
        hook: state.hook.and_then(hook),
    }
}

fn hook(saved: SavedHook) -> Option<HookWish> {
    Some(HookWish {
        url: saved.url.parse().ok()?,
        token: Some(saved.token)
            .filter(|token| !token.is_empty())
            .map(Into::into),
    })
}

fn trouble(error: &StateError) -> Trouble {
    Trouble::new(Wall::File(error.to_string()))
}
