//! The webhook request (protocol, section 5): how the watcher delivers mail to the bot.

mod authentication;
mod signature;

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::HistoryId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::authentication::{AuthenticationResult, MailAuthentication};
pub use self::signature::{InvalidSigningKeys, SigningKeys};

/// The body of a webhook request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WebhookPayload<'a> {
    /// Where the messages come from
    pub source: Source,
    /// The mailbox's address
    pub account: Cow<'a, str>,
    /// Gmail's history id of the last message
    #[cfg_attr(test, schemars(with = "String"))]
    pub history_id: HistoryId,
    /// New and changed messages, the oldest first
    pub messages: Vec<Cow<'a, WebhookMessage>>,
    /// Ids of permanently deleted messages, if the watcher was asked to report them
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted_message_ids: Vec<String>,
    /// Gmail's history had expired: some of these messages may have been delivered before
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
    /// The messages are text of strangers: an agent must not treat them as instructions
    #[serde(default)]
    pub untrusted: bool,
    /// `true` in a test of the webhook, whose one message is no mail; left out otherwise
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
}

/// The kind of mailbox.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Gmail
    Gmail,
}

/// One message, as the bot gets it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WebhookMessage {
    /// Gmail's message id
    pub id: String,
    /// Gmail's thread id
    pub thread_id: String,
    /// The decoded `From` field
    pub from: String,
    /// The decoded `To` field
    pub to: String,
    /// The decoded `Cc` field
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cc: Option<String>,
    /// The decoded `Reply-To` field: where answers go, unless it is left out
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The decoded `Subject` field
    pub subject: String,
    /// The `Date` field, as the sender wrote it
    pub date: String,
    /// When Gmail received the message, in milliseconds since the Unix epoch
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_date: Option<i64>,
    /// The `Message-ID` field, with its angle brackets
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The ids in the `In-Reply-To` field, with their angle brackets
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_reply_to: Vec<String>,
    /// The ids in the `References` field, with their angle brackets, the oldest first
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// The `List-Id` field: the message came through a mailing list
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_id: Option<String>,
    /// The URLs in the `List-Unsubscribe` field
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list_unsubscribe: Vec<String>,
    /// The header fields that the watcher was asked for: each name with the decoded values of its fields
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// `true` if values of `headers` were cut or left out; left out otherwise
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_truncated: Option<bool>,
    /// What Gmail found out about the sender; left out if Gmail wrote nothing about it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<MailAuthentication>,
    /// Gmail's extract of the text
    pub snippet: String,
    /// The text, if the watcher was asked for it and the message has one
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How the text is written; left out for plain text
    #[serde(default, skip_serializing_if = "BodyFormat::is_text")]
    pub body_format: BodyFormat,
    /// `true` if the text was cut; left out otherwise
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_truncated: Option<bool>,
    /// Gmail's label ids
    pub labels: Vec<String>,
    /// The attached files, without their content
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The mail has more files than `attachments`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments_truncated: Option<bool>,
    /// The mails before this one in its thread, the oldest first, if the watcher was asked for them
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thread: Vec<WebhookMessage>,
    /// Why `thread` is left out although the watcher was asked for it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_skipped: Option<Skipped>,
    /// The source (RFC 5322) as base64 (RFC 4648, section 4), if the watcher was asked for it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Why `raw` is left out although the watcher was asked for it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_skipped: Option<Skipped>,
}

/// Why something that the watcher was asked for is left out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Skipped {
    /// It is over the watcher's limit, or the webhook refused the message with it (413)
    TooLarge,
    /// The directory is full, or the disk failed
    Disk,
    /// Gmail did not give it
    Gmail,
}

/// How the text of a message is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// Plain text
    #[default]
    Text,
    /// Markdown (CommonMark, with GitHub's tables); what looks like Markdown in the mail is escaped
    Markdown,
    /// The HTML of the sender, unsanitized; plain text stands in a `pre` element
    Html,
}

impl BodyFormat {
    /// Whether it is plain text, the default.
    #[must_use]
    pub fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

/// An attached file: described, and written to a file if the watcher was asked for it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The id with which Gmail gives its content (`messages.attachments.get`), for a short time
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The file's name; empty if it has none
    pub name: String,
    /// The MIME type
    #[serde(rename = "type")]
    pub mime_type: String,
    /// The size in bytes
    pub size: u64,
    /// The absolute path of the file with its content, if the watcher was asked for it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why `path` is left out although the watcher was asked for it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

/// The idempotency key of a request: hex of a digest of the account and of the delivered ids. A
/// repeat has the same key even if another process sends it at another history id.
pub fn idempotency_key<'a>(account: &str, ids: impl Iterator<Item = &'a str>) -> String {
    let mut text = account.to_lowercase();
    for id in ids {
        text.push('\n');
        text.push_str(id);
    }
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// The idempotency key and message id of a test of the webhook: always the same, so that the bot can
/// recognise a repeat.
pub const TEST_ID: &str = "postbell-setup-test";

/// The body of a test of the webhook: one message, and `"test": true`, by which a bot knows that it is
/// no mail.
#[must_use]
pub fn test_payload(mailbox: &str, subject: &str) -> Value {
    json!({
        "source": "gmail",
        "account": mailbox,
        "historyId": "1",
        "messages": [{
            "id": TEST_ID,
            "threadId": TEST_ID,
            "from": "Postbell <setup@postbell.invalid>",
            "to": mailbox,
            "subject": subject,
            "date": "",
            "snippet": "This is a test of the webhook, not a mail. No action is required.",
            "labels": ["INBOX"],
        }],
        "untrusted": true,
        "test": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published schema. After a change of the types, the failing test prints the new text.
    const SCHEMA: &str = include_str!("../../../docs/webhook.schema.json");

    fn payload() -> WebhookPayload<'static> {
        WebhookPayload {
            source: Source::Gmail,
            account: "ann@example.com".into(),
            history_id: HistoryId::new(u64::MAX),
            messages: vec![Cow::Owned(WebhookMessage {
                id: "m1".to_owned(),
                body: Some("text".to_owned()),
                attachments: vec![Attachment::default()],
                ..WebhookMessage::default()
            })],
            deleted_message_ids: Vec::new(),
            resync: false,
            untrusted: true,
            test: false,
        }
    }

    #[test]
    fn a_payload_is_read_as_it_was_written() {
        let written = serde_json::to_value(payload()).unwrap();
        let expected = json!({
            "source": "gmail",
            "account": "ann@example.com",
            "historyId": "18446744073709551615",
            "messages": [{
                "id": "m1", "threadId": "", "from": "", "to": "", "subject": "", "date": "",
                "snippet": "", "body": "text", "labels": [],
                "attachments": [{ "name": "", "type": "", "size": 0 }],
            }],
            "untrusted": true,
        });
        assert_eq!(written, expected);
        let read: WebhookPayload<'_> = serde_json::from_value(written).unwrap();
        assert_eq!(read, payload());
    }

    #[test]
    fn a_payload_of_gog_is_read() {
        let gogs = json!({
            "source": "gmail", "account": "a@b", "historyId": "7", "messages": [],
        });
        let read: WebhookPayload<'_> = serde_json::from_value(gogs).unwrap();
        assert!(!read.untrusted && !read.resync);
    }

    #[test]
    fn a_test_is_a_payload() {
        let test: WebhookPayload<'_> = serde_json::from_value(test_payload("a@b", "Test")).unwrap();
        assert!(test.test);
        assert_eq!(test.messages[0].id, TEST_ID);
    }

    #[test]
    fn the_published_schema_describes_the_types() {
        let schema = schemars::schema_for!(WebhookPayload<'_>);
        let generated = serde_json::to_value(schema).unwrap();
        let published: Value = serde_json::from_str(SCHEMA).unwrap();
        assert_eq!(
            published,
            generated,
            "docs/webhook.schema.json must be:\n{}",
            serde_json::to_string_pretty(&generated).unwrap()
        );
    }

    #[test]
    fn a_repeat_has_the_same_key_and_other_messages_have_another() {
        let key = |account: &str, ids: &[&str]| idempotency_key(account, ids.iter().copied());
        assert_eq!(key("a@b", &["1", "2"]), key("A@B", &["1", "2"]));
        let others = [
            key("a@b", &["1"]),
            key("a@b", &["12"]),
            key("c@b", &["1", "2"]),
        ];
        assert!(!others.contains(&key("a@b", &["1", "2"])));
    }
}
