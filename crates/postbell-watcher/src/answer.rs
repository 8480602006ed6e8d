//! Translates the result of a push into an HTTP response (protocol, section 5).

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use postbell_protocol::watched_accounts::NOT_WATCHED;
use serde_json::json;

use crate::error::{NotSynced, SyncError};
use crate::sync::SyncOutcome;

/// When a push may be repeated whose sync goes on, in seconds.
const RETRY_AFTER_SECONDS: &str = "10";

/// The result of a push.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The webhook accepted the new messages.
    Delivered(usize),
    /// The webhook had everything already.
    NothingNew,
    /// It names no mailbox of this process.
    NotWatched,
    /// The caller is not authenticated.
    Unauthorized,
    /// The body is not a push.
    Malformed(&'static str),
    /// The body is over the limit.
    TooLarge,
    /// Gmail, the webhook or the disk failed. Nothing was skipped: the push can be repeated.
    Failed(Arc<SyncError>),
    /// The sync goes on, or the watcher is stopping. The push can be repeated.
    Unfinished(NotSynced),
}

impl From<Result<SyncOutcome, NotSynced>> for Answer {
    fn from(outcome: Result<SyncOutcome, NotSynced>) -> Self {
        match outcome {
            Ok(SyncOutcome::Delivered(messages)) => Self::Delivered(messages),
            Ok(SyncOutcome::NothingNew) => Self::NothingNew,
            Err(NotSynced::Failed(error)) => Self::Failed(error),
            Err(error) => Self::Unfinished(error),
        }
    }
}

impl Answer {
    /// Whether the watcher itself goes on with the notification, or repeats it after a pause, also after a restart of the
    /// process: it is behind its cursor, which is stored.
    pub(crate) fn is_repeated_here(&self) -> bool {
        match self {
            Self::Failed(error) => !matches!(**error, SyncError::State(_)),
            Self::Unfinished(error) => matches!(error, NotSynced::StillRunning),
            _ => false,
        }
    }

    /// The answer for two watchers of a mailbox. One that failed makes the push repeated, and the other then has
    /// nothing new.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (failed @ (Self::Failed(_) | Self::Unfinished(_)), _)
            | (_, failed @ (Self::Failed(_) | Self::Unfinished(_))) => failed,
            (Self::Delivered(some), Self::Delivered(others)) => Self::Delivered(some + others),
            (Self::NotWatched, other) | (other, Self::NotWatched) => other,
            (Self::NothingNew, other) => other,
            (one, _) => one,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Delivered(messages) => (StatusCode::OK, json!({ "delivered": messages })),
            Self::NothingNew => (StatusCode::ACCEPTED, json!({ "delivered": 0 })),
            Self::NotWatched => {
                let body = json!({
                    "error": "this machine does not watch the mailbox",
                    "problem": NOT_WATCHED,
                });
                let retry_after = [(RETRY_AFTER, RETRY_AFTER_SECONDS)];
                return (StatusCode::SERVICE_UNAVAILABLE, retry_after, Json(body)).into_response();
            }
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
            Self::Unfinished(error) => {
                let body = Json(json!({ "error": error.to_string() }));
                let retry_after = [(RETRY_AFTER, RETRY_AFTER_SECONDS)];
                return (StatusCode::SERVICE_UNAVAILABLE, retry_after, body).into_response();
            }
        };
        (status, Json(body)).into_response()
    }
}

fn failure_status(error: &SyncError) -> StatusCode {
    match error {
        SyncError::State(_) => StatusCode::INTERNAL_SERVER_ERROR,
        SyncError::Gmail(_)
        | SyncError::Hook(_)
        | SyncError::WrongAccount(_)
        | SyncError::Message { .. }
        | SyncError::EveryMessage { .. }
        | SyncError::EndlessPages => StatusCode::BAD_GATEWAY,
    }
}
