//! Keeps one child process running: started, stopped and restarted on command, and started again
//! when it ends by itself (contract, section 4).
//!
//! One task owns the child. Commands reach it one at a time, so that no two of them ever disagree
//! about what runs.

mod child;
mod output;
mod process;
mod restarts;
mod status;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::Clock;
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::child::{Child, CommandError};
use self::child::{Command, Order};
pub(crate) use self::process::{Ended, Process};
use self::restarts::Restarts;
pub use self::status::{Alive, ChildState, ChildStatus, Exit};
use crate::Variables;
use crate::processes::Processes;

/// What runs.
#[derive(Clone)]
pub struct ChildSpec {
    /// What the log calls it.
    pub name: &'static str,
    /// The program.
    pub program: OsString,
    /// Its arguments, which everybody on the machine can read: no secret is among them that the
    /// program would take otherwise.
    pub arguments: Vec<OsString>,
    /// All of its variables.
    pub variables: Variables,
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

/// Owns a child process.
pub struct Supervisor {
    spec: ChildSpec,
    timing: Timing,
    processes: Processes,
    clock: Arc<dyn Clock>,
    orders: mpsc::Receiver<Order>,
    status: watch::Sender<ChildStatus>,
    restarts: Restarts,
}

/// What the supervisor has in hand. There is no child without its process, and no wait without its
/// end.
enum Held {
    Nothing,
    Running(Box<Process>, Alive),
    Waiting(Pin<Box<Sleep>>),
}

/// What happened without a command.
enum Change {
    Ended(Ended, Alive),
    WaitIsOver,
}

impl Held {
    /// Waits for what happens without a command; never completes where nothing can. May be dropped
    /// at any time, and asked again.
    async fn change(&mut self) -> Change {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Waiting(wait) => {
                wait.await;
                Change::WaitIsOver
            }
            Self::Running(process, alive) => Change::Ended(process.ended().await, *alive),
        }
    }

    fn alive(&self) -> Option<Alive> {
        match self {
            Self::Running(_, alive) => Some(*alive),
            Self::Nothing | Self::Waiting(_) => None,
        }
    }
}

impl fmt::Debug for ChildSpec {
    /// Without its arguments: a program may take secrets nowhere else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor of a child that does not run yet, and the way to it.
    #[must_use]
    pub fn new(
        spec: ChildSpec,
        timing: Timing,
        processes: Processes,
        clock: Arc<dyn Clock>,
    ) -> (Self, Child) {
        let (child, orders, status) = Child::new();
        let supervisor = Self {
            spec,
            timing,
            processes,
            clock,
            orders,
            status,
            restarts: Restarts::new(timing),
        };
        (supervisor, child)
    }

    /// Works until `stop` is cancelled, then stops the child, and returns once it is reaped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut held = Held::Nothing;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((command, reply)) = self.orders.recv() => {
                    let done = self.carry_out(command, &mut held).await;
                    // Whoever asked may have gone.
                    let _ = reply.send(done);
                }
                change = held.change() => {
                    held = match change {
                        Change::Ended(ended, alive) => self.after(ended, alive).await,
                        Change::WaitIsOver => self.launch().await,
                    };
                }
            }
        }
        self.set(ChildState::ShuttingDown(held.alive()));
        // Whoever still waits for a command is told so.
        self.orders.close();
        while self.orders.try_recv().is_ok() {}
        if let Held::Running(process, _) = held {
            self.end(process).await;
            self.set(ChildState::ShuttingDown(None));
        }
    }

    async fn carry_out(&mut self, command: Command, held: &mut Held) -> Result<(), CommandError> {
        if matches!((command, &*held), (Command::Start, Held::Running(..))) {
            return Err(CommandError::AlreadyRunning);
        }
        if let Held::Running(process, alive) = std::mem::replace(held, Held::Nothing) {
            self.set(ChildState::Stopping(alive));
            self.end(process).await;
        }
        self.restarts.reset();
        match command {
            Command::Stop => self.set(ChildState::Stopped),
            Command::Start | Command::Restart => {
                *held = self.launch().await;
                held.alive().ok_or(CommandError::Unstartable)?;
            }
        }
        Ok(())
    }

    async fn launch(&mut self) -> Held {
        let name = self.spec.name;
        self.set(ChildState::Starting);
        match Process::start(&self.spec, &self.processes).await {
            Ok(process) => {
                let alive = Alive {
                    pid: process.id(),
                    since: self.clock.elapsed(),
                };
                info!(child = name, pid = alive.pid, "Started the {name}");
                self.set(ChildState::Running(alive));
                Held::Running(Box::new(process), alive)
            }
            Err(error) => {
                let program = self.spec.program.display();
                error!(child = name, %program, %error,
                    "Could not start the {name}: is it installed, and in PATH?");
                self.ended_by_itself(unstartable(&error));
                wait_for(self.restarts.wait_after_crash(Duration::ZERO))
            }
        }
    }

    /// The child ended without having been told to.
    async fn after(&mut self, ended: Ended, alive: Alive) -> Held {
        let ran = self.clock.elapsed().saturating_sub(alive.since);
        self.ended_by_itself(ended);
        let Ended { code, signal } = ended;
        let wait = if code == Some(0) {
            self.restarts.wait_after_clean_end(ran)
        } else {
            self.restarts.wait_after_crash(ran)
        };
        let name = self.spec.name;
        warn!(
            child = name,
            code,
            signal,
            ?ran,
            ?wait,
            "The {name} ended by itself"
        );
        if wait.is_zero() {
            self.launch().await
        } else {
            wait_for(wait)
        }
    }

    /// Asks a child to end, and ends it where it does not; returns once it is reaped.
    async fn end(&mut self, mut process: Box<Process>) {
        let name = self.spec.name;
        process.ask_to_end();
        let ended = if let Ok(ended) = timeout(self.timing.grace, process.ended()).await {
            info!(child = name, "The {name} has ended as it was told");
            ended
        } else {
            warn!(child = name, "The {name} does not end; killing it");
            process.kill();
            process.ended().await
        };
        let exit = Exit::of(ended, self.clock.now());
        self.status
            .send_modify(|status| status.last_exit = Some(exit));
    }

    fn ended_by_itself(&self, ended: Ended) {
        let exit = Exit::of(ended, self.clock.now());
        self.status.send_modify(|status| {
            status.state = ChildState::Crashed;
            status.restarts += 1;
            status.last_exit = Some(exit);
        });
    }

    fn set(&self, state: ChildState) {
        self.status.send_modify(|status| status.state = state);
    }
}

fn wait_for(wait: Duration) -> Held {
    Held::Waiting(Box::pin(sleep(wait)))
}

/// A shell's exit codes for what it cannot start.
fn unstartable(error: &io::Error) -> Ended {
    let code = match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    Ended {
        code: Some(code),
        signal: None,
    }
}
