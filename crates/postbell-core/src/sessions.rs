//! Who may sign in to the pages by a link, and whose sessions have been ended.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{BoxError, Timestamp, UserId};

/// Whom a page is shown to: a user, an operator, or somebody who is both.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Principal {
    /// Whose bot they see.
    pub user: Option<UserId>,
    /// By which name they are an operator, who sees everybody: a mail address, or a word of its own
    /// for each link.
    pub operator: Option<String>,
}

impl Principal {
    /// Under which name the sessions of all operators are ended. No user id has a space.
    pub const ALL_OPERATORS: &str = "all operators";

    /// Under which name their sessions are ended: all of a user's, or all of an operator's who has
    /// no bot. No user id has a space.
    #[must_use]
    pub fn subject(&self) -> String {
        match (&self.user, &self.operator) {
            (Some(user), _) => user.to_string(),
            (None, operator) => format!("operator {}", operator.as_deref().unwrap_or_default()),
        }
    }
}

/// SHA-256 of the secret in a link: what is stored of it opens nothing.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkDigest(pub [u8; 32]);

impl fmt::Debug for LinkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkDigest")
    }
}

/// A durable place for links that sign somebody in, which several processes may use at once.
///
/// Times always come from the caller. Each promise is a test of `postbell_testkit::conformance`, for every
/// backend.
///
/// - A link signs in once, and not from its end on.
/// - Links that have ended are forgotten when another one is added.
/// - An epoch begins at 0 and grows each time that the sessions of a subject are ended: a session of
///   an earlier epoch is over.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Keeps a link that signs `visitor` in until `expires_at`.
    async fn add_link(
        &self,
        link: LinkDigest,
        visitor: &Principal,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), SessionsError>;

    /// Uses a link up, and returns whom it signs in; `None` where there is no such link any more.
    async fn take_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<Principal>, SessionsError>;

    /// Returns the epoch that a subject's sessions must be of.
    async fn epoch(&self, subject: &str) -> Result<i64, SessionsError>;

    /// Ends all sessions of a subject.
    async fn end_sessions(&self, subject: &str) -> Result<(), SessionsError>;

    /// Forgets the links of a user who is removed, and ends their sessions: whoever is added under
    /// the same name is somebody else.
    async fn forget_user(&self, user: &UserId) -> Result<(), SessionsError>;

    /// Forgets the links of all operators, and ends the sessions of [`Principal::ALL_OPERATORS`].
    async fn forget_operators(&self) -> Result<(), SessionsError>;
}

/// Why a [`Sessions`] call failed, in terms the caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// The backend is busy, full or out of reach. The same call may succeed later.
    #[error("the sign-ins are unavailable")]
    Unavailable(#[source] BoxError),

    /// What is stored is not what we wrote: a bug or damage. Never retried.
    #[error("the stored {what} cannot be read")]
    Corrupt {
        /// The column or row.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_can_be_taken_for_a_user() {
        let visitor = |user: Option<&str>, operator: Option<&str>| Principal {
            user: user.map(|user| user.parse().unwrap()),
            operator: operator.map(str::to_owned),
        };
        assert_eq!(visitor(Some("ann"), None).subject(), "ann");
        assert_eq!(visitor(Some("ann"), Some("x")).subject(), "ann");
        let operator = visitor(None, Some("ann")).subject();
        assert!(operator.parse::<UserId>().is_err(), "{operator}");
        assert!(Principal::ALL_OPERATORS.parse::<UserId>().is_err());
    }
}
