//! The parts of a push that the relay needs: the message id, its publish time and the mailbox's history id.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderMap;
use postbell_core::{MessageId, Timestamp};
use postbell_google::{MailboxChanged, PushBody, publish_time};

/// The headers that hold the message id and the publish time of an unwrapped push
/// (<https://cloud.google.com/pubsub/docs/payload-unwrapping>).
const MESSAGE_ID_HEADER: &str = postbell_protocol::routes::PUBSUB_MESSAGE_ID;
const PUBLISH_TIME_HEADER: &str = postbell_protocol::routes::PUBSUB_PUBLISH_TIME;

/// A parsed push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Envelope {
    /// The message's own id, or one derived from its bytes.
    pub(super) message_id: MessageId,

    /// When Pub/Sub received the message, if the push says so.
    pub(super) published_at: Option<Timestamp>,

    /// The mailbox and its history id, or what was expected instead.
    pub(super) changed: Result<MailboxChanged, &'static str>,
}

/// Parses a push. The headers are used only if the body is unwrapped.
pub(super) fn parse(body: &[u8], headers: &HeaderMap) -> Envelope {
    let push = PushBody::read(body);
    let in_header = |name| headers.get(name)?.to_str().ok();
    let (named, published_at) = if push.is_wrapped {
        (push.message_id, push.published_at)
    } else {
        let time = in_header(PUBLISH_TIME_HEADER).and_then(publish_time);
        (in_header(MESSAGE_ID_HEADER).map(str::to_owned), time)
    };
    let (message_id, changed) = match named.map(MessageId::try_from) {
        Some(Ok(message_id)) => (message_id, push.notification),
        // A body without a message id is its own id (protocol, section 3).
        None => (id_of_bytes(body), push.notification),
        Some(Err(_)) => (
            id_of_bytes(body),
            Err("expected message.messageId to be 1 to 256 visible ASCII characters"),
        ),
    };
    Envelope {
        message_id,
        published_at,
        changed,
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
    fn an_unwrapped_push_has_its_id_and_time_in_headers() {
        let headers = [
            (MESSAGE_ID_HEADER, "m1"),
            (PUBLISH_TIME_HEADER, "1970-01-01T00:00:07Z"),
        ];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers = HeaderMap::from_iter(headers);
        let envelope = parse(UNWRAPPED.as_bytes(), &headers);
        assert_eq!(envelope.message_id.as_str(), "m1");
        assert_eq!(envelope.published_at, Some(Timestamp::from_millis(7000)));
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
