//! What the watcher remembers, as a controller must touch it.

use std::path::Path;

use postbell_controller::WatcherMemory;
use postbell_core::{BoxError, HistoryId};
use postbell_watcher::{carry_over, raise};

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
        let folders = self.0.as_ref();
        let newer = folders.and_then(|folders| folders.newer_watch_state(account));
        let folder = newer.unwrap_or_else(|| watch_state_in(gog));
        Ok(raise(&folder, account, delivered)?)
    }
}
