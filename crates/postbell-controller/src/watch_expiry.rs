//! The expiry of the Gmail watch, from the watcher's state.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use postbell_core::Timestamp;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::credentials::WatchStateStore;

/// Reads the expiry of one account's watch. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WatchExpiry {
    pub(crate) watch_state: Arc<dyn WatchStateStore>,
    pub(crate) gog_folder: PathBuf,
    pub(crate) account: String,
}

impl WatchExpiry {
    /// Reads the expiry. An error is logged and gives `None`: the watcher, which cannot work with
    /// such a file, reports it.
    pub(crate) async fn read(&self) -> Option<Timestamp> {
        let Self {
            watch_state,
            gog_folder,
            account,
        } = self.clone();
        let read = spawn_blocking(move || watch_state.watch_expires_at(&gog_folder, &account));
        let error: Box<dyn Error> = match read.await {
            Ok(Ok(expires_at)) => return expires_at,
            Ok(Err(error)) => error,
            Err(panic) => panic.into(),
        };
        warn!(error = &*error, "Could not read when the watch expires");
        None
    }
}
