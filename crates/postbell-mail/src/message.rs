//! A message of Gmail in the form that the bot gets.

use postbell_google::Message;
use postbell_protocol::webhook::{BodyFormat, WebhookMessage};

use crate::attachment::attachments;
use crate::authentication::authentication;
use crate::cut::cut_letter;
use crate::header::{decode_addresses, decode_text, field};
use crate::letter::{self, FetchedParts, Letter, MissingPart};
use crate::message_ids::{message_ids, urls};

/// How much of a message's text the bot gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyWanted {
    /// Headers and snippet only.
    No,
    /// At most this number of bytes of UTF-8, in this format.
    UpTo {
        /// The limit.
        bytes: usize,
        /// The format.
        format: BodyFormat,
    },
}

impl BodyWanted {
    /// At most this number of bytes of plain text.
    #[must_use]
    pub const fn text(bytes: usize) -> Self {
        Self::UpTo {
            bytes,
            format: BodyFormat::Text,
        }
    }
}

/// A converted message.
#[derive(Debug, Default)]
pub struct Extraction {
    /// The message.
    pub message: WebhookMessage,
    /// Text parts whose content did not come with the message. With them fetched, [`extract`] can be called again;
    /// without them the body is marked as cut.
    pub missing: Vec<MissingPart>,
}

/// Converts a message of Gmail, with the contents that were fetched separately. Never fails: a missing field is empty.
#[must_use]
pub fn extract(message: &Message, wanted: BodyWanted, fetched: &FetchedParts) -> Extraction {
    let headers = &message.payload.headers;
    let decoded = |name: &str, decode: fn(&str) -> String| field(headers, name).map(decode);
    let present = |name: &str, decode: fn(&str) -> String| {
        decoded(name, decode).filter(|value| !value.is_empty())
    };
    let mut read = WantedBody::default();
    if let BodyWanted::UpTo { bytes, format } = wanted {
        read = body(message, bytes, format, fetched);
    }
    let (files, has_more_files) = attachments(&message.payload);
    let message = WebhookMessage {
        from: decoded("from", decode_addresses).unwrap_or_default(),
        to: decoded("to", decode_addresses).unwrap_or_default(),
        cc: present("cc", decode_addresses),
        reply_to: present("reply-to", decode_addresses),
        subject: decoded("subject", decode_text).unwrap_or_default(),
        date: decoded("date", decode_text).unwrap_or_default(),
        internal_date: Some(message.internal_date.as_millis()).filter(|millis| *millis != 0),
        message_id: message_ids(headers, "message-id").pop(),
        in_reply_to: message_ids(headers, "in-reply-to"),
        references: message_ids(headers, "references"),
        list_id: present("list-id", decode_text),
        list_unsubscribe: urls(headers, "list-unsubscribe"),
        authentication: authentication(headers),
        body: read.text,
        body_format: read.format,
        body_truncated: read.was_cut.then_some(true),
        id: message.id.clone(),
        thread_id: message.thread_id.clone(),
        snippet: message.snippet.clone(),
        attachments_truncated: has_more_files.then_some(true),
        attachments: files,
        labels: message.label_ids.clone(),
        ..WebhookMessage::default()
    };
    Extraction {
        message,
        missing: read.missing,
    }
}

/// The part of the body that was read.
#[derive(Default)]
struct WantedBody {
    text: Option<String>,
    format: BodyFormat,
    was_cut: bool,
    missing: Vec<MissingPart>,
}

fn body(message: &Message, limit: usize, format: BodyFormat, fetched: &FetchedParts) -> WantedBody {
    let Letter {
        text,
        is_incomplete,
        missing,
    } = letter::read(&message.payload, limit, format, fetched);
    let (text, was_cut) = text.map(|text| cut_letter(text, limit)).unzip();
    WantedBody {
        format: text.as_ref().map(|_| format).unwrap_or_default(),
        text,
        was_cut: is_incomplete || was_cut.unwrap_or(false),
        missing,
    }
}
