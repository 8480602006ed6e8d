//! An HTTP server for untrusted clients: bounded in connections, in time and in size. A handler that
//! reads a body bounds its time with [`read_body`](crate::read_body).

mod connections;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use self::connections::{Connections, InFlight, Slot};
use crate::listener::{Listener, Stream};

/// How many connections may be open. Pub/Sub opens up to 3 000 for a subscription and region
/// (<https://cloud.google.com/pubsub/docs/push>). More take the place of idle ones, or wait in the
/// kernel's queue.
const MAX_CONNECTIONS: usize = 4096;

/// File descriptors reserved for each connection: its own, one for an upstream connection, and a
/// share for files, pipes and child processes.
const FILES_PER_CONNECTION: u64 = 3;

/// How long a request's head may take, counted from the end of the previous request: also how long an
/// idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest head of a request, with its URL: a token has at most 8 KiB.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How long a client may read nothing of its response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests in flight may take after the server is asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a failed `accept`, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is cancelled, and then until the requests in flight are answered, but at most
/// ten seconds longer.
pub async fn serve(listener: impl Into<Listener>, router: Router, stop: CancellationToken) {
    serve_at_most(max_connections(), listener, router, stop).await;
}

/// The same with at most `limit` open connections.
pub async fn serve_at_most(
    limit: usize,
    listener: impl Into<Listener>,
    router: Router,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let connections = Connections::new(limit);
    let listener = listener.into();
    while let Some((stream, slot)) = next_connection(&listener, &connections, &stop).await {
        let (router, stop) = (router.clone(), stop.clone());
        match stream {
            Stream::Tcp(stream) => {
                send_at_once(&stream);
                tasks.spawn(serve_connection(stream, slot, router, stop));
            }
            Stream::Unix(stream) => {
                tasks.spawn(serve_connection(stream, slot, router, stop));
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// The limit, or fewer if the process may not open enough files.
fn max_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current;
    let affordable = files.map(|files| usize::try_from(files / FILES_PER_CONNECTION));
    match affordable {
        Some(Ok(affordable)) => MAX_CONNECTIONS.min(affordable.max(1)),
        _ => MAX_CONNECTIONS,
    }
}

/// Accepts the next connection, and waits for a slot; returns `None` when the server is to stop.
async fn next_connection(
    listener: &Listener,
    connections: &Arc<Connections>,
    stop: &CancellationToken,
) -> Option<(Stream, Slot)> {
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, client)) => {
                let slot = connections.take(client);
                return Some((stream, stop.run_until_cancelled(slot).await?));
            }
            Err(error) => {
                warn!(%error, "Could not accept a connection");
                stop.run_until_cancelled(sleep(ACCEPT_PAUSE)).await?;
            }
        }
    }
}

/// Responses are small, and clients wait for them: do not hold one back for a second packet.
fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "Could not set TCP_NODELAY");
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    slot: Slot,
    router: Router,
    stop: CancellationToken,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let slot = Arc::new(slot);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            service(router, Arc::clone(&slot)),
        )
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
