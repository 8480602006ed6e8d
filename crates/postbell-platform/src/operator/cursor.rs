//! Cursors of lists: where the next page of users begins.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use postbell_core::{EmailAddress, ProblemCode, Timestamp, UserId, UserRecord};
use serde::{Deserialize, Serialize};

use super::OperatorError;

/// Begins a cursor that is more than a user id, which never contains it.
const MARK: char = '~';

/// The position after a record, in every order of users.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Cursor {
    pub(super) user: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<EmailAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<ProblemCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) watch_end: Option<Timestamp>,
}

impl Cursor {
    /// The position after a record.
    pub(super) fn after(record: &UserRecord) -> Self {
        let google = record.google.as_ref();
        Self {
            user: record.user.clone(),
            email: google.and_then(|google| google.email.clone()),
            problem: record.problem.map(|problem| problem.code),
            watch_end: record.watch_expires_at,
        }
    }

    /// The text of a cursor. `by_user` if the list is ordered by user id, which then is the cursor.
    pub(super) fn encode(&self, by_user: bool) -> String {
        if by_user {
            return self.user.to_string();
        }
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{MARK}{}", BASE64_URL_SAFE_NO_PAD.encode(json))
    }

    pub(super) fn decode(text: &str) -> Result<Self, OperatorError> {
        let invalid = || OperatorError::Invalid("after: expected a cursor of a list".to_owned());
        let Some(encoded) = text.strip_prefix(MARK) else {
            return Ok(Self {
                user: text.parse().map_err(|_| invalid())?,
                email: None,
                problem: None,
                watch_end: None,
            });
        };
        let json = BASE64_URL_SAFE_NO_PAD.decode(encoded);
        let json = json.map_err(|_| invalid())?;
        serde_json::from_slice(&json).map_err(|_| invalid())
    }
}
