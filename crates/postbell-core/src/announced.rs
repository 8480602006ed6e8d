//! A delivery queue and log that announce changes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Accepted, Changes, Claim, DeadLetter, DeliveryLog, DeliveryQueue, DeliveryRecord, Depth,
    HourlyCount, Notification, PendingDelivery, Replayed, SettleError, Settlement, StoreError,
    Timestamp, UnparseableMessage, UserId,
};

/// A delivery queue and log that announce each change of this process, except of a single dead letter.
pub struct AnnouncedDeliveries {
    /// The queue.
    pub queue: Arc<dyn DeliveryQueue>,
    /// The log of the same store.
    pub log: Arc<dyn DeliveryLog>,
    /// The listeners.
    pub changes: Changes,
}

#[async_trait]
impl DeliveryQueue for AnnouncedDeliveries {
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let user = notification.user.clone();
        let accepted = self.queue.accept(notification, now).await?;
        self.changes.tell(&user);
        Ok(accepted)
    }

    async fn dead_letter(
        &self,
        message: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let user = message.user.clone();
        let accepted = self.queue.dead_letter(message, now).await?;
        self.changes.tell(&user);
        Ok(accepted)
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let claims = self.queue.claim(now, lease, limit).await?;
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
    ) -> Result<(), SettleError> {
        self.queue.settle(claim, settlement, now).await?;
        self.changes.tell(&claim.notification.user);
        Ok(())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.queue.next_due().await
    }

    async fn make_due(&self, user: &UserId, now: Timestamp) -> Result<bool, StoreError> {
        let is_pending = self.queue.make_due(user, now).await?;
        self.changes.tell(user);
        Ok(is_pending)
    }

    async fn prune_message_ids(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.queue.prune_message_ids(now, limit).await
    }
}

#[async_trait]
impl DeliveryLog for AnnouncedDeliveries {
    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.log.deliveries(user).await
    }

    async fn hourly_counts(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<HourlyCount>, StoreError> {
        self.log.hourly_counts(user, now).await
    }

    async fn pending(&self, user: &UserId) -> Result<Option<PendingDelivery>, StoreError> {
        self.log.pending(user).await
    }

    async fn failing(&self, limit: usize) -> Result<Vec<PendingDelivery>, StoreError> {
        self.log.failing(limit).await
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        self.log.depth().await
    }

    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.log.dead_letters(user, before, limit).await
    }

    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, StoreError> {
        self.log.count_dead_letters(user).await
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, StoreError> {
        self.log.replay(dead_letter, now).await
    }

    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, StoreError> {
        self.log.drop_dead_letter(dead_letter).await
    }

    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, StoreError> {
        let dropped = self.log.drop_dead_letters(user, last).await?;
        self.changes.tell(user);
        Ok(dropped)
    }

    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError> {
        self.log.remove_user(user).await?;
        self.changes.tell(user);
        Ok(())
    }
}
