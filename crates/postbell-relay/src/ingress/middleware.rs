//! What happens around every route.

use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use postbell_core::UserId;

use super::error::{ApiError, RefusedPush};
use super::{Ingress, RejectPolicy};

/// The longest URL. The longest valid one has a user id of 384 bytes, percent-encoded.
const MAX_URL_BYTES: usize = 2048;

/// The longest headers, all together. A token has at most 8 KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Refuses an oversized head before any route sees it, counts each push and its time, logs refused ones, and
/// applies the [`RejectPolicy`].
pub(super) async fn observe<B>(
    ingress: &Ingress,
    request: Request<B>,
    answer: impl AsyncFnOnce(Request<B>) -> Response,
) -> Response {
    let parts = ingress.parts();
    let uri = request.uri().clone();
    let is_push = uri.path().starts_with("/push/");
    let started = parts.clock.elapsed();
    let response = match check_head_size(&request) {
        Ok(()) => answer(request).await,
        Err(error) => error.into_response(),
    };
    if !is_push {
        return response;
    }
    let took = parts.clock.elapsed().saturating_sub(started);
    parts.metrics.push_took(took);
    if let Some(&RefusedPush { result, reason }) = response.extensions().get() {
        parts.metrics.push_ended(result);
        if let (Some(user), Some(reason)) = (user(uri.path()), reason) {
            ingress.0.refusals.add(user, reason, parts.clock.elapsed());
        }
    }
    if response.status().is_client_error() && parts.reject_policy == RejectPolicy::Ack {
        return StatusCode::NO_CONTENT.into_response();
    }
    response
}

/// The user that a push claims to be for. Ids that are percent-encoded are not decoded for this.
fn user(path: &str) -> Option<UserId> {
    let user = path.strip_prefix("/push/user/")?.split('/').next()?;
    UserId::try_from(user.to_owned()).ok()
}

fn check_head_size<B>(request: &Request<B>) -> Result<(), ApiError> {
    let url = request.uri().path_and_query();
    if url.map_or(0, |url| url.as_str().len()) > MAX_URL_BYTES {
        return Err(ApiError::UrlTooLong);
    }
    let headers = request.headers().iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers > MAX_HEADER_BYTES {
        return Err(ApiError::HeadersTooLong);
    }
    Ok(())
}
