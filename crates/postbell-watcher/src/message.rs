//! A message as the bot gets it, whatever the mail was.

mod body;
mod header;

use postbell_google::Message;
use serde::Serialize;

use self::header::{decoded, field};

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
            BodyWanted::UpTo(limit) => match body::text(&message.payload) {
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
            labels: message.label_ids,
        }
    }
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
    fn a_message_without_anything_is_a_message() {
        let message = HookMessage::of(Message::default(), BodyWanted::UpTo(100));
        assert_eq!(message, HookMessage::default());
    }
}
