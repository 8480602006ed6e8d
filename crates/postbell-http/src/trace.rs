//! The trace of a request.

use axum::http::HeaderMap;
use postbell_core::TraceContext;

/// The header of a request's trace (<https://www.w3.org/TR/trace-context/#traceparent-header>).
pub const TRACEPARENT: &str = "traceparent";

/// Returns the trace that a request belongs to. One that cannot be read counts as none.
#[must_use]
pub fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get(TRACEPARENT)?.to_str().ok()?.parse().ok()
}
