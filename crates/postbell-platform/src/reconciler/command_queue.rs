//! The queue of changes that the reconciler executes.

use postbell_core::{Actor, StoreError, UserId};
use postbell_google::{ConsentRequest, Grant, TokenError};
use postbell_protocol::api::operator::GooglePermission;
use secrecy::SecretString;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::change::{Change, ChangeError, Changed};
use crate::operator_client::{MailboxGrant, NewGrant};

const STOPPING: &str = "this process is stopping";

/// Hands changes to the reconciler. Cheap to clone.
#[derive(Clone)]
pub struct CommandQueue(mpsc::Sender<Command>);

/// A queued command.
pub(super) enum Command {
    /// A change of a user, which the audit log records.
    Change(UserId, Change, Actor, ChangeReply),
    /// The end of a grant that was stored for no user.
    Release(NewGrant, oneshot::Sender<GooglePermission>),
    /// The exchange of a code for a grant.
    Exchange(Box<Exchange>),
}

/// A code to be exchanged.
pub(super) struct Exchange {
    pub(super) request: ConsentRequest,
    pub(super) code: SecretString,
    pub(super) reply: oneshot::Sender<Result<(Grant, UnusedGrant), TokenError>>,
    /// For a grant that is not used.
    pub(super) queue: CommandQueue,
}

pub(super) type ChangeReply = oneshot::Sender<Result<Changed, ChangeError>>;

/// A new grant of the operator's client that is stored for no user yet. If it is dropped before, also because the browser
/// has gone away, the grant is revoked.
pub(crate) struct UnusedGrant {
    grant: Option<NewGrant>,
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

    /// Exchanges a code. If the caller stops waiting, the grant is revoked: its refresh token would be lost, and without
    /// that nobody can end it.
    pub(crate) async fn exchange(
        &self,
        request: ConsentRequest,
        code: SecretString,
    ) -> Result<(Grant, UnusedGrant), TokenError> {
        let stopping = || TokenError::Unavailable {
            retry_after: None,
            source: STOPPING.into(),
        };
        let (reply, result) = oneshot::channel();
        let command = Command::Exchange(Box::new(Exchange {
            request,
            code,
            reply,
            queue: self.clone(),
        }));
        self.0.send(command).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?
    }
}

impl UnusedGrant {
    /// A grant of which the mailbox is not known yet; `None` if nothing could end it.
    pub(super) const fn new(grant: Option<NewGrant>, queue: CommandQueue) -> Self {
        Self { grant, queue }
    }

    /// The grant opens this mailbox.
    pub(crate) fn is_of(&mut self, grant: MailboxGrant) {
        self.grant = Some(NewGrant::Of(grant));
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
        let name = grant.log_name();
        let queued = self.queue.0.try_send(Command::Release(grant, reply));
        if let Err(error) = queued {
            let reason = match error {
                TrySendError::Full(_) => "too many changes wait",
                TrySendError::Closed(_) => STOPPING,
            };
            warn!("The unused permission of {name} stays at Google: {reason}");
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
    ChangeError::Store(StoreError::Unavailable(STOPPING.into()).into())
}
