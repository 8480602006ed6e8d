//! Shortens a message that is too large for the webhook.

use postbell_protocol::webhook::WebhookMessage;

/// A text that is not longer than this is left out instead of being halved.
const SHORT_TEXT: usize = 500;

/// The longest header field of a message without text, in bytes.
const LONGEST_FIELD: usize = 1_000;

/// Returns the message with half of its text, at last with its headers only; `None` if it cannot be
/// made shorter.
pub(crate) fn shorter(message: &WebhookMessage) -> Option<WebhookMessage> {
    let mut shorter = message.clone();
    shorter.body_truncated = Some(true);
    if let Some(body) = shorter.body.as_mut().filter(|body| body.len() > SHORT_TEXT) {
        body.truncate(body.floor_char_boundary(body.len() / 2));
        return Some(shorter);
    }
    shorter.body = None;
    shorter.snippet.clear();
    shorter.attachments.clear();
    for field in [&mut shorter.from, &mut shorter.to, &mut shorter.subject] {
        field.truncate(field.floor_char_boundary(LONGEST_FIELD));
    }
    (shorter != *message).then_some(shorter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_halved_then_left_out_and_then_nothing_is_left_to_shorten() {
        let mut message = WebhookMessage {
            subject: "s".repeat(5_000),
            snippet: "snippet".to_owned(),
            body: Some("ä".repeat(1_000)),
            ..WebhookMessage::default()
        };
        let mut lengths = Vec::new();
        while let Some(shorter) = shorter(&message) {
            assert_eq!(shorter.body_truncated, Some(true));
            lengths.push(shorter.body.as_ref().map(String::len));
            message = shorter;
        }
        assert_eq!(lengths, [Some(1_000), Some(500), None]);
        assert_eq!(message.subject.len(), LONGEST_FIELD);
        assert!(message.snippet.is_empty());
    }
}
