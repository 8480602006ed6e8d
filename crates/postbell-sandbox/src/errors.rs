//! Errors in the form of Google's APIs
//! (<https://developers.google.com/workspace/gmail/api/guides/handle-errors>,
//! <https://cloud.google.com/apis/design/errors>).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error with the usual reason and status of its code.
pub(crate) fn api_error(status: u16, message: &str) -> Response {
    let (domain, reason, word) = match status {
        400 => ("global", "badRequest", "INVALID_ARGUMENT"),
        401 => ("global", "authError", "UNAUTHENTICATED"),
        403 => ("usageLimits", "rateLimitExceeded", "RESOURCE_EXHAUSTED"),
        404 => ("global", "notFound", "NOT_FOUND"),
        409 => ("global", "alreadyExists", "ALREADY_EXISTS"),
        429 => ("usageLimits", "rateLimitExceeded", "RESOURCE_EXHAUSTED"),
        503 => ("global", "backendError", "UNAVAILABLE"),
        _ => ("global", "backendError", "INTERNAL"),
    };
    error_with_reason(status, message, domain, reason, word)
}

/// An error with another reason.
pub(crate) fn error_with_reason(
    status: u16,
    message: &str,
    domain: &str,
    reason: &str,
    word: &str,
) -> Response {
    let errors = [json!({ "message": message, "domain": domain, "reason": reason })];
    answer(
        status,
        json!({ "code": status, "message": message, "errors": errors, "status": word }),
    )
}

/// An error of a Google Cloud API, with details.
pub(crate) fn error_with_details(
    status: u16,
    message: &str,
    word: &str,
    details: Value,
) -> Response {
    let mut error = json!({ "code": status, "message": message, "status": word });
    if details
        .as_array()
        .is_some_and(|details| !details.is_empty())
    {
        error["details"] = details;
    }
    answer(status, error)
}

fn answer(status: u16, error: Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "error": error }))).into_response()
}

/// Gmail's 404, also for expired history.
pub(crate) fn not_found() -> Response {
    api_error(404, "Requested entity was not found.")
}

pub(crate) fn permission_denied(message: &str) -> Response {
    error_with_reason(403, message, "global", "forbidden", "PERMISSION_DENIED")
}

/// The `ErrorInfo` reason in the details.
pub(crate) fn error_info(reason: &str, domain: &str, metadata: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": domain,
        "metadata": metadata,
    })
}
