//! HTTP/1.1, without TLS or within.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::App;
use super::connection::{self, TrackedBody};
use super::connections::Slot;

/// The longest head of a request, with its URL: a token has at most 8 KiB.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Serves a connection until its client closes it, or it is evicted, or the server is to stop.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    slot: Slot,
    app: impl App,
) {
    let slot = Arc::new(slot);
    let serving = http1::Builder::new()
        // The time for a head is that for which a connection may be idle: hyper would start a timer for each request.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        // Nearly all responses have a head alone, which the kernel takes faster as one buffer than as a list of one.
        .writev(false)
        .serve_connection(TokioIo::new(stream), service(app, Arc::clone(&slot)))
        .with_upgrades();
    let drain = UpgradeableConnection::graceful_shutdown;
    connection::serve(pin!(serving), drain, &slot, slot.ending.cancelled()).await;
}

/// Passes requests to the application, and notes which connection has one in flight: until the response's
/// body is sent.
fn service(
    app: impl App,
    slot: Arc<Slot>,
) -> impl Service<Request<Incoming>, Response = Response<TrackedBody>, Error = Infallible, Future: Send>
{
    service_fn(move |request: Request<Incoming>| {
        let in_flight = slot.begin();
        let answer = app.clone().answer(request, slot.client);
        async move {
            let answer = answer.await;
            in_flight.answered(answer.status());
            Ok(answer.map(|body| TrackedBody::until_sent(body, in_flight)))
        }
    })
}
