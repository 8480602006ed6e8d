//! An HTTP server for untrusted clients: bounded in connections, in time and in size. A handler that
//! reads a body bounds its time with [`read_body`](crate::read_body).

mod connection;
mod connections;
mod http1;
mod http2;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use axum::{BoxError, Router};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

pub use self::connections::ClientAddress;
use self::connections::{Connections, Slot};
use crate::listener::{Listener, Stream};
use crate::tls::{HTTP_2, Tls, VALIDATION};

/// How many connections may be open. Pub/Sub opens up to 3 000 for a subscription and region
/// (<https://cloud.google.com/pubsub/docs/push>). More take the place of idle ones, or wait in the
/// kernel's queue.
const MAX_CONNECTIONS: usize = 4096;

/// File descriptors reserved for each connection: its own, one for an upstream connection, and a
/// share for files, pipes and child processes.
const FILES_PER_CONNECTION: u64 = 3;

/// The time between two checks for idle connections. One that was idle since the last check is closed, so that this is how long
/// it is kept at least, and how long a request's head may take, counted from the end of the previous request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may read nothing of its response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests in flight may take after the server is asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a failed `accept`, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers a server's requests: a router, or a service that finds its busiest routes without one.
pub trait App: Clone + Send + Sync + 'static {
    /// Answers a request of `client`.
    fn answer<B>(
        self,
        request: Request<B>,
        client: ClientAddress,
    ) -> impl Future<Output = Response> + Send
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

/// Its handlers find the client's address in the request's extensions.
impl App for Router {
    async fn answer<B>(mut self, request: Request<B>, client: ClientAddress) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(client);
        let Ok(response) = self.call(request).await;
        response
    }
}

/// Serves until `stop` is cancelled, and then until the requests in flight are answered, but at most
/// ten seconds longer.
pub async fn serve(listener: impl Into<Listener>, app: impl App, stop: CancellationToken) {
    serve_at_most(max_connections(), listener, app, stop).await;
}

/// The same with at most `limit` open connections.
pub async fn serve_at_most(
    limit: usize,
    listener: impl Into<Listener>,
    app: impl App,
    stop: CancellationToken,
) {
    let listener = listener.into();
    match listener.tls() {
        None => serve_listener(limit, listener, app, stop).await,
        Some(tls) => serve_listener(limit, listener, tls.monitored(app), stop).await,
    }
}

async fn serve_listener(limit: usize, listener: Listener, app: impl App, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let connections = Connections::new(limit, stop.clone());
    tasks.spawn(close_unused(Arc::clone(&connections), stop.clone()));
    while let Some((stream, slot)) = next_connection(&listener, &connections, &stop).await {
        let app = app.clone();
        match (stream, listener.tls()) {
            (Stream::Tcp(stream), None) => {
                send_at_once(&stream);
                tasks.spawn(http1::serve(bounded(stream), slot, app));
            }
            (Stream::Tcp(stream), Some(tls)) => {
                send_at_once(&stream);
                let streams = tasks.clone();
                tasks.spawn(serve_tls(tls, stream, slot, app, streams));
            }
            (Stream::Unix(stream), _) => {
                tasks.spawn(http1::serve(bounded(stream), slot, app));
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Closes connections that nothing uses, until `stop` is cancelled.
async fn close_unused(connections: Arc<Connections>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(sleep(HEAD_TIMEOUT))
        .await
        .is_some()
    {
        connections.close_unused();
    }
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

/// Limits how long a client may read nothing.
fn bounded<S: AsyncRead + AsyncWrite>(stream: S) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}

/// Serves the protocol that the client has chosen in the handshake.
async fn serve_tls(tls: Tls, stream: TcpStream, slot: Slot, app: impl App, tasks: TaskTracker) {
    let handshake = timeout(HANDSHAKE_TIMEOUT, tls.accept(bounded(stream)));
    let stream = tokio::select! {
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "A TLS handshake failed"),
            Err(_) => return debug!("A TLS handshake did not end in time"),
        },
        () = slot.ending.cancelled() => return,
    };
    match stream.get_ref().1.alpn_protocol() {
        Some(HTTP_2) => http2::serve(stream, slot, app, tasks).await,
        // The authority has seen the answer to its challenge, the certificate.
        Some(VALIDATION) => (),
        _ => http1::serve(stream, slot, app).await,
    }
}
