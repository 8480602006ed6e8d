//! The status of a child.

use std::time::Duration;

use postbell_core::Timestamp;

use super::process::ExitCause;

/// The state of a child (protocol, section 4). States with a process carry it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChildState {
    /// Not running, and no restart is pending.
    Stopped,
    /// About to run.
    Starting,
    /// Running.
    Running(RunningProcess),
    /// Asked to exit.
    Stopping(RunningProcess),
    /// Exited by itself or failed to start; a restart is pending.
    Crashed,
    /// The controller is shutting down; with the process if it still runs.
    ShuttingDown(Option<RunningProcess>),
}

/// A running process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RunningProcess {
    /// The process id.
    pub pid: i32,
    /// When it was started, by the clock's [`elapsed`](postbell_core::Clock::elapsed).
    pub since: Duration,
}

/// The last exit of a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exit {
    /// The exit code; `None` if a signal ended the process. A start that failed has a shell's exit
    /// code: 127 if the program does not exist, otherwise 126.
    pub code: Option<i32>,
    /// The name of the signal.
    pub signal: Option<&'static str>,
    /// The time of the exit.
    pub at: Timestamp,
}

/// The status of a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChildStatus {
    /// The current state.
    pub state: ChildState,
    /// How often the child exited by itself and was scheduled for a restart.
    pub restarts: u64,
    /// The last exit.
    pub last_exit: Option<Exit>,
}

impl ChildState {
    /// Returns the state's name in the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running(_) => "running",
            Self::Stopping(_) => "stopping",
            Self::Crashed => "crashed",
            Self::ShuttingDown(_) => "shutting_down",
        }
    }

    /// Returns the process, whether it is being stopped or not.
    #[must_use]
    pub fn process(self) -> Option<RunningProcess> {
        match self {
            Self::Running(process)
            | Self::Stopping(process)
            | Self::ShuttingDown(Some(process)) => Some(process),
            Self::Stopped | Self::Starting | Self::Crashed | Self::ShuttingDown(None) => None,
        }
    }

    /// Returns the process unless it is being stopped.
    #[must_use]
    pub fn running(self) -> Option<RunningProcess> {
        match self {
            Self::Running(process) => Some(process),
            _ => None,
        }
    }
}

impl Exit {
    pub(super) fn new(cause: ExitCause, at: Timestamp) -> Self {
        let ExitCause { code, signal } = cause;
        Self { code, signal, at }
    }
}
