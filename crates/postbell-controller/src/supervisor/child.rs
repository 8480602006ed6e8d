//! The handle to a supervised child.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::spec::ChildSpec;
use super::status::{ChildState, ChildStatus, RunningProcess};

/// The length of the command queue. Commands come from people and pages.
const QUEUED_COMMANDS: usize = 16;

/// The handle to a supervised child. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Child {
    /// The program that the next start runs.
    pub(super) spec: Arc<Mutex<ChildSpec>>,
    commands: mpsc::Sender<CommandRequest>,
    status: watch::Receiver<ChildStatus>,
}

/// Why a command failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// The child runs already.
    #[error("it runs already")]
    AlreadyRunning,

    /// The controller is shutting down.
    #[error("the controller is shutting down")]
    ShuttingDown,

    /// The system cannot start the program. The supervisor tries again by itself.
    #[error("the program cannot be started")]
    StartFailed,
}

/// A command to a supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Start,
    Stop,
    Restart,
}

/// A command with the channel for its result.
pub(crate) type CommandRequest = (Command, oneshot::Sender<Result<(), CommandError>>);

impl Child {
    /// Returns the handle, and the supervisor's ends of its channels.
    pub(crate) fn new(
        spec: ChildSpec,
    ) -> (
        Self,
        mpsc::Receiver<CommandRequest>,
        watch::Sender<ChildStatus>,
    ) {
        let (commands, received) = mpsc::channel(QUEUED_COMMANDS);
        let (sender, status) = watch::channel(ChildStatus {
            state: ChildState::Stopped,
            restarts: 0,
            last_exit: None,
        });
        let spec = Arc::new(Mutex::new(spec));
        let child = Self {
            spec,
            commands,
            status,
        };
        (child, received, sender)
    }

    /// Replaces what the next start runs. The child keeps its name and port.
    pub(crate) fn set_spec(&self, spec: ChildSpec) {
        *self.spec.lock() = spec;
    }

    /// Starts the child. Cancels a pending restart.
    ///
    /// # Errors
    ///
    /// [`CommandError`]
    pub async fn start(&self) -> Result<(), CommandError> {
        self.send(Command::Start).await
    }

    /// Stops the child and returns once it is reaped. Cancels a pending restart.
    ///
    /// # Errors
    ///
    /// [`CommandError::ShuttingDown`]: the child is being stopped, but this does not wait for it.
    pub async fn stop(&self) -> Result<(), CommandError> {
        self.send(Command::Stop).await
    }

    /// Stops the child if it runs, and starts it.
    ///
    /// # Errors
    ///
    /// [`CommandError`]
    pub async fn restart(&self) -> Result<(), CommandError> {
        self.send(Command::Restart).await
    }

    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> ChildStatus {
        *self.status.borrow()
    }

    /// Waits until `condition` holds for the status and returns it, or `None` if the supervisor ends
    /// before.
    pub async fn wait_for(
        &self,
        condition: impl FnMut(&ChildStatus) -> bool,
    ) -> Option<ChildStatus> {
        let mut status = self.status.clone();
        status.wait_for(condition).await.ok().map(|status| *status)
    }

    /// Waits until the child runs, or returns `None` if the supervisor ends before.
    pub(crate) async fn running(&self) -> Option<RunningProcess> {
        let runs = self.wait_for(|status| status.state.running().is_some());
        runs.await?.state.running()
    }

    async fn send(&self, command: Command) -> Result<(), CommandError> {
        let (reply, result) = oneshot::channel();
        let sent = self.commands.send((command, reply)).await;
        sent.map_err(|_| CommandError::ShuttingDown)?;
        result.await.unwrap_or(Err(CommandError::ShuttingDown))
    }
}
