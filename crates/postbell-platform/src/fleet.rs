//! The users' machines: their status, and starting them for mail.

mod start_queue;
mod starter;

use std::sync::Arc;
use std::time::Duration;

use postbell_alerts::Monitor;
use postbell_core::{
    AccountReport, Clock, InstanceStatus, MachineLocation, MachineReport, ManagedMachine,
    ProblemCode, StoreError, Timestamp, UserId, UserRecord, Users, UsersError, update_user,
};
use quick_cache::sync::Cache;
use tokio::time::timeout;
use tracing::{debug, info};

use self::start_queue::StartQueue;
pub use self::starter::MachineStarter;
use crate::Machines;

/// How long a machine's status counts as fresh. Fly allows five status requests a second per machine
/// (<https://fly.io/docs/machines/api/working-with-machines-api/>).
const STATUS_FRESH: Duration = Duration::from_secs(10);

/// How long a status request may take: a caller waits for it.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// For how many machines the time of the last status request is kept.
const STATUS_CACHE: usize = 65_536;

/// The users' machines. The stored status is the last one reported; for machines of a host that can
/// be asked, it is refreshed.
pub struct Fleet {
    store: Arc<dyn Users>,
    machines: Option<Arc<dyn Machines>>,
    clock: Arc<dyn Clock>,
    monitor: Option<Arc<Monitor>>,
    refreshed_at: Cache<UserId, Duration>,
    starts: StartQueue,
}

impl Fleet {
    /// Creates the fleet of the users in `store`, and the task that starts its machines. Without
    /// `machines`, no machine is refreshed or started. `monitor` learns of check-ins.
    #[must_use]
    pub fn new(
        store: Arc<dyn Users>,
        machines: Option<Arc<dyn Machines>>,
        clock: Arc<dyn Clock>,
        monitor: Option<Arc<Monitor>>,
    ) -> (Arc<Self>, MachineStarter) {
        let (starts, requests) = StartQueue::new();
        let fleet = Arc::new(Self {
            store,
            machines,
            clock,
            monitor,
            refreshed_at: Cache::new(STATUS_CACHE),
            starts,
        });
        let starter = MachineStarter::new(Arc::clone(&fleet), requests);
        (fleet, starter)
    }

    /// Returns the record of a user, or of a further account with the machine of its owner, with a fresh status unless the
    /// machine is stored as running.
    ///
    /// A running machine is not refreshed: every push reads its user and must not wait for Fly. A
    /// failed delivery shows that it has stopped, and then requests a [start](Self::request_start).
    ///
    /// # Errors
    ///
    /// If the record cannot be read. If the status cannot be refreshed, the stored one is returned.
    pub async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, UsersError> {
        let Some(record) = self.store.get(user).await? else {
            return Ok(None);
        };
        let Some(owner) = &record.owner else {
            return self.refresh_unless_running(record).await;
        };
        let owner = match self.store.get(owner).await? {
            Some(owner) => self.refresh_unless_running(owner).await?,
            None => None,
        };
        Ok(owner.map(|owner| record.with_machine_of(&owner)))
    }

    /// Returns the same without asking for a status.
    pub(crate) async fn stored(&self, user: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let Some(record) = self.store.get(user).await? else {
            return Ok(None);
        };
        let Some(owner) = &record.owner else {
            return Ok(Some(record));
        };
        let owner = self.store.get(owner).await?;
        Ok(owner.map(|owner| record.with_machine_of(&owner)))
    }

    /// Returns the further accounts of a user, with the user's machine.
    pub(crate) async fn accounts_of(
        &self,
        owner: &UserRecord,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let accounts = self.store.accounts_of(std::slice::from_ref(&owner.user));
        let accounts = accounts.await?.into_iter();
        Ok(accounts.map(|it| it.with_machine_of(owner)).collect())
    }

    async fn refresh_unless_running(
        &self,
        record: UserRecord,
    ) -> Result<Option<UserRecord>, UsersError> {
        match record.status {
            InstanceStatus::Running => Ok(Some(record)),
            _ => self.refresh(record).await,
        }
    }

    /// Requests the status of a user's machine, unless it is still fresh.
    async fn refresh(&self, record: UserRecord) -> Result<Option<UserRecord>, UsersError> {
        let user = &record.user;
        let Some((machines, machine)) = self.managed_machine(&record) else {
            return Ok(Some(record));
        };
        let now = self.clock.elapsed();
        let last = self.refreshed_at.get(user);
        if last.is_some_and(|last| now.saturating_sub(last) < STATUS_FRESH) {
            return Ok(Some(record));
        }
        self.refreshed_at.insert(user.clone(), now);
        match timeout(STATUS_TIMEOUT, machines.status(machine)).await {
            Ok(Ok(Some(status))) => self.record_status(user, &record.location, status).await,
            Ok(Ok(None)) | Err(_) => Ok(Some(record)),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                debug!(
                    user.id = %user.masked(), error,
                    "Could not read the status of the machine of {}", user.masked()
                );
                Ok(Some(record))
            }
        }
    }

    /// Records that a user's machine is running, and what it said of each account. One that says nothing of further accounts
    /// does not watch several, also if it has said so when it fetched its configuration: its controller has changed. Returns the
    /// updated record and those of the further accounts, or nothing if the user does not exist.
    ///
    /// # Errors
    ///
    /// If the record cannot be written.
    pub async fn report_running(
        &self,
        user: &UserId,
        report: MachineReport,
        accounts: Option<&[AccountReport]>,
    ) -> Result<Vec<UserRecord>, UsersError> {
        let owner = self.record_report(user, report, accounts.is_some()).await?;
        let Some(owner) = owner else {
            return Ok(Vec::new());
        };
        let mut records = Vec::new();
        for account in self.store.accounts_of(std::slice::from_ref(user)).await? {
            let email = account.google.as_ref().and_then(|it| it.email.as_ref());
            let reported = accounts.unwrap_or_default().iter().find(|reported| {
                email.is_some_and(|email| email.is_same_mailbox(reported.email.as_str()))
            });
            let account = match reported {
                Some(reported) => {
                    let report = reported.report;
                    self.record_report(&account.user, report, true).await?
                }
                None => Some(account),
            };
            records.extend(account.map(|account| account.with_machine_of(&owner)));
        }
        records.insert(0, owner);
        Ok(records)
    }

    async fn record_report(
        &self,
        user: &UserId,
        report: MachineReport,
        watches_several: bool,
    ) -> Result<Option<UserRecord>, UsersError> {
        let updated = update_user(&*self.store, user, None, &*self.clock, |record| {
            record.check_in(report, self.clock.now());
            record.several_accounts &= watches_several;
            Ok::<_, UsersError>(())
        });
        let updated = updated.await?;
        if let Some(monitor) = self.monitor.as_ref().filter(|_| updated.is_some()) {
            monitor.checked_in(user).await;
        }
        Ok(updated)
    }

    /// Records what the renewal of a user's watch by the platform has shown: when it ends, or what prevents it. Ignored if the
    /// account was connected anew since `connected_at`.
    ///
    /// # Errors
    ///
    /// If the record cannot be written.
    pub async fn report_watch(
        &self,
        user: &UserId,
        connected_at: Timestamp,
        outcome: Result<Timestamp, ProblemCode>,
    ) -> Result<(), UsersError> {
        let since = self.clock.now();
        let updated = update_user(&*self.store, user, None, &*self.clock, |record| {
            let connected = record.google.as_ref().map(|google| google.connected_at);
            if connected == Some(connected_at) {
                record.watch_renewed(outcome, since);
            }
            Ok::<_, UsersError>(())
        });
        if let (Some(_), Some(monitor)) = (updated.await?, &self.monitor) {
            monitor.checked_in(user).await;
        }
        Ok(())
    }

    /// Records the status of a user's machine, unless the user has another machine by then.
    async fn record_status(
        &self,
        user: &UserId,
        location: &MachineLocation,
        status: InstanceStatus,
    ) -> Result<Option<UserRecord>, UsersError> {
        let updated = update_user(&*self.store, user, None, &*self.clock, |record| {
            if record.location == *location && record.status != status {
                info!(
                    user.id = %user.masked(), ?status,
                    "The status of the machine of {} changed", user.masked()
                );
                record.status = status;
            }
            Ok(())
        });
        updated.await
    }

    /// Requests that a user's machine is started because mail waits for it. The request is dropped
    /// unless the machine is off, its owner allows it, and no process has started it within five minutes.
    /// Returns whether the machine is starting.
    ///
    /// # Errors
    ///
    /// If the record cannot be read.
    pub async fn request_start(&self, user: &UserId) -> Result<bool, UsersError> {
        let Some(record) = self.store.get(user).await? else {
            return Ok(false);
        };
        let is_wanted = record.as_instance().wants_notifications();
        let is_account = record.owner.is_some();
        let machine = match &record.owner {
            Some(owner) => self.store.get(owner).await?,
            None => Some(record),
        };
        let machine = match machine {
            Some(machine) => self.refresh(machine).await?,
            None => None,
        };
        let Some(machine) = machine else {
            return Ok(false);
        };
        if machine.status == InstanceStatus::Starting {
            return Ok(true);
        }
        let is_managed = self.managed_machine(&machine).is_some();
        // One that was heard of and does not watch several accounts takes no mail of a further one.
        let is_futile = is_account && !machine.several_accounts && !machine.never_seen;
        let may_start = is_managed && machine.wake_on_mail && is_wanted && !is_futile;
        if !is_off(machine.status) || !may_start {
            return Ok(false);
        }
        let now = self.clock.now();
        let requested = self.starts.request(&self.store, &machine.user, now);
        Ok(requested.await?)
    }

    /// The client of the machines' host, if one is configured.
    pub(crate) fn machines(&self) -> Option<&dyn Machines> {
        self.machines.as_deref()
    }

    /// Returns a user's machine and the client that manages it. `None` if the machine has a URL of
    /// its own or no client is configured.
    pub(crate) fn managed_machine<'a>(
        &'a self,
        record: &'a UserRecord,
    ) -> Option<(&'a dyn Machines, &'a ManagedMachine)> {
        match &record.location {
            MachineLocation::Managed(machine) => Some((self.machines.as_deref()?, machine)),
            MachineLocation::Url(_) | MachineLocation::Unknown => None,
        }
    }
}

/// Returns whether a machine with this status can be started.
fn is_off(status: InstanceStatus) -> bool {
    matches!(
        status,
        InstanceStatus::Stopped | InstanceStatus::Provisioned
    )
}
