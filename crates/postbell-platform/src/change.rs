//! A change of a user's settings, and its result.

use postbell_core::{
    GoogleConnection, MAX_ACCOUNTS_OF_USER, StoreError, StoredCredentials, Timestamp, UserRecord,
    UsersError,
};
use postbell_protocol::api::operator::GooglePermission;
use postbell_protocol::credential_envelope::CredentialEnvelope;
use serde::{Deserialize, Serialize};

use crate::operator_client::MailboxGrant;
use crate::stored_credentials::to_stored;

/// A change of a user's settings that the reconciler applies.
pub(crate) enum Change {
    Notifications(Notifications),
    Connect(Box<NewConnection>, StoredCredentials),
    Disconnect,
    /// Changes nothing and syncs the machine at once.
    RetrySync,
}

impl Change {
    /// Applies the change to a record, or returns the rule that forbids it.
    pub(crate) fn apply(&self, record: &mut UserRecord) -> Result<(), ChangeError> {
        match self {
            Self::Notifications(wanted) => {
                if *wanted == Notifications::On && record.google.is_none() {
                    return Err(ChangeError::NotConnected);
                }
                record.notifications_enabled = *wanted == Notifications::On;
            }
            Self::Connect(new, _) => {
                new.check(record)?;
                record.connect(new.connection.clone());
                record.watch_expires_at = new.watch_expires_at;
            }
            Self::Disconnect => record.disconnect(),
            Self::RetrySync => return Ok(()),
        }
        record.mark_pending_sync();
        Ok(())
    }

    /// Returns the grant of the operator's client that the change stores.
    pub(crate) fn new_grant(&self) -> Option<&MailboxGrant> {
        match self {
            Self::Connect(new, _) => new.grant.as_ref(),
            Self::Notifications(_) | Self::Disconnect | Self::RetrySync => None,
        }
    }

    /// Returns the account that is connected beside the user's others, if it is that.
    pub(crate) fn further(&self) -> Option<&NewConnection> {
        match self {
            Self::Connect(new, _) => Some(&**new).filter(|new| new.is_further),
            Self::Notifications(_) | Self::Disconnect | Self::RetrySync => None,
        }
    }

    /// Returns whether the change may end a connection.
    pub(crate) const fn ends_connections(&self) -> bool {
        matches!(self, Self::Connect(..) | Self::Disconnect)
    }

    /// Returns the credentials that are stored with the change.
    pub(crate) fn credentials(&self) -> Option<&StoredCredentials> {
        match self {
            Self::Connect(_, credentials) => Some(credentials),
            Self::Notifications(_) | Self::Disconnect | Self::RetrySync => None,
        }
    }
}

/// Whether a user wants notifications of new mail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notifications {
    /// Notifications are delivered.
    On,
    /// Notifications are dropped.
    Off,
}

/// A Google account to connect.
#[derive(Clone)]
pub struct NewConnection {
    /// The encrypted credentials, as received.
    pub envelope: CredentialEnvelope,
    /// The account's address and the service account that signs its pushes.
    pub connection: GoogleConnection,
    /// When Gmail's watch ends, if the platform has started it.
    pub watch_expires_at: Option<Timestamp>,
    /// Whether Gmail has said that the credentials open the account's mailbox.
    pub is_proven: bool,
    /// When the user was added for whom the account is connected: another one may have the same id.
    pub added: Option<Timestamp>,
    /// Whether it is connected beside the user's other accounts. If not, it replaces the account of the record.
    pub is_further: bool,
    /// The grant, if it was given to the operator's client in the browser.
    pub(crate) grant: Option<MailboxGrant>,
}

impl NewConnection {
    /// Returns why the account must not be connected to a user, although that was possible when the connection began.
    fn check(&self, record: &UserRecord) -> Result<(), ChangeError> {
        if self.added.is_some_and(|added| added != record.created_at) {
            return Err(ChangeError::UnknownUser);
        }
        let keeps_other = self.grant.is_some() || self.is_further;
        let google = record.google.as_ref().filter(|_| keeps_other);
        let connected = google.and_then(|google| google.email.as_ref());
        let new = self.connection.email.as_ref();
        let both = connected.zip(new);
        if both.is_some_and(|(connected, new)| !connected.is_same_mailbox(new.as_str())) {
            return Err(ChangeError::OtherAccount);
        }
        Ok(())
    }

    /// The form in which the credentials are stored.
    pub(crate) fn stored_credentials(&self) -> Result<StoredCredentials, StoreError> {
        let email = self.connection.email.clone();
        to_stored(self.envelope.clone(), email.filter(|_| self.is_proven))
    }
}

/// A committed change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The user's record after the change.
    pub record: UserRecord,
    /// The result of the machine's sync.
    pub machine: SyncOutcome,
    /// What became of the permission of an account that is connected no longer.
    pub permission: GooglePermission,
}

/// The result of syncing a machine with the stored configuration.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum SyncOutcome {
    /// The machine was in sync, or is not managed by this platform.
    UpToDate,
    /// The machine is stopped and gets the configuration when it starts.
    AtNextStart,
    /// The machine restarts with the configuration.
    Restarting,
    /// The machine has fetched the configuration, and the bot was not restarted.
    Reloaded,
    /// The sync failed. The change is stored and the reconciler retries the sync.
    Failed,
}

/// Why a change was rejected. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The user does not exist.
    #[error("there is no such user")]
    UnknownUser,

    /// Notifications need a connected Google account.
    #[error("no Google account is connected")]
    NotConnected,

    /// The account is connected to as many other users as it may be.
    #[error("the account has too many users")]
    AddressTaken,

    /// Another account was connected while the user was at Google.
    #[error("another account is connected")]
    OtherAccount,

    /// Another record of the same user has the account.
    #[error("the account is connected already, as another one of the same user")]
    AccountConnected,

    /// The user has as many accounts as a user may have.
    #[error("a user may connect at most {MAX_ACCOUNTS_OF_USER} accounts")]
    TooManyAccounts,

    /// Google no longer accepts the new grant: it has been revoked.
    #[error("the grant was revoked")]
    GrantRevoked,

    /// The change could not be stored.
    #[error(transparent)]
    Store(UsersError),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl From<UsersError> for ChangeError {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::Missing { .. } => Self::UnknownUser,
            UsersError::AddressTaken => Self::AddressTaken,
            UsersError::AccountConnected { .. } => Self::AccountConnected,
            UsersError::TooManyAccounts => Self::TooManyAccounts,
            error => Self::Store(error),
        }
    }
}
