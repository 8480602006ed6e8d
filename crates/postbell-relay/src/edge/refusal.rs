//! The one translation from what went wrong to HTTP (contract, section 1).

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postbell_core::{DirectoryError, InboxError};
use postbell_google::IdTokenError;
use serde_json::json;
use tracing::warn;

/// After how many seconds a sender may try again. Pub/Sub has a back-off of its own.
const RETRY_AFTER_SECONDS: &str = "5";

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
    /// The body could not be read to its end.
    Incomplete,
    /// A part that we need is out of reach: nothing was stored, the sender is to try again.
    Unavailable(&'static str),
    /// Nobody waits for this mail: the user is unknown, disconnected, or has notifications off.
    /// To Pub/Sub that is a success, for a refusal would slow down its whole subscription.
    NotWanted,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NotWanted => return StatusCode::NO_CONTENT.into_response(),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "no such route, or no such user id"),
            Self::Unauthenticated(text) => (StatusCode::UNAUTHORIZED, text),
            Self::Forbidden(text) => (StatusCode::FORBIDDEN, text),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "expected a body of at most 64 KiB",
            ),
            Self::Incomplete => (StatusCode::BAD_REQUEST, "the body ended before its time"),
            Self::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
        };
        let body = Json(json!({ "error": text }));
        match self.extra_header() {
            Some(header) => (status, [header], body).into_response(),
            None => (status, body).into_response(),
        }
    }
}

impl Refusal {
    fn extra_header(self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::Unauthenticated(_) => Some((header::WWW_AUTHENTICATE, "Bearer")),
            Self::Unavailable(_) => Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS)),
            _ => None,
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
            (Refusal::Unauthenticated(""), 401),
            (Refusal::Forbidden(""), 403),
            (Refusal::NoSuchRoute, 404),
            (Refusal::TooLarge, 413),
            (Refusal::Unavailable(""), 503),
        ];
        for (refusal, status) in table {
            assert_eq!(refusal.into_response().status(), status, "{refusal:?}");
        }
    }

    #[test]
    fn who_is_to_try_again_is_told_when() {
        let answer = Refusal::Unavailable("").into_response();
        assert_eq!(answer.headers()[header::RETRY_AFTER], RETRY_AFTER_SECONDS);
    }
}
