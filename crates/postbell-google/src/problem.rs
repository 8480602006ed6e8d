//! Parses Google's errors: the form of all its APIs
//! (<https://cloud.google.com/apis/design/errors>), and the older one of Gmail's in it
//! (<https://developers.google.com/workspace/gmail/api/guides/handle-errors>).

use serde::Deserialize;
use serde_json::Value;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    error: Problem,
}

/// An error, in an answer or in an operation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) status: String,
    /// The HTTP status, or in an operation a number for the word.
    pub(crate) code: i64,
    pub(crate) details: Vec<Value>,
    errors: Vec<Value>,
}

impl Problem {
    /// Parses the body of an unsuccessful response; empty if it is something else.
    pub(crate) fn of(body: &[u8]) -> Self {
        let Answer { error } = serde_json::from_slice(body).unwrap_or_default();
        error
    }

    /// Google's reasons: those of the details, and the older ones.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &str> {
        let all = self.details.iter().chain(&self.errors);
        all.filter_map(|one| one["reason"].as_str())
    }

    /// The older reason, or the status name if there is none.
    pub(crate) fn reason(&self) -> &str {
        let first = self.errors.first();
        let reason = first.and_then(|first| first["reason"].as_str());
        reason.unwrap_or(&self.status)
    }
}

/// Whether a reason is a rate limit, which is transient, with 403 as well.
pub(crate) fn is_limit(reason: &str) -> bool {
    matches!(
        reason,
        "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED"
    )
}
