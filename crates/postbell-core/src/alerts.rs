//! Alerts that wait to be sent, their targets, and the last report about each mailbox.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{InvalidId, StoreError, Timestamp, UserId};

/// The id of an alert: `evt_` and 32 hex digits, derived from what changed and when.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AlertId(String);

/// The id of a target: `tgt_` and 16 hex digits, the same for the same target.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetId(String);

/// Who gets an alert.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AlertRecipient {
    /// The user whose target it is; `None` for a target of the operator.
    pub user: Option<UserId>,
    /// The target.
    pub target: TargetId,
}

/// An alert to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewAlert {
    /// Its id.
    pub id: AlertId,
    /// The event as JSON, which the outbox does not read.
    pub event: String,
    /// Who gets it.
    pub recipients: Vec<AlertRecipient>,
}

/// A leased alert for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertClaim {
    /// The alert's id.
    pub id: AlertId,
    /// Who gets it.
    pub recipient: AlertRecipient,
    /// The event as JSON.
    pub event: String,
    /// When it was added.
    pub added_at: Timestamp,
    /// How many attempts have failed.
    pub attempt: u32,
    /// The number of the lease.
    pub lease: i64,
}

/// Whose alerts a process can send.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AlertScope {
    /// The operator's targets that it knows.
    pub operator: Vec<TargetId>,
    /// Whether it can read the users' targets.
    pub users: bool,
}

/// How an attempt to send ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AlertSettlement {
    /// The alert was accepted, or is dropped.
    Done,
    /// It is due again then, after one more failure.
    Retry(Timestamp),
}

/// The last report about a subject, and when it must be observed again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertMark {
    /// A user's id, or a name with a space for what concerns several users.
    pub subject: String,
    /// The state as JSON, which the outbox does not read. Empty if there is none yet.
    pub state: String,
    /// When it must be observed again.
    pub due_at: Option<Timestamp>,
    /// Grows with each write; 0 if nothing is stored.
    pub version: i64,
}

/// A user's target.
#[derive(Clone, Debug)]
pub struct StoredTarget {
    /// Its id.
    pub id: TargetId,
    /// Its text. The store encrypts it.
    pub text: SecretString,
    /// When it was added.
    pub added_at: Timestamp,
}

/// A durable outbox of alerts, which several processes may use at once.
///
/// Times always come from the caller. Each promise is a test of `postbell_testkit::conformance`, for
/// every backend.
///
/// - An alert is stored together with the mark from which it follows, or not at all.
/// - An alert is stored once per recipient, however often its id is added while it waits.
/// - A claim is a lease with a number that never returns for the alert; a claim that lost its lease
///   cannot settle anything.
/// - Only alerts within the scope are claimed.
/// - A mark is written only if it did not change since it was read.
#[async_trait]
pub trait AlertOutbox: Send + Sync {
    /// Returns a subject's mark; one of version 0 if nothing is stored.
    async fn mark(&self, subject: &str) -> Result<AlertMark, StoreError>;

    /// Lists up to `limit` marks that are due, the longest due first.
    async fn due_marks(&self, now: Timestamp, limit: usize) -> Result<Vec<AlertMark>, StoreError>;

    /// Writes a mark that was read before, and adds alerts that are due at once. Returns false, and
    /// changes nothing, if the mark changed since.
    async fn observe(
        &self,
        mark: &AlertMark,
        alerts: &[NewAlert],
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Leases up to `limit` due alerts within the scope until `now + lease`.
    async fn claim(
        &self,
        scope: &AlertScope,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<AlertClaim>, StoreError>;

    /// Ends a claim, and returns whether it still had its lease.
    async fn settle(
        &self,
        claim: &AlertClaim,
        settlement: AlertSettlement,
    ) -> Result<bool, StoreError>;

    /// Removes alerts that were added before a time and were not sent, and returns how many.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Counts the alerts that wait.
    async fn waiting(&self) -> Result<u64, StoreError>;

    /// Deletes what is stored of a user who is removed: marks, alerts and targets.
    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError>;
}

/// The users' own targets.
///
/// Each promise is a test of `postbell_testkit::conformance`, for every backend.
#[async_trait]
pub trait AlertTargets: Send + Sync {
    /// Lists a user's targets, the oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if one cannot be decrypted.
    async fn targets(&self, user: &UserId) -> Result<Vec<StoredTarget>, StoreError>;

    /// Adds a target, unless the user has `most` others. A target that exists gets the new text, so
    /// that its signing secret can be changed. Returns whether the user has it now.
    async fn add_target(
        &self,
        user: &UserId,
        target: &StoredTarget,
        most: usize,
    ) -> Result<bool, StoreError>;

    /// Removes a target with its waiting alerts, and returns whether it existed.
    async fn remove_target(&self, user: &UserId, target: &TargetId) -> Result<bool, StoreError>;
}

macro_rules! text_id {
    ($name:ident, $prefix:literal, $digits:literal, $expected:literal) => {
        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix($prefix);
                let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                if digits.is_some_and(|it| it.len() == $digits && it.bytes().all(is_hex)) {
                    Ok(Self(text))
                } else {
                    Err(InvalidId {
                        expected: $expected,
                    })
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(AlertId, "evt_", 32, "evt_ and 32 hex digits");
text_id!(TargetId, "tgt_", 16, "tgt_ and 16 hex digits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_its_prefix_and_hex_digits() {
        let digits = "0123456789abcdef";
        assert!(format!("tgt_{digits}").parse::<TargetId>().is_ok());
        assert!(format!("evt_{digits}{digits}").parse::<AlertId>().is_ok());
        for bad in ["", "tgt_", "tgt_0123456789abcdeF", "evt_0123456789abcdef"] {
            assert!(bad.parse::<TargetId>().is_err() && bad.parse::<AlertId>().is_err());
        }
    }
}
