//! The directory of users and their machines, as the relay asks for it.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{BoxError, EmailAddress, HistoryId, InvalidId, MailProblem, Timestamp, UserId};

/// What the relay asks the platform (protocol, section 2).
#[async_trait]
pub trait Directory: Send + Sync {
    /// Returns everything that a push and its delivery need, in one question; `None` if there is no such
    /// user.
    async fn look_up(&self, user: &UserId) -> Result<Option<Lookup>, DirectoryError>;

    /// Returns a user's machine, or `None` if the user does not exist.
    async fn instance(&self, user: &UserId) -> Result<Option<Instance>, DirectoryError>;

    /// Returns the email of the service account that signs this user's pushes, if one is stored.
    ///
    /// Google signs a token for any audience on request; only this account identifies the sender.
    async fn push_account(&self, user: &UserId) -> Result<Option<String>, DirectoryError>;

    /// Returns the bearer token that the user's controller accepts, or `None` if the user does not
    /// exist.
    async fn gateway_token(&self, user: &UserId) -> Result<Option<SecretString>, DirectoryError>;

    /// Returns the users to notify of mail in the mailbox with this address: those who have connected it, and of several,
    /// those whose credentials open it.
    async fn users_by_email(&self, email: &str) -> Result<Vec<UserId>, DirectoryError>;

    /// Returns the user whose machine has this sandbox id, and then the user's further accounts; nothing if there is no such
    /// user.
    async fn users_by_sandbox(&self, sandbox_id: &str) -> Result<Vec<UserId>, DirectoryError>;

    /// Reports the history id up to which the user's mail was delivered. The platform keeps the
    /// greatest.
    async fn report_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<(), DirectoryError>;

    /// Asks the platform to start a user's machine because mail is pending for it, and returns
    /// whether the machine is starting.
    ///
    /// The platform decides: it starts a machine only if its owner allows it, and repeated calls
    /// start it once.
    async fn start_machine(&self, user: &UserId) -> Result<bool, DirectoryError>;

    /// Reports that a user's machine has checked in, and what it said of the first account and of the further ones: `None` from
    /// a machine that does not watch several.
    async fn report_running(
        &self,
        user: &UserId,
        report: MachineReport,
        accounts: Option<&[AccountReport]>,
    ) -> Result<(), DirectoryError>;
}

/// What the directory knows of a user, at one moment.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The machine, and whether to deliver to it.
    pub instance: Instance,

    /// The service account that signs the user's pushes ([`Directory::push_account`]).
    pub push_account: Option<String>,

    /// The token of the machine; `None` if it has to be asked for ([`Directory::gateway_token`]).
    pub token: Option<SecretString>,

    /// How long the answer may be used without asking again, unless it is revoked before.
    pub fresh_for: Duration,
}

/// What a machine says of the mailbox of a further account when it checks in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountReport {
    /// The account's address.
    pub email: EmailAddress,

    /// Its mailbox.
    pub report: MachineReport,
}

/// What a machine says of a mailbox when it checks in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MachineReport {
    /// When Gmail's watch ends, if the machine knows it.
    pub watch_expires_at: Option<Timestamp>,

    /// What keeps mail from reaching the bot.
    pub problem: Option<MailProblem>,

    /// How many mails the watcher has set aside.
    pub dead_letters: u64,
}

/// A user's machine, and whether to deliver to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// The name with which the machine checks in; its token is derived from it.
    pub sandbox_id: String,

    /// The machine's last known state.
    pub status: InstanceStatus,

    /// Where the machine is.
    pub location: MachineLocation,

    /// Whether a Google account is connected.
    pub google_connected: bool,

    /// The address of that account, if it is known.
    pub email: Option<EmailAddress>,

    /// Whether the user wants notifications.
    pub notifications_enabled: bool,

    /// What keeps mail from reaching the bot, as the machine reported at its last check-in.
    pub problem: Option<MailProblem>,
}

impl Instance {
    /// Returns whether notifications are to be delivered.
    #[must_use]
    pub fn wants_notifications(&self) -> bool {
        self.google_connected && self.notifications_enabled
    }

    /// Returns whether `address` is known to be another mailbox than the connected one.
    #[must_use]
    pub fn is_other_mailbox(&self, address: &str) -> bool {
        let email = self.email.as_ref();
        email.is_some_and(|email| !email.is_same_mailbox(address))
    }
}

/// Where a user's machine is.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum MachineLocation {
    /// Not configured yet.
    #[default]
    Unknown,
    /// At a provider that starts and stops it on request.
    Managed(ManagedMachine),
    /// At a base URL. Its owner starts and stops it.
    Url(Url),
}

impl MachineLocation {
    /// The status of a machine of which nothing else is known. That of a machine at a plain URL cannot
    /// be queried, so it counts as running.
    #[must_use]
    pub const fn assumed_status(&self) -> InstanceStatus {
        match self {
            Self::Url(_) => InstanceStatus::Running,
            Self::Managed(_) | Self::Unknown => InstanceStatus::Provisioned,
        }
    }
}

/// A machine that its provider starts and stops on request.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ManagedMachine {
    /// The app it belongs to; fills `{app}` in the machine's URL.
    pub app: String,

    /// The machine's id; fills `{machine}` in the URL.
    pub machine: String,
}

impl ManagedMachine {
    /// Whether app and machine can be parts of a host name (RFC 1123, section 2.1).
    #[must_use]
    pub fn is_addressable(&self) -> bool {
        let is_label = |name: &str| {
            let mut bytes = name.bytes();
            let is_short = (1..=63).contains(&name.len());
            is_short && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        is_label(&self.app) && is_label(&self.machine)
    }
}

/// The state of a machine, with the names of the protocol.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceStatus {
    /// Created, never started.
    Provisioned,
    /// Starting.
    Starting,
    /// Accepts deliveries.
    Running,
    /// Stopped.
    Stopped,
    /// Being removed.
    Destroying,
}

impl InstanceStatus {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "provisioned",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Destroying => "destroying",
        }
    }
}

impl FromStr for InstanceStatus {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "provisioned" => Ok(Self::Provisioned),
            "starting" => Ok(Self::Starting),
            "running" => Ok(Self::Running),
            "stopped" => Ok(Self::Stopped),
            "destroying" => Ok(Self::Destroying),
            _ => Err(InvalidId {
                expected: "provisioned, starting, running, stopped or destroying",
            }),
        }
    }
}

/// Why the directory could not answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory is busy or out of reach. The same call may succeed later.
    #[error("the directory cannot be reached")]
    Unavailable(#[source] BoxError),

    /// The answer is not one of the protocol's, or the key was refused. A retry succeeds only after
    /// an operator has fixed the cause.
    #[error("the directory answered {what}")]
    Unexpected {
        /// A description of the answer, without any part of it.
        what: String,
    },
}
