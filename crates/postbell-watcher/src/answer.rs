//! Translates the result of a push into an HTTP response (protocol, section 5).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::SyncError;
use crate::sync::SyncOutcome;

/// The result of a push.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The webhook accepted the new messages.
    Delivered(usize),
    /// The webhook had everything already.
    NothingNew,
    /// The caller is not authenticated.
    Unauthorized,
    /// The body is not a push.
    Malformed(&'static str),
    /// The body is over the limit.
    TooLarge,
    /// Gmail, the webhook or the disk failed. Nothing was skipped: the push can be repeated.
    Failed(SyncError),
}

impl From<Result<SyncOutcome, SyncError>> for Answer {
    fn from(outcome: Result<SyncOutcome, SyncError>) -> Self {
        match outcome {
            Ok(SyncOutcome::Delivered(messages)) => Self::Delivered(messages),
            Ok(SyncOutcome::NothingNew) => Self::NothingNew,
            Err(error) => Self::Failed(error),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Delivered(messages) => (StatusCode::OK, json!({ "delivered": messages })),
            Self::NothingNew => (StatusCode::ACCEPTED, json!({ "delivered": 0 })),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                json!({ "error": "expected the watcher's token in x-gog-token, or google's in authorization" }),
            ),
            Self::Malformed(expected) => (StatusCode::BAD_REQUEST, json!({ "error": expected })),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                json!({ "error": "expected a body of at most 64 KiB" }),
            ),
            Self::Failed(error) => (
                failure_status(&error),
                json!({ "error": error.to_string() }),
            ),
        };
        (status, Json(body)).into_response()
    }
}

fn failure_status(error: &SyncError) -> StatusCode {
    match error {
        SyncError::Gmail(_) | SyncError::Hook(_) | SyncError::WrongAccount(_) => {
            StatusCode::BAD_GATEWAY
        }
        SyncError::State(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
