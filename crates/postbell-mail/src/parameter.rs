//! Parameters of `Content-Type` and `Content-Disposition`, with the continuations and charsets of RFC 2231.

use crate::charset;
use crate::encoded_word::hex_byte;
use crate::header::decode_text;

/// The largest number of parameters of a field, and so of pieces of one value.
const MAX_PARAMETERS: usize = 100;

/// The value before the first parameter, in lower case.
pub(crate) fn main_value(field: &str) -> String {
    let value = field.split(';').next().unwrap_or_default();
    value.trim().to_ascii_lowercase()
}

/// The decoded value of a parameter.
pub(crate) fn parameter(field: &str, name: &str) -> Option<String> {
    let parameters: Vec<_> = parameters(field).take(MAX_PARAMETERS).collect();
    let named = |wanted: &str| {
        let found = parameters
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    };
    // Section 4: the extended form is better than the plain one, which old readers get.
    if let Some(value) = named(&format!("{name}*")) {
        return Some(extended(value));
    }
    let pieces = (0..MAX_PARAMETERS).map_while(|number| {
        let plain = named(&format!("{name}*{number}")).map(|piece| (piece, false));
        plain.or_else(|| named(&format!("{name}*{number}*")).map(|piece| (piece, true)))
    });
    let pieces: Vec<_> = pieces.collect();
    if pieces.is_empty() {
        named(name).map(decode_text)
    } else {
        Some(joined(&pieces))
    }
}

/// Joins the pieces of a value before decoding: a character may be split over two of them.
fn joined(pieces: &[(&str, bool)]) -> String {
    let mut bytes = Vec::new();
    let mut charset = None;
    for (number, (piece, is_encoded)) in pieces.iter().enumerate() {
        if !is_encoded {
            bytes.extend(piece.bytes());
        } else if number == 0
            && let Some((label, text)) = charset_and_text(piece)
        {
            charset = Some(label);
            bytes.extend(percent_decoded(text));
        } else {
            bytes.extend(percent_decoded(piece));
        }
    }
    decode_text(&charset::decode(&bytes, charset))
}

/// Decodes `charset'language'text`.
fn extended(value: &str) -> String {
    let (charset, text) = charset_and_text(value).unwrap_or_default();
    let text = if charset.is_empty() && text.is_empty() {
        value
    } else {
        text
    };
    let charset = Some(charset).filter(|charset| !charset.is_empty());
    decode_text(&charset::decode(&percent_decoded(text), charset))
}

fn charset_and_text(value: &str) -> Option<(&str, &str)> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, text) = rest.split_once('\'')?;
    Some((charset, text))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match hex_byte(rest) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &rest[2..];
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

/// The parameters as they are written, with quotes removed.
fn parameters(field: &str) -> impl Iterator<Item = (String, String)> {
    split_outside_quotes(field)
        .into_iter()
        .skip(1)
        .filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_owned(), unquoted(value.trim())))
        })
}

fn split_outside_quotes(field: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in field.bytes().enumerate() {
        let was_escaped = std::mem::take(&mut is_escaped);
        match byte {
            b'\\' if is_quoted && !was_escaped => is_escaped = true,
            b'"' if !was_escaped => is_quoted = !is_quoted,
            b';' if !is_quoted => {
                pieces.push(&field[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&field[start..]);
    pieces
}

fn unquoted(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(one) = characters.next() {
        match one {
            '"' => break,
            '\\' => text.extend(characters.next()),
            _ => text.push(one),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_and_unquoted() {
        let field = "text/plain; Charset=\"utf-8\"; name=\"a;b=\\\"c\\\".txt\"; format=flowed ; x";
        assert_eq!(main_value(field), "text/plain");
        assert_eq!(parameter(field, "charset").as_deref(), Some("utf-8"));
        assert_eq!(parameter(field, "name").as_deref(), Some("a;b=\"c\".txt"));
        assert_eq!(parameter(field, "format").as_deref(), Some("flowed"));
        assert_eq!(parameter(field, "delsp"), None);
    }

    #[test]
    fn file_names_of_rfc_2231_are_decoded() {
        for (field, expected) in [
            (
                "attachment; filename*=utf-8''%e2%82%ac%20rates.pdf; filename=\"EUR.pdf\"",
                "€ rates.pdf",
            ),
            (
                "attachment; filename*=iso-8859-1'de'M%FCller.pdf",
                "Müller.pdf",
            ),
            (
                "attachment; filename*0*=utf-8''M%C3; filename*1*=%A4rz; filename*2=\" 2026.pdf\"",
                "März 2026.pdf",
            ),
            (
                "attachment; filename*0=\"long\"; filename*1=\".pdf\"",
                "long.pdf",
            ),
            (
                "attachment; filename=\"=?utf-8?q?M=C3?= =?utf-8?q?=A4rz?=.pdf\"",
                "März.pdf",
            ),
            ("attachment; filename*=no-quotes.pdf", "no-quotes.pdf"),
            ("attachment; filename=\"März.pdf\"", "März.pdf"),
        ] {
            assert_eq!(
                parameter(field, "filename").as_deref(),
                Some(expected),
                "{field}"
            );
        }
    }
}
