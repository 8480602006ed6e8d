//! The queue of notifications that wait for their delivery.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    DeadLetterReason, Failure, MessageId, MessageIds, Notification, Outcome, ProblemCode,
    QueueCursor, StoreError, Timestamp, UserId,
};

/// How long a repeat of a delivered message is recognised (protocol, section 3).
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// How many unparseable messages are kept per mailbox, so that a sender who may push for a mailbox
/// cannot fill the disk.
pub const UNPARSEABLE_KEPT: usize = 100;

/// How many dead letters are kept per user, so that a machine that refuses everything cannot fill the
/// disk.
pub const DEAD_LETTERS_KEPT: usize = 1000;

/// How far the time of a call may lie before that of an earlier one. Beyond it, the clock was ahead.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

/// How often a relay records a heartbeat.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// How long after its last heartbeat a relay has expired, and its claims are released.
pub const RELAY_TIMEOUT: Duration = Duration::from_secs(15);

/// A process that claims. It chooses its id at random when it starts, so a process that replaces it is
/// another relay.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RelayId(i64);

impl RelayId {
    /// The relay with this random number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number, which is what is stored.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// A durable queue with at most one pending notification per mailbox.
///
/// Times always come from the caller: a queue never reads a clock, so every promise below can be
/// tested without waiting. Each promise is a test of `postbell_testkit::conformance`, for every
/// backend.
///
/// - No data is kept per message. Of each mailbox the queue remembers a [`QueueCursor`]: the greatest
///   history id that is settled, the last [`MESSAGE_IDS_KEPT`](crate::MESSAGE_IDS_KEPT) messages that
///   announced it, and when the latest settled message was published. A user has cursors of at most
///   [`CURSORS_KEPT`](crate::CURSORS_KEPT) addresses.
/// - A repeat of a message starts no second delivery within [`DUPLICATE_WINDOW`] after the first one,
///   nor while that one is pending. Another message with the same history id does.
/// - A notification below the cursor is covered only if it was published no later than a settled one.
///   Any other is delivered, whatever its history id, and does not lower the cursor. So a wrong history
///   id, invented or of a mailbox that was replaced, covers only what its own delivery finds.
/// - A later notification covers the earlier ones: of all that arrive for a mailbox, the one with
///   the greatest history id is pending. A delivery that has not begun covers all that have arrived, and
///   a lower history id does not restart its schedule. A delivery in progress covers a lower history id
///   only if it was published no later than the claimed notification
///   ([`Notification::merged_publish_time`]); otherwise the pending one is delivered once more.
/// - If the user's address has changed, the notification that arrives last is pending.
/// - At most one delivery of a mailbox is in progress: a claim is a lease, and a claim that lost its
///   lease cannot settle anything. Any number of relays may use one queue.
/// - A claim belongs to a relay. If that one dies, its claims are due at once as soon as another relay
///   records a [heartbeat](Self::heartbeat) after [`RELAY_TIMEOUT`], and those of active relays stay.
/// - A retry keeps its place in the schedule. A new notification restarts the schedule, but a
///   mailbox that has just failed is not due before the `cooldown` of that failure is over.
/// - A delivery that fails for good becomes a dead letter with its reason, unless a newer
///   notification covers it. The last [`DEAD_LETTERS_KEPT`] of each user are kept.
/// - A parked mailbox is due when its machine checks in without a problem, or at the next probe. A new
///   notification makes it pending without making it due, and it never becomes a dead letter.
/// - Consecutive failures of a mailbox are counted until a delivery succeeds or is no longer wanted,
///   even if the schedule restarts.
/// - A machine that checks in makes its mailbox due at once, and dead letters that only lacked an
///   answer are retried.
/// - A clock that was ahead and is set right does not prolong a wait: times that were set while it was
///   ahead move back with it at the next [`claim`](Self::claim).
/// - Every settled delivery is recorded in the [`DeliveryLog`](crate::DeliveryLog).
#[async_trait]
pub trait DeliveryQueue: Send + Sync {
    /// Adds a notification.
    ///
    /// After `Ok` it survives the loss of the process and of the machine.
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, StoreError>;

    /// Keeps a message that cannot be parsed, and therefore never be delivered, as a dead letter.
    ///
    /// A repeat of a message that is kept is not kept again, and only the last
    /// [`UNPARSEABLE_KEPT`] of each mailbox are kept. Durable like [`accept`](Self::accept).
    async fn dead_letter(
        &self,
        message: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, StoreError>;

    /// Leases up to `limit` due mailboxes to `relay` until `now + lease`, and returns when the next one is due.
    async fn claim_in(
        &self,
        order: ClaimOrder,
        relay: RelayId,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Claimed, StoreError>;

    /// The same, the longest due first.
    async fn claim(
        &self,
        relay: RelayId,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Claimed, StoreError> {
        let order = ClaimOrder::LongestDue;
        self.claim_in(order, relay, now, lease, limit).await
    }

    /// Records a heartbeat of `relay`, and releases the claims of relays that have not done so for
    /// [`RELAY_TIMEOUT`]: they are due as if they had never been claimed, and cannot settle anything.
    ///
    /// A relay calls it before its first claim, and then every [`HEARTBEAT_INTERVAL`]. The first call of a
    /// relay also releases claims of relays that have never called it. A heartbeat that lies more than
    /// [`CLOCK_TOLERANCE`] after `now`, because the clock was ahead, counts as one at `now`. Relays on
    /// several machines need clocks that differ by less than half of the timeout. Returns how many
    /// claims were released.
    async fn heartbeat(&self, relay: RelayId, now: Timestamp) -> Result<usize, StoreError>;

    /// Ends a claim.
    ///
    /// # Errors
    ///
    /// [`SettleError::LeaseLost`] if the mailbox was claimed again since, or the claim was settled.
    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), SettleError>;

    /// Makes a mailbox due at once, whatever it was waiting for, because its machine has checked in.
    ///
    /// The latest dead letter with the reason [`DeadLetterReason::Exhausted`] is pending again,
    /// unless the pending notification covers it. A delivery in progress is not disturbed, except
    /// that it can no longer be parked: it would be due at once instead. A machine with a `problem`,
    /// which must be one that stops deliveries ([`ProblemCode::stops_deliveries`]), changes nothing
    /// if its mailbox is parked. Returns whether a notification is pending.
    async fn make_due(
        &self,
        user: &UserId,
        problem: Option<ProblemCode>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Makes the retries of these mailboxes due at once, because what they wait for works again, and returns how many wait
    /// no longer. A mailbox that is parked or is being delivered, and dead letters, stay as they are.
    async fn retry_now(&self, users: &[UserId], now: Timestamp) -> Result<usize, StoreError>;

    /// Fails while the store cannot be read, or writes fail or wait: its disk is full, its file system is
    /// read-only, another process holds its lock, its standby is missing. Answers within five seconds.
    ///
    /// Writes nothing while writes succeed. After a failed one, it tries another at most once a
    /// second.
    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError>;
}

/// The result of [`DeliveryQueue::accept`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// It waits for its delivery.
    Queued,
    /// The pending notification covers it, or it replaced that one.
    Merged,
    /// It is a repeat of a message that is pending or was delivered.
    Duplicate,
    /// A later notification was delivered before, which covers it; it may be a repeat.
    Covered,
}

impl Accepted {
    /// The word in metrics and traces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "accepted",
            Self::Merged => "merged",
            Self::Duplicate => "duplicate",
            Self::Covered => "covered",
        }
    }
}

/// A message from an authenticated sender that cannot be parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnparseableMessage {
    /// The user whose push endpoint received it.
    pub user: UserId,
    /// Its id, or one derived from its bytes.
    pub message_id: MessageId,
    /// The bytes as received.
    pub body: Bytes,
    /// The field that was wrong, and what was expected.
    pub cause: String,
}

/// Which of the due mailboxes are claimed first. With both in turn, new mail does not wait behind a backlog, nor the
/// backlog behind new mail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimOrder {
    /// Those that have been due for the longest time.
    LongestDue,
    /// Those that have become due last.
    LatestDue,
}

impl ClaimOrder {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::LongestDue => Self::LatestDue,
            Self::LatestDue => Self::LongestDue,
        }
    }
}

/// The result of [`DeliveryQueue::claim`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claimed {
    /// The claims, in the order that was asked for.
    pub claims: Vec<Claim>,

    /// When the next mailbox becomes due, which may be in the past; `None` if none is pending. A
    /// claimed one is due at the end of its lease.
    pub next_due: Option<Timestamp>,
}

/// The right to deliver one mailbox's notification until the lease ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// The notification to deliver.
    pub notification: Notification,

    /// How many attempts of the retry schedule have failed before this one.
    pub attempt: u32,

    /// When the notification was accepted.
    pub accepted_at: Timestamp,

    /// When this claim was made.
    pub claimed_at: Timestamp,

    /// A number that no other claim of this queue has; later ones have greater numbers.
    pub lease: i64,
}

/// How a claim ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// The machine accepted it.
    Delivered,

    /// The user no longer wants notifications.
    Unwanted,

    /// It failed, and is due again after `wait`.
    Retry {
        /// The failure, for the user's log.
        failure: Failure,
        /// Time until the next attempt, unless a new notification restarts the schedule.
        wait: Duration,
        /// Time during which only a check-in makes the mailbox due again.
        cooldown: Duration,
    },

    /// It failed for good.
    DeadLetter {
        /// Whether a later attempt could succeed.
        reason: DeadLetterReason,
        /// The failure, for the operator.
        failure: Failure,
        /// Time during which a newer notification of the mailbox is not due.
        cooldown: Duration,
    },

    /// It failed, and the machine has reported a problem that explains it: it waits until the problem
    /// is over. The attempt does not count.
    Park {
        /// The failure, for the user's log. Its kind is [`FailureKind::Problem`](crate::FailureKind).
        failure: Failure,
        /// When it is tried even if no check-in has said that the problem is over.
        until: Timestamp,
    },

    /// It was not tried: due again at once, as if never claimed.
    Release,
}

impl Settlement {
    /// Returns how the delivery is recorded; `None` if none was tried.
    #[must_use]
    pub fn outcome(&self) -> Option<(Outcome, Option<&Failure>)> {
        match self {
            Self::Delivered => Some((Outcome::Delivered, None)),
            Self::Unwanted => Some((Outcome::Unwanted, None)),
            Self::Retry { failure, .. } => Some((Outcome::Failed, Some(failure))),
            Self::DeadLetter { failure, .. } => Some((Outcome::DeadLettered, Some(failure))),
            Self::Park { failure, .. } => Some((Outcome::Parked, Some(failure))),
            Self::Release => None,
        }
    }

    /// Returns whether the notification is done, so that the cursor of its mailbox covers it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Delivered | Self::Unwanted | Self::DeadLetter { .. }
        )
    }
}

impl Claim {
    /// Returns the cursor after the claim was settled for good: `message_ids` have announced its history
    /// id.
    #[must_use]
    pub fn cursor(&self, mut message_ids: MessageIds, now: Timestamp) -> QueueCursor {
        let Notification {
            message_id,
            history_id,
            published_at,
            ..
        } = &self.notification;
        message_ids.extend([message_id.clone()]);
        QueueCursor {
            history_id: *history_id,
            message_ids,
            settled_at: now,
            published_at: published_at.map(|at| at.min(self.claimed_at)),
        }
    }
}

/// Why a claim could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The mailbox was claimed again since. Drop the result; do not retry.
    #[error("the lease on the mailbox of {} was lost", .user.masked())]
    LeaseLost {
        /// The user whose mailbox it is.
        user: UserId,
    },

    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
