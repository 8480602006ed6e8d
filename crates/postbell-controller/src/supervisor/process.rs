//! A child process and its process group: one that was started here, or one that was adopted.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitStatus, getpgid, getpgrp, kill_process, kill_process_group,
};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::output::log_lines;
use super::spec::ChildSpec;
use crate::processes::{Adopted, Processes};

/// How long the rest of the output may take after the exit. It is in the pipe by then, but a process
/// that has left the group can hold the pipe open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// A child process, with its process group.
///
/// If this value is dropped before the child has exited, the group is killed.
pub(crate) struct Process {
    handle: Handle,
    id: Pid,
    /// `None` if it is the controller's own group; then only the process gets signals.
    group: Option<Pid>,
    processes: Processes,
    /// Set once the child is reaped.
    exit: Option<ExitCause>,
    output: JoinSet<()>,
}

enum Handle {
    Started(Child),
    Adopted(Adopted),
}

/// How a process exited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ExitCause {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<&'static str>,
}

impl ExitCause {
    /// The process was reaped elsewhere, so its status is lost.
    const LOST: Self = Self {
        code: None,
        signal: None,
    };
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
        let (mut child, id) = processes.start(command).await?.take();
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(log_lines(spec.name, stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(log_lines(spec.name, stderr));
        }
        Ok(Self {
            handle: Handle::Started(child),
            id,
            group: Some(id),
            processes: processes.clone(),
            exit: None,
            output,
        })
    }

    /// Adopts the orphan that serves `port`, if there is one. Its output goes where that of its former
    /// parent went.
    pub(crate) async fn adopt(port: u16, processes: &Processes) -> Option<Self> {
        let adopted = processes.adopt(port).await?;
        let id = adopted.id();
        let group = getpgid(Some(id)).ok();
        Some(Self {
            handle: Handle::Adopted(adopted),
            id,
            group: group.filter(|group| *group != getpgrp()),
            processes: processes.clone(),
            exit: None,
            output: JoinSet::new(),
        })
    }

    pub(crate) fn id(&self) -> i32 {
        self.id.as_raw_nonzero().get()
    }

    /// Takes the tasks that log the output, which end once no process has the pipes open.
    pub(crate) fn take_output(&mut self) -> JoinSet<()> {
        std::mem::take(&mut self.output)
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
        let exit = match &mut self.handle {
            Handle::Started(child) => ExitCause::from(child.wait().await),
            Handle::Adopted(adopted) => ExitCause::from(adopted.wait().await),
        };
        if let Some(group) = self.group {
            // The group's id is not reused this soon: the system goes through all others first.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.processes.release(self.id);
        self.exit = Some(exit);
        exit
    }

    /// Sends SIGTERM to the group.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL to the group.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Fails if it has exited.
        let _ = match self.group {
            Some(group) => kill_process_group(group, signal),
            None => kill_process(self.id, signal),
        };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After the exit, the system may have given the group's id to another group.
        if self.exit.is_none() {
            self.kill();
            self.processes.release(self.id);
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
            Err(_) => Self::LOST,
        }
    }
}

impl From<io::Result<WaitStatus>> for ExitCause {
    fn from(status: io::Result<WaitStatus>) -> Self {
        match status {
            Ok(status) => Self {
                code: status.exit_status(),
                signal: status.terminating_signal().map(signal_name),
            },
            Err(_) => Self::LOST,
        }
    }
}

/// Returns the name of a signal as Node.js reports it, which the protocol's clients expect.
fn signal_name(number: i32) -> &'static str {
    // Real-time signals have no names.
    nix::sys::signal::Signal::try_from(number).map_or("SIGRT", nix::sys::signal::Signal::as_str)
}
