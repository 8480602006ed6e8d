//! Encoded words in header fields (RFC 2047), read as mail is really written: adjacent words are joined before
//! they are decoded, padding may be missing, and Q text may contain spaces.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::charset;

/// The longest encoded text of one word. The RFC allows 75 characters; real mail has whole subjects in one word.
const MAX_ENCODED: usize = 4 * 1024;

/// The longest name of a charset.
const MAX_CHARSET: usize = 40;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes the run of encoded words at the start of `text`. Returns the decoded text and what is behind the run.
pub(crate) fn decode_run(text: &str) -> Option<(String, &str)> {
    let (mut word, mut rest) = Word::parse(text)?;
    let mut decoded = String::new();
    // White space between two words is no part of the text (section 6.2).
    while let Some((next, behind)) = Word::parse(rest.trim_start()) {
        rest = behind;
        if word.continues_in(&next) {
            word.bytes.extend(next.bytes);
        } else {
            let done = std::mem::replace(&mut word, next);
            decoded.push_str(&done.decoded());
        }
    }
    decoded.push_str(&word.decoded());
    Some((decoded, rest))
}

struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Word<'a> {
    /// Parses one word at the start of `text`. Returns it and what is behind it.
    fn parse(text: &'a str) -> Option<(Self, &'a str)> {
        let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
        let is_strange = |one: char| one.is_whitespace() || "<>\"@,;".contains(one);
        if charset.is_empty() || charset.len() > MAX_CHARSET || charset.contains(is_strange) {
            return None;
        }
        let (encoding, rest) = rest.split_at_checked(2)?;
        let is_q = match encoding {
            "q?" | "Q?" => true,
            "b?" | "B?" => false,
            _ => return None,
        };
        let end = end_of_word(rest, is_q)?;
        let bytes = if is_q {
            q_bytes(&rest[..end])
        } else {
            base64_bytes(&rest[..end])?
        };
        // RFC 2231, section 5: a language may follow the charset.
        let charset = charset.split('*').next().unwrap_or(charset);
        Some((Self { charset, bytes }, &rest[end + 2..]))
    }

    /// Whether a character may be split over this word and the next. In ISO-2022-JP each word ends in ASCII, and
    /// two changes in a row are an error to a decoder.
    fn continues_in(&self, next: &Self) -> bool {
        self.charset.eq_ignore_ascii_case(next.charset) && !self.bytes.ends_with(b"\x1b(B")
    }

    fn decoded(self) -> String {
        charset::decode(&self.bytes, Some(self.charset))
    }
}

/// The position of the `?=` that ends a word. A question mark before an encoded byte (`?=C3`) does not end Q text.
fn end_of_word(text: &str, is_q: bool) -> Option<usize> {
    let text = &text[..text.floor_char_boundary(MAX_ENCODED)];
    let last = text.rfind("?=")?;
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    let is_end = |at: &usize| {
        let behind = text.as_bytes().get(at + 2..at + 4);
        !is_q || *at == last || !behind.is_some_and(|behind| behind.iter().all(is_hex))
    };
    text.match_indices("?=").map(|(at, _)| at).find(is_end)
}

fn q_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'_' => bytes.push(b' '),
            b'=' => match hex_byte(rest) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &rest[2..];
                }
                None => bytes.push(b'='),
            },
            other => bytes.push(*other),
        }
    }
    bytes
}

/// The byte that two hexadecimal digits at the start of `text` stand for.
pub(crate) fn hex_byte(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut digits: Vec<u8> = text.bytes().filter(is_base64).collect();
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LENIENT.decode(digits).ok()
}
