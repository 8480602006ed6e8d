//! The errors of the API, and their HTTP responses.
//!
//! Every text for a client is in this file, or a constant passed to it. The text of an internal error
//! is logged once; the client gets the name of the operation.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postbell_core::{SandboxId, StoreError, UsersError};
use postbell_protocol::api::Problem;
use postbell_protocol::routes;
use serde_json::json;
use tracing::{error, warn};
use utoipa::IntoResponses;

use crate::ChangeError;

/// The `Retry-After` of unavailable operations.
const RETRY_AFTER_SECONDS: u64 = 5;

/// The `Retry-After` of a machine that asks too often.
const TOO_MANY_RETRY_AFTER_SECONDS: u64 = 60;

/// Why a request fails.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ApiError {
    NoSuchRoute,
    NoSuchMethod,
    /// The key or token is missing or wrong.
    Unauthorized,
    /// The user does not exist.
    UnknownUser,
    /// A field is missing or invalid, as the text says.
    Invalid(&'static str),
    /// Notifications cannot be turned on without a Google account.
    NotConnected,
    /// The Google account is connected to another user.
    AddressTaken,
    /// Another account of the same user has the mailbox.
    AccountConnected,
    /// The user has as many accounts as a user may have.
    TooManyAccounts,
    /// The address of the connected Google account is not known.
    NoAddress,
    /// No user has a machine with this sandbox id any more: the machine's user was removed, or their machine has another one.
    FormerMachine(SandboxId),
    /// The machine asks too often.
    TooMany,
    /// An API key that only reads.
    ReadOnlyKey,
    /// What is stored forbids it, as the text for an operator says.
    Conflict(String),
    /// An operator's request is invalid, as the text says.
    Refused(String),
    BodyTooLarge,
    BodyTooSlow,
    BodyIncomplete,
    /// The platform has no key for credentials.
    NoKey,
    /// The store is unavailable, says the route for monitoring.
    NotReady,
    /// The store is unavailable; the client may retry.
    Unavailable {
        operation: &'static str,
    },
    /// An internal error; a retry does not help.
    Failed {
        operation: &'static str,
    },
}

/// The error responses of a route about one user, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the responses that ApiError sends")]
pub(super) enum UserErrors {
    #[response(status = BAD_REQUEST)]
    BadRequest(Problem),
    #[response(status = UNAUTHORIZED)]
    Unauthorized(Problem),
    #[response(status = NOT_FOUND)]
    NotFound(Problem),
}

impl ApiError {
    fn status_and_message(&self) -> (StatusCode, &str) {
        match self {
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "no such route"),
            Self::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "no such method"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::UnknownUser => (StatusCode::NOT_FOUND, Problem::NO_USER),
            Self::Invalid(text) => (StatusCode::BAD_REQUEST, text),
            Self::Refused(text) => (StatusCode::BAD_REQUEST, text),
            Self::Conflict(text) => (StatusCode::CONFLICT, text),
            Self::ReadOnlyKey => (StatusCode::FORBIDDEN, "this API key only reads"),
            Self::NotConnected => (
                StatusCode::BAD_REQUEST,
                "Cannot enable Gmail notifications without a connected Google account",
            ),
            Self::AddressTaken => (
                StatusCode::CONFLICT,
                "This Google account is connected to 16 other users. Disconnect it from one of them \
                 first, or ask your operator",
            ),
            Self::AccountConnected => (
                StatusCode::CONFLICT,
                "This Google account is connected already, as another account of the same user",
            ),
            Self::TooManyAccounts => (
                StatusCode::CONFLICT,
                "The user has 20 Google accounts. Disconnect one of them first",
            ),
            Self::NoAddress => (
                StatusCode::CONFLICT,
                "The address of the connected Google account is not known: connect it again",
            ),
            Self::FormerMachine(_) => (
                StatusCode::GONE,
                "no user has a machine with this sandbox id",
            ),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many requests"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
            Self::BodyIncomplete => (StatusCode::BAD_REQUEST, "the body ended before its time"),
            Self::NoKey => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The platform has no key for credentials",
            ),
            Self::NotReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the users' store cannot be reached",
            ),
            Self::Unavailable { operation } => (StatusCode::SERVICE_UNAVAILABLE, operation),
            Self::Failed { operation } => (StatusCode::INTERNAL_SERVER_ERROR, operation),
        }
    }

    /// Logs an internal error that no store has caused.
    pub(super) fn internal(
        operation: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        error!(error, operation, "An operation failed");
        Self::Failed { operation }
    }

    /// Maps the error of an operation, and logs it if it is internal.
    pub(super) fn from_change(operation: &'static str, error: impl Into<ChangeError>) -> Self {
        match error.into() {
            ChangeError::UnknownUser => Self::UnknownUser,
            ChangeError::NotConnected => Self::NotConnected,
            ChangeError::AddressTaken => Self::AddressTaken,
            ChangeError::AccountConnected => Self::AccountConnected,
            ChangeError::TooManyAccounts => Self::TooManyAccounts,
            // Only the pages connect with the operator's client.
            ChangeError::OtherAccount | ChangeError::GrantRevoked => Self::Failed { operation },
            ChangeError::Store(error @ UsersError::Store(StoreError::Unavailable(_))) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, operation, "The users' store is unavailable");
                Self::Unavailable { operation }
            }
            ChangeError::Store(error) => {
                let error = &error as &dyn std::error::Error;
                error!(error, operation, "An operation failed");
                Self::Failed { operation }
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, text) = self.status_and_message();
        let text = match &self {
            Self::Unavailable { operation } | Self::Failed { operation } => {
                format!("{operation} failed")
            }
            _ => text.to_owned(),
        };
        let mut response = (status, Json(json!(Problem { error: text }))).into_response();
        match self {
            Self::Unauthorized => {
                let scheme = HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, scheme);
            }
            Self::FormerMachine(sandbox_id) => {
                // Tells the answer from one of a server in between.
                if let Ok(id) = HeaderValue::from_str(sandbox_id.as_str()) {
                    response.headers_mut().insert(routes::SANDBOX_ID, id);
                }
            }
            Self::TooMany => {
                let seconds = TOO_MANY_RETRY_AFTER_SECONDS.into();
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            Self::NotReady | Self::Unavailable { .. } => {
                let seconds = RETRY_AFTER_SECONDS.into();
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            _ => (),
        }
        response
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_former_machine_is_told_by_its_sandbox_id() {
        let response = ApiError::FormerMachine("box-7".parse().unwrap()).into_response();
        assert_eq!(response.status(), StatusCode::GONE);
        assert_eq!(response.headers()[routes::SANDBOX_ID], "box-7");
    }

    #[test]
    fn store_errors_are_not_sent() {
        let unavailable = || UsersError::from(StoreError::Unavailable("disk /var/lib full".into()));
        let corrupt = || {
            UsersError::from(StoreError::Corrupt {
                what: "email",
                source: "ann@example.com".into(),
            })
        };
        let user = "ann".parse().unwrap();
        for (error, expected, status) in [
            (unavailable(), ApiError::Unavailable { operation: "x" }, 503),
            (corrupt(), ApiError::Failed { operation: "x" }, 500),
            (
                UsersError::SandboxTaken,
                ApiError::Failed { operation: "x" },
                500,
            ),
            (UsersError::Missing { user }, ApiError::UnknownUser, 404),
            (UsersError::AddressTaken, ApiError::AddressTaken, 409),
        ] {
            let mapped = ApiError::from_change("x", error);
            assert_eq!(mapped, expected);
            assert_eq!(mapped.into_response().status(), status);
        }
    }

    #[test]
    fn an_unavailable_operation_has_a_retry_after() {
        let answer = ApiError::Unavailable { operation: "x" }.into_response();
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
    }
}
