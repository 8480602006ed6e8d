//! The queue of changes that the reconciler executes.

use postbell_core::{StoreError, UserId};
use tokio::sync::{mpsc, oneshot};

use crate::change::{Change, ChangeError, Changed};

/// Hands changes to the reconciler. Cheap to clone.
#[derive(Clone)]
pub struct CommandQueue(mpsc::Sender<Command>);

/// A queued change.
pub(super) struct Command {
    pub(super) user: UserId,
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Result<Changed, ChangeError>>,
}

impl CommandQueue {
    pub(super) fn new(capacity: usize) -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    /// Queues a change and waits for its result. A queued change is executed even if the caller stops
    /// waiting.
    pub(crate) async fn execute(
        &self,
        user: &UserId,
        change: Change,
    ) -> Result<Changed, ChangeError> {
        let (reply, result) = oneshot::channel();
        let command = Command {
            user: user.clone(),
            change,
            reply,
        };
        self.0.send(command).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?
    }
}

fn stopping() -> ChangeError {
    ChangeError::Store(StoreError::Unavailable("this process is stopping".into()).into())
}
