//! The state file of a watch, which `gog` and Postbell share (protocol, section 5).

use std::fmt;

use postbell_core::{HistoryId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

/// The folder of the state files, below `gog`'s configuration folder.
pub const FOLDER: &str = "state/gmail-watch";

/// How many ids of delivered messages are kept: more than two webhook requests can contain.
const MAX_DELIVERED_IDS: usize = 500;

/// The state of one account's watch. Unknown fields are kept.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WatchState {
    /// The mailbox's address.
    pub account: String,
    /// The Pub/Sub topic that Gmail publishes to, as `projects/P/topics/T`.
    pub topic: String,
    /// The watched labels; empty for all.
    pub labels: Vec<String>,
    /// The cursor: the webhook has accepted everything up to this history id.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "none_if_empty"
    )]
    pub history_id: Option<HistoryId>,
    /// When the watch expires, in milliseconds since the Unix epoch, like every time here. `gog`
    /// writes it twice.
    pub expiration_ms: i64,
    /// The expiry as Gmail returned it.
    pub provider_expiration_ms: i64,
    /// When the user wants the watch renewed; 0 if the watcher decides.
    pub renew_after_ms: i64,
    /// When the state was written.
    pub updated_at_ms: i64,
    /// The bot's webhook, if it was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<SavedHook>,
    /// The result of the last delivery: `ok` or `error`.
    pub last_delivery_status: String,
    /// When the last delivery ended.
    pub last_delivery_at_ms: i64,
    /// The error of the last delivery.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_delivery_status_note: String,
    /// What stops the watcher until a person acts, and what to do; empty if nothing does. Not in
    /// `gog`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// The error of the last renewal; empty if it succeeded. Not in `gog`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub renewal_problem: String,
    /// The ids of the last delivered messages, the newest last. Not in `gog`.
    pub delivered_ids: Vec<String>,
    /// The messages of a webhook request that was begun, in order. If it failed or the watcher was
    /// killed, the bot may have accepted it: exactly these are sent again, under the same
    /// idempotency key. Not in `gog`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_ids: Vec<String>,
    /// Fields of other programs.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The bot's webhook, as `gog` saves it.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SavedHook {
    /// The webhook's URL.
    pub url: String,
    /// The bearer token for the bot; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Whether the messages include their text.
    pub include_body: bool,
    /// The largest text of a message, in bytes; 0 for the default.
    pub max_bytes: usize,
    /// Fields of other programs.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl WatchState {
    /// When the watch expires, if that is known.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        let ends = self.provider_expiration_ms.max(self.expiration_ms);
        Some(ends)
            .filter(|ends| *ends > 0)
            .map(Timestamp::from_millis)
    }

    /// Adds ids of delivered messages, and drops the oldest ones over the limit.
    pub fn add_delivered(&mut self, ids: impl Iterator<Item = String>) {
        self.delivered_ids.extend(ids);
        let excess = self.delivered_ids.len().saturating_sub(MAX_DELIVERED_IDS);
        self.delivered_ids.drain(..excess);
    }
}

impl fmt::Debug for SavedHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedHook").finish_non_exhaustive()
    }
}

/// The name of an account's state file: the lower-cased address, with `_` in place of every
/// character outside `a-z0-9`.
#[must_use]
pub fn file_name(account: &str) -> String {
    if account.is_empty() {
        return "unknown.json".to_owned();
    }
    let plain = |character: char| match character {
        'a'..='z' | '0'..='9' => character,
        _ => '_',
    };
    let name: String = account.to_lowercase().chars().map(plain).collect();
    format!("{name}.json")
}

/// `gog` writes an empty text if it has no history id.
fn none_if_empty<'de, D: Deserializer<'de>>(value: D) -> Result<Option<HistoryId>, D::Error> {
    let text = Option::<String>::deserialize(value)?;
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse())
        .transpose()
        .map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_after_the_account() {
        for (account, name) in [
            (
                "Ann.Example+7@Example.COM",
                "ann_example_7_example_com.json",
            ),
            ("ä@b", "__b.json"),
            ("", "unknown.json"),
            ("../../etc", "______etc.json"),
        ] {
            assert_eq!(file_name(account), name);
        }
    }

    #[test]
    fn a_state_of_gog_is_read_and_written_with_its_unknown_fields() {
        let gogs = r#"{"account":"a@b","topic":"projects/p/topics/t","labels":["INBOX"],
            "historyId":"18446744073709551615","expirationMs":5,"hook":{"url":"http://x","new":1},
            "lastPushMessageId":"7"}"#;
        let mut state: WatchState = serde_json::from_str(gogs).unwrap();
        assert_eq!(state.history_id, Some(HistoryId::new(u64::MAX)));
        state.last_delivery_status = "ok".to_owned();

        let written = serde_json::to_value(&state).unwrap();
        assert_eq!(written["historyId"], "18446744073709551615");
        assert_eq!(written["expirationMs"], 5);
        assert_eq!(written["hook"]["url"], "http://x");
        assert_eq!(written["hook"]["new"], 1);
        assert_eq!(written["lastPushMessageId"], "7");
        let again: WatchState = serde_json::from_value(written).unwrap();
        assert_eq!(again, state);
    }

    #[test]
    fn an_empty_history_id_of_gog_is_none() {
        let state: WatchState =
            serde_json::from_str(r#"{"account":"a@b","historyId":""}"#).unwrap();
        assert_eq!(state.history_id, None);
    }

    #[test]
    fn the_watch_expires_at_the_later_one_of_the_two_times() {
        for (ours, gmails, ends) in [(0, 0, None), (5, 0, Some(5)), (5, 7, Some(7))] {
            let state = WatchState {
                expiration_ms: ours,
                provider_expiration_ms: gmails,
                ..WatchState::default()
            };
            assert_eq!(state.expires_at(), ends.map(Timestamp::from_millis));
        }
    }

    #[test]
    fn the_number_of_delivered_ids_is_bounded() {
        let mut state = WatchState::default();
        state.add_delivered((0..MAX_DELIVERED_IDS + 5).map(|n| n.to_string()));
        assert_eq!(state.delivered_ids.len(), MAX_DELIVERED_IDS);
        assert_eq!(state.delivered_ids[0], "5");
    }
}
