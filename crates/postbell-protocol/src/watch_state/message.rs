//! Messages that failed alone, in the state file.

use postbell_core::HistoryId;
use serde::{Deserialize, Serialize};

/// Where a message failed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The webhook refused it.
    #[default]
    Webhook,
    /// Gmail did not return it.
    Gmail,
}

/// A message that failed alone and is tried again.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FailingMessage {
    /// Gmail's message id.
    pub id: String,
    /// The history id of the change.
    pub history_id: HistoryId,
    /// The kind of the change, in Gmail's words; empty for an added message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub change: String,
    /// Where it failed.
    pub stage: Stage,
    /// Why it failed.
    pub reason: String,
    /// The number of failed attempts.
    pub tries: u32,
    /// When the last attempt failed, in milliseconds since the Unix epoch.
    pub last_at_ms: i64,
    /// Whether those behind it have gone on. Else it is tried again in its place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deferred: bool,
    /// Whether another message has passed the stage since this one failed first. Without such a
    /// proof, the webhook or Gmail may be failing as a whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub others_pass: bool,
    /// Whether it has failed since another message passed the stage last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub since_pass: bool,
}

/// A message that was set aside.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeadLetter {
    /// Gmail's message id.
    pub id: String,
    /// The history id of the change.
    pub history_id: HistoryId,
    /// The kind of the change, in Gmail's words; empty for an added message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub change: String,
    /// Where it failed.
    pub stage: Stage,
    /// Why it failed.
    pub reason: String,
    /// When it was set aside, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The number of failed attempts.
    pub tries: u32,
}

impl FailingMessage {
    /// Identifies the change, as in `deliveredIds`.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.id, &self.change, self.history_id)
    }
}

impl DeadLetter {
    /// Identifies the change, as in `deliveredIds`.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.id, &self.change, self.history_id)
    }
}

/// A message is added once, but may change often.
fn key(id: &str, change: &str, at: HistoryId) -> String {
    if change.is_empty() {
        id.to_owned()
    } else {
        format!("{id}@{at}")
    }
}
