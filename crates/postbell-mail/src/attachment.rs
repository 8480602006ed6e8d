//! The attached files of a mail: described, not fetched.

use postbell_google::{Message, Part};
use postbell_protocol::webhook::Attachment;

use crate::cut::cut;
use crate::media_type::MediaType;
use crate::part::{Disposition, disposition, file_name};

/// The largest number of listed attachments.
const MAX_ATTACHMENTS: usize = 100;

/// The longest name of an attachment, in bytes.
const MAX_NAME: usize = 255;

/// The longest id, in bytes.
const MAX_ID: usize = 2 * 1024;

/// The largest number of parts that are searched.
const MAX_PARTS: usize = 10_000;

/// The attached files, in order, up to the limit, and whether there are more.
pub(crate) fn attachments(mail: &Part) -> (Vec<Attachment>, bool) {
    let describe = |part: &Part| Attachment {
        id: part
            .body
            .attachment_id
            .clone()
            .filter(|id| id.len() <= MAX_ID),
        name: cut(file_name(part), MAX_NAME).0,
        mime_type: part.mime_type.clone(),
        size: part.body.size,
        ..Attachment::default()
    };
    let (parts, has_more) = attached_parts(mail);
    (parts.into_iter().map(describe).collect(), has_more)
}

/// The contents of the attachments of [`extract`](crate::extract), in the same order, as far as they came with the
/// message.
#[must_use]
pub fn attached_contents(message: &Message) -> Vec<Option<Vec<u8>>> {
    let (parts, _) = attached_parts(&message.payload);
    parts
        .into_iter()
        .map(|part| part.body.first_bytes(usize::MAX))
        .collect()
}

/// The attached files up to the limit, and whether there may be more.
fn attached_parts(mail: &Part) -> (Vec<&Part>, bool) {
    let mut parts = vec![mail];
    let mut found = Vec::new();
    for _ in 0..MAX_PARTS {
        let Some(part) = parts.pop() else {
            return (found, false);
        };
        // The name of a container is that of a part in it, or of nothing.
        let is_container = part.mime_type.trim_start().get(..10);
        let is_container =
            is_container.is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
        let is_file = !file_name(part).is_empty() || is_nameless_file(part);
        if is_file && !is_container {
            if found.len() >= MAX_ATTACHMENTS {
                return (found, true);
            }
            found.push(part);
        }
        parts.extend(part.parts.iter().rev());
    }
    (found, !parts.is_empty())
}

/// Whether a part is an attachment that the sender gave no name.
fn is_nameless_file(part: &Part) -> bool {
    let is_container = !part.parts.is_empty() && MediaType::of(part) != MediaType::Mail;
    !is_container && disposition(part) == Disposition::Attachment
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attachments_are_listed_but_not_fetched() {
        let mail = json!({ "parts": [
            { "mimeType": "text/plain", "body": { "size": 5, "data": "aGVsbG8" } },
            { "mimeType": "multipart/mixed", "filename": "container", "parts": [{
                "mimeType": "application/pdf",
                "filename": "=?utf-8?q?Rechnung_M=C3?= =?utf-8?q?=A4rz=2Epdf?=",
                "body": { "size": 20_000_000, "attachmentId": "a1" },
            }] },
            {
                "mimeType": "image/png",
                "headers": [{ "name": "Content-Disposition", "value": "inline; filename*=utf-8''%C3%BC.png" }],
                "body": { "size": 0, "data": "" },
            },
            {
                "mimeType": "text/plain",
                "headers": [{ "name": "Content-Disposition", "value": "attachment" }],
                "body": { "size": 3, "data": "bG9n" },
            },
        ]});
        let mail: Part = serde_json::from_value(mail).unwrap();
        let message = Message {
            payload: mail.clone(),
            ..Message::default()
        };
        assert_eq!(
            attached_contents(&message),
            [None, Some(Vec::new()), Some(b"log".to_vec())]
        );
        let (found, has_more) = attachments(&mail);
        assert!(!has_more);
        let found: Vec<_> = found
            .into_iter()
            .map(|one| (one.name, one.mime_type, one.size))
            .collect();
        let expected = [
            ("Rechnung März.pdf", "application/pdf", 20_000_000),
            ("ü.png", "image/png", 0),
            ("", "text/plain", 3),
        ];
        assert_eq!(
            found,
            expected.map(|(name, mime_type, size)| (name.to_owned(), mime_type.to_owned(), size))
        );
    }

    #[test]
    fn more_attachments_than_are_listed_are_noted() {
        let of_files = |count: usize| {
            let file = json!({ "mimeType": "text/plain", "filename": "a.txt" });
            let mail = json!({ "parts": vec![file; count] });
            serde_json::from_value::<Part>(mail).unwrap()
        };
        for (count, listed) in [(100, 100), (101, 100)] {
            let mail = of_files(count);
            let (found, has_more) = attachments(&mail);
            assert_eq!((found.len(), has_more), (listed, count > listed));
        }
    }
}
