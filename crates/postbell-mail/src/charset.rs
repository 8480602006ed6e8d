//! Bytes of a text part or of an encoded word as Unicode.
//!
//! Gmail converts text parts to UTF-8 and keeps the sender's charset label, so bytes that are valid
//! UTF-8 beyond ASCII are UTF-8 whatever the label says.

mod utf7;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};

/// How much of a text the detection of its charset reads.
const DETECTION_BYTES: usize = 64 * 1024;

/// Decodes a text. Never fails: undecodable bytes become replacement characters.
pub(crate) fn decode(bytes: Vec<u8>, label: Option<&str>) -> String {
    let label = label.map(str::trim);
    if let Some((encoding, bom)) = Encoding::for_bom(&bytes) {
        return decode_as(encoding, &bytes[bom..]);
    }
    // WHATWG maps stateful charsets that browsers refuse to "replacement", which decodes nothing.
    let declared = label
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .filter(|encoding| *encoding != REPLACEMENT);
    if bytes.is_ascii()
        && let Some(text) = decode_ascii(&bytes, label, declared)
    {
        return text;
    }
    // A text can have 25 MB: it is not copied.
    String::from_utf8(bytes).unwrap_or_else(|error| decode_other(error.as_bytes(), declared))
}

/// Decodes bytes that are not valid UTF-8.
fn decode_other(bytes: &[u8], declared: Option<&'static Encoding>) -> String {
    if let Err(error) = std::str::from_utf8(bytes) {
        // One character that was cut off at the end.
        let valid = &bytes[..error.valid_up_to()];
        let is_utf8 = declared.map_or(!valid.is_ascii(), |declared| declared == UTF_8);
        if is_utf8 && error.error_len().is_none() {
            return String::from_utf8_lossy(valid).into_owned();
        }
    }
    match declared {
        Some(declared) if declared != UTF_8 => decode_as(declared, bytes),
        _ if is_mostly_utf8(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => decode_as(detected(bytes), bytes),
    }
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8]) -> String {
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

/// Decodes charsets that write other characters with ASCII bytes.
fn decode_ascii(
    bytes: &[u8],
    label: Option<&str>,
    declared: Option<&'static Encoding>,
) -> Option<String> {
    let is_utf7 = label.is_some_and(|label| label.to_ascii_lowercase().ends_with("utf-7"));
    match declared {
        Some(declared) if declared == ISO_2022_JP => Some(decode_as(declared, bytes)),
        Some(declared) if [UTF_16BE, UTF_16LE].contains(&declared) && bytes.contains(&0) => {
            Some(decode_as(declared, bytes))
        }
        None if is_utf7 => Some(utf7::decode(bytes)),
        None if has_japanese_escape(bytes) => Some(decode_as(ISO_2022_JP, bytes)),
        _ => None,
    }
}

/// Whether an escape sequence selects a Japanese character set (RFC 1468).
fn has_japanese_escape(bytes: &[u8]) -> bool {
    bytes
        .windows(3)
        .any(|window| matches!(window, b"\x1b$B" | b"\x1b$@"))
}

/// Whether nine of ten sequences beyond ASCII are valid: the others are damage.
fn is_mostly_utf8(bytes: &[u8]) -> bool {
    let (mut valid, mut invalid) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        let beyond_ascii = chunk.valid().chars().filter(|one| !one.is_ascii());
        valid += beyond_ascii.count();
        invalid += usize::from(!chunk.invalid().is_empty());
    }
    valid > 0 && valid >= 9 * invalid
}

fn detected(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(&bytes[..bytes.len().min(DETECTION_BYTES)], true);
    detector.guess(None, Utf8Detection::Deny)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn decode(bytes: impl AsRef<[u8]>, label: Option<&str>) -> String {
        super::decode(bytes.as_ref().to_vec(), label)
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
