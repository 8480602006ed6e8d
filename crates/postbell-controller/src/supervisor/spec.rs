//! The program of a child, and how it is supervised.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use crate::Variables;

/// The command line of a child.
#[derive(Clone)]
pub struct ChildSpec {
    /// The name in the log.
    pub name: &'static str,
    /// The program, found in `PATH`.
    pub program: OsString,
    /// Its arguments. Every process on the machine can read them, so secrets are passed in variables
    /// if the program accepts that.
    pub arguments: Vec<OsString>,
    /// Its complete environment.
    pub variables: Variables,
    /// The port that it serves, if any. A descendant that serves it after the program has exited is
    /// supervised in its place.
    pub port: Option<u16>,
}

/// The waits of a supervisor.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// The wait after the first crash; it doubles with each further one.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// A run of this length resets the waits.
    pub healthy_after: Duration,
}

impl ChildSpec {
    /// The command line of a child that is not known yet. The child must not be started with it.
    pub(crate) fn unset(name: &'static str, port: Option<u16>) -> Self {
        Self {
            name,
            program: OsString::new(),
            arguments: Vec::new(),
            variables: Variables::default(),
            port,
        }
    }
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

impl fmt::Debug for ChildSpec {
    /// Leaves out the arguments: some programs take secrets only there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}
