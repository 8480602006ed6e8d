//! Which mailboxes this machine watches.

use std::sync::Arc;

use parking_lot::Mutex;
use postbell_protocol::gog_dirs::GogDirs;

/// Which mailboxes this machine watches. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct WatchedMailbox(Arc<Mutex<Mailbox>>);

/// The mailboxes that this machine watches.
#[derive(Clone, Default)]
pub(crate) enum Mailbox {
    /// It is not known yet, or its settings are invalid: a watcher is expected, and pushes are to be retried.
    #[default]
    Unknown,
    /// No account is connected, or its owner wants no notifications.
    None,
    /// The watcher of these accounts, one at least.
    Of(Vec<WatchStateFile>),
}

/// Where the state of the account's watcher is.
#[derive(Clone)]
pub(crate) struct WatchStateFile {
    pub(crate) gog_dirs: GogDirs,
    pub(crate) account: String,
    /// The name of the account: those that are not the first are reported by their addresses.
    pub(crate) name: String,
}

impl WatchedMailbox {
    pub(crate) fn set(&self, mailbox: Mailbox) {
        *self.0.lock() = mailbox;
    }

    /// Whether a watcher is expected to run.
    pub(crate) fn is_expected(&self) -> bool {
        !matches!(*self.0.lock(), Mailbox::None)
    }

    /// Whether there is a watcher with its settings.
    pub(crate) fn is_watched(&self) -> bool {
        matches!(*self.0.lock(), Mailbox::Of(_))
    }

    /// Returns where the states of the watcher are, if they are known.
    pub(crate) fn state_files(&self) -> Vec<WatchStateFile> {
        match &*self.0.lock() {
            Mailbox::Of(files) => files.clone(),
            Mailbox::Unknown | Mailbox::None => Vec::new(),
        }
    }
}

#[cfg(test)]
impl From<WatchStateFile> for WatchedMailbox {
    fn from(file: WatchStateFile) -> Self {
        Self(Arc::new(Mutex::new(Mailbox::Of(vec![file]))))
    }
}
