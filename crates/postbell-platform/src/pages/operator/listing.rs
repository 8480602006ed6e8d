//! The search for users, and its pages.

use postbell_core::{EmailAddress, Listing, UserId, UserRecord};
use serde::{Deserialize, Serialize};

/// The purpose of an encrypted [`UserQuery`].
pub(super) const PURPOSE: &str = "postbell-list";

/// The longest search text: the longest address.
const MAX_TEXT: usize = 254;

/// A search by prefix, and the position in its results.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct UserQuery {
    pub(super) by_email: bool,
    pub(super) prefix: String,
    after_user: Option<UserId>,
    after_email: Option<EmailAddress>,
}

impl UserQuery {
    /// The first page of the users whose id, or address, has a prefix.
    pub(super) fn with_prefix(prefix: &str, by_email: bool) -> Self {
        Self {
            by_email,
            prefix: prefix.trim().chars().take(MAX_TEXT).collect(),
            ..Self::default()
        }
    }

    /// The page after a record.
    pub(super) fn after(&self, last: &UserRecord) -> Self {
        let google = last.google.as_ref();
        Self {
            after_user: Some(last.user.clone()),
            after_email: google.and_then(|google| google.email.clone()),
            ..self.clone()
        }
    }

    /// The first page of the same search.
    pub(super) fn first(&self) -> Self {
        Self::with_prefix(&self.prefix, self.by_email)
    }

    /// Returns whether this is the first page.
    pub(super) fn is_first(&self) -> bool {
        self.after_user.is_none()
    }

    pub(super) fn listing(&self) -> Listing {
        let prefix = self.prefix.clone();
        if self.by_email {
            let after = self.after_email.clone().zip(self.after_user.clone());
            Listing::ByEmail { prefix, after }
        } else {
            let after = self.after_user.clone();
            Listing::ByUser { prefix, after }
        }
    }
}
