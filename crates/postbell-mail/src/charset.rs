//! Bytes of a text part or of an encoded word as Unicode.
//!
//! Gmail converts text parts to UTF-8 and keeps the sender's charset label, so bytes that are valid
//! UTF-8 beyond ASCII are UTF-8 whatever the label says.

mod decoded;
mod survey;
mod utf7;

use std::io::{self, Read};

use encoding_rs::{Encoding, ISO_2022_JP, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};

use self::decoded::Decoded;
use self::survey::Survey;

/// The longest text of UTF-7 that is decoded, in bytes.
const MAX_UTF7: usize = 1024 * 1024;

/// Labels of ASCII.
const ASCII: [&str; 3] = ["ascii", "us-ascii", "ansi_x3.4-1968"];

/// How the bytes of a text are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Charset {
    Utf7,
    Other {
        encoding: &'static Encoding,
        /// The last character was cut off, and what is there of it is no text.
        is_cut: bool,
    },
}

impl Charset {
    /// Decides the charset of a text by all of its bytes and by its label.
    pub(crate) fn of(bytes: impl Read, label: Option<&str>) -> io::Result<Self> {
        Ok(Self::decide(&Survey::of(bytes)?, label.map(str::trim)))
    }

    fn decide(survey: &Survey, label: Option<&str>) -> Self {
        if let Some((encoding, _)) = Encoding::for_bom(survey.start()) {
            return encoding.into();
        }
        // WHATWG maps stateful charsets that browsers refuse to "replacement", which decodes nothing.
        let declared = label
            .and_then(|label| Encoding::for_label(label.as_bytes()))
            .filter(|encoding| *encoding != REPLACEMENT);
        // Bytes beyond ASCII contradict this label, which WHATWG takes for windows-1252.
        let is_ascii = label.is_some_and(|label| ASCII.contains(&&*label.to_ascii_lowercase()));
        let declared = declared.filter(|_| !is_ascii);
        if !survey.has_other_than_ascii {
            return Self::of_ascii(survey, label, declared);
        }
        if survey.is_utf8() {
            return UTF_8.into();
        }
        let is_utf8 = declared.map_or(survey.has_utf8(), |declared| declared == UTF_8);
        if survey.is_cut_utf8() && is_utf8 {
            return Self::Other {
                encoding: UTF_8,
                is_cut: true,
            };
        }
        match declared {
            Some(declared) if declared != UTF_8 => declared.into(),
            _ if survey.is_mostly_utf8() => UTF_8.into(),
            _ => survey.detected().into(),
        }
    }

    /// Charsets that write other characters with ASCII bytes.
    fn of_ascii(survey: &Survey, label: Option<&str>, declared: Option<&'static Encoding>) -> Self {
        let is_utf7 = label.is_some_and(|label| label.to_ascii_lowercase().ends_with("utf-7"));
        match declared {
            Some(declared) if declared == ISO_2022_JP => declared.into(),
            Some(declared) if [UTF_16BE, UTF_16LE].contains(&declared) && survey.has_zero => {
                declared.into()
            }
            None if is_utf7 && survey.size <= MAX_UTF7 => Self::Utf7,
            None if survey.has_japanese_escape => ISO_2022_JP.into(),
            _ => UTF_8.into(),
        }
    }

    /// The text as UTF-8. Undecodable bytes become replacement characters.
    pub(crate) fn decode<'a>(self, mut bytes: impl Read + 'a) -> Box<dyn Read + 'a> {
        match self {
            Self::Other { encoding, is_cut } => Box::new(Decoded::new(bytes, encoding, is_cut)),
            Self::Utf7 => {
                let mut all = Vec::new();
                match bytes.read_to_end(&mut all) {
                    Ok(_) => Box::new(io::Cursor::new(utf7::decode(&all))),
                    Err(_) => Box::new(io::empty()),
                }
            }
        }
    }
}

impl From<&'static Encoding> for Charset {
    fn from(encoding: &'static Encoding) -> Self {
        Self::Other {
            encoding,
            is_cut: false,
        }
    }
}

/// Decodes a short text. Never fails: undecodable bytes become replacement characters.
pub(crate) fn decode(bytes: &[u8], label: Option<&str>) -> String {
    match Charset::decide(&Survey::of_bytes(bytes), label.map(str::trim)) {
        Charset::Utf7 => utf7::decode(bytes),
        Charset::Other { encoding, is_cut } => {
            let end = if is_cut {
                valid_start(bytes)
            } else {
                bytes.len()
            };
            let (text, _) = encoding.decode_with_bom_removal(&bytes[..end]);
            text.into_owned()
        }
    }
}

fn valid_start(bytes: &[u8]) -> usize {
    std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn decode(bytes: impl AsRef<[u8]>, label: Option<&str>) -> String {
        super::decode(bytes.as_ref(), label)
    }

    #[test]
    fn utf8_beyond_ascii_is_utf8_under_every_label() {
        let text = "会議は金曜日の十時です。 Grüße • – мир";
        for label in [
            "utf-8",
            "us-ascii",
            "iso-8859-1",
            "windows-1252",
            "iso-2022-jp",
            "shift_jis",
            "euc-kr",
            "gb2312",
            "big5",
            "koi8-r",
            "utf-7",
            "iso-2022-kr",
            "hz-gb-2312",
            "x-unknown",
            "",
            "utf-16le",
        ] {
            assert_eq!(decode(text.as_bytes(), Some(label)), text, "{label}");
        }
        assert_eq!(decode(text.as_bytes(), None), text);
    }

    #[test]
    fn other_bytes_are_read_as_their_label_says() {
        for (label, bytes, expected) in [
            ("iso-8859-1", &b"Gr\xfc\xdfe"[..], "Grüße"),
            (" \u{9}windows-1252 ", b"\x93hi\x94", "“hi”"),
            ("KOI8-R", b"\xcd\xc9\xd2", "мир"),
            ("iso-2022-jp", b"\x1b$BF|K\\\x1b(B", "日本"),
            ("shift_jis", b"\x93\xfa\x96{", "日本"),
            ("utf-16le", b"h\0i\0", "hi"),
            ("unicode-1-1-utf-7", b"Hi Mom +Jjo--!", "Hi Mom ☺-!"),
            ("utf-8", b"\xef\xbb\xbfbom", "bom"),
        ] {
            assert_eq!(decode(bytes, Some(label)), expected, "{label}");
        }
    }

    #[test]
    fn broken_japanese_keeps_what_can_be_read() {
        let text = decode(b"\x1b$B$9$_\xff\xfe\x1b(B end", Some("iso-2022-jp"));
        assert!(text.starts_with("すみ") && text.ends_with(" end"), "{text}");
    }

    #[test]
    fn bytes_that_the_label_ascii_contradicts_are_detected() {
        let chinese = "顏氏家訓：夫聖賢之書，教人誠孝，慎言檢跡，立身揚名，亦已備矣。魏、晉已來，所著諸子，理重事複。";
        let (big5, ..) = encoding_rs::BIG5.encode(chinese);
        assert_eq!(decode(&big5, Some("US-ASCII")), chinese);
        assert_eq!(decode(b"Gr\xfc\xdfe", Some("us-ascii")), "Grüße");
    }

    #[test]
    fn bytes_without_a_usable_label_are_detected() {
        for label in [None, Some("no-such"), Some("utf-8")] {
            let german = b"Sch\xf6ne Gr\xfc\xdfe aus M\xfcnchen, bis n\xe4chste Woche";
            assert_eq!(
                decode(german, label),
                "Schöne Grüße aus München, bis nächste Woche"
            );
            assert_eq!(decode(b"\x1b$BF|K\\\x1b(B", None), "日本");
        }
    }

    #[test]
    fn a_character_cut_off_at_the_end_is_left_out() {
        assert_eq!(decode(&"Grüße".as_bytes()[..3], Some("utf-8")), "Gr");
        assert_eq!(decode(&"Grüß".as_bytes()[..5], Some("utf-8")), "Grü");
        assert_eq!(decode(&"Grüß".as_bytes()[..5], None), "Grü");
    }

    #[test]
    fn damage_in_utf8_does_not_spoil_the_rest() {
        let mut bytes = "ä".repeat(20).into_bytes();
        bytes.push(0xff);
        assert_eq!(decode(&bytes, None), "ä".repeat(20) + "\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, label in "[a-z0-9-]{0,12}") {
            let _ = decode(&bytes, Some(&label));
            let _ = decode(&bytes, Some("utf-7"));
            let _ = decode(&bytes, None);
        }
    }
}
