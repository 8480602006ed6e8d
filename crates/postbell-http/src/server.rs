//! An HTTP server for untrusted clients: bounded in connections, in time and in size. A handler that
//! reads a body bounds its time with [`read_body`](crate::read_body).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// How many connections may be open. Pub/Sub opens up to 3 000 for a subscription and region
/// (<https://cloud.google.com/pubsub/docs/push>); more wait in the kernel's queue.
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
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(max_connections()));
    while let Some((stream, permit)) = next_connection(&listener, &slots, &stop).await {
        connections.spawn(serve_connection(
            stream,
            permit,
            router.clone(),
            stop.clone(),
        ));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
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

/// Accepts the next connection once a slot is free; returns `None` when the server is to stop.
async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    loop {
        let permit = stop
            .run_until_cancelled(Arc::clone(slots).acquire_owned())
            .await?
            .ok()?;
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => {
                warn!(%error, "Could not accept a connection");
                stop.run_until_cancelled(sleep(ACCEPT_PAUSE)).await?;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    router: Router,
    stop: CancellationToken,
) {
    // Responses are small, and clients wait for them: do not hold one back for a second packet.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "Could not set TCP_NODELAY");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(router),
        )
        .with_upgrades();
    let mut serving = pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
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
