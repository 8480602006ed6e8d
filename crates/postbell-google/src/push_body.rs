//! The body of a push from Pub/Sub, and Gmail's notification in it.
//!
//! Wrapped (<https://cloud.google.com/pubsub/docs/push>), with either spelling of each field, or
//! unwrapped (<https://cloud.google.com/pubsub/docs/payload-unwrapping>), where the body is the
//! data itself and the message id is a header.

use std::borrow::Cow;
use std::fmt;

use postbell_core::{HistoryId, Timestamp};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::base64::decode_base64;

/// The body of a push.
///
/// The message id and the notification are separate, so that a malformed message has an id, too.
#[derive(Debug, Eq, PartialEq)]
pub struct PushBody {
    /// The message's id, if the body contains one.
    pub message_id: Option<String>,

    /// When Pub/Sub received the message, if the body contains a valid time.
    pub published_at: Option<Timestamp>,

    /// Whether the data is wrapped in an envelope.
    pub is_wrapped: bool,

    /// Gmail's notification, or what was expected. The text contains nothing of the body.
    pub notification: Result<MailboxChanged, &'static str>,
}

/// Gmail's notification that a mailbox has changed
/// (<https://developers.google.com/workspace/gmail/api/guides/push>).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MailboxChanged {
    /// The mailbox's address.
    pub email_address: String,

    /// The mailbox's history id. Gmail documents a text and sends a number.
    #[serde(deserialize_with = "number_or_text")]
    pub history_id: HistoryId,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow, rename = "messageId")]
    message_id: Option<Text<'a>>,
    #[serde(borrow, rename = "message_id")]
    message_id_in_snake_case: Option<Text<'a>>,
    /// A message can be delivered without it, so no value makes the body unreadable.
    #[serde(borrow, rename = "publishTime")]
    publish_time: Option<&'a RawValue>,
    #[serde(borrow, rename = "publish_time")]
    publish_time_in_snake_case: Option<&'a RawValue>,
}

/// A text that is copied only if it contains escapes. An `Option<Cow<str>>` would always be.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl PushBody {
    /// Parses a body. Never fails: the caller must handle malformed bodies, too.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        match read_json(body) {
            Ok(Body {
                message: Some(message),
            }) => Self {
                notification: wrapped_data(message.data).and_then(|data| notification(&data)),
                message_id: message
                    .message_id
                    .or(message.message_id_in_snake_case)
                    .map(|Text(id)| id.into_owned())
                    .filter(|id| !id.is_empty()),
                published_at: message
                    .publish_time
                    .or(message.publish_time_in_snake_case)
                    .and_then(|time| serde_json::from_str::<String>(time.get()).ok())
                    .and_then(|time| publish_time(&time)),
                is_wrapped: true,
            },
            Ok(Body { message: None }) => Self {
                message_id: None,
                published_at: None,
                is_wrapped: false,
                notification: notification(body),
            },
            Err(_) => Self {
                message_id: None,
                published_at: None,
                is_wrapped: false,
                notification: Err(
                    "expected a JSON object whose message has text in data and in messageId",
                ),
            },
        }
    }
}

/// Reads the time at which Pub/Sub received a message (RFC 3339); `None` from any other text.
#[must_use]
pub fn publish_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

fn wrapped_data(data: Option<Text<'_>>) -> Result<Vec<u8>, &'static str> {
    let Text(data) = data.ok_or("expected message.data")?;
    decode_base64(&data).ok_or("expected message.data to be base64")
}

fn notification(data: &[u8]) -> Result<MailboxChanged, &'static str> {
    read_json(data).map_err(|_| {
        "expected the data to be a JSON object with emailAddress, a text, \
         and historyId, an unsigned 64-bit number"
    })
}

/// Reads JSON. Of text that is UTF-8 as a whole, no string has to be checked again.
fn read_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    match str::from_utf8(json) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(json),
    }
}

/// Reads an unsigned 64-bit integer from a number or a text, without loss.
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
    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn data(history_id: &str) -> String {
        format!(r#"{{"emailAddress": "ann@example.com", "historyId": {history_id}}}"#)
    }

    fn wrapped(data: &str) -> Value {
        json!({ "message": { "data": BASE64_STANDARD.encode(data), "messageId": "m1" } })
    }

    fn read(body: &Value) -> PushBody {
        PushBody::read(body.to_string().as_bytes())
    }

    fn changed(history_id: u64) -> Result<MailboxChanged, &'static str> {
        let history_id = HistoryId::new(history_id);
        Ok(MailboxChanged {
            email_address: "ann@example.com".to_owned(),
            history_id,
        })
    }

    #[test]
    fn either_spelling_of_the_message_id_is_accepted() {
        let data = BASE64_STANDARD.encode(data("7"));
        for message in [
            json!({ "data": data, "messageId": "m1", "message_id": "m1", "attributes": {} }),
            json!({ "data": data, "messageId": "m1" }),
            json!({ "data": data, "message_id": "m1", "publishTime": "2021-02-26T19:13:55.749Z" }),
        ] {
            let body =
                read(&json!({ "message": message, "subscription": "s", "deliveryAttempt": 3 }));
            assert_eq!(
                (body.message_id.as_deref(), body.is_wrapped),
                (Some("m1"), true)
            );
            assert_eq!(body.notification, changed(7));
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
            assert_eq!(
                read(&wrapped(&data(written))).notification,
                changed(number),
                "{written}"
            );
        }
    }

    #[test]
    fn the_publish_time_is_read_in_either_spelling() {
        let data = BASE64_STANDARD.encode(data("7"));
        let time = "2021-02-26T19:13:55.749Z";
        for (message, expected) in [
            (
                json!({ "data": data, "publishTime": time, "publish_time": time }),
                Some(749),
            ),
            (json!({ "data": data, "publishTime": time }), Some(749)),
            (
                json!({ "data": data, "publish_time": "2021-02-26T19:13:55Z" }),
                Some(0),
            ),
            (json!({ "data": data, "publishTime": "yesterday" }), None),
            (
                json!({ "data": data, "publishTime": 1_614_366_835_749_u64 }),
                None,
            ),
            (json!({ "data": data }), None),
        ] {
            let body = read(&json!({ "message": message }));
            let expected =
                expected.map(|millis| Timestamp::from_millis(1_614_366_835_000 + millis));
            assert_eq!(
                (body.published_at, body.notification),
                (expected, changed(7))
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
            let body = read(&json!({ "message": { "data": encoded } }));
            assert_eq!(body.notification.unwrap().history_id, HistoryId::new(7));
        }
    }

    #[test]
    fn an_unwrapped_body_is_the_data_itself() {
        let body = PushBody::read(data("7").as_bytes());
        let expected = PushBody {
            message_id: None,
            published_at: None,
            is_wrapped: false,
            notification: changed(7),
        };
        assert_eq!(body, expected);
    }

    #[test]
    fn a_malformed_body_is_refused_with_the_field_and_without_its_content() {
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
            (wrapped("hunter2").to_string(), "historyId"),
            (wrapped(&data("-1")).to_string(), "historyId"),
            (wrapped(&data("1.5")).to_string(), "historyId"),
            (
                wrapped(&data("18446744073709551616")).to_string(),
                "historyId",
            ),
            (wrapped(r#"{"historyId":1}"#).to_string(), "emailAddress"),
        ] {
            let message = PushBody::read(body.as_bytes()).notification.unwrap_err();
            assert!(
                message.contains(expected) && !message.contains("hunter2"),
                "{body}: {message}"
            );
        }
    }

    #[test]
    fn a_malformed_message_has_its_id() {
        let body = read(&json!({ "message": { "messageId": "m1", "data": "" } }));
        assert_eq!(body.message_id.as_deref(), Some("m1"));
        assert!(body.notification.is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>) {
            let _ = PushBody::read(&body);
        }
    }
}
