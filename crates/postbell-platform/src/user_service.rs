//! What can be done with a user: the rules, for whoever asks, an API or a page.

use std::sync::Arc;

use postbell_core::{
    Clock, GoogleConnection, StoredCredentials, UserId, UserRecord, Users, UsersError, update_user,
};
use postbell_protocol::credential_envelope::{CredentialEnvelope, PlatformKey};
use tracing::info;

use crate::reconciler::{Change, CommandQueue};
use crate::{CheckIn, Fleet, Relays};

/// What can be done with a user.
///
/// Each change is stored first, together with the mark that the machine has yet to be told; then the
/// relays forget what they knew, and the machine gets its variables. Only what is stored can fail: the
/// rest is told of in the answer, and the machine is told later ([`Users::carry_out_changes`]).
pub struct UserService {
    /// Who the users are.
    pub instances: Arc<dyn Users>,
    /// Their machines.
    pub fleet: Arc<Fleet>,
    /// Those who want to know of changes.
    pub relays: Vec<Arc<dyn Relays>>,
    /// Opens credentials; without it, machines are not given any.
    pub key: Option<Arc<PlatformKey>>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The way to the task that carries changes out.
    pub orders: CommandQueue,
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
    pub envelope: CredentialEnvelope,
    /// The account, and who signs its pushes.
    pub connection: GoogleConnection,
}

/// A change that is stored.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What is known of the user now.
    pub record: UserRecord,
    /// What became of the machine.
    pub machine: SyncOutcome,
}

/// Whether a user's machine knows of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncOutcome {
    /// There was nothing to tell, or nobody that we could tell.
    Nothing,
    /// It is off, and gets it when it starts.
    WhenItStarts,
    /// It restarts with it.
    Restarting,
    /// It could not be told yet: what is stored holds for us, but not for the machine. It is tried
    /// again.
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

    /// The account is connected to another user.
    #[error("the account is another user's")]
    AddressTaken,

    /// It could not be stored.
    #[error(transparent)]
    Users(UsersError),
}

impl From<UsersError> for ChangeError {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::Missing { .. } => Self::NoInstance,
            UsersError::AddressTaken => Self::AddressTaken,
            error => Self::Users(error),
        }
    }
}

impl UserService {
    /// KeyedLocks a user's notifications on or off.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn set_notifications(
        &self,
        user: &UserId,
        wanted: Notifications,
    ) -> Result<Changed, ChangeError> {
        let changed = self.order(user, Change::Notifications(wanted)).await?;
        info!(user.id = %user.masked(), ?wanted, "{} has set their notifications", user.masked());
        Ok(changed)
    }

    /// Connects a Google account, in place of one that may be, and turns notifications on.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn connect(&self, user: &UserId, new: NewConnection) -> Result<Changed, ChangeError> {
        let credentials = serde_json::to_string(&new.envelope)
            .map_err(|error| UsersError::Unavailable(error.into()))?;
        let credentials = StoredCredentials::from(credentials);
        let changed = self
            .order(user, Change::Connect(new.connection, credentials))
            .await?;
        info!(user.id = %user.masked(), "{} has connected a Google account", user.masked());
        Ok(changed)
    }

    /// Forgets a user's Google account and all that came with it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn disconnect(&self, user: &UserId) -> Result<Changed, ChangeError> {
        let changed = self.order(user, Change::Disconnect).await?;
        info!(user.id = %user.masked(), "{} has disconnected their Google account", user.masked());
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
    ) -> Result<UserRecord, ChangeError> {
        let changed = update_user(&*self.instances, user, None, &*self.clock, |record| {
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
        info!(user.id = %user.masked(), "The machine of {} has reported in", user.masked());
        for relays in &self.relays {
            relays.machine_is_up(check_in).await;
        }
        Ok(())
    }

    /// Has a user's machine told once more what it could not be told.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn tell_again(&self, user: &UserId) -> Result<Changed, ChangeError> {
        self.order(user, Change::TellAgain).await
    }

    /// Stores a change, and has the relays forget what they knew.
    pub(crate) async fn store(
        &self,
        user: &UserId,
        change: &Change,
    ) -> Result<UserRecord, ChangeError> {
        let make = |record: &mut UserRecord| change.make(record);
        let credentials = change.credentials();
        let stored = update_user(&*self.instances, user, credentials, &*self.clock, make);
        let record = stored.await?.ok_or(ChangeError::NoInstance)?;
        self.tell_relays(user).await;
        Ok(record)
    }

    pub(crate) async fn tell_relays(&self, user: &UserId) {
        for relays in &self.relays {
            relays.user_changed(user).await;
        }
    }
}
