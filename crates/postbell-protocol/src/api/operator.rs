//! The API for operators: one request type per operation, with the path at which it is posted as JSON.
//!
//! User ids and addresses stand in bodies, never in a URL: access logs contain URLs.

mod access;
mod mail;
mod users;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::access::{
    Invitation, Invite, IssueLink, IssueToken, IssuedLink, IssuedToken, LinkList, ListLinks,
    ListTokens, ListedLink, ListedToken, RevokeLink, RevokeToken, SignOut, TokenList,
};
pub use self::mail::{
    AuditList, AuditRecord, DeadLetterList, DeadLetterOutcome, DeadLetterSelection, DeliveryList,
    DropDeadLetters, ListAudit, ListDeadLetters, ListDeliveries, ReplayDeadLetters,
};
pub use self::users::{
    AddUser, ChangeUser, GooglePermission, ImportOutcome, ImportReport, ImportUsers, ImportedLine,
    ListUsers, MachineAccess, MachineFields, RemoveUser, RemovedUser, SearchField, ShowMachine,
    ShowUser, UserFilter, UserList,
};

/// A request of the operators' API.
pub trait Operation: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The path at which it is posted.
    const PATH: &'static str;

    /// Whether it changes something, and so needs a key that may write.
    const CHANGES: bool;

    /// The answer.
    type Answer: Serialize + DeserializeOwned + Send;
}

/// Implements [`Operation`].
macro_rules! operation {
    ($request:ty, $path:expr, $changes:literal, $answer:ty) => {
        impl crate::api::operator::Operation for $request {
            const PATH: &'static str = $path;
            const CHANGES: bool = $changes;
            type Answer = $answer;
        }
    };
}
pub(crate) use operation;

/// Whether something was removed that existed
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Removed {
    /// Whether it existed
    #[schema(example = true)]
    pub removed: bool,
}
