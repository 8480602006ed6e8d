//! The search for users, and its pages.

use postbell_core::{EmailAddress, Listing, ProblemCode, UserId, UserRecord};
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
    #[serde(default)]
    pub(super) problem: Option<ProblemFilter>,
    after_user: Option<UserId>,
    after_email: Option<EmailAddress>,
    #[serde(default)]
    after_problem: Option<ProblemCode>,
}

/// Which problems are listed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum ProblemFilter {
    Any,
    One(ProblemCode),
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

    /// The first page of the users with a problem.
    pub(super) fn with_problem(problem: ProblemFilter) -> Self {
        Self {
            problem: Some(problem),
            ..Self::default()
        }
    }

    /// The page after a record.
    pub(super) fn after(&self, last: &UserRecord) -> Self {
        let google = last.google.as_ref();
        Self {
            after_user: Some(last.user.clone()),
            after_email: google.and_then(|google| google.email.clone()),
            after_problem: last.problem.map(|problem| problem.code),
            ..self.clone()
        }
    }

    /// The first page of the same search.
    pub(super) fn first(&self) -> Self {
        match self.problem {
            Some(problem) => Self::with_problem(problem),
            None => Self::with_prefix(&self.prefix, self.by_email),
        }
    }

    /// Returns whether this is the first page.
    pub(super) fn is_first(&self) -> bool {
        self.after_user.is_none()
    }

    pub(super) fn listing(&self) -> Listing {
        if let Some(filter) = self.problem {
            let code = match filter {
                ProblemFilter::Any => None,
                ProblemFilter::One(code) => Some(code),
            };
            let after = self.after_problem.zip(self.after_user.clone());
            return Listing::ByProblem { code, after };
        }
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
