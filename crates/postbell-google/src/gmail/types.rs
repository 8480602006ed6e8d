//! What Gmail answers, as far as we read it. Ids are texts on the wire.

use std::str::FromStr;

use postbell_core::{HistoryId, Timestamp};
use serde::{Deserialize, Deserializer, de};

use crate::base64::decode_base64;

/// Whose mailbox it is, and how far it has come.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The mailbox's address.
    pub email_address: String,
    /// The latest change.
    pub history_id: HistoryId,
}

/// All labels of a mailbox.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Labels {
    #[serde(default)]
    pub(super) labels: Vec<Label>,
}

/// A label.
#[derive(Clone, Debug, Deserialize)]
pub struct Label {
    /// What the API calls it.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
}

/// A watch that runs.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchStarted {
    /// Where history begins, as far as this watch is concerned.
    pub history_id: HistoryId,
    /// When it ends.
    #[serde(deserialize_with = "millis_as_text")]
    pub expiration: Timestamp,
}

/// One page of changes, oldest first.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// The changes; none where nothing changed.
    #[serde(default)]
    pub history: Vec<HistoryRecord>,
    /// Where the next page begins, if there is one. A page may be empty and yet not the last.
    pub next_page_token: Option<String>,
    /// The mailbox's latest change.
    pub history_id: HistoryId,
}

/// A change.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRecord {
    /// Its place in history.
    pub id: HistoryId,
    /// Messages that came with it.
    #[serde(default)]
    pub messages_added: Vec<Changed>,
    /// Messages that were deleted for good, not just put into the trash.
    #[serde(default)]
    pub messages_deleted: Vec<Changed>,
    /// Messages that were given a label.
    #[serde(default)]
    pub labels_added: Vec<Changed>,
    /// Messages that lost a label.
    #[serde(default)]
    pub labels_removed: Vec<Changed>,
}

/// A message that has changed.
#[derive(Clone, Debug, Deserialize)]
pub struct Changed {
    /// Which one, and with which labels.
    pub message: MessageRef,
}

/// A kind of change.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum HistoryType {
    /// A message came.
    MessageAdded,
    /// A message was deleted for good.
    MessageDeleted,
    /// A message was given a label.
    LabelAdded,
    /// A message lost a label.
    LabelRemoved,
}

impl HistoryType {
    /// Gmail's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageAdded => "messageAdded",
            Self::MessageDeleted => "messageDeleted",
            Self::LabelAdded => "labelAdded",
            Self::LabelRemoved => "labelRemoved",
        }
    }
}

impl FromStr for HistoryType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [
            Self::MessageAdded,
            Self::MessageDeleted,
            Self::LabelAdded,
            Self::LabelRemoved,
        ];
        all.into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(text))
            .ok_or("expected messageAdded, messageDeleted, labelAdded or labelRemoved")
    }
}

/// One page of a search.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageList {
    /// What was found, latest first.
    #[serde(default)]
    pub messages: Vec<MessageRef>,
    /// Where the next page begins, if there is one.
    pub next_page_token: Option<String>,
}

/// A message by its id.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageRef {
    /// The message's id.
    pub id: String,
    /// Its labels, where Gmail tells them.
    #[serde(default)]
    pub label_ids: Vec<String>,
}

/// A message, as Gmail took it apart.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The conversation that it belongs to.
    pub thread_id: String,
    /// Its labels.
    pub label_ids: Vec<String>,
    /// Its first words, HTML-escaped by Gmail.
    pub snippet: String,
    /// When Gmail got it, in milliseconds since the Unix epoch.
    #[serde(deserialize_with = "millis_as_text")]
    pub internal_date: Timestamp,
    /// The whole of it, as the outermost part.
    pub payload: Part,
}

/// A MIME part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Part {
    /// Its media type, without parameters.
    pub mime_type: String,
    /// The name of an attachment; empty for any other part.
    pub filename: String,
    /// Its headers, in their order.
    pub headers: Vec<Header>,
    /// Its content.
    pub body: Body,
    /// The parts within.
    pub parts: Vec<Part>,
}

/// A header field.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Its name, in whatever case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A part's content.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Body {
    /// How many bytes.
    pub size: u64,
    /// The bytes, as base64 for URLs; absent where they have to be fetched.
    pub data: Option<String>,
}

impl Body {
    /// The first bytes, some `most` of them, where they came with the message and are what Gmail
    /// says they are.
    #[must_use]
    pub fn first_bytes(&self, most: usize) -> Option<Vec<u8>> {
        let data = self.data.as_deref()?;
        // Four characters are three bytes, wherever they begin.
        let end = most.div_ceil(3).saturating_mul(4);
        decode_base64(data.get(..end).unwrap_or(data))
    }
}

fn millis_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map(Timestamp::from_millis)
        .map_err(de::Error::custom)
}
