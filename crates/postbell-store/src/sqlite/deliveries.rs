//! The delivery queue and log in one SQLite file.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Accepted, Actor, AuditAction, Claim, ClaimOrder, Claimed, DeadLetter, DeliveryLog,
    DeliveryQueue, DeliveryRecord, Depth, HourlyCount, Notification, PendingDelivery, ProblemCode,
    RelayId, Replayed, SettleError, Settlement, StoreError, Timestamp, UnparseableMessage, UserId,
};

use super::audit::record;
use super::database::Database;
use super::failure::Failure;
use super::writer::Transaction;
use super::{dead_letter, delivery, marks, pending, relay};

/// The delivery queue and log in one SQLite file.
pub(crate) struct SqliteDeliveries {
    database: Arc<Database>,
    /// Whose changes are recorded.
    by: Option<Actor>,
}

impl SqliteDeliveries {
    pub(crate) fn new(database: Arc<Database>, by: Option<Actor>) -> Self {
        Self { database, by }
    }
}

#[async_trait]
impl DeliveryQueue for SqliteDeliveries {
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        self.database
            .write(move |db| {
                db.changed(&notification.user);
                pending::accept(db, &notification, now)
            })
            .await
    }

    async fn dead_letter(
        &self,
        message: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        self.database
            .write(move |db| {
                db.changed(&message.user);
                dead_letter::add_unparseable(db, &message, now)
            })
            .await
    }

    async fn claim_in(
        &self,
        order: ClaimOrder,
        relay: RelayId,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Claimed, StoreError> {
        self.database
            .write_at_last(move |db| {
                let claims = pending::claim(db, order, relay, now, lease, limit)?;
                claimed(db, claims)
            })
            .await
    }

    async fn heartbeat(&self, relay: RelayId, now: Timestamp) -> Result<usize, StoreError> {
        self.database
            .write_at_last(move |db| relay::heartbeat(db, relay, now))
            .await
    }

    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), SettleError> {
        let user = claim.notification.user.clone();
        let claim = claim.clone();
        let has_lease = self.database.write_at_last::<_, StoreError>(move |db| {
            let has_lease = pending::settle(db, &claim, &settlement, now)?;
            if has_lease {
                db.changed(&claim.notification.user);
            }
            Ok(has_lease)
        });
        if has_lease.await? {
            Ok(())
        } else {
            Err(SettleError::LeaseLost { user })
        }
    }

    async fn make_due(
        &self,
        user: &UserId,
        problem: Option<ProblemCode>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let user = user.clone();
        self.database
            .write(move |db| {
                db.changed(&user);
                pending::check_in(db, &user, problem, now)
            })
            .await
    }

    async fn retry_now(&self, users: &[UserId], now: Timestamp) -> Result<usize, StoreError> {
        let users = users.to_vec();
        self.database
            .write(move |db| {
                let mut due = 0;
                for user in &users {
                    if pending::retry_now(db, user, now)? {
                        db.changed(user);
                        due += 1;
                    }
                }
                Ok(due)
            })
            .await
    }

    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError> {
        self.database.check_ready(now).await
    }
}

fn claimed(db: &Transaction<'_>, claims: Vec<Claim>) -> Result<Claimed, Failure> {
    let users = claims.iter().map(|claim| &claim.notification.user);
    users.for_each(|user| db.changed(user));
    let next_due = pending::next_due(db)?;
    Ok(Claimed { claims, next_due })
}

#[async_trait]
impl DeliveryLog for SqliteDeliveries {
    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, StoreError> {
        let user = user.clone();
        self.database
            .read(move |db| delivery::list(db, &user))
            .await
    }

    async fn hourly_counts(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<HourlyCount>, StoreError> {
        let user = user.clone();
        self.database
            .read(move |db| delivery::hourly_counts(db, &user, now))
            .await
    }

    async fn pending(&self, user: &UserId) -> Result<Option<PendingDelivery>, StoreError> {
        let user = user.clone();
        self.database
            .read(move |db| pending::pending(db, &user))
            .await
    }

    async fn failing(&self, limit: usize) -> Result<Vec<PendingDelivery>, StoreError> {
        self.database
            .read(move |db| pending::failing(db, limit))
            .await
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        self.database.read(pending::depth).await
    }

    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let user = user.cloned();
        self.database
            .read(move |db| dead_letter::list(db, user.as_ref(), before, limit))
            .await
    }

    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, StoreError> {
        let user = user.clone();
        self.database
            .read(move |db| dead_letter::count(db, &user))
            .await
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, StoreError> {
        let by = self.by.clone();
        self.database
            .write(move |db| {
                let user = dead_letter::user_of(db, dead_letter)?;
                let replayed = pending::replay(db, dead_letter, now)?;
                if replayed == Replayed::Queued {
                    let detail = dead_letter.to_string();
                    let action = AuditAction::ReplayDeadLetter;
                    record(db, by.as_ref(), action, user.as_ref(), &detail)?;
                }
                Ok(replayed)
            })
            .await
    }

    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, StoreError> {
        let by = self.by.clone();
        self.database
            .write(move |db| {
                let Some(user) = dead_letter::drop_one(db, dead_letter)? else {
                    return Ok(false);
                };
                let detail = dead_letter.to_string();
                let action = AuditAction::DropDeadLetter;
                record(db, by.as_ref(), action, Some(&user), &detail)?;
                Ok(true)
            })
            .await
    }

    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, StoreError> {
        let (user, by) = (user.clone(), self.by.clone());
        self.database
            .write(move |db| {
                db.changed(&user);
                let dropped = dead_letter::drop_through(db, &user, last)?;
                if dropped > 0 {
                    let detail = format!("{dropped} up to {last}");
                    let action = AuditAction::DropDeadLetter;
                    record(db, by.as_ref(), action, Some(&user), &detail)?;
                }
                Ok(dropped)
            })
            .await
    }

    async fn marks(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError> {
        let users = users.to_vec();
        self.database
            .read(move |db| marks::read(db, pending::MARKS, &users))
            .await
    }

    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError> {
        let user = user.clone();
        self.database
            .write(move |db| {
                db.changed(&user);
                Ok(pending::remove_user(db, &user)?)
            })
            .await
    }
}
