//! The audit log: who has changed what, of whom, when and from where.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    AccessTokens, AlertTargets, DeliveryLog, Sessions, StoreError, Timestamp, UserId, Users,
};

/// How long an entry of the audit log is kept.
pub const AUDIT_KEPT: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Someone who changes something: what the audit log records with each change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Actor {
    /// Who: the name of an API key, an operator's address, a user, a user of the operating system.
    pub name: String,
    /// From where: an address, or `command line`.
    pub origin: String,
    /// When.
    pub at: Timestamp,
}

/// What an [`Actor`] has done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditAction {
    /// A user was added.
    AddUser,
    /// A user's record was changed.
    ChangeUser,
    /// A user was removed.
    RemoveUser,
    /// A sign-in link was issued.
    IssueLink,
    /// A sign-in link was revoked.
    RevokeLink,
    /// All sessions of a user or of all operators were ended.
    SignOut,
    /// A user or an operator has signed in.
    SignIn,
    /// A user's token or an API key was issued.
    IssueToken,
    /// A user's token or an API key was revoked.
    RevokeToken,
    /// The token of a user's machine was shown.
    ShowMachineToken,
    /// A machine lost a sandbox id that is the id of this user, and was another user's.
    EndMachine,
    /// A dead letter was made pending again.
    ReplayDeadLetter,
    /// Dead letters were deleted.
    DropDeadLetter,
    /// An alert target was added.
    AddAlertTarget,
    /// An alert target was removed.
    RemoveAlertTarget,
}

/// An entry of the audit log. Contains no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditEntry {
    /// Rises by one with each entry, in the order of the commits.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// From where.
    pub origin: String,
    /// The text form of an [`AuditAction`]; a later version may have written others.
    pub action: String,
    /// Whose data it concerns; `None` if it is not a user's.
    pub user: Option<UserId>,
    /// What exactly, in a few words; may be empty.
    pub detail: String,
}

/// The audit log of one store. Entries are only appended.
///
/// - A change through a port of [`AuditedPorts`] and its entry are committed together. A change that
///   is refused, or changes nothing, has no entry.
/// - Numbers rise by one, in the order of the commits.
/// - Entries older than [`AUDIT_KEPT`] are deleted when others are appended.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Lists up to `limit` entries, the latest first: of one user or of all, and only those with a
    /// number below `before`.
    async fn entries(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StoreError>;

    /// Appends an entry about something that changes nothing in the store.
    async fn append(
        &self,
        by: &Actor,
        action: AuditAction,
        user: Option<&UserId>,
        detail: &str,
    ) -> Result<(), StoreError>;
}

/// The ports of a store, as they are for an actor: each change is recorded in the store's audit log.
pub trait AuditedPorts: Send + Sync {
    /// The users' records.
    fn users(&self, by: &Actor) -> Arc<dyn Users>;
    /// Sign-in links and sessions.
    fn sessions(&self, by: &Actor) -> Arc<dyn Sessions>;
    /// API keys and users' tokens.
    fn tokens(&self, by: &Actor) -> Arc<dyn AccessTokens>;
    /// The log of the delivery queue.
    fn delivery_log(&self, by: &Actor) -> Arc<dyn DeliveryLog>;
    /// The users' alert targets.
    fn alert_targets(&self, by: &Actor) -> Arc<dyn AlertTargets>;
    /// The audit log.
    fn audit_log(&self) -> Arc<dyn AuditLog>;
}

/// How long something is valid, in the greatest unit that is exact.
#[must_use]
pub fn lifetime_text(time: Duration) -> String {
    const HOUR: u64 = 60 * 60;
    const DAY: u64 = 24 * HOUR;
    match time.as_secs() {
        seconds if seconds >= 2 * DAY && seconds % DAY == 0 => format!("{} days", seconds / DAY),
        seconds if seconds >= HOUR && seconds % HOUR == 0 => format!("{} h", seconds / HOUR),
        seconds => format!("{} min", seconds / 60),
    }
}

impl AuditAction {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AddUser => "user.add",
            Self::ChangeUser => "user.change",
            Self::RemoveUser => "user.remove",
            Self::IssueLink => "link.issue",
            Self::RevokeLink => "link.revoke",
            Self::SignOut => "session.end",
            Self::SignIn => "session.start",
            Self::IssueToken => "token.issue",
            Self::RevokeToken => "token.revoke",
            Self::ShowMachineToken => "machine_token.show",
            Self::EndMachine => "machine.end",
            Self::ReplayDeadLetter => "dead_letter.replay",
            Self::DropDeadLetter => "dead_letter.drop",
            Self::AddAlertTarget => "alert_target.add",
            Self::RemoveAlertTarget => "alert_target.remove",
        }
    }
}

impl fmt::Display for AuditAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
