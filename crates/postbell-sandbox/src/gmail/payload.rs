//! A mail as Gmail's payload tree
//! (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages>).

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use encoding_rs::WINDOWS_1252;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::{Encoding, Message, MessagePart, MimeHeaders, PartType};
use serde_json::{Value, json};

use super::quoted_printable;

/// Maximum depth of the tree. Deeper parts are the content of the last one.
const DEEPEST: usize = 40;

/// Maximum number of parts.
const MOST_PARTS: usize = 2_000;

/// Length of a snippet, in characters.
const SNIPPET: usize = 200;

/// A part of the payload tree.
#[derive(Debug)]
pub(super) struct Node {
    id: String,
    mime_type: String,
    filename: String,
    pub(super) headers: Vec<(String, String)>,
    content: Vec<u8>,
    parts: Vec<Node>,
}

impl Node {
    /// Builds the tree of a mail; bytes that cannot be parsed become one text part.
    pub(super) fn of(mail: &[u8]) -> Self {
        match super::mail::parse(mail) {
            Some(message) if !message.parts.is_empty() => {
                Builder { budget: MOST_PARTS }.node(&message, 0, String::new(), 0)
            }
            _ => Self {
                id: String::new(),
                mime_type: "text/plain".to_owned(),
                filename: String::new(),
                headers: Vec::new(),
                content: mail.to_vec(),
                parts: Vec::new(),
            },
        }
    }

    /// Gmail's JSON of the tree.
    pub(super) fn json(&self) -> Value {
        let mut json = self.json_without_content();
        json["body"] = self.body();
        if !self.parts.is_empty() {
            json["parts"] = self.parts.iter().map(Self::json).collect();
        }
        json
    }

    fn json_without_content(&self) -> Value {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }));
        json!({
            "partId": self.id,
            "mimeType": self.mime_type,
            "filename": self.filename,
            "headers": headers.collect::<Vec<_>>(),
        })
    }

    /// The mail's header fields: the named ones, or all if none is named.
    pub(super) fn headers_json(&self, named: &[String]) -> Value {
        let is_wanted = |name: &str| {
            named.is_empty() || named.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let headers = self.headers.iter().filter(|(name, _)| is_wanted(name));
        let headers: Vec<_> = headers
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        json!({ "mimeType": self.mime_type, "headers": headers })
    }

    /// Content of an attachment.
    pub(super) fn attachment(&self, id: &str) -> Option<&[u8]> {
        if !self.filename.is_empty() && self.attachment_id() == id {
            return Some(&self.content);
        }
        self.parts.iter().find_map(|part| part.attachment(id))
    }

    /// The snippet.
    pub(super) fn snippet(&self) -> String {
        let text = self.first_text().unwrap_or_default();
        let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = words.chars().take(SNIPPET).collect();
        short
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
    }

    fn first_text(&self) -> Option<String> {
        if self.mime_type == "text/plain" && self.filename.is_empty() {
            return Some(header_text(&self.content).into_owned());
        }
        self.parts.iter().find_map(Self::first_text)
    }

    fn body(&self) -> Value {
        if !self.filename.is_empty() {
            return json!({ "attachmentId": self.attachment_id(), "size": self.content.len() });
        }
        if !self.parts.is_empty() {
            return json!({ "size": 0 });
        }
        let data = BASE64_URL_SAFE.encode(&self.content);
        json!({ "size": self.content.len(), "data": data })
    }

    fn attachment_id(&self) -> String {
        format!("ANGjdJ-{}", self.id)
    }
}

struct Builder {
    budget: usize,
}

impl Builder {
    fn node(&mut self, message: &Message<'_>, index: usize, id: String, depth: usize) -> Node {
        let Some(part) = message.parts.get(index) else {
            return Node::of(b"");
        };
        self.budget = self.budget.saturating_sub(1);
        let parts = if depth < DEEPEST {
            self.children(message, part, &id, depth)
        } else {
            Vec::new()
        };
        Node {
            mime_type: mime_type(part),
            filename: part.attachment_name().unwrap_or_default().to_owned(),
            headers: headers(message, part),
            // An attached mail is a file and a tree.
            content: if parts.is_empty() || matches!(part.body, PartType::Message(_)) {
                content(message, part)
            } else {
                Vec::new()
            },
            parts,
            id,
        }
    }

    fn children(
        &mut self,
        message: &Message<'_>,
        part: &MessagePart<'_>,
        id: &str,
        depth: usize,
    ) -> Vec<Node> {
        let child_id = |number: usize| {
            if id.is_empty() {
                number.to_string()
            } else {
                format!("{id}.{number}")
            }
        };
        match &part.body {
            PartType::Multipart(children) => {
                let mut nodes = Vec::new();
                for (number, child) in children.iter().enumerate() {
                    if self.budget == 0 {
                        break;
                    }
                    let index = usize::try_from(*child).unwrap_or(usize::MAX);
                    nodes.push(self.node(message, index, child_id(number), depth + 1));
                }
                nodes
            }
            PartType::Message(inner) if !inner.parts.is_empty() && self.budget > 0 => {
                vec![self.node(inner, 0, child_id(0), depth + 1)]
            }
            _ => Vec::new(),
        }
    }
}

fn mime_type(part: &MessagePart<'_>) -> String {
    let declared = part.content_type().map(|content_type| {
        let subtype = content_type.subtype().unwrap_or("plain");
        format!("{}/{subtype}", content_type.ctype()).to_lowercase()
    });
    match (&part.body, declared) {
        (PartType::Multipart(_), Some(declared)) if !declared.starts_with("multipart/") => {
            "multipart/mixed".to_owned()
        }
        // A multipart without parts is read as text.
        (PartType::Text(_), Some(declared)) if declared.starts_with("multipart/") => {
            "text/plain".to_owned()
        }
        (_, Some(declared)) => declared,
        (PartType::Message(_), None) => "message/rfc822".to_owned(),
        (_, None) => "text/plain".to_owned(),
    }
}

/// The decoded content; a text as UTF-8, as Gmail gives it.
fn content(message: &Message<'_>, part: &MessagePart<'_>) -> Vec<u8> {
    let body = usize::try_from(part.offset_body)
        .ok()
        .zip(usize::try_from(part.offset_end).ok());
    let encoded = body.and_then(|(start, end)| message.raw_message().get(start..end));
    match encoded {
        // The parser ends a text at the first malformed sequence.
        Some(encoded)
            if part.encoding == Encoding::QuotedPrintable
                && quoted_printable::is_malformed(encoded) =>
        {
            let decoded = quoted_printable::decode(encoded);
            let charset = part
                .content_type()
                .and_then(|content_type| content_type.attribute("charset"));
            let charset =
                charset.and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
            match charset.filter(|_| matches!(part.body, PartType::Text(_) | PartType::Html(_))) {
                Some(charset) => charset.decode(&decoded).0.into_owned().into_bytes(),
                None => decoded,
            }
        }
        Some(encoded) => beyond_ascii(part, encoded).unwrap_or_else(|| part.contents().to_vec()),
        None => part.contents().to_vec(),
    }
}

/// The bytes of a text that contradict the label us-ascii. They stay, since their charset is not known.
fn beyond_ascii(part: &MessagePart<'_>, encoded: &[u8]) -> Option<Vec<u8>> {
    let is_text = matches!(part.body, PartType::Text(_) | PartType::Html(_));
    if !is_text || !is_labelled_ascii(part) {
        return None;
    }
    let decoded = match part.encoding {
        Encoding::None => encoded.to_vec(),
        Encoding::Base64 => base64_decode(encoded)?,
        Encoding::QuotedPrintable => quoted_printable::decode(encoded),
    };
    (!decoded.is_ascii()).then_some(decoded)
}

fn is_labelled_ascii(part: &MessagePart<'_>) -> bool {
    let charset = part
        .content_type()
        .and_then(|content_type| content_type.attribute("charset"));
    charset.is_some_and(|charset| charset.eq_ignore_ascii_case("us-ascii"))
}

/// The text of a header field or of a snippet. Bytes that are not UTF-8 are mostly those of Western Europe's old charset.
fn header_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

/// The raw header fields, each unfolded to one line.
fn headers(message: &Message<'_>, part: &MessagePart<'_>) -> Vec<(String, String)> {
    let raw = message.raw_message();
    let value = |start: u32, end: u32| {
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        raw.get(start..end)
    };
    let unfolded = |bytes: &[u8]| {
        let text = header_text(bytes);
        let lines = text
            .split(['\r', '\n'])
            .map(str::trim)
            .filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    };
    let named = part.headers.iter().map(|header| {
        let value = value(header.offset_start, header.offset_end).unwrap_or_default();
        (header.name.as_str().to_owned(), unfolded(value))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_becomes_gmails_tree() {
        let mail = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n folded\r\n\
            Content-Type: multipart/mixed; boundary=a\r\n\r\n\
            --a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
            --b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe <3\r\n\
            --b\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n--b--\r\n\
            --a\r\nContent-Type: image/png; name=\"x.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n\
            --a--\r\n";
        let node = Node::of(mail);
        let json = node.json();
        assert_eq!(json["mimeType"], "multipart/mixed");
        assert_eq!(
            json["headers"][0]["value"],
            "=?utf-8?q?Gr=C3=BC=C3=9Fe?= folded"
        );
        assert_eq!(json["parts"][0]["parts"][1]["mimeType"], "text/html");
        assert_eq!(json["parts"][0]["parts"][1]["partId"], "0.1");
        let text = &json["parts"][0]["parts"][0]["body"];
        assert_eq!(text["data"], BASE64_URL_SAFE.encode("Grüße <3"));
        assert_eq!(json["parts"][1]["filename"], "x.png");
        let attachment = json["parts"][1]["body"]["attachmentId"].as_str().unwrap();
        assert_eq!(node.attachment(attachment), Some(&[0, 1, 2][..]));
        assert_eq!(node.snippet(), "Grüße &lt;3");
    }

    #[test]
    fn raw_bytes_and_malformed_text_are_read() {
        let mail = b"Subject: Fr\xf6sche =?iso-8859-1?Q?M\xfcller?=\r\nTo: J\xc3\xbcrgen\r\n\
            Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
            https://x.org/?psc=1&r=FCdiger gr=FC=DFt\r\n";
        let json = Node::of(mail).json();
        assert_eq!(
            json["headers"][0]["value"],
            "Frösche =?iso-8859-1?Q?Müller?="
        );
        assert_eq!(json["headers"][1]["value"], "Jürgen");
        let text = "https://x.org/?psc=1&rüdiger grüßt\r\n";
        assert_eq!(json["body"]["data"], BASE64_URL_SAFE.encode(text));
    }

    #[test]
    fn a_broken_head_ends_where_the_text_begins() {
        let text = |mail: &str| Node::of(mail.as_bytes()).first_text();
        for (mail, expected) in [
            (
                "Subject: a\r\n \r\nThe blank line: it has a space.\r\n\r\nEnd.\r\n",
                "The blank line: it has a space.\r\n\r\nEnd.\r\n",
            ),
            ("Subject: a\r\n \r\n b\r\n\r\nText\r\n", "Text\r\n"),
            (
                "Subject: a\r\n\t\r\nTo: b@x.org\r\n\r\nText\r\n",
                "Text\r\n",
            ),
            (
                "Subject: a\nContent-Type: multipart/mixed; boundary=b\nA preamble\n--b\n\nText\n--b--\n",
                "Text",
            ),
            (
                "Content-Type: multipart/mixed; boundary=b\nSubject: a\ncontent-type: text/html\n\n--b\n\nText\n--b--\n",
                "Text",
            ),
        ] {
            assert_eq!(text(mail).as_deref(), Some(expected), "{mail}");
        }
    }

    #[test]
    fn bytes_that_are_labelled_as_ascii_and_are_none_stay() {
        let mail = "Subject: x\nContent-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: base64\n\nqPU=\n";
        let data = &Node::of(mail.as_bytes()).json()["body"]["data"];
        assert_eq!(data, "qPU=", "Big5");
    }

    #[test]
    fn utf8_that_is_labelled_as_ascii_stays() {
        let mail = "Subject: x\nContent-Type: text/plain; charset=us-ascii\n\nGrüße\n";
        assert_eq!(
            Node::of(mail.as_bytes()).first_text().as_deref(),
            Some("Grüße\n")
        );
    }

    #[test]
    fn a_mail_nested_without_end_is_survived() {
        let mut mail = String::from("Subject: deep\r\n");
        for level in 0..3_000 {
            mail +=
                &format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
        }
        let json = Node::of(mail.as_bytes()).json().to_string();
        assert!(serde_json::from_str::<Value>(&json).is_ok());
    }

    #[test]
    fn a_mail_of_very_many_parts_is_cut_short() {
        let mail = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
            "--b\r\n\r\nx\r\n".repeat(20_000)
        );
        assert!(Node::of(mail.as_bytes()).parts.len() <= MOST_PARTS);
    }
}
