//! Reading a mail never panics, keeps the body's limit, and gives header fields of one line.
#![no_main]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use libfuzzer_sys::fuzz_target;
use postbell_google::{Body, Header, Message, Part};
use postbell_mail::{BodyWanted, FetchedParts, extract, mailboxes};
use postbell_protocol::webhook::BodyFormat;

const TYPES: [&str; 8] = [
    "text/html; charset=utf-8",
    "text/plain; charset=iso-2022-jp; format=flowed",
    "text/plain; charset=utf-7",
    "text/calendar",
    "text/enriched",
    "multipart/mixed",
    "multipart/alternative",
    "multipart/related; start=\"<1>\"",
];

/// The largest limit.
const LIMIT: usize = 2_000;

/// Builds a part from pieces of the input, each with the number of its type before it.
fn part(pieces: &[&[u8]], depth: usize) -> Part {
    let (first, rest): (&[u8], _) = match pieces.split_first() {
        Some((first, rest)) => (first, rest),
        None => (&[], &[][..]),
    };
    let (kind, content) = first.split_first().unwrap_or((&0, &[]));
    let content_type = TYPES[usize::from(*kind) % TYPES.len()];
    let mut made = Part {
        mime_type: content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned(),
        headers: vec![
            header("Content-Type", content_type),
            header("Content-ID", "<1>"),
        ],
        ..Part::default()
    };
    if made.mime_type.starts_with("text/") || rest.is_empty() || depth > 40 {
        made.body = Body {
            data: Some(BASE64_URL_SAFE.encode(content)),
            ..Body::default()
        };
    } else {
        let half = rest.len().div_ceil(2);
        made.parts = rest
            .chunks(half)
            .map(|pieces| part(pieces, depth + 1))
            .collect();
    }
    made
}

fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fuzz_target!(|input: &[u8]| {
    let mut pieces = input.split(|byte| *byte == 0xff);
    let field = String::from_utf8_lossy(pieces.next().unwrap_or_default()).into_owned();
    let pieces: Vec<_> = pieces.collect();
    let mut payload = part(&pieces, 0);
    for name in [
        "Received",
        "Authentication-Results",
        "From",
        "Subject",
        "References",
    ] {
        payload.headers.insert(0, header(name, &field));
    }
    payload.headers.push(header("Content-Disposition", &field));
    let message = Message {
        payload,
        ..Message::default()
    };
    for format in [BodyFormat::Text, BodyFormat::Markdown, BodyFormat::Html] {
        for bytes in [0, 7, LIMIT] {
            let wanted = BodyWanted::UpTo { bytes, format };
            let read = extract(&message, wanted, &FetchedParts::new()).message;
            assert!(read.body.is_none_or(|body| body.len() <= bytes));
            assert!(!read.from.contains(['\r', '\n']) && !read.subject.contains(['\r', '\n']));
            let _ = mailboxes(&read.from);
        }
    }
});
