//! Limits the responses of a session that its client has not read.
//!
//! With HTTP/2, a client can keep back as many responses as it may have streams, on any number of connections. Each holds its
//! page in memory.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::cookies::CookieName;
use super::{PageError, Pages};

/// How many responses of one session may be unread. A browser has one for each page and asset that it loads, and one for each
/// live page.
const MOST: usize = 32;

/// The digest of a session's cookie.
type SessionKey = [u8; 32];

/// How many responses of each session are unread.
#[derive(Default)]
pub(super) struct UnreadResponses(Mutex<HashMap<SessionKey, usize>>);

impl UnreadResponses {
    /// Counts a response until the permit is dropped. `None` if there are too many.
    fn acquire(self: &Arc<Self>, session: SessionKey) -> Option<Permit> {
        let mut unread = self.0.lock();
        let own = unread.entry(session).or_default();
        if *own >= MOST {
            return None;
        }
        *own += 1;
        Some(Permit {
            unread: Arc::clone(self),
            session,
        })
    }
}

struct Permit {
    unread: Arc<UnreadResponses>,
    session: SessionKey,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut unread = self.unread.0.lock();
        if let Some(own) = unread.get_mut(&self.session) {
            *own -= 1;
            if *own == 0 {
                unread.remove(&self.session);
            }
        }
    }
}

/// Refuses a request of a session with too many unread responses.
pub(super) async fn limit(
    State(pages): State<Pages>,
    request: Request,
    next: Next,
) -> Result<Response, PageError> {
    let cookie = pages.cookies().text(CookieName::Session, request.headers());
    let Some(cookie) = cookie else {
        return Ok(next.run(request).await);
    };
    let mut session = SessionKey::default();
    session.copy_from_slice(digest(&SHA256, cookie.as_bytes()).as_ref());
    let permit = pages.0.unread.acquire(session);
    let permit = Arc::new(permit.ok_or(PageError::TooManyConnections)?);
    let response = next.run(request).await;
    Ok(response.map(|body| Body::new(CountedBody { body, permit })))
}

/// A body whose response counts until its last byte was sent or dropped: a server may have taken the bytes long before.
struct CountedBody {
    body: Body,
    permit: Arc<Permit>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map(|frame| {
            frame.map(|frame| {
                frame.map(|frame| {
                    frame.map_data(|data| {
                        let _permit = Arc::clone(&self.permit);
                        Bytes::from_owner(CountedBytes { data, _permit })
                    })
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct CountedBytes {
    data: Bytes,
    _permit: Arc<Permit>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
