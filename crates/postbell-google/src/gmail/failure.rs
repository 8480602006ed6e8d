//! Classifies Gmail's errors
//! (<https://developers.google.com/workspace/gmail/api/guides/handle-errors>).

use std::time::Duration;

use http::Response;
use postbell_core::{BoxError, Timestamp};
use postbell_http::{RequestError, ResponseBody, read_error_body, retry_after};
use tokio::time::Instant;

use crate::oauth::TokenError;
use crate::problem::Problem;

/// Why a call of Gmail failed.
#[derive(Debug, thiserror::Error)]
pub enum GmailError {
    /// The message does not exist, or the history id is too old.
    #[error("gmail no longer has it")]
    NotFound,

    /// The token was refused, and a fresh one as well.
    #[error("gmail refused the access token")]
    Unauthorized,

    /// There is no access token.
    #[error(transparent)]
    Token(#[from] TokenError),

    /// The mailbox or the project is over its quota, or Gmail asked for a pause. No message is at
    /// fault. The client sends nothing until the pause has passed.
    #[error("gmail's quota is used up")]
    Quota {
        /// How long Gmail asks to wait, if it says so.
        retry_after: Option<Duration>,
    },

    /// Gmail answered 5xx, also to the repeats. A later call may succeed; if only one message fails
    /// so each time, it is that message.
    #[error("gmail failed: {status} {reason}")]
    Failed {
        /// The status.
        status: u16,
        /// Gmail's reason, such as `backendError`; may be empty.
        reason: String,
    },

    /// Gmail did not answer, or the connection broke. A repeat may succeed.
    #[error("gmail is unavailable")]
    Unavailable(#[source] BoxError),

    /// The response cannot be parsed, for example because it is nested too deeply.
    #[error("gmail's answer cannot be read")]
    Unreadable,

    /// Gmail refuses this call for good: 400, 403 without a quota reason, or another 4xx.
    #[error("gmail refused: {status} {reason}")]
    Refused {
        /// The status.
        status: u16,
        /// Gmail's reason, such as `failedPrecondition`; may be empty.
        reason: String,
    },
}

impl GmailError {
    /// Whether it is a refusal that concerns the whole account or project: the API is disabled, the
    /// grant lacks a scope, or the domain's administrator forbids it. Then no message is at fault.
    #[must_use]
    pub fn concerns_account(&self) -> bool {
        let Self::Refused { reason, .. } = self else {
            return false;
        };
        matches!(
            &**reason,
            "accessNotConfigured"
                | "SERVICE_DISABLED"
                | "insufficientPermissions"
                | "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
                | "domainPolicy"
        )
    }
}

/// A success, whose body is still to be read, until the deadline of the request.
pub(super) struct Answer {
    pub(super) body: ResponseBody,
    pub(super) deadline: Instant,
}

/// What the client does with a response.
pub(super) enum Verdict {
    Good(Answer),
    /// The token was refused; a fresh one may be accepted.
    Unauthorized,
    Transient {
        error: GmailError,
        retry_after: Option<Duration>,
    },
    Final(GmailError),
}

pub(super) async fn judge(
    answer: Response<ResponseBody>,
    deadline: Instant,
    now: Timestamp,
) -> Verdict {
    let status = answer.status();
    if status.is_success() {
        let body = answer.into_body();
        return Verdict::Good(Answer { body, deadline });
    }
    let in_header = retry_after(answer.headers(), now);
    let problem = Problem::of(&read_error_body(answer.into_body()).await);
    let asked = in_header.max(problem.retry_after(now));
    verdict(status.as_u16(), &problem, asked)
}

/// Uses status and reason: 403 can be a quota or permanent.
fn verdict(status: u16, problem: &Problem, retry_after: Option<Duration>) -> Verdict {
    let reason = problem.reason().to_owned();
    match status {
        401 => Verdict::Unauthorized,
        404 => Verdict::Final(GmailError::NotFound),
        // A quota that ends with the day: repeats within seconds are in vain.
        403 | 429 if problem.is_daily_limit() => Verdict::Final(GmailError::Quota { retry_after }),
        429 => quota(retry_after),
        403 if problem.is_limit() => quota(retry_after),
        500..=599 => Verdict::Transient {
            error: GmailError::Failed { status, reason },
            retry_after,
        },
        _ => Verdict::Final(GmailError::Refused { status, reason }),
    }
}

fn quota(retry_after: Option<Duration>) -> Verdict {
    let error = GmailError::Quota { retry_after };
    Verdict::Transient { error, retry_after }
}

pub(super) fn unavailable(error: RequestError) -> GmailError {
    GmailError::Unavailable(error.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(status: u16, reason: &str, message: &str) -> &'static str {
        let errors = json!([{ "reason": reason }]);
        let body = json!({ "error": { "message": message, "errors": errors } });
        let problem = Problem::of(body.to_string().as_bytes());
        match verdict(status, &problem, None) {
            Verdict::Good(_) => "good",
            Verdict::Unauthorized => "unauthorized",
            Verdict::Transient {
                error: GmailError::Quota { .. },
                ..
            } => "quota",
            Verdict::Transient { .. } => "transient",
            Verdict::Final(GmailError::NotFound) => "gone",
            Verdict::Final(GmailError::Quota { .. }) => "hold",
            Verdict::Final(GmailError::Refused { .. }) => "refused",
            Verdict::Final(_) => "final",
        }
    }

    #[test]
    fn a_quota_an_outage_and_a_refusal_are_told_apart() {
        const PER_MINUTE: &str = "Quota exceeded for quota metric 'Queries' and limit 'Queries per \
                                  minute per user' of service 'gmail.googleapis.com'";
        for (status, reason, message, expected) in [
            (401, "authError", "", "unauthorized"),
            (404, "notFound", "", "gone"),
            (403, "rateLimitExceeded", "", "quota"),
            (403, "userRateLimitExceeded", "", "quota"),
            (403, "quotaExceeded", "", "quota"),
            (403, "RATE_LIMIT_EXCEEDED", "", "quota"),
            (403, "", PER_MINUTE, "quota"),
            (403, "forbidden", PER_MINUTE, "quota"),
            (403, "dailyLimitExceeded", "", "hold"),
            (429, "dailyLimitExceeded", "", "hold"),
            (403, "insufficientPermissions", "", "refused"),
            (
                403,
                "forbidden",
                "Delegation denied for ann@example.com",
                "refused",
            ),
            (403, "", "", "refused"),
            (429, "rateLimitExceeded", "", "quota"),
            (429, "", "", "quota"),
            (
                400,
                "failedPrecondition",
                "Precondition check failed.",
                "refused",
            ),
            (400, "rateLimitExceeded", "", "refused"),
            (413, "", "", "refused"),
            (500, "backendError", "", "transient"),
            (503, "", "", "transient"),
        ] {
            assert_eq!(kind(status, reason, message), expected, "{status} {reason}");
        }
    }

    #[test]
    fn a_refusal_of_the_account_is_not_one_of_a_message() {
        for (reason, expected) in [
            ("accessNotConfigured", true),
            ("insufficientPermissions", true),
            ("failedPrecondition", false),
            ("", false),
        ] {
            let reason = reason.to_owned();
            let refused = GmailError::Refused {
                status: 403,
                reason,
            };
            assert_eq!(refused.concerns_account(), expected, "{refused}");
        }
        assert!(!GmailError::Unauthorized.concerns_account());
    }
}
