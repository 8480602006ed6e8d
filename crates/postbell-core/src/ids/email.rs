//! Mail addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidId, Masked};

/// The longest address, in bytes (RFC 5321, section 4.5.3.1.3).
const BYTES: usize = 254;

/// A mail address in lower case: Gmail and Google's accounts ignore letter case.
///
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
        let address = is_address.then(|| Self(text.to_lowercase()));
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
    use super::*;

    #[test]
    fn an_address_is_kept_in_lower_case_and_never_shown() {
        let address: EmailAddress = "Ann.B+x@Example.COM".parse().unwrap();
        assert_eq!(address.as_str(), "ann.b+x@example.com");
        assert_eq!(format!("{address:?}"), "EmailAddress");
    }

    #[test]
    fn a_text_that_is_not_an_address_is_refused() {
        let long = format!("{}@x", "a".repeat(253));
        for bad in ["", "ann", "@x", "ann@", "a nn@x", "ann@x\n", &long] {
            assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?}");
        }
    }
}
