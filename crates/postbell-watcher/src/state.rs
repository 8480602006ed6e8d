//! What the watcher remembers, in the file that `gog` uses too (contract, section 5).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postbell_core::{HistoryId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

/// How many ids of delivered messages are remembered: more than two hooks can hold.
const IDS_REMEMBERED: usize = 500;

/// What the watcher remembers of an account. Fields that it does not know are kept.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct State {
    /// The mailbox's address.
    pub account: String,
    /// Where Gmail publishes, as `projects/P/topics/T`.
    pub topic: String,
    /// The labels that the watch is for; none for all.
    pub labels: Vec<String>,
    /// Everything up to here was taken by the hook.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "unless_empty"
    )]
    pub history_id: Option<HistoryId>,
    /// When the watch ends, in milliseconds since the Unix epoch; so with the others. `gog` writes
    /// it twice.
    pub expiration_ms: i64,
    /// The same, as Gmail said it.
    pub provider_expiration_ms: i64,
    /// From when on the watch is to be renewed; 0 where that is left to the watcher.
    pub renew_after_ms: i64,
    /// When the state changed.
    pub updated_at_ms: i64,
    /// Where the bot takes mail, where that was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<SavedHook>,
    /// How the last delivery went: `ok`, or `error`.
    pub last_delivery_status: String,
    /// When that was.
    pub last_delivery_at_ms: i64,
    /// What went wrong with it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_delivery_status_note: String,
    /// What keeps the watcher from doing its work, and what to do; empty where nothing does. Ours.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// What the last renewal failed of; empty where it did not. Ours.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub renewal_problem: String,
    /// Messages that the hook took lately, the latest last: ours, `gog` has none.
    pub delivered_ids: Vec<String>,
    /// The messages of a hook that has begun, in their order. Where it failed, or the watcher was
    /// killed, the hook may have taken them all the same: it gets just these again, under the same
    /// key. Ours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_ids: Vec<String>,
    /// What another program wrote.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The bot's hook, as `gog` saves it.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SavedHook {
    /// Its URL.
    pub url: String,
    /// The bearer token that the bot expects; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Whether the bot gets a mail's text.
    pub include_body: bool,
    /// How much of it, in bytes; 0 for the usual.
    pub max_bytes: usize,
    /// What another program wrote.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl fmt::Debug for SavedHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedHook").finish_non_exhaustive()
    }
}

/// Where the state is kept, and the right to be the only one who changes it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another watcher has the account.
    #[error("another watcher runs for this account: stop it first ({path} is locked)")]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },

    /// What is in the file is no state.
    #[error("{path} is no state file: mend or remove it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },

    /// The disk does not do it. The file is as it was.
    #[error("{path} cannot be read or written")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl State {
    /// When the watch ends, as far as that is known.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        let ends = self.provider_expiration_ms.max(self.expiration_ms);
        Some(ends)
            .filter(|ends| *ends > 0)
            .map(Timestamp::from_millis)
    }

    /// Remembers messages that the hook took.
    pub(crate) fn remember(&mut self, ids: impl Iterator<Item = String>) {
        self.delivered_ids.extend(ids);
        let too_many = self.delivered_ids.len().saturating_sub(IDS_REMEMBERED);
        self.delivered_ids.drain(..too_many);
    }
}

impl StateFile {
    /// Opens the state of `account` in `folder`, which is made where it is missing.
    ///
    /// # Errors
    ///
    /// [`StateError::InUse`] where another process has it open.
    pub fn open(folder: &Path, account: &str) -> Result<Self, StateError> {
        let path = path(folder, account);
        let lock_path = path.with_extension("lock");
        let disk = |source| StateError::Disk {
            path: path.clone(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(disk)?;
        let lock = private()
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(disk)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::InUse { path: lock_path }),
            Err(fs::TryLockError::Error(source)) => Err(StateError::Disk { path, source }),
        }
    }

    /// Reads the state, or gives an empty one where there is no file yet.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn read(&self) -> Result<State, StateError> {
        Ok(read(&self.path)?.unwrap_or_default())
    }

    /// Reads the state of `account` beside a watcher that may be running, or `None` where there is
    /// none.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn peek(folder: &Path, account: &str) -> Result<Option<State>, StateError> {
        read(&path(folder, account))
    }

    /// Removes the state: the watch has been stopped.
    ///
    /// # Errors
    ///
    /// [`StateError::Disk`]
    pub fn remove(self) -> Result<(), StateError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::Disk {
                path: self.path,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Writes the state whole, and returns once it is on disk. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StateError::Disk`]; the file is then as it was.
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        self.write_for_now(state)?;
        // The name, too, must survive the loss of power.
        File::open(self.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.disk(error))
    }

    /// The same, but that the loss of power may bring back what was there before; the end of the
    /// process does not.
    ///
    /// # Errors
    ///
    /// [`StateError::Disk`]; the file is then as it was.
    pub fn write_for_now(&self, state: &State) -> Result<(), StateError> {
        self.replace(state).map_err(|error| self.disk(error))
    }

    fn replace(&self, state: &State) -> io::Result<()> {
        let mut fresh = NamedTempFile::new_in(self.folder())?;
        let mut text = serde_json::to_vec_pretty(state)?;
        text.push(b'\n');
        fresh.write_all(&text)?;
        fresh.as_file().sync_data()?;
        fresh.persist(&self.path)?;
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn disk(&self, source: io::Error) -> StateError {
        StateError::Disk {
            path: self.path.clone(),
            source,
        }
    }
}

/// `gog` writes an empty text where it knows of no history.
fn unless_empty<'de, D: Deserializer<'de>>(value: D) -> Result<Option<HistoryId>, D::Error> {
    let text = Option::<String>::deserialize(value)?;
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse())
        .transpose()
        .map_err(de::Error::custom)
}

fn path(folder: &Path, account: &str) -> PathBuf {
    folder.join(format!("{}.json", file_name(account)))
}

fn read(path: &Path) -> Result<Option<State>, StateError> {
    let path_of_error = || path.to_owned();
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StateError::Unreadable {
            path: path_of_error(),
            source,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Disk {
            path: path_of_error(),
            source,
        }),
    }
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// The account, lower-cased, with `_` for every character outside `a-z0-9` (contract, section 5).
fn file_name(account: &str) -> String {
    if account.is_empty() {
        return "unknown".to_owned();
    }
    let plain = |character: char| match character {
        'a'..='z' | '0'..='9' => character,
        _ => '_',
    };
    account.to_lowercase().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_after_the_account() {
        for (account, name) in [
            ("Ann.Example+7@Example.COM", "ann_example_7_example_com"),
            ("ä@b", "__b"),
            ("", "unknown"),
            ("../../etc", "______etc"),
        ] {
            assert_eq!(file_name(account), name);
        }
    }

    #[test]
    fn what_gog_wrote_is_read_and_what_we_do_not_know_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path(), "a@b").unwrap();
        let gogs = r#"{"account":"a@b","topic":"projects/p/topics/t","labels":["INBOX"],
            "historyId":"18446744073709551615","expirationMs":5,"hook":{"url":"http://x","new":1},
            "lastPushMessageId":"7"}"#;
        fs::write(folder.path().join("a_b.json"), gogs).unwrap();

        let mut state = file.read().unwrap();
        assert_eq!(state.history_id, Some(HistoryId::new(u64::MAX)));
        state.last_delivery_status = "ok".to_owned();
        file.write(&state).unwrap();

        let written = fs::read(folder.path().join("a_b.json")).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written["historyId"], "18446744073709551615");
        assert_eq!(written["expirationMs"], 5);
        assert_eq!(written["hook"]["url"], "http://x");
        assert_eq!(written["hook"]["new"], 1);
        assert_eq!(written["lastPushMessageId"], "7");
    }

    #[test]
    fn gog_writes_an_empty_text_where_it_knows_of_no_history() {
        let state: State = serde_json::from_str(r#"{"account":"a@b","historyId":""}"#).unwrap();
        assert_eq!(state.history_id, None);
    }

    #[test]
    fn the_end_of_the_watch_is_the_later_one_of_the_two_that_gog_writes() {
        for (ours, gmails, ends) in [(0, 0, None), (5, 0, Some(5)), (5, 7, Some(7))] {
            let state = State {
                expiration_ms: ours,
                provider_expiration_ms: gmails,
                ..State::default()
            };
            assert_eq!(state.expires_at(), ends.map(Timestamp::from_millis));
        }
    }

    #[test]
    fn a_second_watcher_for_the_account_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFile::open(folder.path(), "a@b").unwrap();
        let second = StateFile::open(folder.path(), "A@B");
        assert!(
            matches!(second, Err(StateError::InUse { .. })),
            "{second:?}"
        );
        drop(first);
        StateFile::open(folder.path(), "a@b").unwrap();
    }

    #[test]
    fn a_file_that_is_no_state_is_never_overwritten_by_reading() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path(), "a@b").unwrap();
        fs::write(folder.path().join("a_b.json"), "{").unwrap();
        assert!(matches!(file.read(), Err(StateError::Unreadable { .. })));
        assert_eq!(
            fs::read_to_string(folder.path().join("a_b.json")).unwrap(),
            "{"
        );
    }

    #[test]
    fn only_so_many_ids_are_remembered() {
        let mut state = State::default();
        state.remember((0..IDS_REMEMBERED + 5).map(|n| n.to_string()));
        assert_eq!(state.delivered_ids.len(), IDS_REMEMBERED);
        assert_eq!(state.delivered_ids[0], "5");
    }
}
