//! The controller's access to the watcher's state files.

use std::path::{Path, PathBuf};

use postbell_controller::WatchStateStore;
use postbell_core::{BoxError, HistoryId, Timestamp};
use postbell_watcher::{StateFile, merge_state, raise_history_id};

use postbell_watcher::{GogDirs, watch_state_in};

/// The watcher's state: in the configuration folder of `gog`, or in the state folder that newer
/// versions use.
pub(super) struct WatchStateFiles(pub(super) Option<GogDirs>);

impl WatchStateStore for WatchStateFiles {
    fn merge_state(&self, old: &Path, new: &Path, account: &str) -> Result<(), BoxError> {
        Ok(merge_state(
            &watch_state_in(old),
            &watch_state_in(new),
            account,
        )?)
    }

    fn raise_cursor(
        &self,
        gog: &Path,
        account: &str,
        delivered: HistoryId,
    ) -> Result<(), BoxError> {
        Ok(raise_history_id(
            &self.folder(gog, account),
            account,
            delivered,
        )?)
    }

    fn watch_expires_at(&self, gog: &Path, account: &str) -> Result<Option<Timestamp>, BoxError> {
        let state = StateFile::peek(&self.folder(gog, account), account)?;
        Ok(state.and_then(|state| state.expires_at()))
    }
}

impl WatchStateFiles {
    /// Returns the folder with the state of an account.
    fn folder(&self, gog: &Path, account: &str) -> PathBuf {
        let folders = self.0.as_ref();
        let newer = folders.and_then(|folders| folders.newer_watch_state(account));
        newer.unwrap_or_else(|| watch_state_in(gog))
    }
}
