//! The one translation from what went wrong to HTTP (contract, section 1).

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postbell_core::{DirectoryError, InboxError};
use postbell_google::IdTokenError;
use postbell_http::BodyError;
use serde_json::json;
use tracing::warn;

/// After how many seconds a sender may try again. Pub/Sub has a back-off of its own.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Why a push was not taken. Each text says what was expected, and repeats nothing of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// No such route, or a user id that cannot be one.
    NoSuchRoute,
    /// No token, or one that is none for us.
    Unauthenticated(&'static str),
    /// A good token of somebody else.
    Forbidden(&'static str),
    /// A body over the limit.
    TooLarge,
    /// A URL over the limit.
    UrlTooLong,
    /// Headers over the limit.
    HeadersTooLong,
    /// The body took too long.
    TooSlow,
    /// The sender is over its rate limit.
    TooFast {
        /// After how many seconds it may send again.
        seconds: u64,
    },
    /// The body is none that the route takes.
    Unreadable(&'static str),
    /// The body could not be read to its end.
    Incomplete,
    /// A part that we need is out of reach: nothing was stored, the sender is to try again.
    Unavailable(&'static str),
    /// Nobody waits for this mail: the user is unknown, disconnected, or has notifications off.
    /// To Pub/Sub that is a success, for a refusal would slow down its whole subscription.
    NotWanted,
}

/// Why a push was not taken, in one word, for the metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reason(pub(super) &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason, text) = self.told();
        let mut answer = match self {
            Self::NotWanted => status.into_response(),
            _ => (status, Json(json!({ "error": text }))).into_response(),
        };
        if let Some((name, value)) = self.extra_header() {
            answer.headers_mut().insert(name, value);
        }
        answer.extensions_mut().insert(Reason(reason));
        answer
    }
}

impl Refusal {
    /// What the sender is told, and what is counted.
    fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotWanted => (StatusCode::NO_CONTENT, "not_wanted", ""),
            Self::NoSuchRoute => (
                StatusCode::NOT_FOUND,
                "no_such_route",
                "no such route, or no such user id",
            ),
            Self::Unauthenticated(text) => (StatusCode::UNAUTHORIZED, "unauthenticated", text),
            Self::Forbidden(text) => (StatusCode::FORBIDDEN, "forbidden", text),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is over the limit, which is 64 KiB for a push",
            ),
            Self::UrlTooLong => (
                StatusCode::URI_TOO_LONG,
                "url_too_long",
                "expected a URL of at most 2048 bytes",
            ),
            Self::HeadersTooLong => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_long",
                "expected headers of at most 16 KiB, all together",
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "too_slow",
                "expected the whole body within 10 seconds",
            ),
            Self::TooFast { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_fast",
                "over the rate limit: try again after the time in retry-after",
            ),
            Self::Unreadable(text) => (StatusCode::BAD_REQUEST, "unreadable", text),
            Self::Incomplete => (
                StatusCode::BAD_REQUEST,
                "incomplete",
                "the body ended before its time",
            ),
            Self::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", text),
        }
    }

    fn extra_header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated(_) => {
                let scheme = HeaderValue::from_static("Bearer");
                Some((header::WWW_AUTHENTICATE, scheme))
            }
            Self::TooFast { seconds } => Some((header::RETRY_AFTER, seconds.into())),
            Self::Unavailable(_) => Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS.into())),
            _ => None,
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooSlow => Self::TooSlow,
            BodyError::TooLarge => Self::TooLarge,
            BodyError::Incomplete => Self::Incomplete,
        }
    }
}

impl From<IdTokenError> for Refusal {
    fn from(error: IdTokenError) -> Self {
        match error {
            IdTokenError::Rejected(expected) => Self::Unauthenticated(expected),
            IdTokenError::KeysUnavailable(_) => {
                warn!(%error, "Could not check a push's token");
                Self::Unavailable("google's keys cannot be reached")
            }
        }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        warn!(
            error = &error as &dyn std::error::Error,
            "Could not ask the directory about a push"
        );
        Self::Unavailable("the user directory cannot be reached")
    }
}

impl From<InboxError> for Refusal {
    fn from(error: InboxError) -> Self {
        warn!(
            error = &error as &dyn std::error::Error,
            "Could not store a push"
        );
        Self::Unavailable("the inbox cannot be reached")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_the_contracts_status() {
        let table = [
            (Refusal::NotWanted, 204),
            (Refusal::Incomplete, 400),
            (Refusal::Unreadable(""), 400),
            (Refusal::Unauthenticated(""), 401),
            (Refusal::Forbidden(""), 403),
            (Refusal::NoSuchRoute, 404),
            (Refusal::TooSlow, 408),
            (Refusal::TooLarge, 413),
            (Refusal::UrlTooLong, 414),
            (Refusal::HeadersTooLong, 431),
            (Refusal::TooFast { seconds: 1 }, 429),
            (Refusal::Unavailable(""), 503),
        ];
        for (refusal, status) in table {
            assert_eq!(refusal.into_response().status(), status, "{refusal:?}");
        }
    }

    #[test]
    fn who_is_to_try_again_is_told_when() {
        for (refusal, seconds) in [
            (Refusal::Unavailable(""), "5"),
            (Refusal::TooFast { seconds: 7 }, "7"),
        ] {
            let answer = refusal.into_response();
            assert_eq!(answer.headers()[header::RETRY_AFTER], seconds);
        }
    }
}
