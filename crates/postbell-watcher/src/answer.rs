//! The one translation from what became of a push to HTTP (contract, section 5).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::look::LookError;
use crate::watcher::Looked;

/// What became of a push.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The hook took what was new.
    Delivered(usize),
    /// There is nothing that the hook has not.
    NothingNew,
    /// No token, or a wrong one.
    Unauthorized,
    /// A body that is no push.
    Malformed(&'static str),
    /// A body over the limit.
    TooLarge,
    /// Gmail, the hook or the disk failed, and nothing was skipped: to be tried again.
    Failed(LookError),
}

impl From<Result<Looked, LookError>> for Answer {
    fn from(looked: Result<Looked, LookError>) -> Self {
        match looked {
            Ok(Looked::Delivered(messages)) => Self::Delivered(messages),
            Ok(Looked::NothingNew) => Self::NothingNew,
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

fn failure_status(error: &LookError) -> StatusCode {
    match error {
        LookError::Gmail(_) | LookError::Hook(_) => StatusCode::BAD_GATEWAY,
        LookError::State(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
