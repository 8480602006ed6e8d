//! Mail addresses.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidId, Masked};

/// The longest address, in bytes (RFC 5321, section 4.5.3.1.3).
const BYTES: usize = 254;

/// The domains of Gmail's own mailboxes: `googlemail.com` is another name of `gmail.com`
/// (<https://support.google.com/mail/answer/10313>).
const GMAIL: &str = "gmail.com";
const GOOGLEMAIL: &str = "googlemail.com";

/// A mail address in lower case: Gmail and Google's accounts ignore letter case.
///
/// Only ASCII letters are changed, so that no other character becomes one of another address.
/// Equality compares the spelling; [`EmailAddress::is_same_mailbox`] compares the mailbox.
/// Its `Debug` output omits the address, so that no log contains it by accident.
#[derive(Clone, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

impl EmailAddress {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the one spelling that stands for all spellings of a mailbox: for indexes and caches.
    ///
    /// Gmail ignores the dots in the part before the `@` of its own addresses, and `googlemail.com`
    /// is `gmail.com` (<https://support.google.com/mail/answer/7436150>). In other domains, those of
    /// Google Workspace included, dots count. What follows a `+` is part of the address: Gmail never
    /// names a mailbox so.
    #[must_use]
    pub fn mailbox_key(&self) -> Cow<'_, str> {
        match self.0.rsplit_once('@') {
            Some((local, domain @ (GMAIL | GOOGLEMAIL))) => {
                let plain = local.replace('.', "");
                if (plain == local && domain == GMAIL) || plain.is_empty() {
                    Cow::Borrowed(&self.0)
                } else {
                    Cow::Owned(format!("{plain}@{GMAIL}"))
                }
            }
            _ => Cow::Borrowed(&self.0),
        }
    }

    /// Whether `other` is a spelling of this mailbox's address. A text that is no address is not.
    #[must_use]
    pub fn is_same_mailbox(&self, other: &str) -> bool {
        if other == self.0 {
            return true;
        }
        let other = other.parse::<Self>();
        other.is_ok_and(|other| self.mailbox_key() == other.mailbox_key())
    }

    /// The address for a log: its first character and its domain.
    #[must_use]
    pub fn masked(&self) -> Masked<'_> {
        Masked(&self.0)
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_address = text.len() <= BYTES
            && !text
                .contains(|character: char| character.is_whitespace() || character.is_control())
            && text
                .rsplit_once('@')
                .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
        let expected = "a mail address of at most 254 bytes";
        let address = is_address.then(|| Self(text.to_ascii_lowercase()));
        address.ok_or(InvalidId { expected })
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_kept_in_lower_case_and_never_shown() {
        let address: EmailAddress = "Ann.B+x@Example.COM".parse().unwrap();
        assert_eq!(address.as_str(), "ann.b+x@example.com");
        assert_eq!(format!("{address:?}"), "EmailAddress");
    }

    fn is_same(one: &str, other: &str) -> bool {
        let forth = one.parse::<EmailAddress>().unwrap().is_same_mailbox(other);
        let back = other.parse::<EmailAddress>().unwrap().is_same_mailbox(one);
        assert_eq!(forth, back, "{one} {other}");
        forth
    }

    #[test]
    fn gmail_ignores_dots_case_and_the_older_name_of_its_domain() {
        for other in [
            "firstlast@gmail.com",
            "First.Last@Gmail.com",
            "f.i.r.s.t.l.a.s.t@googlemail.com",
            "FIRSTLAST@GOOGLEMAIL.COM",
            "first..last.@gmail.com",
        ] {
            assert!(is_same("first.last@gmail.com", other), "{other}");
        }
        let spelled: EmailAddress = "First.Last@googlemail.com".parse().unwrap();
        assert_eq!(spelled.mailbox_key(), "firstlast@gmail.com");
        assert_eq!(spelled.as_str(), "first.last@googlemail.com");
    }

    #[test]
    fn other_domains_ignore_only_case() {
        assert!(is_same("ann.b@Example.com", "ANN.B@example.COM"));
        for (one, other) in [
            ("ann.b@example.com", "annb@example.com"),
            ("ann@example.com", "ann@gmail.com"),
            ("ann.b@gmail.com.example.com", "annb@gmail.com.example.com"),
            ("ann.b@mail.gmail.com", "annb@mail.gmail.com"),
            ("ann@gmail.com", "ann+bot@gmail.com"),
            ("ann@gmail.com", "bob@gmail.com"),
        ] {
            assert!(!is_same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn no_odd_text_is_taken_for_another_mailbox() {
        let ann: EmailAddress = "ann@gmail.com".parse().unwrap();
        let long = format!("{}ann@gmail.com", ".".repeat(300));
        for other in [
            "",
            "@gmail.com",
            "ann@gmail.com ",
            " ann@gmail.com",
            "ann@gmail.com\n",
            "ann@x@gmail.com",
            "ann@gmail.com@x",
            "\"ann\"@gmail.com",
            "ann@gmail.com.",
            "ann\u{ff0e}@gmail.com",
            "ann\0@gmail.com",
            &long,
        ] {
            assert!(!ann.is_same_mailbox(other), "{other:?}");
        }
        // The Kelvin sign's lower case is the letter k.
        let kelvin: EmailAddress = "\u{212a}@gmail.com".parse().unwrap();
        assert!(!kelvin.is_same_mailbox("k@gmail.com"));
        assert!(!is_same("...@gmail.com", ".@gmail.com"));
    }

    proptest! {
        #[test]
        fn a_key_is_an_address_with_itself_as_its_key(text in "[a-c.+@]{1,6}@(gmail|googlemail|x)\\.com") {
            let address: EmailAddress = text.parse().unwrap();
            let key = address.mailbox_key().into_owned();
            let again: EmailAddress = key.parse().unwrap();
            prop_assert_eq!(again.mailbox_key(), key.as_str());
            prop_assert!(address.is_same_mailbox(&key));
        }
    }

    #[test]
    fn a_text_that_is_not_an_address_is_refused() {
        let long = format!("{}@x", "a".repeat(253));
        for bad in ["", "ann", "@x", "ann@", "a nn@x", "ann@x\n", &long] {
            assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?}");
        }
    }
}
