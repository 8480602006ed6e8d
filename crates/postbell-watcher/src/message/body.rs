//! The text of a message: its plain text if it has one, otherwise its HTML converted to text.

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8};
use postbell_google::Part;

use super::header::field;

/// The largest HTML that is converted. The bot gets far less.
const HTML_LIMIT: usize = 512 * 1024;

/// The deepest nesting that is laid out: the time grows with its square.
const TAGS_LIMIT: usize = 2_000;

/// The width at which HTML is wrapped.
const WIDTH: usize = 100;

/// The largest number of MIME parts that are searched.
pub(super) const PARTS_LIMIT: usize = 10_000;

/// Returns the text of a message, if it has one. Of a text longer than `most` bytes, at least `most`
/// bytes are returned.
pub(super) fn text(mail: &Part, most: usize) -> Option<String> {
    // A charset needs at most two bytes for one byte of UTF-8, and a few to switch.
    let most = most.saturating_mul(2).saturating_add(1024);
    if let Some(plain) = find(mail, "text/plain", most) {
        return Some(plain);
    }
    find(mail, "text/html", HTML_LIMIT).map(|html| text_of_html(&html))
}

/// Finds the first part of a type that is not an attachment, depth first, and decodes its beginning:
/// a message can have 25 MB.
fn find(mail: &Part, mime_type: &str, most: usize) -> Option<String> {
    let mut parts = vec![mail];
    for _ in 0..PARTS_LIMIT {
        let part = parts.pop()?;
        if part.filename.is_empty()
            && part.mime_type.eq_ignore_ascii_case(mime_type)
            && let Some(bytes) = part.body.first_bytes(most)
            && !bytes.is_empty()
        {
            let bytes = if bytes.len() < most {
                bytes
            } else {
                whole(bytes)
            };
            return Some(in_unicode(bytes, charset(part).as_deref()));
        }
        parts.extend(part.parts.iter().rev());
    }
    None
}

/// Removes an incomplete UTF-8 character at the end.
fn whole(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Err(error) = str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    bytes
}

/// The charset that a part's `Content-Type` names.
fn charset(part: &Part) -> Option<String> {
    let content_type = field(&part.headers, "content-type")?;
    let parameters = content_type.split(';').skip(1);
    let named = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"').to_owned())
    };
    parameters.into_iter().find_map(named)
}

/// Decodes a text. Never fails: undecodable bytes become replacement characters.
///
/// Gmail may convert a part to UTF-8 without changing its header, so valid UTF-8 takes precedence over
/// the declared charset, except for ISO-2022-JP, which consists of ASCII bytes.
fn in_unicode(bytes: Vec<u8>, charset: Option<&str>) -> String {
    let declared = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    if declared == Some(ISO_2022_JP) {
        return ISO_2022_JP.decode(&bytes).0.into_owned();
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => declared
            .unwrap_or(UTF_8)
            .decode(error.as_bytes())
            .0
            .into_owned(),
    }
}

fn text_of_html(html: &str) -> String {
    let html = &html[..html.floor_char_boundary(HTML_LIMIT)];
    if open_tags(html) > TAGS_LIMIT {
        return without_tags(html);
    }
    let text = html2text::config::plain().string_from_read(html.as_bytes(), WIDTH);
    // HTML that cannot be laid out must not lose the message.
    text.unwrap_or_else(|_| without_tags(html))
}

/// The deepest nesting of tags, as if each had to be closed.
fn open_tags(html: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for tag in html.split('<').skip(1) {
        if tag.starts_with('/') {
            open = open.saturating_sub(1);
        } else if tag.starts_with(|first: char| first.is_ascii_alphabetic()) {
            open += 1;
            most = most.max(open);
        }
    }
    most
}

/// The text between the tags.
fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    for piece in html.split('<') {
        text.push_str(piece.split_once('>').map_or(piece, |(_, behind)| behind));
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn part(content_type: &str, bytes: &[u8]) -> serde_json::Value {
        json!({
            "mimeType": content_type.split(';').next(),
            "filename": "",
            "headers": [{ "name": "Content-Type", "value": content_type }],
            "body": { "data": BASE64_URL_SAFE.encode(bytes) },
        })
    }

    fn text_of(part: serde_json::Value) -> Option<String> {
        text(&serde_json::from_value(part).unwrap(), 20_000)
    }

    #[test]
    fn only_the_beginning_of_a_long_text_is_decoded() {
        let long = "ä".repeat(1_000_000);
        for cut_in_a_character in [20_000, 20_001] {
            let mail = part("text/plain; charset=utf-8", long.as_bytes());
            let text = text(&serde_json::from_value(mail).unwrap(), cut_in_a_character).unwrap();
            assert!((cut_in_a_character..100_000).contains(&text.len()));
            assert!(text.chars().all(|character| character == 'ä'));
        }
    }

    #[test]
    fn plain_text_is_preferred_wherever_it_stands() {
        let html = part("text/html", b"<p>rich</p>");
        let plain = part("text/plain", b"plain");
        let mail = json!({ "mimeType": "multipart/mixed", "parts": [
            { "mimeType": "multipart/alternative", "parts": [html, plain] }
        ]});
        assert_eq!(text_of(mail).as_deref(), Some("plain"));
    }

    #[test]
    fn html_is_converted_to_text_with_its_links() {
        let mail = part(
            "text/html",
            b"<h1>Hi</h1><p>See <a href='https://x.org'>this</a></p>",
        );
        let text = text_of(mail).unwrap();
        assert!(
            text.contains("Hi") && text.contains("this") && !text.contains('<'),
            "{text}"
        );
    }

    #[test]
    fn an_attached_text_is_not_the_text_of_the_message() {
        let mut attached = part("text/plain", b"attached");
        attached["filename"] = json!("notes.txt");
        let mail = json!({ "mimeType": "multipart/mixed", "parts": [attached] });
        assert_eq!(text_of(mail), None);
    }

    #[test]
    fn each_charset_becomes_unicode() {
        for (content_type, bytes, expected) in [
            (
                "text/plain; charset=iso-8859-1",
                &b"Gr\xfc\xdfe"[..],
                "Grüße",
            ),
            (
                "text/plain; charset=iso-8859-1",
                "Grüße".as_bytes(),
                "Grüße",
            ),
            (
                "text/plain; charset=\"windows-1252\"",
                b"\x93hi\x94",
                "“hi”",
            ),
            ("text/plain; CHARSET=koi8-r", b"\xcd\xc9\xd2", "мир"),
            (
                "text/plain; charset=iso-2022-jp",
                b"\x1b$BF|K\\\x1b(B",
                "日本",
            ),
            ("text/plain; charset=no-such", b"a\xffb", "a\u{fffd}b"),
            ("text/plain", b"a\0b", "a\0b"),
        ] {
            assert_eq!(
                text_of(part(content_type, bytes)).as_deref(),
                Some(expected),
                "{content_type}"
            );
        }
    }

    #[test]
    fn deeply_nested_html_is_converted_without_a_stack_overflow() {
        let html = "<div>".repeat(100_000) + "deep";
        let on_small_stack = std::thread::Builder::new().stack_size(1024 * 1024);
        let done = on_small_stack
            .spawn(move || text_of_html(&html))
            .unwrap()
            .join();
        assert!(done.is_ok());
    }

    proptest! {
        #[test]
        fn no_html_makes_it_panic(html in "(<[a-z!/]{1,6}( [a-z]{1,5}=[\"']?[^<]{0,9})?>|&[a-z#0-9]{1,5};|.){0,60}") {
            let _ = text_of_html(&html);
        }
    }
}
