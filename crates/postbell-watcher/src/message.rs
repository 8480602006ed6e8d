//! A message as the bot gets it, whatever the mail was.

mod body;
mod header;

use postbell_google::{Message, Part};
use serde::Serialize;

use self::header::{decoded, field};

/// How many files are named, and how long a name may be, in bytes.
const ATTACHMENTS_NAMED: usize = 100;
const ATTACHMENT_NAME: usize = 255;

/// A message as the bot gets it (contract, section 5).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookMessage {
    pub(crate) id: String,
    pub(crate) thread_id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) date: String,
    pub(crate) snippet: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_truncated: Option<bool>,
    pub(crate) labels: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) attachments: Vec<Attachment>,
}

/// A file that came with the mail: named, not fetched.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attachment {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) mime_type: String,
    /// In bytes.
    pub(crate) size: u64,
}

/// How much of a mail's text the bot gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyWanted {
    /// None of it: headers and snippet only.
    No,
    /// So many bytes of UTF-8 at most.
    UpTo(usize),
}

impl HookMessage {
    /// Makes it of what Gmail gave. Never fails: what a mail lacks is empty.
    pub(crate) fn of(message: Message, wanted: BodyWanted) -> Self {
        let headers = &message.payload.headers;
        let text = |name: &str| field(headers, name).map(decoded).unwrap_or_default();
        let (body, body_truncated) = match wanted {
            BodyWanted::No => (None, None),
            BodyWanted::UpTo(limit) => match body::text(&message.payload, limit) {
                Some(text) => {
                    let (text, was_cut) = cut(text, limit);
                    (Some(text), was_cut.then_some(true))
                }
                None => (None, None),
            },
        };
        Self {
            from: text("from"),
            to: text("to"),
            subject: text("subject"),
            date: text("date"),
            body,
            body_truncated,
            id: message.id,
            thread_id: message.thread_id,
            snippet: message.snippet,
            attachments: attachments(&message.payload),
            labels: message.label_ids,
        }
    }
}

/// The files that came with the mail, in their order, the first of them where there are too many.
fn attachments(mail: &Part) -> Vec<Attachment> {
    let mut parts = vec![mail];
    let mut found = Vec::new();
    for _ in 0..body::PARTS_LIMIT {
        let Some(part) = parts.pop() else { break };
        if !part.filename.is_empty() && found.len() < ATTACHMENTS_NAMED {
            found.push(Attachment {
                name: cut(decoded(&part.filename), ATTACHMENT_NAME).0,
                mime_type: part.mime_type.clone(),
                size: part.body.size,
            });
        }
        parts.extend(part.parts.iter().rev());
    }
    found
}

/// The `From` field as it stands.
pub(crate) fn sender(message: &Message) -> &str {
    field(&message.payload.headers, "from").unwrap_or_default()
}

/// Cuts a text to so many bytes, on a character boundary.
fn cut(mut text: String, limit: usize) -> (String, bool) {
    if text.len() <= limit {
        return (text, false);
    }
    text.truncate(text.floor_char_boundary(limit));
    (text, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_on_a_character_boundary() {
        assert_eq!(cut("grüße".to_owned(), 3), ("gr".to_owned(), true));
        assert_eq!(cut("grüße".to_owned(), 4), ("grü".to_owned(), true));
        assert_eq!(cut("grüße".to_owned(), 7), ("grüße".to_owned(), false));
        assert_eq!(cut("🥨".to_owned(), 3), (String::new(), true));
    }

    #[test]
    fn attachments_are_named_and_not_fetched() {
        let mail = serde_json::json!({ "payload": { "parts": [
            { "mimeType": "text/plain", "body": { "size": 5, "data": "aGVsbG8" } },
            { "mimeType": "multipart/mixed", "parts": [{
                "mimeType": "application/pdf",
                "filename": "=?utf-8?q?Rechnung_M=C3=A4rz=2Epdf?=",
                "body": { "size": 20_000_000, "attachmentId": "a1" },
            }] },
        ]}});
        let message = serde_json::from_value(mail).unwrap();
        let attachment = Attachment {
            name: "Rechnung März.pdf".to_owned(),
            mime_type: "application/pdf".to_owned(),
            size: 20_000_000,
        };
        let message = HookMessage::of(message, BodyWanted::No);
        assert_eq!(message.attachments, [attachment]);
    }

    #[test]
    fn a_message_without_anything_is_a_message() {
        let message = HookMessage::of(Message::default(), BodyWanted::UpTo(100));
        assert_eq!(message, HookMessage::default());
    }
}
