//! A child process with all that it starts: its process group.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::ChildSpec;
use super::output::pass_on;

/// A child that was started, in a process group of its own.
///
/// Where this value is dropped before the child has ended, the group is killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
    has_ended: bool,
    /// Passes on what it prints; ends with it.
    _output: JoinSet<()>,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<&'static str>,
}

impl Process {
    pub(super) fn start(spec: &ChildSpec) -> std::io::Result<Self> {
        let mut child = Command::new(&spec.program)
            .args(&spec.arguments)
            .envs(spec.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = group.ok_or_else(|| std::io::Error::other("it has ended already"))?;
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(pass_on(spec.name, stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(pass_on(spec.name, stderr));
        }
        Ok(Self {
            child,
            group,
            has_ended: false,
            _output: output,
        })
    }

    pub(super) fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Waits until it has ended and is reaped; what it left behind is killed. May be dropped at
    /// any time, and asked again.
    pub(super) async fn ended(&mut self) -> Ended {
        let status = self.child.wait().await;
        self.kill();
        self.has_ended = true;
        match status {
            Ok(status) => Ended {
                code: status.code(),
                signal: signal_name(status),
            },
            // Somebody else has reaped it: nobody knows how it ended.
            Err(_) => Ended {
                code: None,
                signal: None,
            },
        }
    }

    /// Asks the whole group to end.
    pub(super) fn ask_to_end(&self) {
        // It may have ended meanwhile.
        let _ = kill_process_group(self.group, Signal::TERM);
    }

    /// Ends the whole group.
    pub(super) fn kill(&self) {
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The number of a group that is gone may be another's by now.
        if !self.has_ended {
            self.kill();
        }
    }
}

/// The names of the signals that end a process, as Node has them and the contract's clients know.
fn signal_name(status: ExitStatus) -> Option<&'static str> {
    Some(match status.signal()? {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => "another signal",
    })
}
