//! The file beside the state in which a command leaves a request for the watcher that holds the lock.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use postbell_protocol::watch_state::{StateError, StateFile, state_path};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tracing::warn;

use crate::dead_letters::DeadLetterRequest;

/// What a command asks the watcher for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum WatcherRequest {
    /// To change dead letters.
    DeadLetters(DeadLetterRequest),
    /// To post a test message to the webhook.
    Test {
        /// The id of the request.
        test: String,
    },
}

/// The request file of an account. All functions block on the disk.
pub(crate) struct RequestFile {
    path: PathBuf,
}

impl RequestFile {
    pub(crate) fn new(folder: &Path, account: &str) -> Self {
        Self::of(&state_path(folder, account))
    }

    pub(crate) fn beside(state: &StateFile) -> Self {
        Self::of(state.path())
    }

    fn of(state: &Path) -> Self {
        Self {
            path: state.with_extension("request"),
        }
    }

    /// Leaves a request. Returns `false` if another request is waiting.
    pub(crate) fn leave(&self, request: &WatcherRequest) -> Result<bool, StateError> {
        let leave = || -> io::Result<bool> {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            let mut fresh = NamedTempFile::new_in(folder)?;
            fresh.write_all(&serde_json::to_vec(request)?)?;
            fresh.as_file().sync_data()?;
            match fresh.persist_noclobber(&self.path) {
                Ok(_) => Ok(true),
                Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(refused) => Err(refused.error),
            }
        };
        leave().map_err(|source| self.disk(source))
    }

    /// Whether a request is waiting.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads the waiting request. One that is malformed is removed.
    pub(crate) fn read(&self) -> Result<Option<WatcherRequest>, StateError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.disk(source)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(request) => Ok(Some(request)),
            Err(error) => {
                warn!(%error, "Removed a malformed request");
                self.remove().map(|()| None)
            }
        }
    }

    /// Removes the request after it was carried out.
    pub(crate) fn remove(&self) -> Result<(), StateError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.disk(error)),
            _ => Ok(()),
        }
    }

    fn disk(&self, source: io::Error) -> StateError {
        StateError::Disk {
            path: self.path.clone(),
            source,
        }
    }
}
