//! The one translation from errors to HTTP responses (protocol, section 1).

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postbell_core::{DirectoryError, StoreError};
use postbell_google::IdTokenError;
use postbell_http::{BodyError, error_response};
use tracing::warn;

/// The `Retry-After` of a 503, in seconds. Pub/Sub has its own back-off.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Why a request was refused. Each text says what was expected, and repeats no part of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ApiError {
    /// The route does not exist, or the user id in it is invalid.
    NoSuchRoute,
    /// The token is missing or invalid.
    Unauthenticated(&'static str),
    /// The token is valid, but belongs to another sender.
    Forbidden(&'static str),
    /// The body is over the limit.
    BodyTooLarge,
    /// The URL is over the limit.
    UrlTooLong,
    /// The headers are over the limit.
    HeadersTooLong,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The sender is over its rate limit.
    TooManyRequests {
        /// When it may send again.
        seconds: u64,
    },
    /// The body does not have the form that the route expects.
    InvalidBody(&'static str),
    /// The body ended early.
    IncompleteBody,
    /// A dependency is out of reach. Nothing was stored; the sender should retry.
    Unavailable(&'static str),
    /// The user is unknown, disconnected, or has notifications off. Pub/Sub gets a success, because
    /// an error would slow down its whole subscription.
    Unwanted,
    /// The notification is of another mailbox than the user's. Pub/Sub gets a success: another user's
    /// subscription to the same topic has it, too.
    OtherMailbox,
}

/// How a push was refused, for the middleware.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedPush {
    /// The `result` label in the metrics.
    pub(super) result: &'static str,
    /// What was expected, if the sender did something wrong.
    pub(super) reason: Option<&'static str>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message) = self.status_and_message();
        let mut response = match self {
            Self::Unwanted | Self::OtherMailbox => status.into_response(),
            _ => error_response(status, message),
        };
        if let Some((name, value)) = self.extra_header() {
            response.headers_mut().insert(name, value);
        }
        let is_senders_fault = status.is_client_error() && !matches!(self, Self::NoSuchRoute);
        response.extensions_mut().insert(RefusedPush {
            result: self.metrics_result(),
            reason: is_senders_fault.then_some(message),
        });
        response
    }
}

impl ApiError {
    fn status_and_message(self) -> (StatusCode, &'static str) {
        match self {
            Self::Unwanted | Self::OtherMailbox => (StatusCode::NO_CONTENT, ""),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "no such route, or no such user id"),
            Self::Unauthenticated(message) => (StatusCode::UNAUTHORIZED, message),
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, message),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is over the limit, which is 64 KiB for a push",
            ),
            Self::UrlTooLong => (
                StatusCode::URI_TOO_LONG,
                "expected a URL of at most 2048 bytes",
            ),
            Self::HeadersTooLong => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "expected headers of at most 16 KiB, all together",
            ),
            Self::BodyTooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "expected the whole body within 10 seconds",
            ),
            Self::TooManyRequests { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "over the rate limit: try again after the time in retry-after",
            ),
            Self::InvalidBody(message) => (StatusCode::BAD_REQUEST, message),
            Self::IncompleteBody => (StatusCode::BAD_REQUEST, "the body is incomplete"),
            Self::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
        }
    }

    fn metrics_result(self) -> &'static str {
        match self {
            Self::Unwanted => "not_wanted",
            Self::OtherMailbox => "other_mailbox",
            Self::NoSuchRoute => "no_such_route",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::BodyTooLarge => "too_large",
            Self::UrlTooLong => "url_too_long",
            Self::HeadersTooLong => "headers_too_long",
            Self::BodyTooSlow => "too_slow",
            Self::TooManyRequests { .. } => "too_fast",
            Self::InvalidBody(_) => "unreadable",
            Self::IncompleteBody => "incomplete",
            Self::Unavailable(_) => "unavailable",
        }
    }

    fn extra_header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated(_) => {
                let scheme = HeaderValue::from_static("Bearer");
                Some((header::WWW_AUTHENTICATE, scheme))
            }
            Self::TooManyRequests { seconds } => Some((header::RETRY_AFTER, seconds.into())),
            Self::Unavailable(_) => Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS.into())),
            _ => None,
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooSlow => Self::BodyTooSlow,
            BodyError::TooLarge => Self::BodyTooLarge,
            BodyError::Incomplete => Self::IncompleteBody,
        }
    }
}

impl From<IdTokenError> for ApiError {
    fn from(error: IdTokenError) -> Self {
        match error {
            IdTokenError::Rejected(expected) => Self::Unauthenticated(expected),
            IdTokenError::KeysUnavailable(_) => {
                warn!(%error, "Could not verify the token of a push");
                Self::Unavailable("google's keys cannot be reached")
            }
        }
    }
}

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> Self {
        warn!(
            error = &error as &dyn std::error::Error,
            "Could not look up the user of a request"
        );
        Self::Unavailable("the user directory cannot be reached")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        warn!(
            error = &error as &dyn std::error::Error,
            "The store failed during a request"
        );
        Self::Unavailable(if error.is_disk_full() {
            "the disk of the inbox is full"
        } else {
            "the inbox cannot be reached"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_status_of_the_protocol() {
        let table = [
            (ApiError::Unwanted, 204),
            (ApiError::IncompleteBody, 400),
            (ApiError::InvalidBody(""), 400),
            (ApiError::Unauthenticated(""), 401),
            (ApiError::Forbidden(""), 403),
            (ApiError::NoSuchRoute, 404),
            (ApiError::BodyTooSlow, 408),
            (ApiError::BodyTooLarge, 413),
            (ApiError::UrlTooLong, 414),
            (ApiError::HeadersTooLong, 431),
            (ApiError::TooManyRequests { seconds: 1 }, 429),
            (ApiError::Unavailable(""), 503),
        ];
        for (error, status) in table {
            assert_eq!(error.into_response().status(), status, "{error:?}");
        }
    }

    #[test]
    fn errors_that_pass_say_when_to_retry() {
        for (error, seconds) in [
            (ApiError::Unavailable(""), "5"),
            (ApiError::TooManyRequests { seconds: 7 }, "7"),
        ] {
            let response = error.into_response();
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }
}
