//! Errors in the form that Google's APIs give them
//! (<https://developers.google.com/workspace/gmail/api/guides/handle-errors>).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error, with the reason and the status word that usually go with its code.
pub(crate) fn refusal(status: u16, message: &str) -> Response {
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
    refusal_because(status, message, domain, reason, word)
}

/// An error with a reason of its own.
pub(crate) fn refusal_because(
    status: u16,
    message: &str,
    domain: &str,
    reason: &str,
    word: &str,
) -> Response {
    let errors = [json!({ "message": message, "domain": domain, "reason": reason })];
    let body = json!({
        "error": { "code": status, "message": message, "errors": errors, "status": word }
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}

/// The 404 of a thing that Gmail does not have, history that is too old among them.
pub(crate) fn not_found() -> Response {
    refusal(404, "Requested entity was not found.")
}

pub(crate) fn permission_denied(message: &str) -> Response {
    refusal_because(403, message, "global", "forbidden", "PERMISSION_DENIED")
}
