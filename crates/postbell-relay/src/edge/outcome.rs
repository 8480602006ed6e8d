//! What is done to every push's answer.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::refusal::{Reason, Refusal};
use super::{Edge, Rejected};

/// The longest URL. The longest of ours has a user id of 384 bytes, percent-encoded.
const LONGEST_URL: usize = 2048;

/// The longest headers, all together. A token has at most 8 KiB.
const LONGEST_HEADERS: usize = 16 * 1024;

/// Counts what became of a push, and acknowledges what was refused where that is wanted.
pub(super) async fn count(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let parts = edge.parts();
    let begun = parts.clock.elapsed();
    let answer = next.run(request).await;
    let took = parts.clock.elapsed().saturating_sub(begun);
    parts.metrics.push_took(took);
    if let Some(Reason(reason)) = answer.extensions().get() {
        parts.metrics.push_ended(reason);
    }
    if answer.status().is_client_error() && parts.rejected == Rejected::Acknowledged {
        return StatusCode::NO_CONTENT.into_response();
    }
    answer
}

/// Refuses a head that is longer than any of Google's, before anything looks at it.
pub(super) async fn refuse_long_heads(request: Request, next: Next) -> Response {
    let url = request.uri().path_and_query();
    if url.map_or(0, |url| url.as_str().len()) > LONGEST_URL {
        return Refusal::UrlTooLong.into_response();
    }
    let headers = request.headers().iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers > LONGEST_HEADERS {
        return Refusal::HeadersTooLong.into_response();
    }
    next.run(request).await
}
