//! The names with which machines check in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidId;
use crate::UserId;

/// The longest sandbox id, in bytes.
const BYTES: usize = 128;

/// The name with which a machine checks in; its token is derived from it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

impl SandboxId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let length = 1..=BYTES;
        if length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                expected: "1 to 128 visible ASCII characters",
            })
        }
    }
}

/// The default: a user has one machine, and every user id is a valid sandbox id.
impl From<&UserId> for SandboxId {
    fn from(user: &UserId) -> Self {
        Self(user.as_str().to_owned())
    }
}

impl TryFrom<String> for SandboxId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_id_has_1_to_128_visible_characters() {
        for good in ["a", "dXNlci0x", "a/b+c=", &"x".repeat(128)] {
            assert_eq!(good.parse::<SandboxId>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\n", "ü", &"x".repeat(129)] {
            assert!(bad.parse::<SandboxId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_user_id_can_be_a_sandbox_id() {
        let user: UserId = format!("A9._:@+-/{}", "x".repeat(119)).parse().unwrap();
        let text = SandboxId::from(&user).to_string();
        assert_eq!(text.parse::<SandboxId>().unwrap(), SandboxId::from(&user));
    }
}
