//! What HTTP/1.1 and HTTP/2 share: how a connection ends, and which of its requests are in flight.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;
use tracing::debug;

use super::DRAIN_TIMEOUT;
use super::connections::{InFlight, Slot};

/// Serves `connection` until its client closes it or `slot` is evicted. Once `ending` completes for another reason, `drain`
/// makes it take no more requests, and those in flight have [`DRAIN_TIMEOUT`].
pub(super) async fn serve<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    drain: fn(Pin<&mut C>),
    slot: &Slot,
    ending: impl Future,
) {
    let served = tokio::select! {
        served = &mut connection => served,
        // It was idle when it was chosen. A request that has come since is lost, as one that crosses
        // the end of an idle connection is: clients send it again (RFC 9112, section 9.3.1).
        _ = ending => if slot.is_evicted() {
            return;
        } else {
            drain(connection.as_mut());
            let Ok(served) = timeout(DRAIN_TIMEOUT, connection).await else {
                return debug!("Closed a connection whose requests did not end in time");
            };
            served
        }
    };
    if let Err(error) = served {
        debug!(%error, "A connection ended with an error");
    }
}

/// A response's body, which says whether its request is in flight.
pub(super) struct TrackedBody {
    body: Body,
    tracking: Tracking,
}

enum Tracking {
    /// In flight until the body is sent.
    UntilSent { _request: InFlight },
    /// In flight while the body has nothing to send yet, as that of server-sent events, and not while
    /// the client takes nothing of it.
    WhilePending {
        slot: Arc<Slot>,
        request: Option<InFlight>,
    },
}

impl TrackedBody {
    pub(super) fn until_sent(body: Body, request: InFlight) -> Self {
        let tracking = Tracking::UntilSent { _request: request };
        Self { body, tracking }
    }

    pub(super) fn while_pending(body: Body, slot: Arc<Slot>) -> Body {
        let request = None;
        let tracking = Tracking::WhilePending { slot, request };
        Body::new(Self { body, tracking })
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Tracking::WhilePending { slot, request } = &mut self.tracking {
            if polled.is_ready() {
                *request = None;
            } else if request.is_none() {
                *request = Some(slot.begin());
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
