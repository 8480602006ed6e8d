//! Header fields: found by name, unfolded, and decoded (RFC 5322, RFC 2047).

use mail_parser::MessageParser;
use postbell_google::Header;

/// The value of the first field with this name, ignoring case.
pub(super) fn field<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name));
    header.map(|header| header.value.as_str())
}

/// Unfolds a value and decodes its encoded words. A decoded value is unchanged.
pub(super) fn decoded(value: &str) -> String {
    let lines = value
        .split(['\r', '\n'])
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    if !line.contains("=?") {
        return line;
    }
    // The parser decodes the whole value of an unstructured field such as Subject.
    let field = format!("Subject: {line}\r\n\r\n");
    let parsed = MessageParser::default().parse_headers(field.as_bytes());
    let subject = parsed.as_ref().and_then(|message| message.subject());
    subject.unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encoded_words_are_decoded() {
        for (value, expected) in [
            (
                "=?utf-8?q?Bj=C3=B6rn_S=C3=B8rensen?= <b@x.org>",
                "Björn Sørensen <b@x.org>",
            ),
            ("=?utf-8?B?R3LDvMOfZQ==?=\r\n =?utf-8?q?_7?=", "Grüße 7"),
            ("=?iso-8859-1?q?Gr=FC=DFe?=", "Grüße"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            ("Grüße", "Grüße"),
            ("folded\r\n\tvalue", "folded value"),
            ("", ""),
            ("undisclosed-recipients:;", "undisclosed-recipients:;"),
            ("=?utf-8?q?unfinished", "=?utf-8?q?unfinished"),
        ] {
            assert_eq!(decoded(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(value: String, charset in "[a-z0-9-]{0,12}") {
            let _ = decoded(&value);
            let _ = decoded(&format!("=?{charset}?q?{value}?="));
        }
    }
}
