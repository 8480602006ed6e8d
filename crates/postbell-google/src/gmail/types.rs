//! Gmail's responses, as far as they are used. Ids are texts on the wire.

use std::io::Read;
use std::str::FromStr;

use postbell_core::{HistoryId, Timestamp};
use serde::{Deserialize, Deserializer, de};

use crate::base64::{base64_reader, decode_base64};

/// The mailbox's address and its latest history id.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The mailbox's address.
    pub email_address: String,
    /// The latest history id.
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
    /// The label's id.
    pub id: String,
    /// The label's name.
    pub name: String,
}

/// The addresses that a mailbox may send from
/// (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.settings.sendAs>).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendAsList {
    #[serde(default)]
    pub(super) send_as: Vec<SendAs>,
}

/// An address that a mailbox may send from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendAs {
    pub(super) send_as_email: String,
    #[serde(default)]
    is_primary: bool,
    /// Whether the mailbox's owner says that the address is theirs, and not that of another mailbox.
    #[serde(default)]
    treat_as_alias: bool,
    /// `accepted` once the owner has confirmed the address; absent for addresses of the same domain.
    verification_status: Option<String>,
}

impl SendAs {
    /// Whether mail to the address comes to this mailbox.
    pub(super) fn is_alias(&self) -> bool {
        let is_verified = self
            .verification_status
            .as_deref()
            .is_none_or(|status| status == "accepted");
        self.is_primary || (self.treat_as_alias && is_verified)
    }
}

/// A started watch.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchStarted {
    /// The mailbox's history id at the start.
    pub history_id: HistoryId,
    /// When it expires.
    #[serde(deserialize_with = "millis_as_text")]
    pub expiration: Timestamp,
}

/// One page of changes, the oldest first.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// The changes; empty if nothing changed.
    #[serde(default)]
    pub history: Vec<HistoryRecord>,
    /// The token of the next page, if there is one. A page can be empty without being the last.
    pub next_page_token: Option<String>,
    /// The mailbox's latest history id.
    pub history_id: HistoryId,
}

/// A change.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRecord {
    /// Its history id.
    pub id: HistoryId,
    /// Added messages.
    #[serde(default)]
    pub messages_added: Vec<Changed>,
    /// Permanently deleted messages.
    #[serde(default)]
    pub messages_deleted: Vec<Changed>,
    /// Messages with an added label.
    #[serde(default)]
    pub labels_added: Vec<Changed>,
    /// Messages with a removed label.
    #[serde(default)]
    pub labels_removed: Vec<Changed>,
}

/// A message that has changed.
#[derive(Clone, Debug, Deserialize)]
pub struct Changed {
    /// The message's id and labels.
    pub message: MessageRef,
}

/// A kind of change.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum HistoryType {
    /// A message was added.
    MessageAdded,
    /// A message was permanently deleted.
    MessageDeleted,
    /// A label was added to a message.
    LabelAdded,
    /// A label was removed from a message.
    LabelRemoved,
}

impl HistoryType {
    /// Gmail's name of the kind.
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

    /// Reads Gmail's name of the kind, or of its field in the history: `messageAdded`, `messagesAdded`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.replacen("messages", "message", 1);
        let text = text.replacen("labels", "label", 1);
        let all = [
            Self::MessageAdded,
            Self::MessageDeleted,
            Self::LabelAdded,
            Self::LabelRemoved,
        ];
        all.into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(&text))
            .ok_or("expected messageAdded, messageDeleted, labelAdded or labelRemoved")
    }
}

/// One page of a search.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageList {
    /// The results, the newest first.
    #[serde(default)]
    pub messages: Vec<MessageRef>,
    /// The token of the next page, if there is one.
    pub next_page_token: Option<String>,
}

/// A message by its id.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageRef {
    /// The message's id.
    pub id: String,
    /// Its labels, if Gmail sends them.
    #[serde(default)]
    pub label_ids: Vec<String>,
}

/// A message, parsed by Gmail.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The thread's id.
    pub thread_id: String,
    /// Its labels.
    pub label_ids: Vec<String>,
    /// The beginning of the text, HTML-escaped by Gmail.
    pub snippet: String,
    /// When Gmail received it, in milliseconds since the Unix epoch.
    #[serde(deserialize_with = "millis_as_text")]
    pub internal_date: Timestamp,
    /// About how many bytes its source has.
    pub size_estimate: u64,
    /// The outermost MIME part.
    pub payload: Part,
}

/// A conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Thread {
    /// Its id.
    pub id: String,
    /// Its messages, the oldest first.
    #[serde(default)]
    pub messages: Vec<Message>,
}

/// A message as it was sent.
#[derive(Debug, Deserialize)]
pub(super) struct RawMessage {
    /// The source (RFC 5322) as base64url.
    pub(super) raw: String,
}

/// A MIME part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Part {
    /// Its media type, without parameters.
    pub mime_type: String,
    /// The name of an attachment; empty for any other part.
    pub filename: String,
    /// Its headers, in order.
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
    /// Its name, in any case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A part's content.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Body {
    /// The size in bytes.
    pub size: u64,
    /// The bytes as base64url; missing if they must be fetched.
    pub data: Option<String>,
    /// The id by which the bytes are fetched (`messages.attachments.get`).
    pub attachment_id: Option<String>,
}

impl Body {
    /// About the first `most` bytes, if they came with the message and are valid base64.
    #[must_use]
    pub fn first_bytes(&self, most: usize) -> Option<Vec<u8>> {
        let data = self.data.as_deref()?;
        // Four characters are three bytes.
        let end = most.div_ceil(3).saturating_mul(4);
        decode_base64(data.get(..end).unwrap_or(data))
    }

    /// The bytes that came with the message, decoded while they are read, because a part can have 25 MB. A read fails
    /// if the base64 is not valid.
    pub fn reader(&self) -> impl Read {
        base64_reader(self.data.as_deref().unwrap_or_default())
    }
}

fn millis_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map(Timestamp::from_millis)
        .map_err(de::Error::custom)
}
