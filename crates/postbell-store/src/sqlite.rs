//! The ports on one SQLite file: the default, for one machine.

mod columns;
mod connection;
mod credential;
mod database;
mod dead_letter;
mod delivery;
mod failure;
mod instance;
mod instances;
mod left_machine;
mod mailbox;
mod process_lock;
mod schema;
mod seen;
mod sign_ins;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Accepted, Claim, DeadLetter, DeliveryRecord, Depth, HourlyCount, Inbox, InboxError,
    Notification, PendingDelivery, Replayed, Settlement, Timestamp, UnparseableMessage, UserId,
};

pub(crate) use self::database::{Database, migrate};
pub(crate) use self::instances::SqliteUsers;
pub use self::schema::Migrated;
pub(crate) use self::sign_ins::SqliteSessions;

/// The inbox in one SQLite file.
pub(crate) struct SqliteInbox {
    file: Arc<Database>,
}

impl SqliteInbox {
    pub(crate) fn new(file: Arc<Database>) -> Self {
        Self { file }
    }
}

#[async_trait]
impl Inbox for SqliteInbox {
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        self.file
            .write(move |db| mailbox::accept(db, &notification, now))
            .await
    }

    async fn dead_letter(
        &self,
        letter: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        self.file
            .write(move |db| dead_letter::dead_letter(db, &letter, now))
            .await
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease: Duration,
        most: usize,
    ) -> Result<Vec<Claim>, InboxError> {
        self.file
            .write(move |db| mailbox::claim(db, now, lease, most))
            .await
    }

    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), InboxError> {
        let claim = claim.clone();
        self.file
            .write(move |db| mailbox::settle(db, &claim, &settlement, now))
            .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, InboxError> {
        self.file.read(mailbox::next_due).await
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), InboxError> {
        let user = user.clone();
        self.file
            .write(move |db| Ok(mailbox::forget_user(db, &user)?))
            .await
    }

    async fn wake(&self, user: &UserId, now: Timestamp) -> Result<bool, InboxError> {
        let user = user.clone();
        self.file
            .write(move |db| mailbox::check_in(db, &user, now))
            .await
    }

    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<DeadLetter>, InboxError> {
        let user = user.cloned();
        self.file
            .read(move |db| dead_letter::list(db, user.as_ref(), before, most))
            .await
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, InboxError> {
        self.file
            .write(move |db| dead_letter::replay(db, dead_letter, now))
            .await
    }

    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, InboxError> {
        self.file
            .write(move |db| dead_letter::drop_one(db, dead_letter))
            .await
    }

    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, InboxError> {
        let user = user.clone();
        self.file
            .read(move |db| dead_letter::count(db, &user))
            .await
    }

    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, InboxError> {
        let user = user.clone();
        self.file
            .write(move |db| dead_letter::drop_those_of(db, &user, last))
            .await
    }

    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, InboxError> {
        let user = user.clone();
        self.file.read(move |db| delivery::list(db, &user)).await
    }

    async fn hours(&self, user: &UserId, now: Timestamp) -> Result<Vec<HourlyCount>, InboxError> {
        let user = user.clone();
        self.file
            .read(move |db| delivery::hours(db, &user, now))
            .await
    }

    async fn waiting(&self, user: &UserId) -> Result<Option<PendingDelivery>, InboxError> {
        let user = user.clone();
        self.file.read(move |db| mailbox::waiting(db, &user)).await
    }

    async fn failing(&self, most: usize) -> Result<Vec<PendingDelivery>, InboxError> {
        self.file.read(move |db| mailbox::failing(db, most)).await
    }

    async fn depth(&self) -> Result<Depth, InboxError> {
        self.file.read(mailbox::depth).await
    }

    async fn forget_old_ids(&self, now: Timestamp, most: usize) -> Result<usize, InboxError> {
        self.file
            .write(move |db| seen::forget_old(db, now, most))
            .await
    }
}
