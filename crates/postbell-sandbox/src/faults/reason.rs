//! Reasons of Google's refusals, other than the usual one of a status
//! (<https://developers.google.com/workspace/gmail/api/guides/handle-errors>).

use serde::{Deserialize, Serialize};

/// A reason of Gmail's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The user's quota of a minute.
    UserRateLimitExceeded,
    /// The project's quota.
    QuotaExceeded,
    /// A quota that is named only in the text.
    QueriesPerMinute,
    /// The quota of the day.
    DailyLimitExceeded,
    /// A precondition of the call does not hold.
    FailedPrecondition,
    /// The caller may not do this.
    Forbidden,
    /// The grant lacks a scope.
    InsufficientPermissions,
    /// The API is not enabled.
    AccessNotConfigured,
}

impl Reason {
    /// The domain, the reason, the status word and the text of the error.
    pub(super) fn parts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::UserRateLimitExceeded => (
                "usageLimits",
                "userRateLimitExceeded",
                "RESOURCE_EXHAUSTED",
                "User Rate Limit Exceeded",
            ),
            Self::QuotaExceeded => (
                "usageLimits",
                "quotaExceeded",
                "PERMISSION_DENIED",
                "The quota has been exceeded.",
            ),
            Self::QueriesPerMinute => (
                "global",
                "forbidden",
                "PERMISSION_DENIED",
                "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' \
                 of service 'gmail.googleapis.com' for consumer 'project_number:1'.",
            ),
            Self::DailyLimitExceeded => (
                "usageLimits",
                "dailyLimitExceeded",
                "PERMISSION_DENIED",
                "Daily Limit Exceeded",
            ),
            Self::FailedPrecondition => (
                "global",
                "failedPrecondition",
                "FAILED_PRECONDITION",
                "Precondition check failed.",
            ),
            Self::Forbidden => ("global", "forbidden", "PERMISSION_DENIED", "Forbidden"),
            Self::InsufficientPermissions => (
                "global",
                "insufficientPermissions",
                "PERMISSION_DENIED",
                "Request had insufficient authentication scopes.",
            ),
            Self::AccessNotConfigured => (
                "usageLimits",
                "accessNotConfigured",
                "PERMISSION_DENIED",
                "Gmail API has not been used in project 1 before or it is disabled.",
            ),
        }
    }
}
