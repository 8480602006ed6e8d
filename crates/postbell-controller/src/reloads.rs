//! Requests to reload the configuration, and their results.

use tokio::sync::{mpsc, oneshot};

/// How many requests to reload may wait.
const QUEUED: usize = 16;

/// The result of a reload.
pub(crate) type Reloaded = Result<Change, ReloadError>;

/// Whether a reload found another configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// The watcher has it.
    Applied,
    None,
}

/// Why a configuration was not fetched or applied. The log has the cause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReloadError {
    NotFetched,
    /// Not for each account: the others have it.
    NotApplied,
    ShuttingDown,
}

/// The queue of requests to reload. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reloads(mpsc::Sender<oneshot::Sender<Reloaded>>);

impl Reloads {
    pub(crate) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<Reloaded>>) {
        let (sender, receiver) = mpsc::channel(QUEUED);
        (Self(sender), receiver)
    }

    /// Has the configuration fetched and applied.
    pub(crate) async fn request(&self) -> Reloaded {
        let (reply, result) = oneshot::channel();
        let sent = self.0.send(reply).await;
        sent.map_err(|_| ReloadError::ShuttingDown)?;
        result.await.unwrap_or(Err(ReloadError::ShuttingDown))
    }

    /// Has the configuration fetched and applied soon, unless many requests wait already.
    pub(crate) fn request_soon(&self) {
        let (reply, _) = oneshot::channel();
        let _ = self.0.try_send(reply);
    }
}
