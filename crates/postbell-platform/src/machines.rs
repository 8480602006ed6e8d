//! The machines, where we may start and stop them.

mod fly;

use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{BoxError, InstanceStatus, ManagedMachine};

pub use self::fly::FlyMachines;
use crate::variables::Variables;

/// What is done to machines. Those at a URL of their own are their owners' to start and stop.
#[async_trait]
pub trait Machines: Send + Sync {
    /// Returns what a machine is doing, or `None` where the answer is a word that we do not know.
    async fn status(
        &self,
        machine: &ManagedMachine,
    ) -> Result<Option<InstanceStatus>, MachinesError>;

    /// Starts a machine. It need not be up yet afterwards.
    async fn start(&self, machine: &ManagedMachine) -> Result<(), MachinesError>;

    /// Stops a machine. It need not be down yet afterwards.
    async fn stop(&self, machine: &ManagedMachine) -> Result<(), MachinesError>;

    /// Stops a machine and starts it again.
    async fn restart(&self, machine: &ManagedMachine) -> Result<(), MachinesError>;

    /// Waits until a machine is up, but no longer than `patience`, and returns whether it is.
    async fn wait_until_up(
        &self,
        machine: &ManagedMachine,
        patience: Duration,
    ) -> Result<bool, MachinesError>;

    /// Gives a machine its variables. One that runs restarts with them, if they say anything new;
    /// one that is off stays off.
    ///
    /// # Errors
    ///
    /// [`MachinesError::Changed`] where somebody else changed the machine meanwhile: look again at
    /// what its variables should be, and try again.
    async fn configure(
        &self,
        machine: &ManagedMachine,
        variables: &Variables,
    ) -> Result<Configured, MachinesError>;
}

/// What [`Machines::configure`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Configured {
    /// The machine knew all of it.
    Unchanged,
    /// The machine knows it when it starts next.
    Saved,
    /// The machine restarts with it.
    Restarting,
}

/// Why something could not be done to a machine.
#[derive(Debug, thiserror::Error)]
pub enum MachinesError {
    /// There is no such machine.
    #[error("there is no such machine")]
    Missing,

    /// Somebody else changed the machine meanwhile.
    #[error("the machine was changed meanwhile")]
    Changed,

    /// It was refused: a wrong token, or a machine that is not in the state for it.
    #[error("it was refused with {status}")]
    Refused {
        /// The answer.
        status: u16,
    },

    /// Busy, or out of reach. The same call may succeed later.
    #[error("the machines' host cannot be reached")]
    Unavailable(#[source] BoxError),
}
