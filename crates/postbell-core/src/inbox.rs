//! The one place where a notification waits.

mod announced;
mod records;
pub mod trouble;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

pub use self::announced::AnnouncedInbox;
pub use self::records::{
    DeadLetter, DeadLetterReason, DeliveryRecord, HourlyCount, Outcome, PendingDelivery,
};
use crate::{BoxError, MessageId, Notification, Timestamp, UserId};

/// How long a message id is remembered (protocol, section 3).
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// How many deliveries of each mailbox are kept for its owner to look at.
pub const DELIVERIES_KEPT: usize = 20;

/// For how many hours it is counted how many deliveries of a mailbox ended.
pub const HOURS_COUNTED: i64 = 24;

/// How many messages that cannot be read are kept of each mailbox: whoever may push for a mailbox
/// must not be able to fill the disk.
pub const UNPARSEABLE_KEPT: usize = 100;

/// A durable place where at most one notification waits for each mailbox.
///
/// Times always come from the caller: an inbox never reads a clock, so every promise below can be
/// tested without waiting. Each promise is a test of `postbell_testkit::conformance`, for every backend.
///
/// - One `(user, message id)` is accepted once in [`DUPLICATE_WINDOW`].
/// - A later notification covers the earlier ones: of all that arrive for a mailbox, the one with
///   the greatest history id waits.
/// - At most one delivery of a mailbox is under way: a claim is a lease, and a claim that lost its
///   lease can settle nothing.
/// - A retry keeps its place in the schedule. A new notification starts the schedule over, but a
///   mailbox that has just failed is not due within the `rest` it was settled with.
/// - What is given up becomes a dead letter with its cause, unless a newer notification covers it.
/// - Deliveries that fail are counted in a row until one succeeds or is not wanted any more, whatever
///   starts the schedule over.
/// - A machine that reports in makes its mailbox due at once, and what was given up because it did
///   not answer is tried again.
/// - The last [`DELIVERIES_KEPT`] deliveries of each mailbox are kept, and those of the last
///   [`HOURS_COUNTED`] hours are counted.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Takes a notification in.
    ///
    /// After `Ok` it survives the loss of the process and of the machine.
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, InboxError>;

    /// Keeps what can never be delivered, because it cannot be read, as a dead letter.
    ///
    /// A repeat of the same `(user, message id)` is kept once, and of each mailbox only the last
    /// [`UNPARSEABLE_KEPT`]. Durable like [`accept`](Self::accept).
    async fn dead_letter(
        &self,
        letter: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, InboxError>;

    /// Leases up to `most` due mailboxes until `now + lease`, those that are due longest first.
    async fn claim(
        &self,
        now: Timestamp,
        lease: Duration,
        most: usize,
    ) -> Result<Vec<Claim>, InboxError>;

    /// Ends a claim.
    ///
    /// # Errors
    ///
    /// [`InboxError::LeaseLost`] if the mailbox was claimed again since.
    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), InboxError>;

    /// Returns when the next mailbox becomes due, which may be in the past; `None` where nothing
    /// waits.
    async fn next_due(&self) -> Result<Option<Timestamp>, InboxError>;

    /// Forgets all that is known of a user who is removed: what waits, dead letters, deliveries, and
    /// the messages that were seen. A delivery that is under way loses its lease.
    async fn forget_user(&self, user: &UserId) -> Result<(), InboxError>;

    /// Makes a mailbox due at once, whatever it was waiting for: its machine is up again.
    ///
    /// The latest dead letter that was given up for want of an answer waits again, unless what
    /// waits already covers it. A delivery that is under way is not disturbed. Returns whether
    /// anything waits.
    async fn wake(&self, user: &UserId, now: Timestamp) -> Result<bool, InboxError>;

    /// Lists up to `most` dead letters, the latest first: of one user or of all, and only those
    /// before number `before` where one is given.
    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<DeadLetter>, InboxError>;

    /// Takes a dead letter out and lets it wait again, due at once.
    ///
    /// Where a waiting notification covers it, that one is made due instead.
    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, InboxError>;

    /// Throws a dead letter away, and returns whether there was one of that number.
    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, InboxError>;

    /// Counts a user's dead letters.
    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, InboxError>;

    /// Throws away a user's dead letters up to number `last`, and returns how many there were.
    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, InboxError>;

    /// Lists the last deliveries of a mailbox, the latest first; at most [`DELIVERIES_KEPT`].
    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, InboxError>;

    /// Counts the deliveries of a mailbox that ended in each of the last [`HOURS_COUNTED`] hours,
    /// the one that `now` is in included; the earliest first. Hours without any are left out.
    async fn hours(&self, user: &UserId, now: Timestamp) -> Result<Vec<HourlyCount>, InboxError>;

    /// Returns what waits for a mailbox, if anything does.
    async fn waiting(&self, user: &UserId) -> Result<Option<PendingDelivery>, InboxError>;

    /// Lists up to `most` of those that wait although their last delivery failed, those that fail
    /// longest first.
    async fn failing(&self, most: usize) -> Result<Vec<PendingDelivery>, InboxError>;

    /// Counts what waits.
    async fn depth(&self) -> Result<Depth, InboxError>;

    /// Forgets up to `most` message ids older than [`DUPLICATE_WINDOW`], and returns how many.
    ///
    /// A batch at a time, so that no transaction is long.
    async fn forget_old_ids(&self, now: Timestamp, most: usize) -> Result<usize, InboxError>;
}

/// What [`Inbox::accept`] did with a notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// It waits for its delivery.
    Queued,
    /// A waiting notification covers it, or it took that one's place.
    Merged,
    /// The message was accepted before.
    Duplicate,
}

/// A message from an authenticated sender that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnparseableMessage {
    /// Whose push endpoint it came to.
    pub user: UserId,
    /// Its id, or one made of its bytes.
    pub message_id: MessageId,
    /// The bytes as they came in.
    pub body: Bytes,
    /// Which field was wrong, and what was expected.
    pub cause: String,
}

/// The right to deliver one mailbox's notification, until the lease ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// What is to be delivered.
    pub notification: Notification,

    /// How many deliveries in a row have failed before this one.
    pub failures: u32,

    /// When the notification was accepted.
    pub accepted_at: Timestamp,

    /// When this claim was made.
    pub claimed_at: Timestamp,

    /// Grows with each claim of the mailbox: proves that this claim is the latest.
    pub lease: i64,
}

/// How a claim ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// The machine has it.
    Delivered,

    /// Nobody wants it any more.
    Unwanted,

    /// It failed, and is due again after `wait`.
    Retry {
        /// What went wrong, for the user's log. Holds nothing secret.
        cause: String,
        /// Time until the next attempt, unless a new notification starts the schedule over.
        wait: Duration,
        /// Time within which nothing but a check-in makes the mailbox due again.
        rest: Duration,
    },

    /// It failed for good.
    DeadLetter {
        /// Whether trying again could help some day.
        reason: DeadLetterReason,
        /// What went wrong, for the operator. Holds nothing secret.
        cause: String,
        /// Time within which a newer notification of the mailbox is not due.
        rest: Duration,
    },

    /// It was not tried: due again at once, as if never claimed.
    Release,
}

/// What [`Inbox::replay`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replayed {
    /// It waits again, or what waits covers it.
    Queued,
    /// It cannot be read, so it can never be delivered. It stays where it was.
    Unparseable,
    /// There is no dead letter of that number.
    Missing,
}

impl Settlement {
    /// How a delivery that is settled so is recorded; `None` where none was tried.
    #[must_use]
    pub fn outcome(&self) -> Option<(Outcome, Option<&str>)> {
        match self {
            Self::Delivered => Some((Outcome::Delivered, None)),
            Self::Unwanted => Some((Outcome::Unwanted, None)),
            Self::Retry { cause, .. } => Some((Outcome::Failed, Some(cause))),
            Self::DeadLetter { cause, .. } => Some((Outcome::DeadLettered, Some(cause))),
            Self::Release => None,
        }
    }
}

/// How much waits in an inbox.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Depth {
    /// Mailboxes with a notification that waits or is being delivered.
    pub waiting: u64,
    /// When the oldest of these notifications was accepted.
    pub oldest_accepted_at: Option<Timestamp>,
    /// Those of the waiting whose last delivery failed.
    pub failing: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Why an [`Inbox`] call failed, in terms the caller can act on.
///
/// Not `non_exhaustive`: inside the workspace the compiler should list every place that must
/// decide about a new case.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The mailbox was claimed again since. Drop the result; do not retry.
    #[error("the lease on the mailbox of {} was lost", .user.masked())]
    LeaseLost {
        /// Whose mailbox.
        user: UserId,
    },

    /// The backend is busy, full or out of reach. The same call may succeed later.
    #[error("the inbox is unavailable")]
    Unavailable(#[source] BoxError),

    /// What is stored is not what we wrote: a bug or damage. Never retried.
    #[error("the stored {what} cannot be read")]
    Corrupt {
        /// The column or row.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
}
