//! What operators and owners see of the queue: pending and past deliveries, and dead letters.

mod records;

use async_trait::async_trait;
use serde::Serialize;

pub use self::records::{
    DeadLetter, DeadLetterReason, DeliveryRecord, HourlyCount, Outcome, PendingDelivery,
};
use crate::{StoreError, Timestamp, UserId};

/// How many deliveries of each mailbox are kept.
pub const DELIVERIES_KEPT: usize = 20;

/// For how many hours the deliveries of each mailbox are counted.
pub const HOURS_COUNTED: i64 = 24;

/// The records of a [`DeliveryQueue`](crate::DeliveryQueue), for pages, commands and checks.
///
/// - The last [`DELIVERIES_KEPT`] deliveries of each mailbox are kept, and those of the last
///   [`HOURS_COUNTED`] hours are counted.
/// - A dead letter is kept until it is replayed or dropped, its user is removed, or the user has more
///   than [`DEAD_LETTERS_KEPT`](crate::DEAD_LETTERS_KEPT) newer ones.
#[async_trait]
pub trait DeliveryLog: Send + Sync {
    /// Returns the last deliveries of a mailbox, the latest first.
    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// Returns the counts of the last [`HOURS_COUNTED`] hours, the earliest first. Hours without
    /// deliveries are omitted.
    async fn hourly_counts(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<HourlyCount>, StoreError>;

    /// Returns the pending notification of a mailbox.
    async fn pending(&self, user: &UserId) -> Result<Option<PendingDelivery>, StoreError>;

    /// Lists up to `limit` pending notifications of mailboxes whose last delivery failed, the
    /// longest failing first.
    async fn failing(&self, limit: usize) -> Result<Vec<PendingDelivery>, StoreError>;

    /// Counts what is pending, failing and dead-lettered.
    async fn depth(&self) -> Result<Depth, StoreError>;

    /// Lists up to `limit` dead letters, the latest first: of one user or of all, and only those
    /// with a number below `before`.
    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Counts a user's dead letters.
    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, StoreError>;

    /// Removes a dead letter and makes its notification pending again, due at once.
    ///
    /// If the pending notification covers it, that one is made due instead.
    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, StoreError>;

    /// Deletes a dead letter, and returns whether it existed.
    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, StoreError>;

    /// Deletes a user's dead letters up to number `last`, and returns how many.
    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, StoreError>;

    /// Returns for each of these users, if anything is stored of them, a text that differs once their
    /// pending notification, deliveries or dead letters have changed, in whatever process. One query, for
    /// the pages that are open.
    async fn marks(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError>;

    /// Deletes everything that is stored of a user who is removed: the pending notification, dead
    /// letters, deliveries and cursors. A delivery in progress loses its lease.
    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError>;
}

/// The result of [`DeliveryLog::replay`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replayed {
    /// It is pending again, or the pending notification covers it.
    Queued,
    /// It cannot be parsed, so it can never be delivered. It stays a dead letter.
    Unparseable,
    /// No dead letter has this number.
    Missing,
}

/// The number of mailboxes and messages in each state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Depth {
    /// Mailboxes with a pending notification, including deliveries in progress.
    #[serde(rename = "waiting")]
    pub pending: u64,
    /// When the mailbox that waits longest began to wait. A newer notification of it does not end the
    /// wait of the earlier ones.
    pub oldest_accepted_at: Option<Timestamp>,
    /// The pending ones whose last delivery failed.
    pub failing: u64,
    /// The pending ones that are parked because of a problem of their mailbox.
    pub parked: u64,
    /// Dead letters of all users.
    pub dead_letters: u64,
    /// How many dead letters were deleted because their user had too many, since the store exists.
    pub dead_letters_dropped: u64,
}
