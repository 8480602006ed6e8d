//! An orphan that became a supervised child.

use std::io;

use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A descendant whose parent has exited, so that it is a child of this process now.
#[derive(Debug)]
pub(crate) struct Adopted {
    id: Pid,
    /// SIGCHLD: a child of this process has exited.
    deaths: Signal,
}

impl Adopted {
    /// Adopts a child of this process that was not started here.
    ///
    /// # Errors
    ///
    /// If the signal handler cannot be installed.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub(super) fn new(id: Pid) -> io::Result<Self> {
        let deaths = signal(SignalKind::child())?;
        Ok(Self { id, deaths })
    }

    pub(crate) fn id(&self) -> Pid {
        self.id
    }

    /// Waits until the process exits, and reaps it. Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<WaitStatus> {
        loop {
            if let Some((_, exit)) = waitpid(Some(self.id), WaitOptions::NOHANG)? {
                return Ok(exit);
            }
            self.deaths.recv().await;
        }
    }
}
