//! Header fields that the operator names.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use postbell_google::Message;

use crate::cut::cut;
use crate::header::{decode_addresses, decode_text, fields};

/// The longest name of a field, in bytes.
const MAX_NAME: usize = 100;

/// The longest value, in bytes.
const MAX_VALUE: usize = 8 * 1024;

/// The most bytes of all values of a message.
const MAX_TOTAL: usize = 64 * 1024;

/// The largest number of values of one field.
const MAX_VALUES: usize = 100;

/// The fields of addresses (RFC 5322, sections 3.6.2, 3.6.3 and 3.6.6; RFC 8098, section 2.1).
const ADDRESS_FIELDS: [&str; 12] = [
    "bcc",
    "cc",
    "disposition-notification-to",
    "from",
    "reply-to",
    "resent-bcc",
    "resent-cc",
    "resent-from",
    "resent-sender",
    "resent-to",
    "sender",
    "to",
];

/// The name of a header field (RFC 5322, section 2.2). Case does not count when fields are compared.
#[derive(Clone, Debug)]
pub struct HeaderName(String);

/// The text is not the name of a header field.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected the name of a header field, such as X-Priority: ASCII without spaces and colons")]
pub struct InvalidHeaderName;

impl FromStr for HeaderName {
    type Err = InvalidHeaderName;

    fn from_str(text: &str) -> Result<Self, InvalidHeaderName> {
        let name = text.trim();
        let is_allowed = |one: u8| one.is_ascii_graphic() && one != b':';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_allowed) {
            return Err(InvalidHeaderName);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fields of a message that have one of some names.
#[derive(Debug, Default)]
pub struct NamedFields {
    /// The decoded values in the order of the message, by the name as the operator wrote it.
    pub values: BTreeMap<String, Vec<String>>,
    /// Whether values were left out or cut.
    pub is_cut: bool,
}

/// The fields with these names, decoded to one line each, up to the limits.
#[must_use]
pub fn named_fields(message: &Message, names: &[HeaderName]) -> NamedFields {
    let mut found = NamedFields::default();
    let mut left = MAX_TOTAL;
    for HeaderName(name) in names {
        let is_known = |known: &String| known.eq_ignore_ascii_case(name);
        if found.values.keys().any(is_known) {
            continue;
        }
        let is_address = ADDRESS_FIELDS.contains(&&*name.to_ascii_lowercase());
        let decode = if is_address {
            decode_addresses
        } else {
            decode_text
        };
        let mut values = Vec::new();
        for value in fields(&message.payload.headers, name) {
            if values.len() >= MAX_VALUES || left == 0 {
                found.is_cut = true;
                break;
            }
            let (value, was_cut) = cut(decode(value), MAX_VALUE.min(left));
            left -= value.len();
            found.is_cut |= was_cut;
            values.push(value);
        }
        if !values.is_empty() {
            found.values.insert(name.clone(), values);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use postbell_google::{Header, Part};

    use super::*;

    fn message(fields: &[(&str, &str)]) -> Message {
        let header = |(name, value): &(&str, &str)| Header {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        Message {
            payload: Part {
                headers: fields.iter().map(header).collect(),
                ..Part::default()
            },
            ..Message::default()
        }
    }

    fn names(names: &[&str]) -> Vec<HeaderName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn fields_are_found_without_case_and_repeated_ones_keep_their_order() {
        let message = message(&[
            ("RECEIVED", "from a"),
            ("x-priority", "1"),
            ("Received", "from b"),
            ("Sender", "=?utf-8?q?M=C3=BCller=2C_Ann?= <ann@example.org>"),
            ("X-Note", "=?utf-8?q?hi=0D=0ABcc=3A_eve=E2=80=AE?="),
        ]);
        let wanted = names(&[
            "X-Priority",
            "received",
            "Received",
            "sender",
            "X-Note",
            "X-None",
        ]);
        let found = named_fields(&message, &wanted);
        let expected = [
            ("X-Note", vec!["hi Bcc: eve"]),
            ("X-Priority", vec!["1"]),
            ("received", vec!["from a", "from b"]),
            ("sender", vec!["\"Müller, Ann\" <ann@example.org>"]),
        ];
        let found_values: Vec<_> = found
            .values
            .iter()
            .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(found_values, expected);
        assert!(!found.is_cut);
    }

    #[test]
    fn hostile_fields_are_bounded_in_number_and_bytes_and_the_cut_is_marked() {
        let long = "ä".repeat(MAX_VALUE);
        let many: Vec<_> = (0..1_000).map(|_| ("X-A", "a")).collect();
        for fields in [vec![("X-A", long.as_str()); 40], many] {
            let found = named_fields(&message(&fields), &names(&["X-A"]));
            let total: usize = found.values["X-A"].iter().map(String::len).sum();
            assert!(found.is_cut && total <= MAX_TOTAL);
            assert!(found.values["X-A"].len() <= MAX_VALUES);
        }
    }

    #[test]
    fn a_name_that_no_field_can_have_is_refused() {
        for text in [
            "",
            " ",
            "X Y",
            "Subject:",
            "Betreffä",
            "X\r\nY",
            &"x".repeat(101),
        ] {
            assert_eq!(text.parse::<HeaderName>().unwrap_err(), InvalidHeaderName);
        }
        assert_eq!(" X-Y ".parse::<HeaderName>().unwrap().to_string(), "X-Y");
    }
}
