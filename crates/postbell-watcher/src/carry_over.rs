//! What becomes of the state when the folder that it lies in is replaced, as at the start of a
//! machine.

use std::cmp::Ordering;
use std::path::Path;

use postbell_core::HistoryId;
use postbell_protocol::watch_state::WatchState;
use tracing::warn;

use crate::state::{StateError, StateFile};

/// Takes the state of `account` from the folder `old` into the folder `new`, unless what is there
/// has got further: a mailbox that was set up anew begins where its new watch does. Where both have
/// got as far, what the hook has had, or was about to get, is taken over.
///
/// # Errors
///
/// [`StateError`] where the new one cannot be written; it is then as it was.
pub fn carry_over(old: &Path, new: &Path, account: &str) -> Result<(), StateError> {
    let Some(remembered) = peek(old, account) else {
        return Ok(());
    };
    let given = peek(new, account).unwrap_or_default();
    let state = match remembered.history_id.cmp(&given.history_id) {
        Ordering::Less => return Ok(()),
        Ordering::Greater => remembered,
        Ordering::Equal => WatchState {
            delivered_ids: remembered.delivered_ids,
            pending_ids: remembered.pending_ids,
            ..given
        },
    };
    StateFile::open(new, account)?.write(&state)
}

/// Raises the history id of `account` in `folder` to `delivered`, where that is greater; where
/// nothing is stored, the watcher begins there.
///
/// # Errors
///
/// [`StateError`] where the state cannot be written; it is then as it was.
pub fn raise(folder: &Path, account: &str, delivered: HistoryId) -> Result<(), StateError> {
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

/// The state, if it is one: what is none helps nobody, and keeps nobody from starting.
fn peek(folder: &Path, account: &str) -> Option<WatchState> {
    StateFile::peek(folder, account).unwrap_or_else(|error| {
        let error: &dyn std::error::Error = &error;
        warn!(error, "Starting without what was remembered");
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

        fn carried(&self) -> Option<WatchState> {
            carry_over(self.old.path(), self.new.path(), ACCOUNT).unwrap();
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
    fn what_got_further_stays() {
        let remembered = r#"{"historyId":"900","deliveredIds":["m1"],"topic":"old"}"#;
        let given = r#"{"historyId":"1000","topic":"new"}"#;
        let state = Folders::with(Some(remembered), Some(given)).carried();
        assert_eq!(state.unwrap().topic, "new");
        let state = Folders::with(Some(given), Some(remembered)).carried();
        assert_eq!(state.unwrap().topic, "new");
        let state = Folders::with(Some(remembered), None).carried().unwrap();
        assert_eq!(state.delivered_ids, ["m1"]);
        assert!(Folders::with(None, None).carried().is_none());
    }

    #[test]
    fn a_hook_that_has_begun_is_not_forgotten_where_both_have_got_as_far() {
        let remembered = r#"{"historyId":"7","deliveredIds":["m1"],"pendingIds":["m2"]}"#;
        let given = r#"{"historyId":"7","topic":"new"}"#;
        let state = Folders::with(Some(remembered), Some(given))
            .carried()
            .unwrap();
        assert_eq!(
            (state.delivered_ids, state.pending_ids),
            (vec!["m1".to_owned()], vec!["m2".to_owned()])
        );
        assert_eq!(state.topic, "new");
    }

    #[test]
    fn what_is_no_state_keeps_nobody_from_starting() {
        let state = Folders::with(Some("{"), Some(r#"{"historyId":"7"}"#)).carried();
        assert_eq!(history_id(state), Some(7));
        let state = Folders::with(Some(r#"{"historyId":"7"}"#), Some("{")).carried();
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
            raise(folders.new.path(), ACCOUNT, HistoryId::new(delivered)).unwrap();
            let state = folders.state();
            assert_eq!(state.as_ref().unwrap().topic, "t");
            assert_eq!(history_id(state), Some(expected));
        }
        let folders = Folders::with(None, None);
        raise(folders.new.path(), ACCOUNT, HistoryId::new(5)).unwrap();
        assert_eq!(history_id(folders.state()), Some(5));
    }
}
