//! The task that starts machines for which mail waits.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{BoxError, InstanceStatus, UserId, UsersError, update_user};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Fleet, is_off};

/// How long a starting machine is watched.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How many machines are started at once.
const MAX_IN_FLIGHT: usize = 32;

/// Starts the machines that [`Fleet::request_start`] queues.
pub struct MachineStarter {
    fleet: Arc<Fleet>,
    requests: mpsc::Receiver<UserId>,
}

impl MachineStarter {
    pub(super) fn new(fleet: Arc<Fleet>, requests: mpsc::Receiver<UserId>) -> Self {
        Self { fleet, requests }
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut in_flight = JoinSet::new();
        loop {
            let has_room = in_flight.len() < MAX_IN_FLIGHT;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(user) = self.requests.recv(), if has_room => {
                    let (fleet, stop) = (Arc::clone(&self.fleet), stop.clone());
                    in_flight.spawn(async move {
                        stop.run_until_cancelled(start(&fleet, &user)).await;
                        fleet.starts.finish(&user);
                    });
                }
                Some(ended) = in_flight.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "The start of a machine panicked");
                    }
                }
            }
        }
        while in_flight.join_next().await.is_some() {}
    }
}

async fn start(fleet: &Fleet, user: &UserId) {
    if let Err(error) = try_start(fleet, user).await {
        let error = &*error as &dyn std::error::Error;
        warn!(
            user.id = %user.masked(), error,
            "Could not start the machine of {}", user.masked()
        );
    }
}

async fn try_start(fleet: &Fleet, user: &UserId) -> Result<(), BoxError> {
    let Some(record) = fleet.store.get(user).await? else {
        return Ok(());
    };
    let Some((machines, machine)) = fleet.managed_machine(&record) else {
        return Ok(());
    };
    info!(user.id = %user.masked(), "Starting the machine of {} for mail", user.masked());
    machines.start(machine).await?;
    record_start(fleet, user).await?;
    if machines.wait_until_started(machine, START_TIMEOUT).await? {
        fleet
            .record_status(user, &record.location, InstanceStatus::Running)
            .await?;
    }
    Ok(())
}

/// Records that a machine is starting, unless it has checked in already.
async fn record_start(fleet: &Fleet, user: &UserId) -> Result<(), UsersError> {
    let updated = update_user(&*fleet.store, user, None, &*fleet.clock, |record| {
        if is_off(record.status) {
            record.status = InstanceStatus::Starting;
        }
        Ok(())
    });
    updated.await.map(drop)
}
