//! A child process and its process group.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::output::log_lines;
use super::spec::ChildSpec;
use crate::processes::{Processes, Started};

/// How long the rest of the output may take after the exit. It is in the pipe by then, but a process
/// that has left the group can hold the pipe open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// A started child in its own process group.
///
/// If this value is dropped before the child has exited, the group is killed.
pub(crate) struct Process {
    child: Child,
    group: Pid,
    processes: Processes,
    /// Set once the child is reaped.
    exit: Option<ExitCause>,
    output: JoinSet<()>,
}

/// How a process exited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ExitCause {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<&'static str>,
}

impl Process {
    pub(crate) async fn start(spec: &ChildSpec, processes: &Processes) -> io::Result<Self> {
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.arguments)
            .env_clear()
            .envs(spec.variables.iter())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let Started { mut child, id } = processes.start(command).await?;
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(log_lines(spec.name, stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(log_lines(spec.name, stderr));
        }
        Ok(Self {
            child,
            group: id,
            processes: processes.clone(),
            exit: None,
            output,
        })
    }

    pub(crate) fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Waits until the child is reaped, the rest of its group is killed and its output is logged.
    /// Cancel safe.
    pub(crate) async fn exited(&mut self) -> ExitCause {
        let exit = match self.exit {
            Some(exit) => exit,
            None => self.reap().await,
        };
        let output = async { while self.output.join_next().await.is_some() {} };
        // After the time-out the rest is lost.
        let _ = timeout(OUTPUT_TIMEOUT, output).await;
        exit
    }

    async fn reap(&mut self) -> ExitCause {
        let status = self.child.wait().await;
        // The group's id is not reused this soon: the system goes through all others first.
        self.kill();
        self.processes.release(self.group);
        let exit = ExitCause::from(status);
        self.exit = Some(exit);
        exit
    }

    /// Sends SIGTERM to the group.
    pub(crate) fn terminate(&self) {
        // Fails if the group has exited.
        let _ = kill_process_group(self.group, Signal::TERM);
    }

    /// Sends SIGKILL to the group.
    pub(crate) fn kill(&self) {
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After the exit, the system may have given the group's id to another group.
        if self.exit.is_none() {
            self.kill();
            self.processes.release(self.group);
        }
    }
}

impl From<io::Result<ExitStatus>> for ExitCause {
    fn from(status: io::Result<ExitStatus>) -> Self {
        match status {
            Ok(status) => Self {
                code: status.code(),
                signal: status.signal().map(signal_name),
            },
            // The process was reaped elsewhere, so its status is lost.
            Err(_) => Self {
                code: None,
                signal: None,
            },
        }
    }
}

/// Returns the name of a signal as Node.js reports it, which the protocol's clients expect.
fn signal_name(number: i32) -> &'static str {
    // Real-time signals have no names.
    nix::sys::signal::Signal::try_from(number).map_or("SIGRT", nix::sys::signal::Signal::as_str)
}
