//! Keeps the state when its folder is replaced, as a machine's controller does at its start.

use std::fs;
use std::path::Path;

use postbell_core::{EmailAddress, HistoryId};
use postbell_protocol::watch_state::{StateError, StateFile, WatchState};
use tracing::warn;

/// Merges the state of `account` in the folder `old` into the folder `new`.
///
/// The cursor, and everything else about what the webhook has accepted, is the old state's: a mailbox
/// that is connected again begins where its delivery stopped, and not at its new watch. If Gmail no
/// longer knows that position, the watcher resyncs. The watch (topic, labels, expiry) is the new
/// state's. The state of another mailbox is not merged; another spelling of the address is the same
/// mailbox.
///
/// # Errors
///
/// [`StateError`] if the new state cannot be written. It is unchanged then.
pub(crate) fn merge_state(old: &Path, new: &Path, account: &str) -> Result<(), StateError> {
    let Some(old) = state_of_mailbox(old, account) else {
        return Ok(());
    };
    let given = peek(new, account).unwrap_or_default();
    let merged = WatchState {
        account: account.to_owned(),
        history_id: old.history_id.or(given.history_id),
        ..with_watch_of(old, given)
    };
    StateFile::open(new, account)?.write(&merged)
}

/// Returns `old` with the watch of `given`. An unchanged watch that was renewed in the meantime keeps its
/// later expiry.
fn with_watch_of(old: WatchState, given: WatchState) -> WatchState {
    if given.topic.is_empty() {
        return old;
    }
    let was_renewed = old.topic == given.topic && old.expires_at() > given.expires_at();
    let current = if was_renewed { &old } else { &given };
    WatchState {
        expiration_ms: current.expiration_ms,
        provider_expiration_ms: current.provider_expiration_ms,
        renew_after_ms: current.renew_after_ms,
        topic: given.topic,
        labels: given.labels,
        ..old
    }
}

/// Raises the history id of `account` in `folder` to `delivered`, if that is greater or none is
/// stored, unless this machine's own state, in the folder `own`, has one.
///
/// A watcher stores how far it has delivered before it answers, and answers with success for a notification of mail that Gmail
/// does not list yet: so what was reported may be ahead of its own history id, and that mail would be skipped.
///
/// # Errors
///
/// [`StateError`] if the state cannot be written. It is unchanged then.
pub(crate) fn raise_history_id(
    own: &Path,
    folder: &Path,
    account: &str,
    delivered: HistoryId,
) -> Result<(), StateError> {
    if state_of_mailbox(own, account).is_some_and(|own| own.history_id.is_some()) {
        return Ok(());
    }
    let state = peek(folder, account).unwrap_or_default();
    if state.history_id >= Some(delivered) {
        return Ok(());
    }
    StateFile::open(folder, account)?.write(&WatchState {
        account: account.to_owned(),
        history_id: Some(delivered),
        ..state
    })
}

/// Finds the state of a mailbox, under this or another spelling of its address.
fn state_of_mailbox(folder: &Path, account: &str) -> Option<WatchState> {
    let address: Option<EmailAddress> = account.parse().ok();
    let is_same = |state: &WatchState| {
        let is_same = |address: &EmailAddress| address.is_same_mailbox(&state.account);
        // Two addresses can have one file name. A file without an address is named after it.
        state.account.is_empty() || address.as_ref().is_none_or(is_same)
    };
    if let Some(state) = peek(folder, account).filter(is_same) {
        return Some(state);
    }
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let states = files.filter(|file| {
        file.path()
            .extension()
            .is_some_and(|ending| ending == "json")
    });
    let states = states.filter_map(|file| {
        let state: WatchState = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
        (!state.account.is_empty() && is_same(&state)).then_some(state)
    });
    states.max_by_key(|state| state.updated_at_ms)
}

/// Reads a state. An unreadable one is ignored: it must not stop the machine from starting.
fn peek(folder: &Path, account: &str) -> Option<WatchState> {
    StateFile::peek(folder, account).unwrap_or_else(|error| {
        let error: &dyn std::error::Error = &error;
        warn!(error, "Starting without an unreadable state");
        None
    })
}

#[cfg(test)]
mod tests;
