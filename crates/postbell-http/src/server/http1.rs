//! HTTP/1.1, without TLS or within.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::HEAD_TIMEOUT;
use super::connection::{self, TrackedBody};
use super::connections::Slot;

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
    let drain = UpgradeableConnection::graceful_shutdown;
    connection::serve(pin!(serving), drain, &slot, stop.cancelled()).await;
}

/// Passes requests to the router, and notes which connection has one in flight: until the response's
/// body is sent.
fn service(
    router: Router,
    slot: Arc<Slot>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> {
    let router = TowerToHyperService::new(router);
    service_fn(move |mut request: Request<Incoming>| {
        let in_flight = slot.begin();
        request.extensions_mut().insert(slot.client);
        let answer = router.call(request);
        async move {
            let answer: Response<Body> = answer.await?;
            in_flight.answered(answer.status());
            Ok(answer.map(|body| TrackedBody::until_sent(body, in_flight)))
        }
    })
}
