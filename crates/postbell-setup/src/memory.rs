//! What the watcher on this machine remembers, which only the watcher knows how to read.

use std::path::Path;

use postbell_core::{HistoryId, Timestamp};

use crate::trouble::Trouble;
use crate::wishes::HookWish;

/// What the watcher on this machine remembers of a mailbox, and whether it runs. Handed in, because
/// the state file is the watcher's.
pub trait WatchMemory: Send + Sync {
    /// What is known of the mailbox's watch; nothing, where none was begun here.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where the file cannot be read.
    fn recall(&self, mailbox: &str) -> Result<Option<Remembered>, Trouble>;

    /// Notes a watch that has just begun. Where a watcher runs it is left to that one, which renews
    /// the watch by itself.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where the file cannot be written.
    fn note(&self, mailbox: &str, begun: &Begun<'_>) -> Result<(), Trouble>;

    /// Forgets the mailbox, unless a watcher runs.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where the file cannot be removed.
    fn forget(&self, mailbox: &str) -> Result<(), Trouble>;

    /// The folder where it is remembered, for people.
    fn folder(&self) -> &Path;
}

/// A watch that has just begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    /// What it tells, as `projects/P/topics/T`.
    pub topic: &'a str,
    /// What it is for.
    pub labels: &'a [&'a str],
    /// Where history begins.
    pub history_id: HistoryId,
    /// When it ends.
    pub ends_at: Timestamp,
}

/// What is known of a watch.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// What it tells.
    pub topic: String,
    /// When it ends.
    pub ends_at: Timestamp,
    /// Whether a watcher runs.
    pub watcher_runs: bool,
    /// What keeps the watcher from its work; empty where nothing does.
    pub problem: String,
    /// What the last renewal failed of; empty where it did not.
    pub renewal_problem: String,
    /// Whether the last hook was taken: `ok` or `error`; empty where there was none.
    pub last_delivery: String,
    /// When that was.
    pub last_delivery_at: Timestamp,
    /// Where the bot takes mail, where that is remembered.
    pub hook: Option<HookWish>,
}
