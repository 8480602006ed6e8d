//! An HTTP server whose connections can be closed on command.

use axum::Router;
use axum::response::Response;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

/// The connection of a request.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    broken: CancellationToken,
}

impl Connection {
    /// Closes the connection without an answer. Never returns, because the task ends with it.
    pub(crate) async fn close(&self) -> Response {
        self.broken.cancel();
        std::future::pending().await
    }
}

/// Serves until `stop` is cancelled, each connection as a task of `tasks`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let connection =
                    serve_connection(stream, router.clone(), tasks.clone(), stop.clone());
                tasks.spawn(connection);
            }
            Err(error) => debug!(%error, "Could not accept a connection"),
        }
    }
}

/// Runs the streams of a connection among the sandbox's own tasks.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    // Answers are small: do not delay them to fill a packet.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "Could not set TCP_NODELAY");
    }
    let broken = CancellationToken::new();
    let router = router.layer(axum::Extension(Connection {
        broken: broken.clone(),
    }));
    let service = TowerToHyperService::new(router);
    // HTTP/2 if the client starts with it, as gRPC does.
    let mut server = Builder::new(Tracked(tasks));
    server.http1().timer(TokioTimer::new());
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                debug!(%error, "A connection ended");
            }
        }
        () = broken.cancelled() => (),
        () = stop.cancelled() => (),
    }
}
