//! The domain's types, and the ports between the parts.
//!
//! This crate opens no socket, runs no SQL, reads no file and no environment. Parts that do are
//! passed to each other as the traits declared here: [`Inbox`], [`Users`], [`Sessions`],
//! [`Directory`], [`Machine`], [`Clock`]. The promises in their documentation are tests in
//! `postbell_testkit::conformance`.

mod backoff;
mod changes;
mod directory;
mod ids;
pub mod inbox;
mod machine;
mod notification;
mod retry;
mod sessions;
mod tasks;
mod time;
mod users;

pub use backoff::{Backoff, jittered};
pub use changes::{Changes, Listener};
pub use directory::{
    Directory, DirectoryError, Instance, InstanceStatus, MachineLocation, ManagedMachine,
};
pub use ids::{EmailAddress, HistoryId, InvalidId, Masked, MessageId, SandboxId, UserId};
pub use inbox::{
    Accepted, AnnouncedInbox, Claim, DELIVERIES_KEPT, DUPLICATE_WINDOW, DeadLetter,
    DeadLetterReason, DeliveryRecord, Depth, HOURS_COUNTED, HourlyCount, Inbox, InboxError,
    Outcome, PendingDelivery, Replayed, Settlement, UNPARSEABLE_KEPT, UnparseableMessage,
};
pub use machine::{Delivery, Machine};
pub use notification::Notification;
pub use retry::RetrySchedule;
pub use sessions::{LinkDigest, Principal, Sessions, SessionsError};
pub use tasks::Tasks;
pub use time::{Clock, SystemClock, Timestamp};
pub use users::{
    AnnouncedUsers, GoogleConnection, Listing, NewUser, StoredCredentials, UserRecord, Users,
    UsersError, update_user,
};

/// The cause of a failure, of any type, for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
