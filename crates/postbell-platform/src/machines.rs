//! The host that runs the users' machines.

mod fly;

use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{BoxError, InstanceStatus, ManagedMachine};

pub use self::fly::FlyMachines;
use crate::variables::Variables;

/// Manages machines at a host. A machine with a URL of its own is managed by its owner.
#[async_trait]
pub trait Machines: Send + Sync {
    /// Returns the status of a machine, or `None` if the host's answer is unknown to us.
    async fn status(
        &self,
        machine: &ManagedMachine,
    ) -> Result<Option<InstanceStatus>, MachinesError>;

    /// Starts a machine, without waiting until it has started.
    async fn start(&self, machine: &ManagedMachine) -> Result<(), MachinesError>;

    /// Waits until a machine has started, at most for `limit`. Returns whether it has.
    async fn wait_until_started(
        &self,
        machine: &ManagedMachine,
        limit: Duration,
    ) -> Result<bool, MachinesError>;

    /// Sets the variables of a machine. A running machine restarts if they require it; a stopped one
    /// stays stopped.
    ///
    /// # Errors
    ///
    /// [`MachinesError::Changed`] if another program changed the machine in between: read the stored
    /// configuration again and retry.
    async fn configure(
        &self,
        machine: &ManagedMachine,
        variables: &Variables,
    ) -> Result<Configured, MachinesError>;
}

/// The result of [`Machines::configure`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Configured {
    /// The machine had the variables already.
    Unchanged,
    /// The machine gets the variables at its next start.
    Saved,
    /// The machine restarts with the variables.
    Restarting,
    /// The machine fetches its configuration, and is on: its controller is to be notified.
    Fetches,
}

/// Why a call to a machine's host failed.
#[derive(Debug, thiserror::Error)]
pub enum MachinesError {
    /// The machine does not exist.
    #[error("there is no such machine")]
    Missing,

    /// Another program changed the machine in between.
    #[error("the machine was changed by another program")]
    Changed,

    /// The host refused the call: the token is wrong, or the machine's state does not allow it.
    #[error("the machines' host refused the request with {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },

    /// The credentials for the machine cannot be read.
    #[error("the credentials cannot be read")]
    Credentials {
        /// What happened.
        source: BoxError,
    },

    /// The host is busy or unreachable. The same call may succeed later.
    #[error("the machines' host cannot be reached")]
    Unavailable {
        /// How long the host asks to wait, if it says so.
        retry_after: Option<Duration>,
        /// What happened.
        source: BoxError,
    },
}
