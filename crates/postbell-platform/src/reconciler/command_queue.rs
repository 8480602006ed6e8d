//! The queue of changes that the reconciler executes.

use postbell_core::{Actor, StoreError, UserId};
use postbell_protocol::api::operator::GooglePermission;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::change::{Change, ChangeError, Changed};
use crate::operator_client::MailboxGrant;

/// Hands changes to the reconciler. Cheap to clone.
#[derive(Clone)]
pub struct CommandQueue(mpsc::Sender<Command>);

/// A queued command.
pub(super) enum Command {
    /// A change of a user, which the audit log records.
    Change(UserId, Change, Actor, ChangeReply),
    /// The end of a grant that was stored for no user.
    Release(MailboxGrant, oneshot::Sender<GooglePermission>),
}

pub(super) type ChangeReply = oneshot::Sender<Result<Changed, ChangeError>>;

/// A new grant of the operator's client that is stored for no user yet. If it is dropped before, also because the browser
/// has gone away, the grant is revoked.
pub(crate) struct UnusedGrant {
    grant: Option<MailboxGrant>,
    queue: CommandQueue,
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
        by: &Actor,
    ) -> Result<Changed, ChangeError> {
        let (reply, result) = oneshot::channel();
        let command = Command::Change(user.clone(), change, by.clone(), reply);
        self.0.send(command).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?
    }
}

impl UnusedGrant {
    pub(crate) const fn new(grant: MailboxGrant, queue: CommandQueue) -> Self {
        Self {
            grant: Some(grant),
            queue,
        }
    }

    /// The grant is stored.
    pub(crate) fn keep(mut self) {
        self.grant = None;
    }

    /// Revokes the grant, unless a user has it now.
    pub(crate) async fn give_back(mut self) {
        if let Some(released) = self.release() {
            let _process_is_stopping = released.await;
        }
    }

    fn release(&mut self) -> Option<oneshot::Receiver<GooglePermission>> {
        let grant = self.grant.take()?;
        let (reply, released) = oneshot::channel();
        let email = grant.masked_email();
        let queued = self.queue.0.try_send(Command::Release(grant, reply));
        if queued.is_err() {
            warn!("The unused permission of {email} stays at Google: too many changes wait");
        }
        Some(released)
    }
}

impl Drop for UnusedGrant {
    fn drop(&mut self) {
        self.release();
    }
}

fn stopping() -> ChangeError {
    ChangeError::Store(StoreError::Unavailable("this process is stopping".into()).into())
}
