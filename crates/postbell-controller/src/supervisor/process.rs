//! A child process with all that it starts: its process group.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ChildSpec;
use super::output::pass_on;
use crate::processes::{Processes, Started};

/// How long the last words of a child may take, once it has ended. They are in the pipe by then,
/// but whatever left its group may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A child that was started, in a process group of its own.
///
/// Where this value is dropped before the child has ended, the group is killed.
pub(crate) struct Process {
    child: Child,
    group: Pid,
    processes: Processes,
    /// How it ended, once it has and is reaped.
    ended: Option<Ended>,
    /// Passes on what it prints.
    output: JoinSet<()>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ended {
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
            output.spawn(pass_on(spec.name, stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(pass_on(spec.name, stderr));
        }
        Ok(Self {
            child,
            group: id,
            processes: processes.clone(),
            ended: None,
            output,
        })
    }

    pub(crate) fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Waits until it has ended and is reaped, what it left in its group is killed, and its last
    /// words are passed on. May be dropped at any time, and asked again.
    pub(crate) async fn ended(&mut self) -> Ended {
        let ended = match self.ended {
            Some(ended) => ended,
            None => self.reap().await,
        };
        let last_words = async { while self.output.join_next().await.is_some() {} };
        // Where they take longer, they are cut off.
        let _ = timeout(LAST_WORDS, last_words).await;
        ended
    }

    async fn reap(&mut self) -> Ended {
        let status = self.child.wait().await;
        // At once: numbers are given again only after all others have been.
        self.kill();
        self.processes.release(self.group);
        let ended = Ended::from(status);
        self.ended = Some(ended);
        ended
    }

    /// Asks the whole group to end.
    pub(crate) fn ask_to_end(&self) {
        // It may have ended meanwhile.
        let _ = kill_process_group(self.group, Signal::TERM);
    }

    /// Ends the whole group.
    pub(crate) fn kill(&self) {
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The number of a group that is gone may be another's by now.
        if self.ended.is_none() {
            self.kill();
            self.processes.release(self.group);
        }
    }
}

impl From<io::Result<ExitStatus>> for Ended {
    fn from(status: io::Result<ExitStatus>) -> Self {
        match status {
            Ok(status) => Self {
                code: status.code(),
                signal: status.signal().map(signal_name),
            },
            // Somebody else has reaped it: nobody knows how it ended.
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
