//! The state file of a watch, which `gog` and Postbell share (protocol, section 5).

mod message;
mod state_file;
mod state_path;

use std::fmt;

use postbell_core::{HistoryId, MailProblem, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use crate::webhook::BodyFormat;

pub use self::message::{DeadLetter, FailingMessage, Stage};
pub use self::state_file::{StateError, StateFile};
pub use self::state_path::{mailbox_of, state_path};

/// The folder of the state files, below `gog`'s configuration folder.
pub const FOLDER: &str = "state/gmail-watch";

/// How many ids of delivered messages are kept: more than two webhook requests can contain.
pub const MAX_DELIVERED_IDS: usize = 500;

/// How many dead letters are kept.
pub const MAX_DEAD_LETTERS: usize = 500;

/// How many messages can wait for another attempt.
pub const MAX_FAILING: usize = 100;

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
        deserialize_with = "history_id_or_none"
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
    /// When the webhook last accepted mail, or a sync found nothing for it.
    /// Not in `gog`, like all that follows.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_accepted_at_ms: i64,
    /// When a sync last succeeded.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_poll_at_ms: i64,
    /// What stops the mail, and what to do; empty if nothing does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// The problem's code, a text of [`postbell_core::ProblemCode`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem_code: String,
    /// When the problem was first seen.
    #[serde(skip_serializing_if = "is_zero")]
    pub problem_since_ms: i64,
    /// The error of the last renewal; empty if it succeeded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub renewal_problem: String,
    /// The ids of the last delivered messages, the newest last.
    pub delivered_ids: Vec<String>,
    /// The messages of a webhook request that was begun, in order. If it failed or the watcher was
    /// killed, the bot may have accepted it: exactly these are sent again, under the same
    /// idempotency key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_ids: Vec<String>,
    /// Messages that failed alone and are tried again, the oldest first. The cursor may be past
    /// them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<FailingMessage>,
    /// Messages that were set aside, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dead_letters: Vec<DeadLetter>,
    /// How many dead letters were dropped because there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub dead_letters_dropped: u64,
    /// The message ids of the dead letters that are to be delivered again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replay_ids: Vec<String>,
    /// When the last sync began that found everything delivered, or stored for another attempt. A
    /// resync begins before it.
    #[serde(skip_serializing_if = "is_zero")]
    pub complete_at_ms: i64,
    /// The start of a resync that has not finished.
    #[serde(skip_serializing_if = "is_zero")]
    pub resync_since_ms: i64,
    /// The period of the last gap that a resync could not reach: its mail was not delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// The Pub/Sub subscription that `watch pull` pulls from, as `projects/P/subscriptions/S`; empty
    /// if notifications are pushed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subscription: String,
    /// When Pub/Sub last delivered a notification of the mailbox.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_notified_at_ms: i64,
    /// The version of the watcher that ran last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub watcher_version: String,
    /// The last test of the webhook that was requested from the watcher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_test: Option<WebhookTest>,
    /// Alert events that were not sent yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Value>,
    /// The last alerts, so that no change is reported twice.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub alert_state: Value,
    /// Fields of other programs.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A period whose mail was not delivered.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gap {
    /// Its beginning.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
}

/// A test of the webhook.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WebhookTest {
    /// The id of the request.
    pub id: String,
    /// When the webhook answered.
    pub at_ms: i64,
    /// Why it did not accept the test; empty if it did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
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
    /// How the text is written.
    #[serde(skip_serializing_if = "BodyFormat::is_text")]
    pub body_format: BodyFormat,
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

    /// What stops the mail, if something does.
    #[must_use]
    pub fn mail_problem(&self) -> Option<MailProblem> {
        if self.problem_code.is_empty() && self.problem.is_empty() {
            return None;
        }
        let Ok(code) = self.problem_code.parse();
        let since = Timestamp::from_millis(self.problem_since_ms);
        Some(MailProblem { code, since })
    }

    /// Adds a dead letter, in place of an earlier one of the same message. Returns the oldest one if
    /// there were too many.
    pub fn add_dead_letter(&mut self, letter: DeadLetter) -> Option<DeadLetter> {
        self.dead_letters.retain(|one| one.key() != letter.key());
        self.dead_letters.push(letter);
        if self.dead_letters.len() <= MAX_DEAD_LETTERS {
            return None;
        }
        self.dead_letters_dropped += 1;
        Some(self.dead_letters.remove(0))
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

/// `gog` writes an empty text if it has no history id; other programs write a number.
fn history_id_or_none<'de, D: Deserializer<'de>>(value: D) -> Result<Option<HistoryId>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    match Option::<Written>::deserialize(value)? {
        None => Ok(None),
        Some(Written::Number(number)) => Ok(Some(HistoryId::new(number))),
        Some(Written::Text(text)) if text.trim().is_empty() => Ok(None),
        Some(Written::Text(text)) => text.trim().parse().map(Some).map_err(de::Error::custom),
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[cfg(test)]
mod tests {
    use postbell_core::ProblemCode;

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
    fn a_history_id_is_a_text_or_a_number_and_an_empty_one_is_none() {
        for (written, expected) in [
            (r#"{"historyId":""}"#, None),
            (r#"{"historyId":null}"#, None),
            ("{}", None),
            (r#"{"historyId":"7"}"#, Some(7)),
            (r#"{"historyId":7}"#, Some(7)),
            (r#"{"historyId":18446744073709551615}"#, Some(u64::MAX)),
        ] {
            let state: WatchState = serde_json::from_str(written).unwrap();
            assert_eq!(state.history_id.map(HistoryId::get), expected, "{written}");
        }
        serde_json::from_str::<WatchState>(r#"{"historyId":"x"}"#).unwrap_err();
    }

    #[test]
    fn a_problem_has_a_code_and_a_time() {
        let read = |state: &str| {
            serde_json::from_str::<WatchState>(state)
                .unwrap()
                .mail_problem()
        };
        assert_eq!(read("{}"), None);
        let problem = read(r#"{"problem":"x","problemCode":"webhook_failing","problemSinceMs":5}"#);
        let problem = problem.unwrap();
        assert_eq!(problem.code, ProblemCode::WebhookFailing);
        assert_eq!(problem.since, Timestamp::from_millis(5));
        let earlier_version = read(r#"{"problem":"x"}"#).unwrap();
        assert_eq!(earlier_version.code, ProblemCode::Unknown);
    }

    #[test]
    fn dead_letters_are_bounded_and_the_oldest_is_dropped_and_counted() {
        let mut state = WatchState::default();
        let letter = |number: usize| DeadLetter {
            id: number.to_string(),
            ..DeadLetter::default()
        };
        for number in 0..MAX_DEAD_LETTERS {
            assert!(state.add_dead_letter(letter(number)).is_none());
        }
        assert!(state.add_dead_letter(letter(7)).is_none(), "the same mail");
        let dropped = state.add_dead_letter(letter(MAX_DEAD_LETTERS)).unwrap();
        assert_eq!(dropped.id, "0");
        assert_eq!(state.dead_letters.len(), MAX_DEAD_LETTERS);
        assert_eq!(state.dead_letters_dropped, 1);
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
