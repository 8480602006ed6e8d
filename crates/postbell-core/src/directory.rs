//! Who a user is, and where their machine stands.

use std::str::FromStr;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{BoxError, HistoryId, InvalidId, Timestamp, UserId};

/// What the relay asks the platform (protocol, section 2).
#[async_trait]
pub trait Directory: Send + Sync {
    /// Returns what is known of a user's machine, or `None` where there is no such user.
    async fn instance(&self, user: &UserId) -> Result<Option<Instance>, DirectoryError>;

    /// Returns the email of the service account that signs this user's pushes, or `None` where
    /// none is stored.
    ///
    /// Anybody can have Google sign a token for any audience; only this says who sent it.
    async fn push_account(&self, user: &UserId) -> Result<Option<String>, DirectoryError>;

    /// Returns the bearer token that the user's controller accepts, or `None` where there is no
    /// such user.
    async fn gateway_token(&self, user: &UserId) -> Result<Option<SecretString>, DirectoryError>;

    /// Returns whose mailbox an address is, or `None` where it is nobody's that we know.
    async fn user_by_email(&self, email: &str) -> Result<Option<UserId>, DirectoryError>;

    /// Returns whose machine has this sandbox id, or `None` where there is no such machine.
    async fn user_by_sandbox(&self, sandbox_id: &str) -> Result<Option<UserId>, DirectoryError>;

    /// Tells the platform how far the user's mail was delivered. The platform keeps the greatest.
    async fn report_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<(), DirectoryError>;

    /// Asks for a user's machine to be started, because mail waits for it, and returns whether it
    /// is on its way up.
    ///
    /// The platform decides: only its owner's leave starts a machine, and asking often starts it
    /// once.
    async fn wake(&self, user: &UserId) -> Result<bool, DirectoryError>;

    /// Tells the platform that a user's machine has reported in, and when Gmail's watch ends, where
    /// the machine knows.
    async fn report_running(
        &self,
        user: &UserId,
        watch_expires_at: Option<Timestamp>,
    ) -> Result<(), DirectoryError>;
}

/// A user's machine as the directory knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// The name under which the machine reports in; what its token is made from.
    pub sandbox_id: String,

    /// What the machine is doing.
    pub status: InstanceStatus,

    /// Where the machine is.
    pub place: MachineLocation,

    /// Whether a Google account is connected.
    pub google_connected: bool,

    /// Whether the user wants to be told of new mail.
    pub notifications_enabled: bool,
}

impl Instance {
    /// Whether its owner is to be told of new mail.
    #[must_use]
    pub fn wants_notifications(&self) -> bool {
        self.google_connected && self.notifications_enabled
    }
}

/// Where a user's machine is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum MachineLocation {
    /// Nobody has said yet.
    #[default]
    Unknown,
    /// At a provider that starts and stops it on request.
    Managed(ManagedMachine),
    /// At a base URL; its owner starts and stops it.
    Url(Url),
}

/// A machine that its provider starts and stops on request.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ManagedMachine {
    /// Name of the app; fills `{app}` in the machine's URL.
    pub app: String,

    /// Id of the machine; fills `{machine}`, and is sent as `fly-force-instance-id`.
    pub machine: String,
}

/// What a machine is doing, in the contract's words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceStatus {
    /// It exists and was never started.
    Provisioned,
    /// It is on its way up.
    Starting,
    /// It takes deliveries.
    Running,
    /// It is off.
    Stopped,
    /// It is being removed.
    Destroying,
}

impl InstanceStatus {
    /// The status as one word, as it is stored and shown.
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

/// Why the directory gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory is busy or out of reach. The same call may succeed later.
    #[error("the directory cannot be reached")]
    Unavailable(#[source] BoxError),

    /// The directory answered with something the contract does not know, or refused our key.
    /// Repeating helps only once an operator has mended it.
    #[error("the directory answered {what}")]
    Unexpected {
        /// What came instead of the contract's answer; no part of the answer itself.
        what: String,
    },
}
