//! The one translation from what went wrong to HTTP.
//!
//! Every text that a client may get stands here, or in a constant that is handed in: an error's own
//! text is logged, once, and the client learns which operation failed.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postbell_core::UsersError;
use postbell_protocol::api::Problem;
use serde_json::json;
use tracing::{error, warn};

use crate::ChangeError;

/// After how many seconds a client may try again.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ApiError {
    /// No such route.
    NoSuchRoute,
    /// The route has no such method.
    NoSuchMethod,
    /// No key or token, or a wrong one.
    Unauthorized,
    /// There is no such user.
    NoInstance,
    /// The request lacks something, or has something else in its place.
    Invalid(&'static str),
    /// Notifications were asked for without a Google account.
    NotConnected,
    /// The Google account is another user's.
    AddressTaken,
    /// The body is over the limit.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The body ended before its time.
    Incomplete,
    /// The platform was not given a key that credentials can be encrypted for.
    NoKey,
    /// What the client asked for cannot be done now.
    Unavailable { operation: &'static str },
    /// It cannot be done, and trying again does not help.
    Failed { operation: &'static str },
}

impl ApiError {
    fn told(self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "no such route"),
            Self::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "no such method"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::NoInstance => (StatusCode::NOT_FOUND, "No instance"),
            Self::Invalid(text) => (StatusCode::BAD_REQUEST, text),
            Self::NotConnected => (
                StatusCode::BAD_REQUEST,
                "Cannot enable Gmail notifications without a connected Google account",
            ),
            Self::AddressTaken => (
                StatusCode::CONFLICT,
                "This Google account is connected to another user. Disconnect it there first, or \
                 ask your operator",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
            Self::Incomplete => (StatusCode::BAD_REQUEST, "the body ended before its time"),
            Self::NoKey => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The platform has no key for credentials",
            ),
            Self::Unavailable { operation } => (StatusCode::SERVICE_UNAVAILABLE, operation),
            Self::Failed { operation } => (StatusCode::INTERNAL_SERVER_ERROR, operation),
        }
    }

    /// What became of an operation that could not be carried out.
    pub(super) fn of(operation: &'static str, error: impl Into<ChangeError>) -> Self {
        match error.into() {
            ChangeError::NoInstance => Self::NoInstance,
            ChangeError::NotConnected => Self::NotConnected,
            ChangeError::AddressTaken => Self::AddressTaken,
            ChangeError::Users(error @ UsersError::Unavailable(_)) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, operation, "The users' records are out of reach");
                Self::Unavailable { operation }
            }
            ChangeError::Users(error) => {
                let error = &error as &dyn std::error::Error;
                error!(error, operation, "An operation has failed");
                Self::Failed { operation }
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, text) = self.told();
        let text = match self {
            Self::Unavailable { operation } | Self::Failed { operation } => {
                format!("{operation} failed")
            }
            _ => text.to_owned(),
        };
        let mut answer = (status, Json(json!(Problem { error: text }))).into_response();
        match self {
            Self::Unauthorized => {
                let scheme = HeaderValue::from_static("Bearer");
                answer
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, scheme);
            }
            Self::Unavailable { .. } => {
                let seconds = RETRY_AFTER_SECONDS.into();
                answer.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            _ => (),
        }
        answer
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn what_the_store_says_is_never_told() {
        let unavailable = || UsersError::Unavailable("disk /var/lib full".into());
        let corrupt = || UsersError::Corrupt {
            what: "email",
            source: "ann@example.com".into(),
        };
        let user = "ann".parse().unwrap();
        for (error, refusal, status) in [
            (unavailable(), ApiError::Unavailable { operation: "x" }, 503),
            (corrupt(), ApiError::Failed { operation: "x" }, 500),
            (
                UsersError::SandboxTaken,
                ApiError::Failed { operation: "x" },
                500,
            ),
            (UsersError::Missing { user }, ApiError::NoInstance, 404),
            (UsersError::AddressTaken, ApiError::AddressTaken, 409),
        ] {
            let told = ApiError::of("x", error);
            assert_eq!(told, refusal);
            assert_eq!(told.into_response().status(), status);
        }
    }

    #[test]
    fn who_is_to_try_again_is_told_when() {
        let answer = ApiError::Unavailable { operation: "x" }.into_response();
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
    }
}
