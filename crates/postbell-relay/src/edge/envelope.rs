//! The body of a push, in each form that Pub/Sub gives it.
//!
//! Wrapped, as <https://cloud.google.com/pubsub/docs/push> has it, with both spellings of each
//! field; or unwrapped (<https://cloud.google.com/pubsub/docs/payload-unwrapping>), where the body
//! is the data itself and the message id is a header.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderMap;
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use postbell_core::{HistoryId, MessageId};
use serde::{Deserialize, Deserializer, de};

/// The header that holds the message id of an unwrapped push.
const MESSAGE_ID_HEADER: &str = "x-goog-pubsub-message-id";

/// What of a push matters to the relay.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Envelope {
    pub(super) message_id: MessageId,
    pub(super) history_id: HistoryId,
}

/// A body that is no push of Gmail's: which field was wrong. Never repeats what stood there.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Unreadable {
    /// The message's own id, or one made of its bytes.
    pub(super) message_id: MessageId,
    problem: &'static str,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed: {}", self.problem)
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "messageId")]
    message_id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "message_id")]
    message_id_in_snake_case: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(rename = "emailAddress")]
    _email_address: String,
    #[serde(deserialize_with = "number_or_text")]
    history_id: HistoryId,
}

/// Reads a push's body; the headers count only where the body is unwrapped.
pub(super) fn read(body: &[u8], headers: &HeaderMap) -> Result<Envelope, Unreadable> {
    let Ok(Body { message }) = serde_json::from_slice(body) else {
        let problem = "expected a JSON object whose message has text in data and in messageId";
        return Err(Unreadable {
            message_id: id_of_bytes(body),
            problem,
        });
    };
    let message_id = match named_message_id(message.as_ref(), headers).map(str::parse) {
        Some(Ok(id)) => id,
        // A body with no message id is its own id (contract, section 3).
        None => id_of_bytes(body),
        Some(Err(_)) => {
            let problem = "expected message.messageId to be 1 to 256 visible ASCII characters";
            return Err(Unreadable {
                message_id: id_of_bytes(body),
                problem,
            });
        }
    };
    match history_id(body, message) {
        Ok(history_id) => Ok(Envelope {
            message_id,
            history_id,
        }),
        Err(problem) => Err(Unreadable {
            message_id,
            problem,
        }),
    }
}

fn named_message_id<'a>(
    message: Option<&'a Message<'_>>,
    headers: &'a HeaderMap,
) -> Option<&'a str> {
    let named = match message {
        Some(message) => message
            .message_id
            .as_deref()
            .or(message.message_id_in_snake_case.as_deref())?,
        None => headers.get(MESSAGE_ID_HEADER)?.to_str().ok()?,
    };
    Some(named).filter(|id| !id.is_empty())
}

fn history_id(body: &[u8], message: Option<Message<'_>>) -> Result<HistoryId, &'static str> {
    let data = match message {
        None => Cow::Borrowed(body),
        Some(Message { data: None, .. }) => return Err("expected message.data"),
        Some(Message {
            data: Some(data), ..
        }) => Cow::Owned(decode_base64(&data)?),
    };
    let data: Data = serde_json::from_slice(&data).map_err(|_| {
        "expected the data to be a JSON object with emailAddress, a text, \
         and historyId, an unsigned 64-bit number"
    })?;
    Ok(data.history_id)
}

/// Decodes base64 of either alphabet, padded or not: Google documents one and sends another.
fn decode_base64(text: &str) -> Result<Vec<u8>, &'static str> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
    const FOR_URLS: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
    let decoded = PLAIN.decode(text).or_else(|_| FOR_URLS.decode(text));
    decoded.map_err(|_| "expected message.data to be base64")
}

fn id_of_bytes(body: &[u8]) -> MessageId {
    let digest = digest(&SHA256, body);
    let hex: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    #[expect(clippy::expect_used, reason = "64 hex digits are visible ASCII")]
    hex.parse().expect("a digest is a message id")
}

/// Gmail documents a text and sends a number; either is a uint64, never by way of a float.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HistoryId, D::Error> {
    struct Either;

    impl de::Visitor<'_> for Either {
        type Value = HistoryId;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an unsigned 64-bit number, or one as text")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<HistoryId, E> {
            Ok(HistoryId::new(number))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<HistoryId, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Either)
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn notification(history_id: &str) -> String {
        format!(r#"{{"emailAddress": "ann@example.com", "historyId": {history_id}}}"#)
    }

    fn read_plain(body: &[u8]) -> Result<Envelope, Unreadable> {
        read(body, &HeaderMap::new())
    }

    fn envelope(id: &str, history_id: u64) -> Envelope {
        Envelope {
            message_id: id.parse().unwrap(),
            history_id: HistoryId::new(history_id),
        }
    }

    #[test]
    fn either_spelling_of_the_message_id_will_do() {
        let data = BASE64_STANDARD.encode(notification("7"));
        for message in [
            json!({ "data": data, "messageId": "m1", "message_id": "m1", "attributes": {} }),
            json!({ "data": data, "messageId": "m1" }),
            json!({ "data": data, "message_id": "m1", "publishTime": "2021-02-26T19:13:55.749Z" }),
        ] {
            let body = json!({ "message": message, "subscription": "s", "deliveryAttempt": 3 });
            assert_eq!(
                read_plain(body.to_string().as_bytes()),
                Ok(envelope("m1", 7))
            );
        }
    }

    #[test]
    fn a_history_id_is_a_number_or_a_text_and_a_uint64_either_way() {
        for (written, number) in [
            ("1710", 1710),
            (r#""1710""#, 1710),
            ("18446744073709551615", u64::MAX),
            (r#""18446744073709551615""#, u64::MAX),
        ] {
            let data = BASE64_STANDARD.encode(notification(written));
            let body = json!({ "message": { "data": data, "messageId": "m1" } }).to_string();
            assert_eq!(
                read_plain(body.as_bytes()),
                Ok(envelope("m1", number)),
                "{written}"
            );
        }
    }

    #[test]
    fn both_alphabets_of_base64_are_read_padded_or_not() {
        let data = r#"{"emailAddress":"ü??>>@example.com","historyId":7}"#;
        for encoded in [
            BASE64_STANDARD.encode(data),
            BASE64_URL_SAFE_NO_PAD.encode(data),
        ] {
            let body = json!({ "message": { "data": encoded, "messageId": "m1" } }).to_string();
            assert_eq!(read_plain(body.as_bytes()), Ok(envelope("m1", 7)));
        }
    }

    #[test]
    fn an_unwrapped_push_has_its_id_in_a_header() {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID_HEADER, "m1".parse().unwrap());
        assert_eq!(
            read(notification("7").as_bytes(), &headers),
            Ok(envelope("m1", 7))
        );
    }

    #[test]
    fn a_body_with_no_message_id_is_its_own_id() {
        let one = read_plain(notification("7").as_bytes()).unwrap();
        let same = read_plain(notification("7").as_bytes()).unwrap();
        let other = read_plain(notification("8").as_bytes()).unwrap();
        assert_eq!(one.message_id, same.message_id);
        assert_ne!(one.message_id, other.message_id);
    }

    #[test]
    fn what_cannot_be_read_names_the_field_and_repeats_nothing() {
        let with_data = |data: &str| {
            let data = BASE64_STANDARD.encode(data);
            json!({ "message": { "data": data, "messageId": "m1" } }).to_string()
        };
        for (body, expected) in [
            ("hunter2".to_owned(), "JSON object"),
            (r#"["hunter2"]"#.to_owned(), "JSON object"),
            (
                json!({ "message": { "messageId": "m1" } }).to_string(),
                "message.data",
            ),
            (
                json!({ "message": { "data": "?hunter2" } }).to_string(),
                "base64",
            ),
            (
                json!({ "message": { "messageId": "hunter2 ü", "data": "" } }).to_string(),
                "messageId",
            ),
            (with_data("hunter2"), "historyId"),
            (with_data(&notification("-1")), "historyId"),
            (with_data(&notification("1.5")), "historyId"),
            (
                with_data(&notification("18446744073709551616")),
                "historyId",
            ),
            (with_data(r#"{"historyId":1}"#), "emailAddress"),
        ] {
            let told = read_plain(body.as_bytes()).unwrap_err().to_string();
            assert!(
                told.contains(expected) && !told.contains("hunter2"),
                "{body}: {told}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>) {
            let _ = read_plain(&body);
        }
    }
}
