//! Messages as Gmail gives them.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use postbell_google::{Body, Message};
use postbell_mail::{BodyWanted, Extraction, FetchedParts, extract};
use postbell_protocol::webhook::{BodyFormat, WebhookMessage};
use serde_json::{Value, json};

/// The limit of the tests' bodies.
pub(crate) const LIMIT: usize = 20_000;

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE.encode(bytes)
}

/// A text part.
pub(crate) fn text(content_type: &str, text: &str) -> Value {
    bytes(content_type, text.as_bytes())
}

/// A part of these bytes.
pub(crate) fn bytes(content_type: &str, bytes: &[u8]) -> Value {
    json!({
        "mimeType": content_type.split(';').next(),
        "filename": "",
        "headers": [{ "name": "Content-Type", "value": content_type }],
        "body": { "size": bytes.len(), "data": base64(bytes) },
    })
}

pub(crate) fn plain(content: &str) -> Value {
    text("text/plain; charset=utf-8", content)
}

pub(crate) fn html(content: &str) -> Value {
    text("text/html; charset=utf-8", content)
}

/// A container.
pub(crate) fn multipart(subtype: &str, parts: &[Value]) -> Value {
    json!({ "mimeType": format!("multipart/{subtype}"), "filename": "", "parts": parts })
}

/// Adds a field to a part.
pub(crate) fn with_field(mut part: Value, name: &str, value: &str) -> Value {
    let field = json!({ "name": name, "value": value });
    match part["headers"].as_array_mut() {
        Some(fields) => fields.push(field),
        None => part["headers"] = json!([field]),
    }
    part
}

/// Makes a part an attached file.
pub(crate) fn named(part: Value, disposition: &str, name: &str) -> Value {
    let mut part = with_field(
        part,
        "Content-Disposition",
        &format!("{disposition}; filename=\"{name}\""),
    );
    part["filename"] = json!(name);
    part
}

/// What the bot gets of a mail.
pub(crate) fn read(payload: Value) -> WebhookMessage {
    extraction(payload, LIMIT, &FetchedParts::new()).message
}

/// What the bot gets of a mail in another format than text.
pub(crate) fn read_as(format: BodyFormat, payload: Value) -> WebhookMessage {
    let bytes = LIMIT;
    extraction_as(
        payload,
        BodyWanted::UpTo { bytes, format },
        &FetchedParts::new(),
    )
    .message
}

pub(crate) fn extraction(payload: Value, limit: usize, fetched: &FetchedParts) -> Extraction {
    extraction_as(payload, BodyWanted::text(limit), fetched)
}

fn extraction_as(payload: Value, wanted: BodyWanted, fetched: &FetchedParts) -> Extraction {
    let message: Message =
        serde_json::from_value(json!({ "payload": payload })).expect("a message of Gmail");
    extract(&message, wanted, fetched)
}

/// The body of a mail; empty if there is none.
pub(crate) fn body_of(payload: Value) -> String {
    read(payload).body.unwrap_or_default()
}

/// The body of a mail of HTML alone, which is not cut.
pub(crate) fn body_of_html(content: &str) -> String {
    let read = read(html(content));
    assert_eq!(read.body_truncated, None);
    read.body.unwrap_or_default()
}

pub(crate) fn fetched(id: &str, content: &str) -> FetchedParts {
    let body = Body {
        data: Some(base64(content.as_bytes())),
        ..Body::default()
    };
    FetchedParts::from([(id.to_owned(), body)])
}
