//! Converts a message of Gmail into the form that the bot gets.

mod body;
mod header;

use postbell_google::{Message, Part};
use postbell_protocol::webhook::{Attachment, WebhookMessage};

use self::header::{decoded, field};

/// The largest number of listed attachments.
const MAX_ATTACHMENTS: usize = 100;

/// The longest name of an attachment, in bytes.
const MAX_ATTACHMENT_NAME: usize = 255;

/// How much of a message's text the bot gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyWanted {
    /// Headers and snippet only.
    No,
    /// At most this number of bytes of UTF-8.
    UpTo(usize),
}

/// Converts a message of Gmail. Never fails: a missing field is empty.
pub(crate) fn webhook_message(message: Message, wanted: BodyWanted) -> WebhookMessage {
    let headers = &message.payload.headers;
    let text = |name: &str| field(headers, name).map(decoded).unwrap_or_default();
    let body = match wanted {
        BodyWanted::No => None,
        BodyWanted::UpTo(limit) => {
            let text = body::text(&message.payload, limit);
            text.map(|text| cut(text, limit))
        }
    };
    let (body, was_cut) = body.unzip();
    WebhookMessage {
        from: text("from"),
        to: text("to"),
        subject: text("subject"),
        date: text("date"),
        body,
        body_truncated: was_cut.filter(|was_cut| *was_cut),
        id: message.id,
        thread_id: message.thread_id,
        snippet: message.snippet,
        attachments: attachments(&message.payload),
        labels: message.label_ids,
    }
}

/// The attached files, in order, up to the limit.
fn attachments(mail: &Part) -> Vec<Attachment> {
    let mut parts = vec![mail];
    let mut found = Vec::new();
    for _ in 0..body::PARTS_LIMIT {
        let Some(part) = parts.pop() else { break };
        if !part.filename.is_empty() && found.len() < MAX_ATTACHMENTS {
            found.push(Attachment {
                name: cut(decoded(&part.filename), MAX_ATTACHMENT_NAME).0,
                mime_type: part.mime_type.clone(),
                size: part.body.size,
            });
        }
        parts.extend(part.parts.iter().rev());
    }
    found
}

/// The undecoded `From` field.
pub(crate) fn sender(message: &Message) -> &str {
    field(&message.payload.headers, "from").unwrap_or_default()
}

/// Cuts a text to at most `limit` bytes, at a character boundary. Returns whether it was longer.
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
    fn a_text_is_cut_at_a_character_boundary() {
        assert_eq!(cut("grüße".to_owned(), 3), ("gr".to_owned(), true));
        assert_eq!(cut("grüße".to_owned(), 4), ("grü".to_owned(), true));
        assert_eq!(cut("grüße".to_owned(), 7), ("grüße".to_owned(), false));
        assert_eq!(cut("🥨".to_owned(), 3), (String::new(), true));
    }

    #[test]
    fn attachments_are_listed_but_not_fetched() {
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
        let message = webhook_message(message, BodyWanted::No);
        assert_eq!(message.attachments, [attachment]);
    }

    #[test]
    fn an_empty_message_is_converted() {
        let message = webhook_message(Message::default(), BodyWanted::UpTo(100));
        assert_eq!(message, WebhookMessage::default());
    }
}
