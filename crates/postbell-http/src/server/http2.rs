//! HTTP/2 over TLS.
//!
//! A stream's handler runs in a task of its own. A connection is in use while one of its requests waits
//! for this server. A request that waits for its client to read is not: with HTTP/2 a client can keep a
//! response back without end while it answers every ping, so that no time limit of the socket applies.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::HOST;
use axum::http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::{self, Connection};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::App;
use super::connection::{self, TrackedBody};
use super::connections::Slot;

/// How many requests a client may have in flight on one connection.
const MAX_STREAMS: u32 = 64;

/// How many bytes a client may send on a connection, and on each of its streams, that no handler has
/// read: a push has at most as many.
const WINDOW: u32 = 64 * 1024;

/// The longest head of a request, as HTTP/2 counts it (RFC 9113, section 6.5.2).
const MAX_HEADER_LIST: u32 = 32 * 1024;

/// How many bytes of each response are buffered for a client that does not read: as many as one frame
/// has. A connection may have as many buffers as streams.
const SEND_BUFFER: usize = 16 * 1024;

/// How often a client is asked whether it is still there, and how long its answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection until its client closes it, or has used it for nothing for thirty to sixty
/// seconds, or it is evicted, or the server is to stop.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    slot: Slot,
    app: impl App,
    tasks: TaskTracker,
) {
    let slot = Arc::new(slot);
    let serving = http2::Builder::new(Spawn(tasks))
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service(app, Arc::clone(&slot)));
    let ending = slot.ending.cancelled();
    connection::serve(pin!(serving), Connection::graceful_shutdown, &slot, ending).await;
}

/// Starts the tasks of streams, which the server waits for when it stops.
#[derive(Clone)]
struct Spawn(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Spawn {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

fn service(
    app: impl App,
    slot: Arc<Slot>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
{
    service_fn(move |mut request: Request<Incoming>| {
        let in_flight = slot.begin();
        let slot = Arc::clone(&slot);
        name_host(&mut request);
        let answer = app.clone().answer(request, slot.client);
        async move {
            let answer = answer.await;
            in_flight.answered(answer.status());
            Ok(answer.map(|body| TrackedBody::while_pending(body, slot)))
        }
    })
}

/// Handlers find the host where HTTP/1.1 has it (RFC 9113, section 8.3.1).
fn name_host(request: &mut Request<Incoming>) {
    if request.headers().contains_key(HOST) {
        return;
    }
    let host = request.uri().authority();
    let host = host.map(|host| HeaderValue::from_str(host.as_str()));
    if let Some(Ok(host)) = host {
        request.headers_mut().insert(HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    use super::super::connections::Connections;
    use super::*;

    /// The client's part of a connection until it has asked for `/` of the name "a" and given both windows
    /// a megabyte (RFC 9113, section 6): preface, `SETTINGS`, `WINDOW_UPDATE`,
    /// `HEADERS`.
    const REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x10\x00\x00\
        \x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x10\x00\x00\
        \x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x84\x87\x01\x01a";

    #[tokio::test(start_paused = true)]
    async fn little_of_a_response_is_buffered_for_a_client_that_does_not_read_it() {
        let produced = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&produced);
        let endless = async move || {
            Body::from_stream(stream::repeat_with(move || {
                count.fetch_add(1024, Ordering::Relaxed);
                Ok::<_, io::Error>(Bytes::from_static(&[0; 1024]))
            }))
        };
        let router = Router::new().route("/", get(endless));
        let connections = Connections::new(1, CancellationToken::new());
        let slot = connections.take(Ipv4Addr::LOCALHOST.into()).await;
        let (mut client, stream) = duplex(1024);
        let serving = serve(stream, slot, router, TaskTracker::new());
        let asking = async {
            client.write_all(REQUEST).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            () = serving => panic!("the connection ended"),
            () = asking => (),
        }
        let produced = produced.load(Ordering::Relaxed);
        // The bytes that wait for the socket come on top.
        assert!((1..=40 * 1024).contains(&produced), "{produced}");
    }
}
