//! Keeps the state when its folder is replaced, as a machine's controller does at its start.

use std::cmp::Ordering;
use std::path::Path;

use postbell_core::HistoryId;
use postbell_protocol::watch_state::WatchState;
use tracing::warn;

use crate::state_file::{StateError, StateFile};

/// Merges the state of `account` in the folder `old` into the folder `new`: the one with the greater
/// history id is kept, so a mailbox that was set up again begins at its new watch. With equal history
/// ids, the new state gets the delivered and pending ids of the old one.
///
/// # Errors
///
/// [`StateError`] if the new state cannot be written. It is unchanged then.
pub fn merge_state(old: &Path, new: &Path, account: &str) -> Result<(), StateError> {
    let Some(old) = peek(old, account) else {
        return Ok(());
    };
    let given = peek(new, account).unwrap_or_default();
    let state = match old.history_id.cmp(&given.history_id) {
        Ordering::Less => return Ok(()),
        Ordering::Greater => old,
        Ordering::Equal => WatchState {
            delivered_ids: old.delivered_ids,
            pending_ids: old.pending_ids,
            ..given
        },
    };
    StateFile::open(new, account)?.write(&state)
}

/// Raises the history id of `account` in `folder` to `delivered`, if that is greater or none is
/// stored.
///
/// # Errors
///
/// [`StateError`] if the state cannot be written. It is unchanged then.
pub fn raise_history_id(
    folder: &Path,
    account: &str,
    delivered: HistoryId,
) -> Result<(), StateError> {
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

/// Reads a state. An unreadable one is ignored: it must not stop the machine from starting.
fn peek(folder: &Path, account: &str) -> Option<WatchState> {
    StateFile::peek(folder, account).unwrap_or_else(|error| {
        let error: &dyn std::error::Error = &error;
        warn!(error, "Starting without an unreadable state");
        None
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const ACCOUNT: &str = "Ann@example.com";

    struct Folders {
        old: TempDir,
        new: TempDir,
    }

    impl Folders {
        fn with(old: Option<&str>, new: Option<&str>) -> Self {
            let folders = Self {
                old: tempfile::tempdir().unwrap(),
                new: tempfile::tempdir().unwrap(),
            };
            for (folder, state) in [(&folders.old, old), (&folders.new, new)] {
                if let Some(state) = state {
                    fs::write(folder.path().join("ann_example_com.json"), state).unwrap();
                }
            }
            folders
        }

        fn merged(&self) -> Option<WatchState> {
            merge_state(self.old.path(), self.new.path(), ACCOUNT).unwrap();
            self.state()
        }

        fn state(&self) -> Option<WatchState> {
            StateFile::peek(self.new.path(), ACCOUNT).unwrap()
        }
    }

    fn history_id(state: Option<WatchState>) -> Option<u64> {
        Some(state?.history_id?.get())
    }

    #[test]
    fn the_greater_history_id_wins() {
        let remembered = r#"{"historyId":"900","deliveredIds":["m1"],"topic":"old"}"#;
        let given = r#"{"historyId":"1000","topic":"new"}"#;
        let state = Folders::with(Some(remembered), Some(given)).merged();
        assert_eq!(state.unwrap().topic, "new");
        let state = Folders::with(Some(given), Some(remembered)).merged();
        assert_eq!(state.unwrap().topic, "new");
        let state = Folders::with(Some(remembered), None).merged().unwrap();
        assert_eq!(state.delivered_ids, ["m1"]);
        assert!(Folders::with(None, None).merged().is_none());
    }

    #[test]
    fn with_equal_history_ids_a_pending_request_is_kept() {
        let remembered = r#"{"historyId":"7","deliveredIds":["m1"],"pendingIds":["m2"]}"#;
        let given = r#"{"historyId":"7","topic":"new"}"#;
        let state = Folders::with(Some(remembered), Some(given))
            .merged()
            .unwrap();
        assert_eq!(
            (state.delivered_ids, state.pending_ids),
            (vec!["m1".to_owned()], vec!["m2".to_owned()])
        );
        assert_eq!(state.topic, "new");
    }

    #[test]
    fn an_unreadable_state_is_ignored() {
        let state = Folders::with(Some("{"), Some(r#"{"historyId":"7"}"#)).merged();
        assert_eq!(history_id(state), Some(7));
        let state = Folders::with(Some(r#"{"historyId":"7"}"#), Some("{")).merged();
        assert_eq!(history_id(state), Some(7));
    }

    #[test]
    fn the_history_id_is_raised_as_a_number_and_never_lowered() {
        let beyond_2_63 = "18446744073709551615";
        for (stored, delivered, expected) in [
            ("999", 1000, 1000),
            ("1000", 999, 1000),
            (
                "9007199254740993",
                9_007_199_254_740_994,
                9_007_199_254_740_994,
            ),
            (beyond_2_63, 1, u64::MAX),
            ("", 5, 5),
        ] {
            let state = format!(r#"{{"historyId":"{stored}","topic":"t"}}"#);
            let folders = Folders::with(None, Some(&state));
            raise_history_id(folders.new.path(), ACCOUNT, HistoryId::new(delivered)).unwrap();
            let state = folders.state();
            assert_eq!(state.as_ref().unwrap().topic, "t");
            assert_eq!(history_id(state), Some(expected));
        }
        let folders = Folders::with(None, None);
        raise_history_id(folders.new.path(), ACCOUNT, HistoryId::new(5)).unwrap();
        assert_eq!(history_id(folders.state()), Some(5));
    }
}
