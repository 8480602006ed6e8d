//! Which users are listed.

use postbell_core::{EmailAddress, Listing, UserId, UserRecord};
use serde::{Deserialize, Serialize};

/// What a sealed [`Wanted`] is good for.
pub(super) const PURPOSE: &str = "postbell-list";

/// The longest text that is searched for: the longest address.
const LONGEST: usize = 254;

/// Which users are listed, and from where on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Wanted {
    pub(super) by_email: bool,
    pub(super) prefix: String,
    after_user: Option<UserId>,
    after_email: Option<EmailAddress>,
}

impl Wanted {
    /// The first page of those whose user id, or address, begins so.
    pub(super) fn beginning_with(prefix: &str, by_email: bool) -> Self {
        Self {
            by_email,
            prefix: prefix.trim().chars().take(LONGEST).collect(),
            ..Self::default()
        }
    }

    /// What follows after a record.
    pub(super) fn after(&self, last: &UserRecord) -> Self {
        let google = last.google.as_ref();
        Self {
            after_user: Some(last.user.clone()),
            after_email: google.and_then(|google| google.email.clone()),
            ..self.clone()
        }
    }

    /// The first page of the same.
    pub(super) fn first(&self) -> Self {
        Self::beginning_with(&self.prefix, self.by_email)
    }

    /// Whether it is the first page.
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
