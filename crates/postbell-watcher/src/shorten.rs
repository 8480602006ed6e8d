//! Shortens a message that is too large for the webhook.

use postbell_protocol::webhook::{Skipped, WebhookMessage};

/// A text that is not longer than this is left out instead of being halved.
const SHORT_TEXT: usize = 500;

/// The longest header field of a message without text, in bytes.
const LONGEST_FIELD: usize = 1_000;

/// Returns the message without the first of its extras (source, thread, named headers), then with half of its text, at
/// last with its headers only; `None` if it cannot be made shorter.
pub(crate) fn shorter(message: &WebhookMessage) -> Option<WebhookMessage> {
    let mut shorter = message.clone();
    if shorter.raw.take().is_some() {
        shorter.raw_skipped = Some(Skipped::TooLarge);
        return Some(shorter);
    }
    if !std::mem::take(&mut shorter.thread).is_empty() {
        shorter.thread_skipped = Some(Skipped::TooLarge);
        return Some(shorter);
    }
    if !std::mem::take(&mut shorter.headers).is_empty() {
        shorter.headers_truncated = Some(true);
        return Some(shorter);
    }
    shorter.body_truncated = Some(true);
    if let Some(body) = shorter.body.as_mut().filter(|body| body.len() > SHORT_TEXT) {
        body.truncate(body.floor_char_boundary(body.len() / 2));
        return Some(shorter);
    }
    shorter.body = None;
    shorter.snippet.clear();
    if !std::mem::take(&mut shorter.attachments).is_empty() {
        shorter.attachments_truncated = Some(true);
    }
    for field in [&mut shorter.from, &mut shorter.to, &mut shorter.subject] {
        field.truncate(field.floor_char_boundary(LONGEST_FIELD));
    }
    (shorter != *message).then_some(shorter)
}

#[cfg(test)]
mod tests {
    use postbell_protocol::webhook::Attachment;

    use super::*;

    #[test]
    fn a_text_is_halved_then_left_out_and_then_nothing_is_left_to_shorten() {
        let mut message = WebhookMessage {
            subject: "s".repeat(5_000),
            snippet: "snippet".to_owned(),
            body: Some("ä".repeat(1_000)),
            attachments: vec![Attachment::default()],
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
        assert_eq!(message.attachments_truncated, Some(true));
    }

    #[test]
    fn the_extras_are_left_out_before_the_text_is_cut() {
        let mut message = WebhookMessage {
            body: Some("b".repeat(1_000)),
            raw: Some("cmF3".to_owned()),
            thread: vec![WebhookMessage::default()],
            headers: [("X-A".to_owned(), vec!["a".to_owned()])].into(),
            ..WebhookMessage::default()
        };
        let mut left = Vec::new();
        for _ in 0..4 {
            message = shorter(&message).unwrap();
            let extras = (
                message.raw.is_some(),
                message.thread.len(),
                message.headers.len(),
            );
            left.push((extras, message.body.as_ref().map(String::len)));
        }
        assert_eq!(
            left,
            [
                ((false, 1, 1), Some(1_000)),
                ((false, 0, 1), Some(1_000)),
                ((false, 0, 0), Some(1_000)),
                ((false, 0, 0), Some(500)),
            ]
        );
        assert_eq!(message.raw_skipped, Some(Skipped::TooLarge));
        assert_eq!(message.thread_skipped, Some(Skipped::TooLarge));
        assert_eq!(message.headers_truncated, Some(true));
    }
}
