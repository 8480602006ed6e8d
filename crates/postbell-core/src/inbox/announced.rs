//! An inbox that says whose mailbox has changed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Accepted, Claim, DeadLetter, DeliveryRecord, Depth, HourlyCount, Inbox, InboxError,
    PendingDelivery, Replayed, Settlement, UnparseableMessage,
};
use crate::{Changes, Notification, Timestamp, UserId};

/// An inbox that says whose mailbox has changed, once that is done: what is accepted, that a
/// delivery began and how it ended, what was woken.
///
/// What another process does to the same inbox is not heard of, nor is what becomes of a dead letter
/// by its number alone: whoever did that knows whose it was.
pub struct AnnouncedInbox {
    /// The inbox itself.
    pub inbox: Arc<dyn Inbox>,
    /// Who is told.
    pub changes: Changes,
}

#[async_trait]
impl Inbox for AnnouncedInbox {
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        let user = notification.user.clone();
        let accepted = self.inbox.accept(notification, now).await?;
        self.changes.tell(&user);
        Ok(accepted)
    }

    async fn dead_letter(
        &self,
        letter: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        let user = letter.user.clone();
        let accepted = self.inbox.dead_letter(letter, now).await?;
        self.changes.tell(&user);
        Ok(accepted)
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease: Duration,
        most: usize,
    ) -> Result<Vec<Claim>, InboxError> {
        let claims = self.inbox.claim(now, lease, most).await?;
        for claim in &claims {
            self.changes.tell(&claim.notification.user);
        }
        Ok(claims)
    }

    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), InboxError> {
        self.inbox.settle(claim, settlement, now).await?;
        self.changes.tell(&claim.notification.user);
        Ok(())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, InboxError> {
        self.inbox.next_due().await
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), InboxError> {
        self.inbox.forget_user(user).await?;
        self.changes.tell(user);
        Ok(())
    }

    async fn wake(&self, user: &UserId, now: Timestamp) -> Result<bool, InboxError> {
        let waits = self.inbox.wake(user, now).await?;
        self.changes.tell(user);
        Ok(waits)
    }

    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<DeadLetter>, InboxError> {
        self.inbox.dead_letters(user, before, most).await
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, InboxError> {
        self.inbox.replay(dead_letter, now).await
    }

    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, InboxError> {
        self.inbox.drop_dead_letter(dead_letter).await
    }

    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, InboxError> {
        self.inbox.count_dead_letters(user).await
    }

    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, InboxError> {
        let dropped = self.inbox.drop_dead_letters(user, last).await?;
        self.changes.tell(user);
        Ok(dropped)
    }

    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, InboxError> {
        self.inbox.deliveries(user).await
    }

    async fn hours(&self, user: &UserId, now: Timestamp) -> Result<Vec<HourlyCount>, InboxError> {
        self.inbox.hours(user, now).await
    }

    async fn waiting(&self, user: &UserId) -> Result<Option<PendingDelivery>, InboxError> {
        self.inbox.waiting(user).await
    }

    async fn failing(&self, most: usize) -> Result<Vec<PendingDelivery>, InboxError> {
        self.inbox.failing(most).await
    }

    async fn depth(&self) -> Result<Depth, InboxError> {
        self.inbox.depth().await
    }

    async fn forget_old_ids(&self, now: Timestamp, most: usize) -> Result<usize, InboxError> {
        self.inbox.forget_old_ids(now, most).await
    }
}
