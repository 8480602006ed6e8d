//! What can be done with a user: the rules, for whoever asks, an API or a page.

use std::sync::Arc;

use postbell_core::instances::update;
use postbell_core::{
    Clock, Credentials, GoogleConnection, InstanceRecord, Instances, InstancesError, UserId,
};
use tracing::{info, warn};

use crate::envelope::{Envelope, PlatformKey};
use crate::machines::{Configured, MachinesError};
use crate::variables::{Tarball, Variables};
use crate::{CheckIn, Fleet, Relays};

/// How often a machine is configured anew where somebody else changed it meanwhile.
const TRIES: usize = 3;

/// What can be done with a user.
///
/// Each change is stored first; then the relays forget what they knew, and the machine gets its
/// variables. Only what is stored can fail: the rest is told of in the answer.
pub struct Users {
    /// Who the users are.
    pub instances: Arc<dyn Instances>,
    /// Their machines.
    pub fleet: Arc<Fleet>,
    /// Those who want to know of changes.
    pub relays: Vec<Arc<dyn Relays>>,
    /// Opens credentials; without it, machines are not given any.
    pub key: Option<Arc<PlatformKey>>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// Whether a user is told of new mail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notifications {
    /// They are.
    On,
    /// They are not.
    Off,
}

/// A Google account that is to be connected.
pub struct NewConnection {
    /// What opens it, as it came.
    pub envelope: Envelope,
    /// The account, and who signs its pushes.
    pub connection: GoogleConnection,
}

/// A change that is stored.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What is known of the user now.
    pub record: InstanceRecord,
    /// What became of the machine.
    pub machine: MachineTold,
}

/// Whether a user's machine knows of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MachineTold {
    /// There was nothing to tell, or nobody that we could tell.
    Nothing,
    /// It is off, and gets it when it starts.
    WhenItStarts,
    /// It restarts with it.
    Restarting,
    /// It could not be told: what is stored holds for us, but not for the machine.
    Failed,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such user.
    #[error("there is no such user")]
    NoInstance,

    /// Notifications need a Google account that they can come from.
    #[error("no Google account is connected")]
    NotConnected,

    /// It could not be stored.
    #[error(transparent)]
    Instances(#[from] InstancesError),
}

impl Users {
    /// Turns a user's notifications on or off.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn set_notifications(
        &self,
        user: &UserId,
        wanted: Notifications,
    ) -> Result<Changed, ChangeError> {
        let change = |record: &mut InstanceRecord| {
            if wanted == Notifications::On && record.google.is_none() {
                return Err(ChangeError::NotConnected);
            }
            record.notifications_enabled = wanted == Notifications::On;
            Ok(())
        };
        let changed = self.change(user, None, change).await?;
        info!(user.id = %user, ?wanted, "{user} has set their notifications");
        Ok(changed)
    }

    /// Connects a Google account, in place of one that may be, and turns notifications on.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn connect(&self, user: &UserId, new: NewConnection) -> Result<Changed, ChangeError> {
        let credentials = serde_json::to_string(&new.envelope)
            .map_err(|error| InstancesError::Unavailable(error.into()))?;
        let credentials = Credentials::from(credentials);
        let change = |record: &mut InstanceRecord| {
            record.connect(new.connection.clone());
            Ok(())
        };
        let changed = self.change(user, Some(&credentials), change).await?;
        info!(user.id = %user, "{user} has connected a Google account");
        Ok(changed)
    }

    /// Forgets a user's Google account and all that came with it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn disconnect(&self, user: &UserId) -> Result<Changed, ChangeError> {
        let change = |record: &mut InstanceRecord| {
            record.disconnect();
            Ok(())
        };
        let changed = self.change(user, None, change).await?;
        info!(user.id = %user, "{user} has disconnected their Google account");
        Ok(changed)
    }

    /// Lets a user's machine be started when mail waits for it, or not any more.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn set_wake_on_mail(
        &self,
        user: &UserId,
        allowed: bool,
    ) -> Result<InstanceRecord, ChangeError> {
        let changed = update(&*self.instances, user, None, &*self.clock, |record| {
            record.wake_on_mail = allowed;
            Ok::<_, ChangeError>(())
        });
        changed.await?.ok_or(ChangeError::NoInstance)
    }

    /// Notes that a machine has reported in, and passes it on.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where it cannot be noted.
    pub async fn machine_is_up(&self, check_in: &CheckIn) -> Result<(), ChangeError> {
        let user = &check_in.user;
        let watch_expires_at = check_in.watch_expires_at;
        let noted = self.fleet.report_running(user, watch_expires_at).await?;
        noted.ok_or(ChangeError::NoInstance)?;
        info!(user.id = %user, "The machine of {user} has reported in");
        for relays in &self.relays {
            relays.machine_is_up(check_in).await;
        }
        Ok(())
    }

    async fn change(
        &self,
        user: &UserId,
        credentials: Option<&Credentials>,
        change: impl FnMut(&mut InstanceRecord) -> Result<(), ChangeError> + Send,
    ) -> Result<Changed, ChangeError> {
        let changed = update(&*self.instances, user, credentials, &*self.clock, change);
        let record = changed.await?.ok_or(ChangeError::NoInstance)?;
        for relays in &self.relays {
            relays.user_changed(user).await;
        }
        let machine = self.tell_machine(&record).await;
        Ok(Changed { record, machine })
    }

    /// Gives a user's machine the variables that follow from the record.
    async fn tell_machine(&self, record: &InstanceRecord) -> MachineTold {
        let user = &record.user;
        match self.try_to_tell_machine(record).await {
            Ok(Configured::Unchanged) => MachineTold::Nothing,
            Ok(Configured::Saved) => MachineTold::WhenItStarts,
            Ok(Configured::Restarting) => MachineTold::Restarting,
            Err(error) => {
                let error = &*error as &dyn std::error::Error;
                warn!(
                    user.id = %user, error,
                    "Could not restart the machine of {user} with what has changed"
                );
                MachineTold::Failed
            }
        }
    }

    async fn try_to_tell_machine(
        &self,
        record: &InstanceRecord,
    ) -> Result<Configured, postbell_core::BoxError> {
        let mut record = record.clone();
        let mut tries = 1;
        loop {
            let Some((machines, machine)) = self.fleet.hands_on(&record) else {
                return Ok(Configured::Unchanged);
            };
            let variables = Variables::of(&record, self.tarball(&record).await?);
            match machines.configure(machine, &variables).await {
                // Whoever was faster may have told it something older.
                Err(MachinesError::Changed) if tries < TRIES => {
                    tries += 1;
                    let Some(newer) = self.instances.get(&record.user).await? else {
                        return Ok(Configured::Unchanged);
                    };
                    record = newer;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    async fn tarball(&self, record: &InstanceRecord) -> Result<Tarball, postbell_core::BoxError> {
        if record.google.is_none() {
            return Ok(Tarball::Gone);
        }
        let Some(key) = &self.key else {
            return Ok(Tarball::NotOurs);
        };
        let Some(credentials) = self.instances.credentials(&record.user).await? else {
            return Ok(Tarball::NotOurs);
        };
        Ok(Tarball::Given(key.open_credentials(&credentials)?))
    }
}
