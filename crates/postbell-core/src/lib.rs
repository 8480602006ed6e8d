//! The words of the domain, the ports between the parts, and the promises that every backend keeps.
//!
//! This crate opens no socket, runs no SQL, reads no file and no environment. Parts that do are
//! handed to each other as the traits declared here: [`Inbox`], [`Instances`], [`Directory`],
//! [`SignIns`], [`Machine`], [`Clock`].
//!
//! Start reading at [`notification`]: it is what the whole path carries. Then [`inbox`], the one
//! place where a notification waits, and [`instances`], who waits for it. Their promises are tests in
//! `postbell_testkit::conformance`.

pub mod changes;
pub mod directory;
pub mod ids;
pub mod inbox;
pub mod instances;
pub mod machine;
pub mod notification;
pub mod retry;
pub mod sign_ins;
pub mod tasks;
pub mod time;

pub use changes::{Changes, Listener};
pub use directory::{Directory, DirectoryError, FlyMachine, Instance, InstanceStatus, Place};
pub use ids::{EmailAddress, HistoryId, InvalidId, Masked, MessageId, SandboxId, UserId};
pub use inbox::{Accepted, Claim, DeadLetter, DeathReason, Inbox, InboxError, Settlement};
pub use instances::{Credentials, GoogleConnection, InstanceRecord, Instances, InstancesError};
pub use machine::{Delivery, Machine};
pub use notification::Notification;
pub use retry::{RetrySchedule, jittered};
pub use sign_ins::{LinkDigest, SignIns, SignInsError, Visitor};
pub use tasks::Tasks;
pub use time::{Clock, SystemClock, Timestamp};

/// The cause of a failure, of any type, for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
