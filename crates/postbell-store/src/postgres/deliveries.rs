//! The delivery queue and log in one PostgreSQL database.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Accepted, Actor, AuditAction, Claim, ClaimOrder, Claimed, DeadLetter, DeliveryLog,
    DeliveryQueue, DeliveryRecord, Depth, HourlyCount, Notification, PendingDelivery, ProblemCode,
    RelayId, Replayed, SettleError, Settlement, StoreError, Timestamp, UnparseableMessage, UserId,
};

use super::audit::record;
use super::claims::{self, Attempt};
use super::clock::ClockMark;
use super::database::Database;
use super::failure::Failure;
use super::mailboxes::{Mailboxes, Wanted};
use super::session::Transaction;
use super::{clock, dead_letter, delivery, pending, relay};

/// The delivery queue and log in one PostgreSQL database.
pub(crate) struct PostgresDeliveries {
    database: Arc<Database>,
    last_claims: Mutex<HashMap<RelayId, LastClaim>>,
    /// Whose changes are recorded.
    by: Option<Actor>,
}

/// What a relay knows of its claims, which it makes one after the other.
#[derive(Clone, Copy, Default)]
struct LastClaim {
    /// The greatest number.
    lease: i64,
    /// Whether a later claim failed. It may have been committed nevertheless.
    has_failed: bool,
}

impl PostgresDeliveries {
    pub(crate) fn new(database: Arc<Database>, by: Option<Actor>) -> Self {
        Self {
            database,
            last_claims: Mutex::default(),
            by,
        }
    }

    fn last_claims(&self) -> MutexGuard<'_, HashMap<RelayId, LastClaim>> {
        self.last_claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DeliveryQueue for PostgresDeliveries {
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        Ok(self.database.lanes().accept(notification, now).await?)
    }

    async fn dead_letter(
        &self,
        message: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let message = &message;
        self.database
            .write(|db| async move {
                db.changed(&message.user);
                dead_letter::add_unparseable(&db, message, now).await
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
        // Claims without an answer are released first.
        let last = self.last_claims().get(&relay).copied().unwrap_or_default();
        if last.has_failed {
            let released = self.database.write::<(), StoreError, _>(|db| async move {
                claims::release_unknown(&db, relay, last.lease).await
            });
            released.await?;
        }
        loop {
            let has_failed = true;
            let in_doubt = LastClaim { has_failed, ..last };
            self.last_claims().insert(relay, in_doubt);
            let attempt = self.database.run_write(|db| async move {
                claims::claim(&db, relay, now, lease, limit, order).await
            });
            match attempt.await? {
                Attempt::Claimed(claimed) => {
                    let numbers = claimed.claims.iter().map(|claim| claim.lease);
                    let known = LastClaim {
                        lease: numbers.fold(last.lease, i64::max),
                        has_failed: false,
                    };
                    self.last_claims().insert(relay, known);
                    let users = claimed.claims.iter().map(|claim| &claim.notification.user);
                    users.for_each(|user| self.database.announce(user));
                    return Ok(claimed);
                }
                Attempt::ClockWasAhead(latest) => {
                    let corrected = self.database.write::<(), StoreError, _>(|db| async move {
                        clock::correct(&db, latest, now, lease).await
                    });
                    corrected.await?;
                    self.database.lanes().clock().stored(now);
                }
            }
        }
    }

    async fn heartbeat(&self, relay: RelayId, now: Timestamp) -> Result<usize, StoreError> {
        self.database
            .write(|db| async move { relay::heartbeat(&db, relay, now).await })
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
        let has_lease = self.database.lanes().settle(&user, move |mailbox| {
            mailbox.settle(&claim, &settlement, now)
        });
        if has_lease.await.map_err(StoreError::from)? {
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
        let is_pending = self
            .database
            .lanes()
            .check_in(user, move |mailbox| mailbox.check_in(problem, now));
        Ok(is_pending.await?)
    }

    async fn retry_now(&self, users: &[UserId], now: Timestamp) -> Result<usize, StoreError> {
        let clock = self.database.lanes().clock();
        self.database
            .write(|db| async move { retry_now(&db, clock, users, now).await })
            .await
    }

    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError> {
        self.database.check_ready(now).await
    }
}

#[async_trait]
impl DeliveryLog for PostgresDeliveries {
    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.database
            .read(|db| async move { delivery::list(&db, user).await })
            .await
    }

    async fn hourly_counts(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<HourlyCount>, StoreError> {
        self.database
            .read(|db| async move { delivery::hourly_counts(&db, user, now).await })
            .await
    }

    async fn pending(&self, user: &UserId) -> Result<Option<PendingDelivery>, StoreError> {
        self.database
            .read(|db| async move { pending::find(&db, user).await })
            .await
    }

    async fn failing(&self, limit: usize) -> Result<Vec<PendingDelivery>, StoreError> {
        self.database
            .read(|db| async move { pending::failing(&db, limit).await })
            .await
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        self.database
            .read(|db| async move { pending::depth(&db).await })
            .await
    }

    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.database
            .read(|db| async move { dead_letter::list(&db, user, before, limit).await })
            .await
    }

    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, StoreError> {
        self.database
            .read(|db| async move { dead_letter::count(&db, user).await })
            .await
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, StoreError> {
        let by = self.by.as_ref();
        let clock = self.database.lanes().clock();
        self.database
            .write(|db| async move { replay(&db, clock, dead_letter, by, now).await })
            .await
    }

    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, StoreError> {
        let by = self.by.as_ref();
        self.database
            .write(|db| async move {
                let Some(user) = dead_letter::drop_one(&db, dead_letter).await? else {
                    return Ok(false);
                };
                let detail = dead_letter.to_string();
                let action = AuditAction::DropDeadLetter;
                record(&db, by, action, Some(&user), &detail).await?;
                Ok(true)
            })
            .await
    }

    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, StoreError> {
        let by = self.by.as_ref();
        self.database
            .write(|db| async move {
                db.changed(user);
                let dropped = dead_letter::drop_through(&db, user, last).await?;
                if dropped > 0 {
                    let detail = format!("{dropped} up to {last}");
                    let action = AuditAction::DropDeadLetter;
                    record(&db, by, action, Some(user), &detail).await?;
                }
                Ok(dropped)
            })
            .await
    }

    async fn marks(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError> {
        self.database
            .read(|db| async move { pending::marks(&db, users).await })
            .await
    }

    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError> {
        self.database
            .write(|db| async move {
                db.changed(user);
                pending::remove_user(&db, user).await
            })
            .await
    }
}

/// Makes retries due that wait for their time, and returns how many.
async fn retry_now(
    db: &Transaction,
    clock: &ClockMark,
    users: &[UserId],
    now: Timestamp,
) -> Result<usize, Failure> {
    let wanted = Wanted {
        users: users.iter().cloned().collect(),
        ..Wanted::default()
    };
    let mut mailboxes = Mailboxes::load(db, None, &wanted).await?;
    let mut due = 0;
    for user in users {
        if mailboxes.of(user).retry_now(now) {
            db.changed(user);
            due += 1;
        }
    }
    if due > 0 {
        let mark = clock.statement(now).into_iter().collect();
        mailboxes.store(db, mark).await?;
    }
    Ok(due)
}

/// Makes the notification of a dead letter pending again, and due.
async fn replay(
    db: &Transaction,
    clock: &ClockMark,
    id: i64,
    by: Option<&Actor>,
    now: Timestamp,
) -> Result<Replayed, Failure> {
    let notification = match dead_letter::find(db, id).await? {
        Ok(notification) => notification,
        Err(outcome) => return Ok(outcome),
    };
    let user = &notification.user;
    let users = BTreeSet::from([user.clone()]);
    let wanted = Wanted {
        reserved: users.clone(),
        users,
        ..Wanted::default()
    };
    let mut mailboxes = loop {
        let mailboxes = Mailboxes::load(db, None, &wanted).await?;
        // A row that was there may have been deleted before it was locked. Then none is locked.
        if mailboxes.has_row(user) {
            break mailboxes;
        }
    };
    // It may have been replayed or dropped since it was read.
    if dead_letter::drop_one(db, id).await?.is_none() {
        mailboxes.store(db, Vec::new()).await?;
        return Ok(Replayed::Missing);
    }
    let mailbox = mailboxes.of(user);
    mailbox.put(&notification, now);
    mailbox.make_due(now);
    let mark = clock.statement(now).into_iter().collect();
    mailboxes.store(db, mark).await?;
    let action = AuditAction::ReplayDeadLetter;
    record(db, by, action, Some(user), &id.to_string()).await?;
    Ok(Replayed::Queued)
}
