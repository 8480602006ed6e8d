//! The one place where a notification waits.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

use crate::{BoxError, MessageId, Notification, Timestamp, UserId};

/// How long a message id is remembered (contract, section 3).
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// A durable place where at most one notification waits for each mailbox.
///
/// Times always come from the caller: an inbox never reads a clock, so every promise below can be
/// tested without waiting. Each promise is a test of [`crate::conformance`], for every backend.
///
/// - One `(user, message id)` is accepted once in [`DUPLICATE_WINDOW`].
/// - A later notification covers the earlier ones: of all that arrive for a mailbox, the one with
///   the greatest history id waits.
/// - At most one delivery of a mailbox is under way: a claim is a lease, and a claim that lost its
///   lease can settle nothing.
/// - A retry keeps its place in the schedule. A new notification starts the schedule over, but a
///   mailbox that has just failed is not due within the `rest` it was settled with.
/// - What is given up becomes a dead letter with its cause, unless a newer notification covers it.
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
    /// A repeat of the same `(user, message id)` is kept once. Durable like
    /// [`accept`](Self::accept).
    async fn bury_unreadable(
        &self,
        letter: UnreadableMessage,
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

    /// Lists up to `most` dead letters, the latest first.
    async fn dead_letters(&self, most: usize) -> Result<Vec<DeadLetter>, InboxError>;

    /// Forgets up to `most` message ids older than [`DUPLICATE_WINDOW`], and returns how many.
    ///
    /// A batch at a time, so that no transaction is long.
    async fn forget_old_ids(&self, now: Timestamp, most: usize) -> Result<usize, InboxError>;
}

/// What [`Inbox::accept`] did with a notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// It waits for its delivery.
    Waiting,
    /// A waiting notification covers it, or it took that one's place.
    Merged,
    /// The message was accepted before.
    Duplicate,
}

/// A message from an authenticated sender that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnreadableMessage {
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

    /// Grows with each claim of the mailbox: proves that this claim is the latest.
    pub lease: i64,
}

/// How a claim ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// The machine has it, or nobody wants it any more.
    Done,

    /// It failed, and is due again after `wait`.
    Retry {
        /// Time until the next attempt, unless a new notification starts the schedule over.
        wait: Duration,
        /// Time within which nothing makes the mailbox due again.
        rest: Duration,
    },

    /// It failed for good.
    Bury {
        /// Why, for the operator. Holds nothing secret.
        cause: String,
        /// Time within which a newer notification of the mailbox is not due.
        rest: Duration,
    },

    /// It was not tried: due again at once, as if never claimed.
    Release,
}

/// What could not be delivered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Its number, in the order of burial.
    pub id: i64,
    /// Whose it was.
    pub user: UserId,
    /// Pub/Sub's id of the message.
    pub message_id: MessageId,
    /// Why it was given up.
    pub cause: String,
    /// When.
    pub buried_at: Timestamp,
}

/// Why an [`Inbox`] call failed, in terms the caller can act on.
///
/// Not `non_exhaustive`: inside the workspace the compiler should list every place that must
/// decide about a new case.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The mailbox was claimed again since. Drop the result; do not retry.
    #[error("the lease on the mailbox of {user} was lost")]
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
