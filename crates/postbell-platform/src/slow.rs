//! Bodies that come in, and no slower than they must.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use tokio::time::timeout;

/// How long a whole body may take, however steadily it comes. What sends forms, credentials and
/// check-ins has them ready.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Why a body could not be read.
pub(crate) enum Unread {
    /// It did not come in time.
    TooSlow,
    /// It is too large, or ended before its time.
    Rejected(BytesRejection),
}

/// Reads a body, of the size that its route allows.
pub(crate) async fn read_body<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<Bytes, Unread> {
    let body = timeout(BODY_TIME, Bytes::from_request(request, state)).await;
    let body = body.map_err(|_| Unread::TooSlow)?;
    body.map_err(Unread::Rejected)
}
