//! The domain's types, and the ports between the parts.
//!
//! This crate opens no socket, runs no SQL, reads no file and no environment. Parts that do are
//! passed to each other as the traits declared here: [`DeliveryQueue`], [`DeliveryLog`], [`Users`],
//! [`Credentials`], [`OrphanedMachines`], [`PendingRevocations`], [`Sessions`], [`AccessTokens`], [`AuditLog`], [`AlertOutbox`], [`AlertTargets`],
//! [`Directory`], [`Machine`] and [`Clock`]. The
//! promises in their documentation are tests in `postbell_testkit::conformance`.

mod access_tokens;
mod alerts;
mod audit;
mod backoff;
mod changes;
mod database_state;
mod delivery_log;
mod delivery_queue;
mod directory;
mod failure;
mod ids;
mod machine;
mod message_ids;
mod notification;
mod printable;
mod problem;
mod queue_cursor;
mod retry;
mod revocations;
mod sessions;
mod store_error;
mod tasks;
mod time;
mod trace;
mod users;

pub use access_tokens::{
    AccessToken, AccessTokens, TOKEN_USE_INTERVAL, TokenDigest, TokenId, TokenScope,
};
pub use alerts::{
    AlertClaim, AlertId, AlertMark, AlertOutbox, AlertRecipient, AlertScope, AlertSettlement,
    AlertTargets, NewAlert, StoredTarget, TargetId,
};
pub use audit::{
    AUDIT_KEPT, Actor, AuditAction, AuditEntry, AuditLog, AuditedPorts, lifetime_text,
};
pub use backoff::{Backoff, jittered};
pub use changes::{Changes, Listener};
pub use database_state::{DatabaseState, OldSnapshot, SynchronousStandby};
pub use delivery_log::{
    DELIVERIES_KEPT, DeadLetter, DeadLetterReason, DeliveryLog, DeliveryRecord, Depth,
    HOURS_COUNTED, HourlyCount, Outcome, PendingDelivery, Replayed,
};
pub use delivery_queue::{
    Accepted, CLOCK_TOLERANCE, Claim, ClaimOrder, Claimed, DEAD_LETTERS_KEPT, DUPLICATE_WINDOW,
    DeliveryQueue, HEARTBEAT_INTERVAL, RELAY_TIMEOUT, RelayId, SettleError, Settlement,
    UNPARSEABLE_KEPT, UnparseableMessage,
};
pub use directory::{
    AccountReport, Directory, DirectoryError, Instance, InstanceStatus, Lookup, MachineLocation,
    MachineReport, ManagedMachine,
};
pub use failure::{Failure, FailureKind};
pub use ids::{EmailAddress, HistoryId, InvalidId, Masked, MessageId, SandboxId, UserId};
pub use machine::{Delivery, Machine};
pub use message_ids::{MESSAGE_IDS_KEPT, MessageIds};
pub use notification::Notification;
pub use printable::{is_printable, printable};
pub use problem::{MailProblem, ProblemCode};
pub use queue_cursor::{CURSORS_KEPT, Coverage, QueueCursor};
pub use retry::RetrySchedule;
pub use revocations::{PendingRevocation, PendingRevocations, RevocationId};
pub use sessions::{LinkDigest, Principal, Sessions, SignInLink};
pub use store_error::{DiskFull, StoreError};
pub use tasks::Tasks;
pub use time::{Clock, SystemClock, Timestamp, wait_for};
pub use trace::{Span, SpanId, SpanKind, SpanSink, TraceContext, TraceId, Tracer};
pub use users::{
    Credentials, FleetCounts, GoogleConnection, Listing, MAX_ACCOUNTS_OF_USER,
    MAX_USERS_OF_MAILBOX, NewAccount, NewUser, OrphanedMachines, StoredCredentials, UserRecord,
    Users, UsersError, update_user,
};

/// Any error, as the cause of another one.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
