//! Classifies Gmail's errors
//! (<https://developers.google.com/workspace/gmail/api/guides/handle-errors>).

use std::time::Duration;

use postbell_core::BoxError;
use reqwest::Response;
use reqwest::header::RETRY_AFTER;

use crate::oauth::TokenError;
use crate::problem::{Problem, is_limit};

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

    /// Gmail is unavailable or over its quota. A repeat may succeed.
    #[error("gmail is unavailable")]
    Unavailable(#[source] BoxError),

    /// The response cannot be parsed, for example because it is nested too deeply.
    #[error("gmail's answer cannot be read")]
    Unreadable,

    /// Gmail refuses the call for good.
    #[error("gmail refused: {reason}")]
    Refused {
        /// Gmail's reason, such as `failedPrecondition`.
        reason: String,
    },
}

/// What the client does with a response.
pub(super) enum Verdict {
    Good(Response),
    /// The token was refused; a fresh one may be accepted.
    Unauthorized,
    Transient {
        error: GmailError,
        retry_after: Option<Duration>,
    },
    Final(GmailError),
}

pub(super) async fn judge(answer: Response) -> Verdict {
    let status = answer.status();
    if status.is_success() {
        return Verdict::Good(answer);
    }
    let retry_after = retry_after(&answer);
    let problem = Problem::of(&answer.bytes().await.unwrap_or_default());
    verdict(status.as_u16(), problem.reason(), retry_after)
}

/// Uses status and reason: 403 can be a rate limit or permanent.
fn verdict(status: u16, reason: &str, retry_after: Option<Duration>) -> Verdict {
    let is_limit = is_limit(reason);
    match status {
        401 => Verdict::Unauthorized,
        404 => Verdict::Final(GmailError::NotFound),
        403 if !is_limit => Verdict::Final(refused(status, reason)),
        403 | 429 | 500..=599 => {
            let error = GmailError::Unavailable(format!("it answered {status} {reason}").into());
            Verdict::Transient { error, retry_after }
        }
        _ => Verdict::Final(refused(status, reason)),
    }
}

fn refused(status: u16, reason: &str) -> GmailError {
    GmailError::Refused {
        reason: format!("{status} {reason}").trim_end().to_owned(),
    }
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// Removes the URL, which contains a message id or a search.
pub(super) fn unavailable(error: reqwest::Error) -> GmailError {
    GmailError::Unavailable(error.without_url().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, reason: &str) -> &'static str {
        match verdict(status, reason, None) {
            Verdict::Good(_) => "good",
            Verdict::Unauthorized => "unauthorized",
            Verdict::Transient { .. } => "transient",
            Verdict::Final(GmailError::NotFound) => "gone",
            Verdict::Final(_) => "final",
        }
    }

    #[test]
    fn only_transient_errors_are_retried() {
        for (status, reason, expected) in [
            (401, "authError", "unauthorized"),
            (404, "notFound", "gone"),
            (403, "rateLimitExceeded", "transient"),
            (403, "userRateLimitExceeded", "transient"),
            (403, "dailyLimitExceeded", "final"),
            (403, "insufficientPermissions", "final"),
            (429, "rateLimitExceeded", "transient"),
            (429, "", "transient"),
            (400, "failedPrecondition", "final"),
            (500, "backendError", "transient"),
            (503, "", "transient"),
        ] {
            assert_eq!(kind(status, reason), expected, "{status} {reason}");
        }
    }
}
