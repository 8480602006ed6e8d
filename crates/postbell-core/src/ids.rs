//! Ids that come from outside. Each is a type whose values are valid.

mod email;
mod masked;
mod sandbox;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::email::EmailAddress;
pub use self::masked::Masked;
pub use self::sandbox::SandboxId;

/// A text that is not a valid id.
///
/// The error omits the text, which may come from an unauthenticated sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected {expected}")]
pub struct InvalidId {
    /// The form of a valid id.
    pub expected: &'static str,
}

/// The longest user id, in characters.
const USER_ID_CHARS: usize = 128;

/// The longest message id, in bytes. Pub/Sub's own have 16 to 20 digits.
const MESSAGE_ID_BYTES: usize = 256;

/// The owner of a mailbox: an opaque id assigned by the platform.
///
/// 1 to 128 characters of `A-Z a-z 0-9 . _ : @ + - /` (protocol, section 1).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// The id as text, not percent-encoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id for a log, because it may be a mail address.
    #[must_use]
    pub fn masked(&self) -> Masked<'_> {
        Masked(&self.0)
    }

    /// The id as one segment of a URL's path: all but the unreserved characters of RFC 3986 are
    /// percent-encoded, as JavaScript's `encodeURIComponent` does.
    #[must_use]
    pub fn url_segment(&self) -> Cow<'_, str> {
        if !self.0.contains([':', '@', '+', '/']) {
            return Cow::Borrowed(&self.0);
        }
        let mut segment = String::with_capacity(self.0.len());
        for character in self.0.chars() {
            match character {
                ':' => segment.push_str("%3A"),
                '@' => segment.push_str("%40"),
                '+' => segment.push_str("%2B"),
                '/' => segment.push_str("%2F"),
                plain => segment.push(plain),
            }
        }
        Cow::Owned(segment)
    }
}

impl FromStr for UserId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for UserId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@+-/".contains(&byte);
        if (1..=USER_ID_CHARS).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidId {
                expected: "1 to 128 characters of A-Z a-z 0-9 . _ : @ + - /",
            })
        }
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> Self {
        user.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Pub/Sub's id of a message. A redelivery has the same id.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(String);

impl MessageId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MessageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for MessageId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let length = 1..=MESSAGE_ID_BYTES;
        if length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text))
        } else {
            Err(InvalidId {
                expected: "1 to 256 visible ASCII characters",
            })
        }
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A cursor in the history of a Gmail mailbox. A later change has a greater one.
///
/// Gmail's ids are unsigned 64-bit numbers, "not contiguous", and written as text in its JSON
/// (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.history/list>).
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct HistoryId(u64);

impl HistoryId {
    /// The history id with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for HistoryId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        number.map(Self).ok_or(InvalidId {
            expected: "an unsigned 64-bit number",
        })
    }
}

impl TryFrom<String> for HistoryId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<HistoryId> for String {
    fn from(id: HistoryId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_user_id_has_1_to_128_of_the_allowed_characters() {
        for good in [
            "a",
            "user@example.com",
            "org/7",
            "A.b_c:d+e-f",
            &"x".repeat(128),
        ] {
            assert_eq!(good.parse::<UserId>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a b",
            "ü",
            "a\0",
            "a%2Fb",
            "a\n",
            "<a>",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_user_id_in_a_url_is_percent_encoded() {
        let user: UserId = "oauth/google:a.b_c-d+e@x".parse().unwrap();
        assert_eq!(user.url_segment(), "oauth%2Fgoogle%3Aa.b_c-d%2Be%40x");
    }

    #[test]
    fn a_history_id_is_a_whole_uint64() {
        for (text, number) in [("0", 0), ("007", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(text.parse::<HistoryId>().unwrap().get(), number);
        }
        for bad in [
            "",
            "-1",
            "+1",
            " 1",
            "1.0",
            "1e3",
            "18446744073709551616",
            "٣",
        ] {
            assert!(bad.parse::<HistoryId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_id_read_back_is_the_id_written(number: u64) {
            let id = HistoryId::new(number);
            prop_assert_eq!(id.to_string().parse::<HistoryId>(), Ok(id));
        }

        #[test]
        fn no_text_makes_an_id_panic(text: String) {
            let _ = text.parse::<UserId>();
            let _ = text.parse::<MessageId>();
            let _ = text.parse::<HistoryId>();
        }
    }
}
