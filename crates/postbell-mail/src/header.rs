//! Header fields: found by name and decoded to one line of text.

use postbell_google::Header;

use crate::encoded_word;
use crate::invisible::{SmuggleFilter, is_direction_override};

/// The longest value that is decoded, in bytes.
const MAX_VALUE: usize = 256 * 1024;

/// Characters that have a meaning in an address field (RFC 5322, section 3.2.3).
const SPECIALS: &str = "()<>[]:;@\\,.\"";

/// The value of the first field with this name, ignoring case.
pub(crate) fn field<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    fields(headers, name).next()
}

/// The values of all fields with this name, ignoring case.
pub(crate) fn fields<'a>(headers: &'a [Header], name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |header| header.name.trim().eq_ignore_ascii_case(name))
        .map(|header| header.value.as_str())
}

/// Decodes a field of free text, such as `Subject`, or a file name.
pub(crate) fn decode_text(value: &str) -> String {
    let mut rest = limited(value);
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = rest.find("=?") {
        text.push_str(&rest[..at]);
        if let Some((decoded, behind)) = encoded_word::decode_run(&rest[at..]) {
            text.push_str(&decoded);
            rest = behind;
        } else {
            text.push_str("=?");
            rest = &rest[at + 2..];
        }
    }
    text.push_str(rest);
    one_line(&text)
}

/// Decodes a field of addresses, such as `From`. Decoded names keep the field's structure: a name with a comma or an
/// address in it stands in quotes.
pub(crate) fn decode_addresses(value: &str) -> String {
    let mut decoder = AddressDecoder::default();
    decoder.decode(limited(value));
    one_line(&decoder.text)
}

fn limited(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_VALUE)]
}

/// Where in an address field a character stands.
#[derive(Clone, Copy, Default, PartialEq)]
enum Context {
    #[default]
    Phrase,
    Quoted,
    Comment,
    Address,
}

#[derive(Default)]
struct AddressDecoder {
    text: String,
    context: Context,
    comment_depth: usize,
}

impl AddressDecoder {
    fn decode(&mut self, value: &str) {
        let mut rest = value;
        while let Some(first) = rest.chars().next() {
            if rest.starts_with("=?")
                && self.context != Context::Address
                && let Some((decoded, behind)) = encoded_word::decode_run(rest)
            {
                rest = behind;
                self.push_decoded(&one_line(&decoded), rest);
                continue;
            }
            self.text.push(first);
            rest = &rest[first.len_utf8()..];
            let is_quoting = matches!(self.context, Context::Quoted | Context::Comment);
            if first == '\\' && is_quoting {
                let quoted = rest.chars().next();
                self.text.extend(quoted);
                rest = &rest[quoted.map_or(0, char::len_utf8)..];
            } else {
                self.enter(first);
            }
        }
    }

    fn enter(&mut self, character: char) {
        self.context = match (self.context, character) {
            (Context::Phrase, '"') => Context::Quoted,
            (Context::Quoted, '"') | (Context::Address, '>') => Context::Phrase,
            (Context::Phrase, '<') => Context::Address,
            (Context::Phrase | Context::Comment, '(') => {
                self.comment_depth += 1;
                Context::Comment
            }
            (Context::Comment, ')') => {
                self.comment_depth -= 1;
                if self.comment_depth == 0 {
                    Context::Phrase
                } else {
                    Context::Comment
                }
            }
            (context, _) => context,
        };
    }

    fn push_decoded(&mut self, decoded: &str, rest: &str) {
        let needs_quotes =
            self.context == Context::Phrase && decoded.contains(|one| SPECIALS.contains(one));
        let escaped = match self.context {
            Context::Comment => "\"\\()",
            Context::Quoted => "\"\\",
            Context::Phrase | Context::Address if needs_quotes => "\"\\",
            Context::Phrase | Context::Address => "",
        };
        if needs_quotes {
            self.text.push('"');
        }
        for one in decoded.chars() {
            if escaped.contains(one) {
                self.text.push('\\');
            }
            self.text.push(one);
        }
        if needs_quotes {
            self.text.push('"');
        }
        let is_glued = |one: char| one.is_alphanumeric() || matches!(one, '<' | '"' | '=');
        if self.context == Context::Phrase && rest.starts_with(is_glued) {
            self.text.push(' ');
        }
    }
}

/// One line without control characters: a line break in a name must not look like another field.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut filter = SmuggleFilter::default();
    for one in text.chars() {
        let is_break = matches!(
            one,
            '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'
        );
        if one == ' ' || is_break {
            if !line.ends_with(' ') {
                line.push(' ');
            }
        } else if !one.is_control() && !is_direction_override(one) && filter.keeps(one) {
            line.push(one);
        }
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::mailboxes;

    #[test]
    fn encoded_words_are_decoded() {
        for (value, expected) in [
            ("=?utf-8?B?R3LDvMOfZQ==?=\r\n =?utf-8?q?_7?=", "Grüße 7"),
            ("=?iso-8859-1?q?Gr=FC=DFe?=", "Grüße"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            ("=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
            ("Grüße", "Grüße"),
            ("folded\r\n\tvalue", "folded value"),
            ("", ""),
            ("=?utf-8?q?unfinished", "=?utf-8?q?unfinished"),
            ("=?no?x?text?= =?", "=?no?x?text?= =?"),
            ("Re:=?utf-8?q?=C3=BC?=ber", "Re:über"),
            ("=?utf-8?q?Really?=C3=BC?=", "Really?ü"),
            // Each word is written on its own by a sender that splits characters.
            (
                "=?UTF-8?Q?Rechnung_f=C3=BCr_den_Monat_M=C3?=\r\n =?UTF-8?Q?=A4rz_2026?=",
                "Rechnung für den Monat März 2026",
            ),
            ("=?utf-8?B?w?= =?utf-8?B?w7w=?=", "ü"),
            ("=?utf-8?B?5Lya6K0=?= =?utf-8?B?sA==?=", "会議"),
            ("=?utf-8?B?R3LDvMOfZQ?= =?gb2312?B?xOO6ww?=", "Grüße你好"),
            (
                "=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?= =?ISO-2022-JP?B?GyRCOGwbKEI=?=",
                "日本語",
            ),
            ("=?UTF-8?Q?Kunde Müller wartet?=", "Kunde Müller wartet"),
        ] {
            assert_eq!(decode_text(value), expected, "{value}");
        }
    }

    #[test]
    fn line_breaks_and_control_characters_never_come_through() {
        let subject =
            decode_text("=?utf-8?q?hi=E2=80=A8To=3A_all=0Bx=C2=85y=00=1B=E2=80=AE=F3=A0=81=81?=");
        assert_eq!(subject, "hi To: all x y");
        let from = "=?utf-8?q?Boss=0D=0ADate=3A_1999-01-01=0D=0ATo=3A_ceo=40corp.example?= <evil@attacker.example>";
        let from = decode_addresses(from);
        assert_eq!(
            from,
            "\"Boss Date: 1999-01-01 To: ceo@corp.example\" <evil@attacker.example>"
        );
    }

    #[test]
    fn a_decoded_address_field_has_the_mailboxes_that_were_written() {
        for (value, expected, addresses) in [
            (
                "=?iso-8859-1?Q?M=FCller=2C_Ann?= <ann@example.org>",
                "\"Müller, Ann\" <ann@example.org>",
                &["ann@example.org"][..],
            ),
            (
                "=?utf-8?Q?Roe=2C_Richard?= <r@x.org>, =?utf-8?B?RG9lLCBKYW5l?= <j@x.org>",
                "\"Roe, Richard\" <r@x.org>, \"Doe, Jane\" <j@x.org>",
                &["r@x.org", "j@x.org"],
            ),
            (
                "=?utf-8?q?ceo=40corp.example_=3Cceo=40corp.example=3E?= <eve@evil.org>",
                "\"ceo@corp.example <ceo@corp.example>\" <eve@evil.org>",
                &["eve@evil.org"],
            ),
            (
                "=?utf-8?q?Bj=C3=B6rn_S=C3=B8rensen?= <b@x.org>",
                "Björn Sørensen <b@x.org>",
                &["b@x.org"],
            ),
            (
                "=?utf-8?q?Bj=C3=B6rn?=<b@x.org>",
                "Björn <b@x.org>",
                &["b@x.org"],
            ),
            (
                "\"=?utf-8?q?a=22b=5C?=\" <b@x.org>",
                "\"a\\\"b\\\\\" <b@x.org>",
                &["b@x.org"],
            ),
            (
                "b@x.org (=?utf-8?q?a=29b?=)",
                "b@x.org (a\\)b)",
                &["b@x.org"],
            ),
            (
                "team: a@x.org, =?utf-8?q?B=2C?= <b@x.org>;, c@y.org",
                "team: a@x.org, \"B,\" <b@x.org>;, c@y.org",
                &["a@x.org", "b@x.org", "c@y.org"],
            ),
            ("undisclosed-recipients:;", "undisclosed-recipients:;", &[]),
            (
                "\"Ann \\\" =?x\" <a@x.org>",
                "\"Ann \\\" =?x\" <a@x.org>",
                &["a@x.org"],
            ),
        ] {
            let decoded = decode_addresses(value);
            assert_eq!(decoded, expected);
            let found: Vec<_> = mailboxes(&decoded)
                .into_iter()
                .map(|one| one.address)
                .collect();
            assert_eq!(found, addresses, "{decoded}");
        }
    }

    #[test]
    fn a_hostile_field_takes_time_in_proportion_to_its_length() {
        // Each of these would be quadratic for a search that runs to the end of the field.
        for piece in [
            "=?a?q?",
            "=?a?q??=AA",
            "=?utf-8?b?w",
            "(",
            "\"",
            "\\",
            "=?a?q?x?= ",
            "=?",
        ] {
            let value = piece.repeat(1_000_000 / piece.len());
            assert!(decode_addresses(&value).len() <= 3 * MAX_VALUE);
            assert!(decode_text(&value).len() <= 3 * MAX_VALUE);
        }
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(value: String, charset in "[a-z0-9-]{0,12}") {
            for value in [value.clone(), format!("=?{charset}?q?{value}?="), format!("=?{charset}?b?{value}?=")] {
                let _ = decode_text(&value);
                let decoded = decode_addresses(&value);
                let is_one_line = !decoded.contains(['\r', '\n', '\u{2028}']);
                prop_assert!(is_one_line);
            }
        }
    }
}
