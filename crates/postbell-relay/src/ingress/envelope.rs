//! The parts of a push that the relay needs: the message id and the mailbox's history id.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderMap;
use postbell_core::MessageId;
use postbell_google::{MailboxChanged, PushBody};

/// The header that holds the message id of an unwrapped push
/// (<https://cloud.google.com/pubsub/docs/payload-unwrapping>).
const MESSAGE_ID_HEADER: &str = postbell_protocol::routes::PUBSUB_MESSAGE_ID;

/// A parsed push.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Envelope {
    /// The message's own id, or one derived from its bytes.
    pub(super) message_id: MessageId,

    /// The mailbox and its history id, or what was expected instead.
    pub(super) changed: Result<MailboxChanged, &'static str>,
}

/// Parses a push. The headers are used only if the body is unwrapped.
pub(super) fn parse(body: &[u8], headers: &HeaderMap) -> Envelope {
    let push = PushBody::read(body);
    let in_header = || headers.get(MESSAGE_ID_HEADER)?.to_str().ok();
    let named = if push.is_wrapped {
        push.message_id.as_deref()
    } else {
        in_header()
    };
    match named.map(str::parse) {
        Some(Ok(message_id)) => Envelope {
            message_id,
            changed: push.notification,
        },
        // A body without a message id is its own id (protocol, section 3).
        None => Envelope {
            message_id: id_of_bytes(body),
            changed: push.notification,
        },
        Some(Err(_)) => Envelope {
            message_id: id_of_bytes(body),
            changed: Err("expected message.messageId to be 1 to 256 visible ASCII characters"),
        },
    }
}

fn id_of_bytes(body: &[u8]) -> MessageId {
    let hex = hex::encode(digest(&SHA256, body));
    #[expect(clippy::expect_used, reason = "64 hex digits are visible ASCII")]
    hex.parse().expect("a digest is a message id")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNWRAPPED: &str = r#"{"emailAddress": "ann@example.com", "historyId": 7}"#;

    #[test]
    fn an_unwrapped_push_has_its_id_in_a_header() {
        let headers =
            HeaderMap::from_iter([(MESSAGE_ID_HEADER.parse().unwrap(), "m1".parse().unwrap())]);
        let envelope = parse(UNWRAPPED.as_bytes(), &headers);
        assert_eq!(envelope.message_id.as_str(), "m1");
        assert_eq!(envelope.changed.unwrap().email_address, "ann@example.com");
    }

    #[test]
    fn a_body_with_no_message_id_is_its_own_id() {
        let [one, same, other] = [UNWRAPPED, UNWRAPPED, "{}"]
            .map(|body| parse(body.as_bytes(), &HeaderMap::new()).message_id);
        assert_eq!(one, same);
        assert_ne!(one, other);
    }

    #[test]
    fn an_invalid_message_id_is_not_stored() {
        let body = r#"{"message": {"messageId": "hunter2 \u00fc", "data": ""}}"#;
        let envelope = parse(body.as_bytes(), &HeaderMap::new());
        assert!(envelope.changed.unwrap_err().contains("messageId"));
        assert!(!envelope.message_id.as_str().contains("hunter2"));
    }
}
