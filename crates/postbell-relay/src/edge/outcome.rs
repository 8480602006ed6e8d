//! What is done to every request, and to every push's answer.

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

/// Refuses a head that is longer than any of Google's before anything looks at it, counts what
/// became of a push, and acknowledges one that was refused where that is wanted.
///
/// One layer for all of it: each costs a push a copy of the routes behind it.
pub(super) async fn guard(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let parts = edge.parts();
    let is_push = request.uri().path().starts_with("/push/");
    let begun = parts.clock.elapsed();
    let answer = match refuse_long_heads(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if !is_push {
        return answer;
    }
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

fn refuse_long_heads(request: &Request) -> Result<(), Refusal> {
    let url = request.uri().path_and_query();
    if url.map_or(0, |url| url.as_str().len()) > LONGEST_URL {
        return Err(Refusal::UrlTooLong);
    }
    let headers = request.headers().iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers > LONGEST_HEADERS {
        return Err(Refusal::HeadersTooLong);
    }
    Ok(())
}
