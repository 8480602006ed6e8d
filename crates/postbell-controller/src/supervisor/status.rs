//! What is known of a child.

use std::time::Duration;

use postbell_core::Timestamp;

use super::process::Ended;

/// What a child is doing, in the contract's words. There is a process where there must be one, and
/// none where there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChildState {
    /// Nothing runs, and nothing will by itself.
    Stopped,
    /// It is about to run.
    Starting,
    /// It runs.
    Running(Alive),
    /// It was told to stop, and has not yet.
    Stopping(Alive),
    /// It ended by itself, or could not be started; it is started again after a wait.
    Crashed,
    /// The controller ends, and it with it: what still runs of it.
    ShuttingDown(Option<Alive>),
}

/// A process that lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Alive {
    /// Its id.
    pub pid: i32,
    /// Since when, by the clock's [`elapsed`](postbell_core::Clock::elapsed).
    pub since: Duration,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exit {
    /// Its exit code; `None` where a signal ended it. Where it could not be started, the code that
    /// a shell gives then: 127 where there is no such program, else 126.
    pub code: Option<i32>,
    /// The signal's name.
    pub signal: Option<&'static str>,
    /// When.
    pub at: Timestamp,
}

/// What is known of a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChildStatus {
    /// What it is doing.
    pub state: ChildState,
    /// How often it ended by itself, and was to be started again.
    pub restarts: u64,
    /// How it ended last.
    pub last_exit: Option<Exit>,
}

impl ChildState {
    /// Its word in the contract.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running(_) => "running",
            Self::Stopping(_) => "stopping",
            Self::Crashed => "crashed",
            Self::ShuttingDown(_) => "shutting_down",
        }
    }

    /// The process, where there is one.
    #[must_use]
    pub fn alive(self) -> Option<Alive> {
        match self {
            Self::Running(alive) | Self::Stopping(alive) | Self::ShuttingDown(Some(alive)) => {
                Some(alive)
            }
            Self::Stopped | Self::Starting | Self::Crashed | Self::ShuttingDown(None) => None,
        }
    }

    /// The process, where it runs and nobody has told it to stop.
    #[must_use]
    pub fn running(self) -> Option<Alive> {
        match self {
            Self::Running(alive) => Some(alive),
            _ => None,
        }
    }
}

impl Exit {
    pub(super) fn of(ended: Ended, at: Timestamp) -> Self {
        let Ended { code, signal } = ended;
        Self { code, signal, at }
    }
}
