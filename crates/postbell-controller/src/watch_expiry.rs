//! The expiry of the Gmail watch, from the watcher's state.

use std::error::Error;

use postbell_core::Timestamp;
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::StateFile;
use tokio::task::spawn_blocking;
use tracing::warn;

/// Reads the expiry of one account's watch. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WatchExpiry {
    pub(crate) gog_dirs: GogDirs,
    pub(crate) account: String,
}

impl WatchExpiry {
    /// Reads the expiry. An error is logged and gives `None`: the watcher, which cannot work with
    /// such a file, reports it.
    pub(crate) async fn read(&self) -> Option<Timestamp> {
        let Self { gog_dirs, account } = self.clone();
        let read = spawn_blocking(move || {
            let folder = gog_dirs.watch_state(&account);
            StateFile::peek(&folder, &account)
        });
        let error: Box<dyn Error> = match read.await {
            Ok(Ok(state)) => return state?.expires_at(),
            Ok(Err(error)) => error.into(),
            Err(panic) => panic.into(),
        };
        warn!(error = &*error, "Could not read when the watch expires");
        None
    }
}
