//! HTTP/1.1, without TLS or within.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::connections::{InFlight, Slot};
use super::{DRAIN_TIMEOUT, HEAD_TIMEOUT};

/// The longest head of a request, with its URL: a token has at most 8 KiB.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Serves a connection until its client closes it, or sends nothing for thirty seconds, or it is
/// evicted, or `stop` is cancelled.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    slot: Slot,
    router: Router,
    stop: CancellationToken,
) {
    let slot = Arc::new(slot);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service(router, Arc::clone(&slot)))
        .with_upgrades();
    let mut serving = pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        // It was idle when it was chosen. A request that has come since is lost, as one that crosses
        // the end of an idle connection is: clients send it again (RFC 9112, section 9.3.1).
        () = slot.evicted.cancelled() => return,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let Ok(served) = timeout(DRAIN_TIMEOUT, serving).await else {
                return debug!("Closed a connection whose request did not end in time");
            };
            served
        }
    };
    if let Err(error) = served {
        debug!(%error, "A connection ended with an error");
    }
}

/// Passes requests to the router, and notes which connection has one in flight: until the response's
/// body is sent.
fn service(
    router: Router,
    slot: Arc<Slot>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> {
    let router = TowerToHyperService::new(router);
    service_fn(move |request| {
        let in_flight = slot.begin();
        let answer = router.call(request);
        async move {
            let answer: Response<Body> = answer.await?;
            in_flight.answered(answer.status());
            Ok(answer.map(|body| {
                Body::new(SentBody {
                    body,
                    _in_flight: in_flight,
                })
            }))
        }
    })
}

/// A response's body, with its request as in flight until it is sent.
struct SentBody {
    body: Body,
    _in_flight: InFlight,
}

impl HttpBody for SentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
