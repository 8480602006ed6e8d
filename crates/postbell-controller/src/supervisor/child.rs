//! The way to a supervisor.

use tokio::sync::{mpsc, oneshot, watch};

use super::status::{Alive, ChildState, ChildStatus};

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
pub enum CommandError {
    /// It runs already.
    #[error("it runs already")]
    AlreadyRunning,

    /// The controller ends.
    #[error("the controller is shutting down")]
    ShuttingDown,

    /// The system does not start the program. It is tried again by itself.
    #[error("the program cannot be started")]
    Unstartable,
}

/// What a supervisor can be told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Start,
    Stop,
    Restart,
}

/// A command, and who waits for it.
pub(crate) type Order = (Command, oneshot::Sender<Result<(), CommandError>>);

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

    /// Starts it; a pending restart is cancelled.
    ///
    /// # Errors
    ///
    /// [`CommandError`]
    pub async fn start(&self) -> Result<(), CommandError> {
        self.order(Command::Start).await
    }

    /// Stops it, and returns once it is reaped; a pending restart is cancelled.
    ///
    /// # Errors
    ///
    /// [`CommandError::ShuttingDown`]: it is stopped then, too, but not waited for.
    pub async fn stop(&self) -> Result<(), CommandError> {
        self.order(Command::Stop).await
    }

    /// Stops it where it runs, and starts it.
    ///
    /// # Errors
    ///
    /// [`CommandError`]
    pub async fn restart(&self) -> Result<(), CommandError> {
        self.order(Command::Restart).await
    }

    /// What is known of it now.
    #[must_use]
    pub fn status(&self) -> ChildStatus {
        *self.status.borrow()
    }

    /// Waits until what is known of it is as `wanted`, and returns it; `None` where it never will
    /// be, for the supervisor has ended.
    pub async fn wait_for(&self, wanted: impl FnMut(&ChildStatus) -> bool) -> Option<ChildStatus> {
        let mut status = self.status.clone();
        status.wait_for(wanted).await.ok().map(|status| *status)
    }

    /// Waits until it runs; `None` where it never will.
    pub(crate) async fn running(&self) -> Option<Alive> {
        let runs = self.wait_for(|status| status.state.running().is_some());
        runs.await?.state.running()
    }

    async fn order(&self, command: Command) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send((command, reply)).await;
        sent.map_err(|_| CommandError::ShuttingDown)?;
        answer.await.unwrap_or(Err(CommandError::ShuttingDown))
    }
}
