//! When the watch on the mailbox ends, as the watcher remembers it.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use postbell_core::Timestamp;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::credentials::WatcherMemory;

/// Where it says when the watch ends. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WatchExpiry {
    pub(crate) memory: Arc<dyn WatcherMemory>,
    pub(crate) gog_folder: PathBuf,
    pub(crate) account: String,
}

impl WatchExpiry {
    /// Reads it. What cannot be read is not known: the watcher, which cannot work then, says why.
    pub(crate) async fn read(&self) -> Option<Timestamp> {
        let Self {
            memory,
            gog_folder,
            account,
        } = self.clone();
        let read = spawn_blocking(move || memory.watch_expires_at(&gog_folder, &account));
        let error: Box<dyn Error> = match read.await {
            Ok(Ok(expires_at)) => return expires_at,
            Ok(Err(error)) => error,
            Err(panic) => panic.into(),
        };
        warn!(error = &*error, "It is not known when the watch ends");
        None
    }
}
