//! The watcher's state files on this machine.

use postbell_protocol::watch_state::WatchState;

use crate::error::Result;

/// The labels that setup watches.
pub(crate) const WATCH_LABELS: [&str; 1] = ["INBOX"];

/// Reads and updates the watcher's state files. A trait, because parts do not depend on each other.
pub trait WatchStates: Send + Sync {
    /// Loads the state of a mailbox, if there is one on this machine.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    fn load(&self, mailbox: &str) -> Result<Option<SavedWatch>>;

    /// Changes the state of a mailbox, unless a watcher is running: that one renews the watch itself.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    fn update(&self, mailbox: &str, change: &dyn Fn(&mut WatchState)) -> Result<()>;

    /// Removes the state of a mailbox, unless a watcher is running.
    ///
    /// # Errors
    ///
    /// If the file cannot be removed.
    fn remove(&self, mailbox: &str) -> Result<()>;
}

/// A state file, and whether a watcher is running.
#[derive(Clone, Debug, Default)]
pub struct SavedWatch {
    /// The content of the file.
    pub state: WatchState,
    /// Whether a watcher is running.
    pub watcher_runs: bool,
}
