//! Keeps one child process running: starts, stops and restarts it on command, and restarts it when
//! it exits by itself (protocol, section 4).
//!
//! One task owns the child. It executes one command at a time, so no two commands can race.

mod child;
mod output;
mod process;
mod restart_policy;
mod spec;
mod status;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::Clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::child::{Child, CommandError};
use self::child::{Command, CommandRequest};
pub(crate) use self::process::{ExitCause, Process};
use self::restart_policy::RestartPolicy;
pub use self::spec::{ChildSpec, Timing};
pub use self::status::{ChildState, ChildStatus, Exit, RunningProcess};
use crate::processes::Processes;

/// Owns a child process.
pub struct Supervisor {
    name: &'static str,
    port: Option<u16>,
    /// The program that the next start runs.
    spec: Arc<Mutex<ChildSpec>>,
    timing: Timing,
    processes: Processes,
    clock: Arc<dyn Clock>,
    commands: mpsc::Receiver<CommandRequest>,
    status: watch::Sender<ChildStatus>,
    restarts: RestartPolicy,
    /// Whether the last exits began with one of code 0: what still serves the port is then a copy that the
    /// child has put in its place, and not a remainder of a crash.
    replaced_itself: bool,
    /// Log the output of descendants that have outlived their child. A closed pipe would end them.
    outputs: Vec<JoinSet<()>>,
}

/// What the supervisor currently waits for, besides commands.
enum Activity {
    Idle,
    Running(Box<Process>, RunningProcess),
    Backoff(Pin<Box<Sleep>>),
}

enum Event {
    Exited(ExitCause, RunningProcess),
    BackoffOver,
}

impl Activity {
    /// Returns the next event; waits forever if there can be none. Cancel safe.
    async fn next_event(&mut self) -> Event {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Backoff(wait) => {
                wait.await;
                Event::BackoffOver
            }
            Self::Running(process, running) => Event::Exited(process.exited().await, *running),
        }
    }

    fn take_output(&mut self) -> Option<JoinSet<()>> {
        match self {
            Self::Running(process, _) => Some(process.take_output()),
            Self::Idle | Self::Backoff(_) => None,
        }
    }

    fn process(&self) -> Option<RunningProcess> {
        match self {
            Self::Running(_, running) => Some(*running),
            Self::Idle | Self::Backoff(_) => None,
        }
    }
}

impl Supervisor {
    /// Returns a supervisor whose child is not started yet, and a handle to it.
    #[must_use]
    pub fn new(
        spec: ChildSpec,
        timing: Timing,
        processes: Processes,
        clock: Arc<dyn Clock>,
    ) -> (Self, Child) {
        let (name, port) = (spec.name, spec.port);
        let (child, commands, status) = Child::new(spec);
        let supervisor = Self {
            name,
            port,
            spec: Arc::clone(&child.spec),
            timing,
            processes,
            clock,
            commands,
            status,
            restarts: RestartPolicy::new(timing),
            replaced_itself: false,
            outputs: Vec::new(),
        };
        (supervisor, child)
    }

    /// Runs until `stop` is cancelled, then stops the child and returns once it is reaped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut activity = Activity::Idle;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((command, reply)) = self.commands.recv() => {
                    let result = self.execute(command, &mut activity).await;
                    // The caller may have gone.
                    let _ = reply.send(result);
                }
                event = activity.next_event() => {
                    activity = match event {
                        Event::Exited(cause, running) => {
                            self.keep_output(activity.take_output());
                            self.restart(cause, running).await
                        }
                        Event::BackoffOver => self.launch().await,
                    };
                }
            }
        }
        self.set_state(ChildState::ShuttingDown(activity.process()));
        // Dropping the queued commands answers their callers.
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        if let Activity::Running(process, _) = activity {
            self.terminate(process).await;
            self.set_state(ChildState::ShuttingDown(None));
        }
    }

    async fn execute(
        &mut self,
        command: Command,
        activity: &mut Activity,
    ) -> Result<(), CommandError> {
        if activity.process().is_none()
            && let Some(running) = self.take_over().await
        {
            *activity = running;
        }
        if matches!(
            (command, &*activity),
            (Command::Start, Activity::Running(..))
        ) {
            return Err(CommandError::AlreadyRunning);
        }
        if let Activity::Running(process, running) = std::mem::replace(activity, Activity::Idle) {
            self.set_state(ChildState::Stopping(running));
            self.terminate(process).await;
        }
        self.restarts.reset();
        self.replaced_itself = false;
        self.outputs.clear();
        match command {
            Command::Stop => self.set_state(ChildState::Stopped),
            Command::Start | Command::Restart => {
                *activity = self.launch().await;
                activity.process().ok_or(CommandError::StartFailed)?;
            }
        }
        Ok(())
    }

    async fn launch(&mut self) -> Activity {
        if let Some(running) = self.take_over().await {
            return running;
        }
        let name = self.name;
        let spec = self.spec.lock().clone();
        self.set_state(ChildState::Starting);
        match Process::start(&spec, &self.processes).await {
            Ok(process) => {
                info!(child = name, pid = process.id(), "Started the {name}");
                self.supervise(process)
            }
            Err(error) => {
                let program = spec.program.display();
                error!(child = name, %program, %error,
                    "Could not start the {name}: is it installed and in PATH?");
                self.record_crash(start_failure(&error));
                backoff(self.restarts.wait_after_crash(Duration::ZERO))
            }
        }
    }

    /// Deals with a descendant that serves the child's port although the child has exited; otherwise each
    /// restart would fail. A copy that the child has put in its place is supervised from now on; what a
    /// crash has left is stopped.
    async fn take_over(&mut self) -> Option<Activity> {
        let (name, port) = (self.name, self.port?);
        let process = Process::adopt(port, &self.processes).await?;
        let pid = process.id();
        if self.replaced_itself {
            info!(
                child = name,
                pid,
                port,
                "The {name} has restarted itself as another process, which is supervised now"
            );
            return Some(self.supervise(process));
        }
        warn!(
            child = name,
            pid, port, "A process that the {name} has left behind serves its port; stopping it"
        );
        self.end(Box::new(process)).await;
        None
    }

    fn supervise(&mut self, process: Process) -> Activity {
        let running = RunningProcess {
            pid: process.id(),
            since: self.clock.elapsed(),
        };
        self.set_state(ChildState::Running(running));
        Activity::Running(Box::new(process), running)
    }

    /// Restarts a child that exited by itself, after the wait that the policy gives.
    async fn restart(&mut self, cause: ExitCause, running: RunningProcess) -> Activity {
        let ran = self.clock.elapsed().saturating_sub(running.since);
        self.record_crash(cause);
        let ExitCause { code, signal } = cause;
        if code == Some(0) {
            self.replaced_itself = true;
        } else if ran >= self.timing.healthy_after {
            self.replaced_itself = false;
        }
        if let Some(running) = self.take_over().await {
            return running;
        }
        let wait = if code == Some(0) {
            self.restarts.wait_after_clean_exit(ran)
        } else {
            self.restarts.wait_after_crash(ran)
        };
        let name = self.name;
        warn!(
            child = name,
            code,
            signal,
            ?ran,
            ?wait,
            "The {name} exited; restarting it"
        );
        if wait.is_zero() {
            self.launch().await
        } else {
            backoff(wait)
        }
    }

    /// Stops the child on command or at shutdown, and records its exit.
    async fn terminate(&mut self, process: Box<Process>) {
        let cause = self.end(process).await;
        let exit = Exit::new(cause, self.clock.now());
        self.status
            .send_modify(|status| status.last_exit = Some(exit));
    }

    /// Sends SIGTERM, after the grace SIGKILL, and returns once the process is reaped.
    async fn end(&self, mut process: Box<Process>) -> ExitCause {
        let name = self.name;
        process.terminate();
        if let Ok(cause) = timeout(self.timing.grace, process.exited()).await {
            info!(child = name, "Stopped the {name}");
            cause
        } else {
            warn!(child = name, "The {name} does not exit; killing it");
            process.kill();
            process.exited().await
        }
    }

    /// Keeps the tasks that log what descendants of an exited child write.
    fn keep_output(&mut self, output: Option<JoinSet<()>>) {
        self.outputs.extend(output);
        self.outputs.retain_mut(|output| {
            while output.try_join_next().is_some() {}
            !output.is_empty()
        });
    }

    fn record_crash(&self, cause: ExitCause) {
        let exit = Exit::new(cause, self.clock.now());
        self.status.send_modify(|status| {
            status.state = ChildState::Crashed;
            status.restarts += 1;
            status.last_exit = Some(exit);
        });
    }

    fn set_state(&self, state: ChildState) {
        self.status.send_modify(|status| status.state = state);
    }
}

fn backoff(wait: Duration) -> Activity {
    Activity::Backoff(Box::pin(sleep(wait)))
}

/// Returns the exit code that a shell reports for a program that it cannot start.
fn start_failure(error: &io::Error) -> ExitCause {
    let code = match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    ExitCause {
        code: Some(code),
        signal: None,
    }
}
