use std::fs;

use postbell_protocol::watch_state::file_name;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const ACCOUNT: &str = "Ann@example.com";

/// What the webhook has accepted, and what else only the machine knows.
fn delivered() -> Value {
    json!({
        "account": "ann@example.com", "topic": "projects/old/topics/t", "labels": ["Label_1"],
        "historyId": "900", "expirationMs": 1_000, "providerExpirationMs": 1_001,
        "deliveredIds": ["m1"], "pendingIds": ["m2"], "replayIds": ["m3"],
        "failing": [{ "id": "m4", "historyId": "890", "stage": "webhook", "reason": "400", "tries": 2, "lastAtMs": 5 }],
        "deadLetters": [{ "id": "m3", "historyId": "880", "stage": "gmail", "reason": "403", "atMs": 6, "tries": 3 }],
        "deadLettersDropped": 7, "lastAcceptedAtMs": 8, "lastPollAtMs": 9,
        "problem": "reconnect Google", "problemCode": "grant_revoked", "problemSinceMs": 10,
        "lastPushMessageId": "of gog",
    })
}

/// A fresh tarball, which begins at the present.
fn reconnected() -> Value {
    json!({
        "account": "ann@example.com", "topic": "projects/new/topics/t", "labels": ["INBOX"],
        "historyId": "1000", "expirationMs": 2_000, "providerExpirationMs": 2_001,
    })
}

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
                fs::write(folder.path().join(file_name(ACCOUNT)), state).unwrap();
            }
        }
        folders
    }

    fn merged(&self) -> Option<WatchState> {
        merge_state(self.old.path(), self.new.path(), ACCOUNT).unwrap();
        self.state()
    }

    fn raise(&self, delivered: u64) {
        let (old, new) = (self.old.path(), self.new.path());
        raise_history_id(old, new, ACCOUNT, HistoryId::new(delivered)).unwrap();
    }

    fn state(&self) -> Option<WatchState> {
        StateFile::peek(self.new.path(), ACCOUNT).unwrap()
    }
}

fn merged(old: &Value, new: &Value) -> WatchState {
    let folders = Folders::with(Some(&old.to_string()), Some(&new.to_string()));
    folders.merged().unwrap()
}

fn with(mut state: Value, field: &str, value: Value) -> Value {
    state[field] = value;
    state
}

fn history_id(state: Option<WatchState>) -> Option<u64> {
    Some(state?.history_id?.get())
}

#[test]
fn a_reconnected_mailbox_goes_on_where_its_delivery_stopped() {
    let old: WatchState = serde_json::from_value(delivered()).unwrap();
    let expected = WatchState {
        account: ACCOUNT.to_owned(),
        topic: "projects/new/topics/t".to_owned(),
        labels: vec!["INBOX".to_owned()],
        expiration_ms: 2_000,
        provider_expiration_ms: 2_001,
        ..old
    };
    let merged = merged(&delivered(), &reconnected());
    assert_eq!(merged, expected);
    assert_eq!(merged.history_id, Some(HistoryId::new(900)));
    assert_eq!(merged.delivered_ids, ["m1"]);
    assert_eq!(merged.dead_letters.len(), 1);
}

#[test]
fn the_position_of_what_was_accepted_stays_whatever_the_tarballs_is() {
    for accepted in [
        json!("900"),
        json!(900),
        json!("18446744073709551615"),
        json!(u64::MAX),
    ] {
        for given in [
            json!("1"),
            json!("899"),
            json!("900"),
            json!("1000"),
            json!(u64::MAX),
            json!(""),
            json!(null),
        ] {
            let old = with(delivered(), "historyId", accepted.clone());
            let new = with(reconnected(), "historyId", given.clone());
            let expected: WatchState = serde_json::from_value(old.clone()).unwrap();
            let merged = merged(&old, &new);
            assert_eq!(merged.history_id, expected.history_id, "{accepted} {given}");
            assert_eq!(merged.pending_ids, ["m2"], "{accepted} {given}");
        }
    }
}

#[test]
fn a_state_without_a_position_begins_at_the_tarballs() {
    for nothing in [json!(""), json!(null)] {
        let merged = merged(&with(delivered(), "historyId", nothing), &reconnected());
        assert_eq!(merged.history_id, Some(HistoryId::new(1000)));
    }
    let merged = merged(&json!({}), &reconnected());
    assert_eq!(merged.history_id, Some(HistoryId::new(1000)));
}

#[test]
fn a_restart_with_the_same_tarball_keeps_the_renewed_expiry() {
    let renewed = with(delivered(), "topic", json!("projects/new/topics/t"));
    let renewed = with(renewed, "expirationMs", json!(9_000));
    let state = merged(&renewed, &reconnected());
    assert_eq!(
        (state.expiration_ms, state.provider_expiration_ms),
        (9_000, 1_001)
    );
    let elsewhere = with(renewed, "topic", json!("projects/old/topics/t"));
    let state = merged(&elsewhere, &reconnected());
    assert_eq!(
        (state.expiration_ms, state.topic.as_str()),
        (2_000, "projects/new/topics/t")
    );
}

#[test]
fn a_tarball_without_a_watch_changes_nothing() {
    let old: WatchState = serde_json::from_value(delivered()).unwrap();
    let expected = WatchState {
        account: ACCOUNT.to_owned(),
        ..old
    };
    let folders = Folders::with(Some(&delivered().to_string()), None);
    assert_eq!(folders.merged(), Some(expected));
    assert!(Folders::with(None, None).merged().is_none());
    let folders = Folders::with(None, Some(&reconnected().to_string()));
    assert_eq!(history_id(folders.merged()), Some(1000));
}

#[test]
fn nothing_is_carried_over_from_another_mailbox() {
    // This address has the same file name.
    let others = with(delivered(), "account", json!("ann@example-com"));
    let folders = Folders::with(Some(&others.to_string()), Some(&reconnected().to_string()));
    let bobs = with(delivered(), "account", json!("bob@example.com"));
    fs::write(
        folders.old.path().join("bob_example_com.json"),
        bobs.to_string(),
    )
    .unwrap();
    let given: WatchState = serde_json::from_value(reconnected()).unwrap();
    assert_eq!(folders.merged(), Some(given));
}

#[test]
fn another_spelling_of_the_address_is_the_same_mailbox() {
    let folders = Folders::with(None, None);
    let old = with(delivered(), "account", json!("First.Last@googlemail.com"));
    fs::write(
        folders.old.path().join("first_last_googlemail_com.json"),
        old.to_string(),
    )
    .unwrap();
    let account = "firstlast@gmail.com";
    merge_state(folders.old.path(), folders.new.path(), account).unwrap();
    let state = StateFile::peek(folders.new.path(), account).unwrap();
    assert_eq!(state.as_ref().unwrap().account, account);
    assert_eq!(history_id(state), Some(900));
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
    for (stored, delivered, expected) in [
        (json!("999"), 1000, 1000),
        (json!("1000"), 999, 1000),
        (json!(1000), 999, 1000),
        (json!(999), 1000, 1000),
        (
            json!("9007199254740993"),
            9_007_199_254_740_994,
            9_007_199_254_740_994,
        ),
        (json!("18446744073709551615"), 1, u64::MAX),
        (json!(u64::MAX), 1, u64::MAX),
        (json!(""), 5, 5),
        (json!(null), 5, 5),
    ] {
        let state = json!({ "historyId": stored, "topic": "t" }).to_string();
        let folders = Folders::with(None, Some(&state));
        folders.raise(delivered);
        let state = folders.state();
        assert_eq!(state.as_ref().unwrap().topic, "t");
        assert_eq!(history_id(state), Some(expected), "{stored} {delivered}");
    }
    let folders = Folders::with(None, None);
    folders.raise(5);
    assert_eq!(history_id(folders.state()), Some(5));
}

/// It may have answered for mail that Gmail did not list yet, and an invented history id is reported, too.
#[test]
fn a_machine_that_knows_how_far_it_has_delivered_skips_no_mail_up_to_a_reported_history_id() {
    let own = r#"{"account":"ann@example.com","historyId":"5"}"#;
    let folders = Folders::with(Some(own), Some(r#"{"historyId":"1"}"#));
    folders.merged();
    folders.raise(7);
    assert_eq!(history_id(folders.state()), Some(5));
    let without = r#"{"account":"ann@example.com","deliveredIds":["m1"]}"#;
    let folders = Folders::with(Some(without), Some(r#"{"historyId":"1"}"#));
    folders.merged();
    folders.raise(7);
    assert_eq!(history_id(folders.state()), Some(7));
}
