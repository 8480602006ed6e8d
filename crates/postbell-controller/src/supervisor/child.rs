//! The way to a supervisor.

use tokio::sync::{mpsc, oneshot, watch};

use super::status::{ChildState, ChildStatus};

/// How many commands may wait; who commands is a person or a page.
const COMMANDS: usize = 16;

/// The way to a supervisor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Child {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<ChildStatus>,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Conflict {
    /// It runs already.
    #[error("it is running already")]
    AlreadyRunning,
    /// The controller ends.
    #[error("the controller is shutting down")]
    ShuttingDown,
}

/// What a supervisor can be told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Start,
    Stop,
    Restart,
}

/// A command, and who waits for it.
pub(crate) type Order = (Command, oneshot::Sender<Result<(), Conflict>>);

impl Child {
    /// The way to a supervisor, and the supervisor's end of it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Order>, watch::Sender<ChildStatus>) {
        let (orders, taken) = mpsc::channel(COMMANDS);
        let (tell, status) = watch::channel(ChildStatus {
            state: ChildState::Stopped,
            restarts: 0,
            last_exit: None,
        });
        (Self { orders, status }, taken, tell)
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Conflict`] where it runs already, or the controller ends.
    pub async fn start(&self) -> Result<(), Conflict> {
        self.order(Command::Start).await
    }

    /// Stops it, and returns once it is gone; a pending restart is cancelled.
    ///
    /// # Errors
    ///
    /// [`Conflict::ShuttingDown`]
    pub async fn stop(&self) -> Result<(), Conflict> {
        self.order(Command::Stop).await
    }

    /// Stops it where it runs, and starts it.
    ///
    /// # Errors
    ///
    /// [`Conflict::ShuttingDown`]
    pub async fn restart(&self) -> Result<(), Conflict> {
        self.order(Command::Restart).await
    }

    /// What is known of it now.
    #[must_use]
    pub fn status(&self) -> ChildStatus {
        *self.status.borrow()
    }

    /// Waits until what is known of it is as `wanted`; returns what is known.
    pub async fn wait_for(&self, wanted: impl FnMut(&ChildStatus) -> bool) -> ChildStatus {
        let mut status = self.status.clone();
        match status.wait_for(wanted).await {
            Ok(status) => *status,
            // The supervisor has ended: nothing changes any more.
            Err(_) => self.status(),
        }
    }

    async fn order(&self, command: Command) -> Result<(), Conflict> {
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send((command, reply)).await;
        sent.map_err(|_| Conflict::ShuttingDown)?;
        answer.await.unwrap_or(Err(Conflict::ShuttingDown))
    }
}
