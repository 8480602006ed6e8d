//! Replays and drops a mailbox's dead letters, beside a running watcher or without one.
//!
//! A running watcher holds the state's lock. The command then leaves a request file beside the
//! state, which the watcher carries out and removes once the change is durable.

use std::path::Path;
use std::time::Duration;

use postbell_protocol::watch_state::{StateError, StateFile, WatchState};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::request_file::{RequestFile, WatcherRequest};

/// How often the command checks whether the watcher has carried out its request.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the command waits for the watcher.
const WAIT: Duration = Duration::from_secs(10);

/// What happens to dead letters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterAction {
    /// They are delivered again. One that fails again stays a dead letter.
    Replay,
    /// They are forgotten, and not delivered by a resync either.
    Drop,
}

/// A request to change dead letters. Messages that are still tried again count as well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeadLetterRequest {
    /// What happens to them.
    pub action: DeadLetterAction,
    /// The message ids; `None` for all.
    pub ids: Option<Vec<String>>,
}

/// Whether a request was carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Requested {
    /// The state is changed. A replay follows at the next sync, which a running watcher begins at
    /// once.
    Done,
    /// The running watcher has not carried it out yet. It will.
    Pending,
}

impl DeadLetterRequest {
    /// Carries the request out, or has the running watcher of `account` do it and waits for that.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the state or the request cannot be written.
    pub async fn carry_out(&self, folder: &Path, account: &str) -> Result<Requested, StateError> {
        let request_file = RequestFile::new(folder, account);
        let request = WatcherRequest::DeadLetters(self.clone());
        let mut left = WAIT;
        let mut is_handed_over = false;
        loop {
            match StateFile::open(folder, account) {
                Ok(file) => {
                    let mut state = file.read()?;
                    self.apply(&mut state);
                    file.write(&state)?;
                    if is_handed_over {
                        request_file.remove()?;
                    }
                    return Ok(Requested::Done);
                }
                Err(StateError::InUse { .. }) => {}
                Err(error) => return Err(error),
            }
            if is_handed_over {
                if !request_file.exists() {
                    return Ok(Requested::Done);
                }
            } else {
                is_handed_over = request_file.leave(&request)?;
            }
            if left.is_zero() {
                return Ok(Requested::Pending);
            }
            sleep(LOOK_INTERVAL).await;
            left = left.saturating_sub(LOOK_INTERVAL);
        }
    }

    /// Changes the state. Returns the number of messages.
    pub(crate) fn apply(&self, state: &mut WatchState) -> usize {
        let is_chosen = |id: &String| self.ids.as_ref().is_none_or(|ids| ids.contains(id));
        match self.action {
            DeadLetterAction::Replay => {
                let mut count = 0;
                for failing in &mut state.failing {
                    if is_chosen(&failing.id) {
                        failing.last_at_ms = 0;
                        count += 1;
                    }
                }
                for letter in &state.dead_letters {
                    if is_chosen(&letter.id) {
                        count += 1;
                        if !state.replay_ids.contains(&letter.id) {
                            state.replay_ids.push(letter.id.clone());
                        }
                    }
                }
                count
            }
            DeadLetterAction::Drop => {
                let failing = state.failing.extract_if(.., |one| is_chosen(&one.id));
                let letters = state.dead_letters.extract_if(.., |one| is_chosen(&one.id));
                let failing = failing.map(|one| one.key());
                let keys: Vec<_> = failing.chain(letters.map(|one| one.key())).collect();
                state.replay_ids.retain(|id| !is_chosen(id));
                let count = keys.len();
                state.add_delivered(keys.into_iter());
                count
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use postbell_protocol::watch_state::{DeadLetter, FailingMessage};

    use super::*;

    const ACCOUNT: &str = "ann@example.com";

    fn state() -> WatchState {
        let letter = |id: &str| DeadLetter {
            id: id.to_owned(),
            ..DeadLetter::default()
        };
        WatchState {
            failing: vec![FailingMessage {
                id: "m1".to_owned(),
                last_at_ms: 5,
                ..FailingMessage::default()
            }],
            dead_letters: ["m2", "m3"].map(letter).to_vec(),
            ..WatchState::default()
        }
    }

    fn request(action: DeadLetterAction, ids: &[&str]) -> DeadLetterRequest {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        DeadLetterRequest {
            action,
            ids: Some(ids),
        }
    }

    #[test]
    fn a_replay_chooses_dead_letters_and_makes_failing_messages_due() {
        let mut state = state();
        let replay = request(DeadLetterAction::Replay, &["m1", "m3", "m9"]);
        assert_eq!(replay.apply(&mut state), 2);
        assert_eq!(replay.apply(&mut state), 2, "again");
        assert_eq!(state.replay_ids, ["m3"]);
        assert_eq!(state.failing[0].last_at_ms, 0);
        assert_eq!(state.dead_letters.len(), 2, "they stay until delivered");
    }

    #[test]
    fn a_dropped_message_is_never_delivered() {
        let mut state = state();
        state.replay_ids.push("m3".to_owned());
        let all = DeadLetterRequest {
            action: DeadLetterAction::Drop,
            ids: None,
        };
        assert_eq!(all.apply(&mut state), 3);
        assert!(state.failing.is_empty() && state.dead_letters.is_empty());
        assert!(state.replay_ids.is_empty());
        assert_eq!(state.delivered_ids, ["m1", "m2", "m3"]);
    }

    #[tokio::test]
    async fn without_a_watcher_the_command_changes_the_state_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path(), ACCOUNT).unwrap();
        file.write(&state()).unwrap();
        drop(file);
        let drop_m2 = request(DeadLetterAction::Drop, &["m2"]);
        let handled = drop_m2.carry_out(folder.path(), ACCOUNT).await.unwrap();
        assert_eq!(handled, Requested::Done);
        let state = StateFile::peek(folder.path(), ACCOUNT).unwrap().unwrap();
        assert_eq!(state.dead_letters.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_watcher_the_command_leaves_a_request_and_waits() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path(), ACCOUNT).unwrap();
        let asked = request(DeadLetterAction::Replay, &["m2"]);
        let handled = asked.carry_out(folder.path(), ACCOUNT).await.unwrap();
        assert_eq!(handled, Requested::Pending);
        let request = RequestFile::beside(&file);
        let asked = WatcherRequest::DeadLetters(asked);
        assert_eq!(request.read().unwrap(), Some(asked));
        request.remove().unwrap();
        assert_eq!(request.read().unwrap(), None);
    }
}
