//! Serves HTTP to strangers: bounded in connections, in time and in size.

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
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::{debug, warn};

/// How many connections may be open. Pub/Sub opens up to 3 000 for a subscription and region
/// (<https://cloud.google.com/pubsub/docs/push>); more wait in the system's queue.
const CONNECTIONS: usize = 4096;

/// What of the file descriptors that the process may have is for connections: each may need a
/// second one behind it, and files, pipes and processes need some.
const FILES_A_CONNECTION: u64 = 3;

/// How long a request's head may take, from the end of the one before it: also how long an idle
/// connection is kept.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// The longest head of a request, with its URL: a token has at most 8 KiB.
const HEAD_BYTES: usize = 32 * 1024;

/// How long nothing of a request's body may come. Whoever reads one whole has a limit of its own.
const BODY_SILENCE: Duration = Duration::from_secs(60);

/// How long a client may take nothing of its answer.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// How long requests that are in flight may take once the server is told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// After a connection could not be taken, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is cancelled, and then until the requests in flight are answered, or for ten
/// seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let router = router.layer(RequestBodyTimeoutLayer::new(BODY_SILENCE));
    let room = Arc::new(Semaphore::new(connections_at_once()));
    while let Some((stream, permit)) = next_connection(&listener, &room, &stop).await {
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

/// As many as may be, of which the process can open the files.
fn connections_at_once() -> usize {
    let files = getrlimit(Resource::Nofile).current;
    let affordable = files.map(|files| usize::try_from(files / FILES_A_CONNECTION));
    match affordable {
        Some(Ok(affordable)) => CONNECTIONS.min(affordable.max(1)),
        _ => CONNECTIONS,
    }
}

/// The next connection, once there is room for it; `None` where it is time to stop.
async fn next_connection(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    loop {
        let permit = stop
            .run_until_cancelled(Arc::clone(room).acquire_owned())
            .await?
            .ok()?;
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => {
                warn!(%error, "Could not take a connection");
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
    // An answer is small and is waited for: it must not wait for a second packet.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "Could not set TCP_NODELAY");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIME));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
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
            let Ok(served) = timeout(LAST_ANSWERS, serving).await else {
                return debug!("A connection was cut: its request took too long to end");
            };
            served
        }
    };
    if let Err(error) = served {
        debug!(%error, "A connection ended");
    }
}
