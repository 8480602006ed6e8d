//! Keeps one child process running: started, stopped and restarted on command, and started again
//! when it ends by itself (contract, section 4).
//!
//! One task owns the child. Commands reach it one at a time, so that no two of them ever disagree
//! about what runs.

mod output;
mod process;
mod restarts;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Timestamp};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::process::{Ended, Process};
use self::restarts::Restarts;

/// How many commands may wait; who commands is a person or a page.
const COMMANDS: usize = 16;

/// What runs.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// What the log calls it.
    pub name: &'static str,
    /// The program.
    pub program: OsString,
    /// Its arguments; secrets go into `variables`, which no process list shows.
    pub arguments: Vec<OsString>,
    /// Its variables, in addition to those of this process.
    pub variables: Vec<(OsString, OsString)>,
}

/// How patient a supervisor is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a child that is told to stop has, before it is killed.
    pub grace: Duration,
    /// The first wait after a crash; doubled for each one after.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// After so long a run the waits begin again.
    pub healthy_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            healthy_after: Duration::from_secs(30),
        }
    }
}

/// What a child is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// Nothing runs, and nothing will by itself.
    Stopped,
    /// It is about to run.
    Starting,
    /// It runs.
    Running,
    /// It was told to stop, and has not yet.
    Stopping,
    /// It ended by itself, and is started again after a wait.
    Crashed,
    /// It is stopped for good: the controller ends.
    ShuttingDown,
}

/// How a child ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Exit {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// The signal's name.
    pub signal: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub at: Timestamp,
}

/// What is known of a child.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChildStatus {
    /// What it is doing.
    pub state: ChildState,
    /// Its process id, while it runs.
    pub pid: Option<i32>,
    /// Since when it runs, by the clock's [`elapsed`](Clock::elapsed).
    pub running_since: Option<Duration>,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended last.
    pub last_exit: Option<Exit>,
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

enum Command {
    Start,
    Stop,
    Restart,
}

type Order = (Command, oneshot::Sender<Result<(), Conflict>>);

/// The way to a supervisor. Cheap to clone.
#[derive(Clone)]
pub struct Child {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<ChildStatus>,
}

/// Owns a child process.
pub struct Supervisor {
    spec: ChildSpec,
    timing: Timing,
    clock: Arc<dyn Clock>,
    orders: mpsc::Receiver<Order>,
    status: watch::Sender<ChildStatus>,
    restarts: Restarts,
}

/// What the supervisor has in hand. There is no child without its process, and no wait without its
/// end.
enum Held {
    Nothing,
    Running(Process),
    Waiting(Duration),
}

/// What happened without a command.
enum Change {
    Ended(Ended),
    WaitIsOver,
}

impl Held {
    /// Waits for what happens without a command; never completes where nothing can. May be dropped
    /// at any time: a wait begins again then, which only commands bring about.
    async fn change(&mut self) -> Change {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Waiting(wait) => {
                sleep(*wait).await;
                Change::WaitIsOver
            }
            Self::Running(process) => Change::Ended(process.ended().await),
        }
    }
}

impl Child {
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
        self.status.borrow().clone()
    }

    /// Waits until what is known of it is as `wanted`.
    pub async fn wait_for(&self, wanted: impl FnMut(&ChildStatus) -> bool) -> ChildStatus {
        let mut status = self.status.clone();
        match status.wait_for(wanted).await {
            Ok(status) => status.clone(),
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

impl Supervisor {
    /// A supervisor of a child that does not run yet, and the way to it.
    #[must_use]
    pub fn new(spec: ChildSpec, timing: Timing, clock: Arc<dyn Clock>) -> (Self, Child) {
        let (orders, taken) = mpsc::channel(COMMANDS);
        let (status, seen) = watch::channel(ChildStatus {
            state: ChildState::Stopped,
            pid: None,
            running_since: None,
            restarts: 0,
            last_exit: None,
        });
        let supervisor = Self {
            spec,
            timing,
            clock,
            orders: taken,
            status,
            restarts: Restarts::new(timing),
        };
        let child = Child {
            orders,
            status: seen,
        };
        (supervisor, child)
    }

    /// Works until `stop` is cancelled, then stops the child, and returns once it is reaped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut held = Held::Nothing;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some((command, reply)) = self.orders.recv() => {
                    let done = self.carry_out(command, &mut held).await;
                    // Whoever asked may have gone.
                    let _ = reply.send(done);
                }
                change = held.change() => {
                    held = match change {
                        Change::Ended(ended) => self.after(ended),
                        Change::WaitIsOver => {
                            self.count_restart();
                            self.launch()
                        }
                    };
                }
            }
        }
        self.set(ChildState::ShuttingDown);
        if let Held::Running(process) = held {
            self.end(process, ChildState::ShuttingDown).await;
        }
    }

    async fn carry_out(&mut self, command: Command, held: &mut Held) -> Result<(), Conflict> {
        let now = std::mem::replace(held, Held::Nothing);
        match (command, now) {
            (Command::Start, running @ Held::Running(_)) => {
                *held = running;
                return Err(Conflict::AlreadyRunning);
            }
            (Command::Start | Command::Restart, Held::Nothing | Held::Waiting(_)) => {
                *held = self.launch();
            }
            (Command::Restart, Held::Running(process)) => {
                self.end(process, ChildState::Stopping).await;
                self.count_restart();
                *held = self.launch();
            }
            (Command::Stop, Held::Running(process)) => {
                self.end(process, ChildState::Stopping).await;
                self.set(ChildState::Stopped);
            }
            (Command::Stop, Held::Nothing | Held::Waiting(_)) => self.set(ChildState::Stopped),
        }
        self.restarts.forget();
        Ok(())
    }

    fn launch(&mut self) -> Held {
        self.set(ChildState::Starting);
        match Process::start(&self.spec) {
            Ok(process) => {
                let (pid, now) = (process.id(), self.clock.elapsed());
                info!(child = self.spec.name, pid, "Started {}", self.spec.name);
                self.status.send_modify(|status| {
                    status.state = ChildState::Running;
                    status.pid = Some(pid);
                    status.running_since = Some(now);
                });
                Held::Running(process)
            }
            Err(error) => {
                error!(child = self.spec.name, %error, "Could not start {}", self.spec.name);
                self.set(ChildState::Crashed);
                Held::Waiting(self.restarts.wait_after_crash(Duration::ZERO))
            }
        }
    }

    /// The child ended without having been told to.
    fn after(&mut self, ended: Ended) -> Held {
        let since = self.status.borrow().running_since.unwrap_or_default();
        let ran = self.clock.elapsed().saturating_sub(since);
        let is_clean = ended.code == Some(0);
        warn!(
            child = self.spec.name,
            code = ended.code,
            signal = ended.signal,
            ?ran,
            "{} ended by itself",
            self.spec.name
        );
        self.note_exit(ended, ChildState::Crashed);
        Held::Waiting(if is_clean {
            Duration::ZERO
        } else {
            self.restarts.wait_after_crash(ran)
        })
    }

    /// Asks a child to end, and ends it where it does not; returns once it is reaped.
    async fn end(&mut self, mut process: Process, state: ChildState) {
        self.set(state);
        process.ask_to_end();
        let ended = match timeout(self.timing.grace, process.ended()).await {
            Ok(ended) => ended,
            Err(_) => {
                warn!(
                    child = self.spec.name,
                    "{} does not end; killing it", self.spec.name
                );
                process.kill();
                process.ended().await
            }
        };
        info!(child = self.spec.name, "{} has ended", self.spec.name);
        self.note_exit(ended, state);
    }

    fn note_exit(&self, ended: Ended, state: ChildState) {
        let exit = Exit {
            code: ended.code,
            signal: ended.signal.map(str::to_owned),
            at: self.clock.now(),
        };
        self.status.send_modify(|status| {
            status.state = state;
            status.pid = None;
            status.running_since = None;
            status.last_exit = Some(exit);
        });
    }

    fn set(&self, state: ChildState) {
        self.status.send_modify(|status| status.state = state);
    }

    fn count_restart(&self) {
        self.status.send_modify(|status| status.restarts += 1);
    }
}
