//! What the watcher remembers, as a controller must touch it.

use std::path::{Path, PathBuf};

use postbell_controller::WatcherMemory;
use postbell_core::{BoxError, HistoryId, Timestamp};
use postbell_watcher::{StateFile, carry_over, raise};

use crate::gog::{GogFolders, watch_state_in};

/// The watcher's state, which lies in the folder of `gog`, or where newer versions have it.
pub(super) struct Memory(pub(super) Option<GogFolders>);

impl WatcherMemory for Memory {
    fn carry_over(&self, old: &Path, new: &Path, account: &str) -> Result<(), BoxError> {
        Ok(carry_over(
            &watch_state_in(old),
            &watch_state_in(new),
            account,
        )?)
    }

    fn raise(&self, gog: &Path, account: &str, delivered: HistoryId) -> Result<(), BoxError> {
        Ok(raise(&self.folder(gog, account), account, delivered)?)
    }

    fn watch_expires_at(&self, gog: &Path, account: &str) -> Result<Option<Timestamp>, BoxError> {
        let state = StateFile::peek(&self.folder(gog, account), account)?;
        Ok(state.and_then(|state| state.expires_at()))
    }
}

impl Memory {
    /// Where the state of an account is.
    fn folder(&self, gog: &Path, account: &str) -> PathBuf {
        let folders = self.0.as_ref();
        let newer = folders.and_then(|folders| folders.newer_watch_state(account));
        newer.unwrap_or_else(|| watch_state_in(gog))
    }
}
