//! The search for users, and its pages.

use postbell_core::{Listing, Timestamp, UserRecord};
use postbell_protocol::api::operator::{ListUsers, SearchField, UserFilter};
use serde::{Deserialize, Serialize};

use crate::operator::{cursor_after, user_listing};

/// The purpose of an encrypted [`UserQuery`].
pub(super) const PURPOSE: &str = "postbell-users";

/// The longest search text: the longest address.
const MAX_TEXT: usize = 254;

/// A search or a filter, and the position in its results.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct UserQuery(ListUsers);

impl UserQuery {
    /// The first page of the users whose id, or address, has a prefix.
    pub(super) fn with_prefix(prefix: &str, by_email: bool) -> Self {
        Self(ListUsers {
            search: prefix.trim().chars().take(MAX_TEXT).collect(),
            by: if by_email {
                SearchField::Email
            } else {
                SearchField::User
            },
            ..ListUsers::default()
        })
    }

    /// The first page of the users in a state.
    pub(super) fn with_filter(filter: UserFilter) -> Self {
        Self(ListUsers {
            filter: Some(filter),
            ..ListUsers::default()
        })
    }

    /// The page after a record.
    pub(super) fn after(&self, last: &UserRecord, now: Timestamp) -> Self {
        Self(ListUsers {
            after: Some(cursor_after(&self.listing(now), last)),
            ..self.0.clone()
        })
    }

    /// The first page of the same search.
    pub(super) fn first(&self) -> Self {
        Self(ListUsers {
            after: None,
            ..self.0.clone()
        })
    }

    /// Returns whether this is the first page.
    pub(super) const fn is_first(&self) -> bool {
        self.0.after.is_none()
    }

    pub(super) const fn filter(&self) -> Option<UserFilter> {
        self.0.filter
    }

    pub(super) fn is_by_email(&self) -> bool {
        self.0.by == SearchField::Email
    }

    pub(super) fn prefix(&self) -> &str {
        &self.0.search
    }

    /// Which users are listed: all of them if the cursor is one of another version.
    pub(super) fn listing(&self, now: Timestamp) -> Listing {
        let listing = user_listing(self.0.clone(), now);
        listing.unwrap_or_else(|_| Listing::ByUser {
            prefix: String::new(),
            after: None,
        })
    }
}
