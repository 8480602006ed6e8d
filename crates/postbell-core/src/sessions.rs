//! Sign-in links, and the epochs that end sessions.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{InvalidId, StoreError, Timestamp, UserId};

/// The identity that a session acts as: a user, an operator, or both.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Principal {
    /// The user whose bot is shown.
    pub user: Option<UserId>,
    /// The operator's name: a mail address, or a name of its own per sign-in link. An operator sees
    /// all users.
    pub operator: Option<String>,
    /// Whether the operator may only look: changes nothing, and sees no secrets.
    #[serde(default)]
    pub is_viewer: bool,
}

/// A sign-in link that was not used yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignInLink {
    /// Identifies it; is not its secret.
    pub digest: LinkDigest,
    /// Whom it signs in.
    pub principal: Principal,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Principal {
    /// The subject under which the sessions of all operators end. No user id contains a space.
    pub const ALL_OPERATORS: &str = "all operators";

    /// Returns the subject under which the principal's sessions end: the user's, or that of an
    /// operator who is not a user. No user id contains a space.
    #[must_use]
    pub fn subject(&self) -> String {
        match (&self.user, &self.operator) {
            (Some(user), _) => user.to_string(),
            (None, operator) => format!("operator {}", operator.as_deref().unwrap_or_default()),
        }
    }
}

/// The SHA-256 digest of a sign-in link's secret. A stored digest cannot be used to sign in.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkDigest(pub [u8; 32]);

impl LinkDigest {
    /// The digest as 64 hex digits, by which commands name the link.
    #[must_use]
    pub fn to_hex(self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl FromStr for LinkDigest {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        const WRONG: InvalidId = InvalidId {
            expected: "the id of a link: 64 hex digits",
        };
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Debug for LinkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkDigest")
    }
}

/// A durable store of sign-in links and session epochs, which several processes may use at once.
///
/// Times always come from the caller. Each promise is a test of `postbell_testkit::conformance`, for
/// every backend.
///
/// - A link signs in once, and only before it expires.
/// - Expired links are deleted when another one is added.
/// - An epoch begins at 0 and grows each time that the sessions of a subject are ended: a session of
///   an earlier epoch is over.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Stores a link that signs `principal` in until `expires_at`.
    async fn add_link(
        &self,
        link: LinkDigest,
        principal: &Principal,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Uses a link up, and returns the principal that it signs in; `None` if it does not exist, was
    /// used or has expired.
    async fn redeem_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<Principal>, StoreError>;

    /// Returns a link that can still be used, without using it up.
    async fn find_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<SignInLink>, StoreError>;

    /// Lists up to `limit` links that can still be used, by digest.
    async fn links(
        &self,
        after: Option<LinkDigest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<SignInLink>, StoreError>;

    /// Deletes a link, and returns whether it existed.
    async fn revoke_link(&self, link: LinkDigest) -> Result<bool, StoreError>;

    /// Returns the epoch that a subject's sessions must have.
    async fn epoch(&self, subject: &str) -> Result<i64, StoreError>;

    /// Ends all sessions of a subject.
    async fn end_sessions(&self, subject: &str) -> Result<(), StoreError>;

    /// Deletes the links of a user and ends their sessions, so that a user who is later added with
    /// the same id inherits none.
    async fn revoke_user(&self, user: &UserId) -> Result<(), StoreError>;

    /// Deletes the links of all operators, and ends the sessions of [`Principal::ALL_OPERATORS`].
    async fn revoke_operators(&self) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_subject_is_never_a_user_id() {
        let principal = |user: Option<&str>, operator: Option<&str>| Principal {
            user: user.map(|user| user.parse().unwrap()),
            operator: operator.map(str::to_owned),
            is_viewer: false,
        };
        assert_eq!(principal(Some("ann"), None).subject(), "ann");
        assert_eq!(principal(Some("ann"), Some("x")).subject(), "ann");
        let operator = principal(None, Some("ann")).subject();
        assert!(operator.parse::<UserId>().is_err(), "{operator}");
        assert!(Principal::ALL_OPERATORS.parse::<UserId>().is_err());
    }
}
