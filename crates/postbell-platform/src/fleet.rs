//! The users' machines: how they are, and how one is woken.

mod starter;

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    Clock, InstanceStatus, MachineLocation, ManagedMachine, Timestamp, UserId, UserRecord, Users,
    UsersError, update_user,
};
use quick_cache::sync::Cache;
use tokio::time::timeout;
use tracing::{debug, info};

use self::starter::StartRequests;
use crate::Machines;

/// How long what was seen of a machine is good for. Fly lets a machine be looked at five times a
/// second (<https://fly.io/docs/machines/api/working-with-machines-api/>).
const STATUS_FRESH: Duration = Duration::from_secs(10);

/// How long a look at a machine may take: somebody waits for the answer.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// Of how many machines is remembered when they were looked at.
const LOOKED_AT: usize = 65_536;

/// The users' machines. What is stored of them is what we were told last; where we may ask the
/// machines' host, that is kept up to date.
pub struct Fleet {
    instances: Arc<dyn Users>,
    machines: Option<Arc<dyn Machines>>,
    clock: Arc<dyn Clock>,
    looked_at: Cache<UserId, Duration>,
    wakes: StartRequests,
}

impl Fleet {
    /// The machines of the users in `instances`; without `machines` nobody can be asked about
    /// them, and none is started.
    #[must_use]
    pub fn new(
        instances: Arc<dyn Users>,
        machines: Option<Arc<dyn Machines>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            instances,
            machines,
            clock,
            looked_at: Cache::new(LOOKED_AT),
            wakes: StartRequests::new(),
        }
    }

    /// Returns what is known of a user. Where their machine is not known to run, it is looked at.
    ///
    /// One that runs is not: every push asks for its user, and must not wait for Fly. That it has
    /// stopped is found out when a delivery fails, which asks for it to be [woken](Self::wake).
    ///
    /// # Errors
    ///
    /// What keeps the record from being read. A machine that cannot be looked at is as it was.
    pub async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, UsersError> {
        match self.instances.get(user).await? {
            Some(record) if record.status != InstanceStatus::Running => self.look(record).await,
            known => Ok(known),
        }
    }

    /// Looks at a user's machine, unless that was done a moment ago.
    async fn look(&self, record: UserRecord) -> Result<Option<UserRecord>, UsersError> {
        let user = &record.user;
        let Some((machines, machine)) = self.hands_on(&record) else {
            return Ok(Some(record));
        };
        let now = self.clock.elapsed();
        let last = self.looked_at.get(user);
        if last.is_some_and(|last| now.saturating_sub(last) < STATUS_FRESH) {
            return Ok(Some(record));
        }
        self.looked_at.insert(user.clone(), now);
        match timeout(LOOK_TIME, machines.status(machine)).await {
            Ok(Ok(Some(status))) => self.note(user, &record.place, status).await,
            Ok(Ok(None)) | Err(_) => Ok(Some(record)),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                debug!(
                    user.id = %user.masked(), error,
                    "Could not look at the machine of {}", user.masked()
                );
                Ok(Some(record))
            }
        }
    }

    /// Notes that a user's machine has reported in, and what it said of Gmail's watch. Returns the
    /// record, if there is one.
    ///
    /// # Errors
    ///
    /// What keeps it from being noted.
    pub async fn report_running(
        &self,
        user: &UserId,
        watch_expires_at: Option<Timestamp>,
    ) -> Result<Option<UserRecord>, UsersError> {
        update_user(&*self.instances, user, None, &*self.clock, |record| {
            record.report_in(watch_expires_at);
            Ok(())
        })
        .await
    }

    /// Notes what a user's machine is doing, unless the user has another one by now.
    async fn note(
        &self,
        user: &UserId,
        place: &MachineLocation,
        status: InstanceStatus,
    ) -> Result<Option<UserRecord>, UsersError> {
        let noted = update_user(&*self.instances, user, None, &*self.clock, |record| {
            if record.place == *place && record.status != status {
                info!(
                    user.id = %user.masked(), ?status,
                    "The machine of {} is seen in another state", user.masked()
                );
                record.status = status;
            }
            Ok(())
        });
        noted.await
    }

    /// The means to start and stop machines, where we have any.
    pub(crate) fn machines(&self) -> Option<&dyn Machines> {
        self.machines.as_deref()
    }

    /// A machine of ours to start and stop, and the means to do it.
    pub(crate) fn hands_on<'a>(
        &'a self,
        record: &'a UserRecord,
    ) -> Option<(&'a dyn Machines, &'a ManagedMachine)> {
        match &record.place {
            MachineLocation::Managed(machine) => Some((self.machines.as_deref()?, machine)),
            MachineLocation::Url(_) | MachineLocation::Unknown => None,
        }
    }
}
