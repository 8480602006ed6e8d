//! The log, and what operators do with dead letters.

use async_trait::async_trait;
use postbell_core::{
    AuditAction, DeadLetter, DeliveryLog, DeliveryRecord, Depth, HourlyCount, PendingDelivery,
    Replayed, StoreError, Timestamp, UserId,
};

use super::MemoryDeliveries;

#[async_trait]
impl DeliveryLog for MemoryDeliveries {
    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, StoreError> {
        let state = self.state.lock();
        let mailbox = state.mailboxes.get(user);
        let deliveries = mailbox.map(|mailbox| mailbox.deliveries.iter().cloned().collect());
        Ok(deliveries.unwrap_or_default())
    }

    async fn hourly_counts(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<HourlyCount>, StoreError> {
        let state = self.state.lock();
        let mailbox = state.mailboxes.get(user);
        let counts = mailbox.map(|mailbox| mailbox.hourly_counts(now));
        Ok(counts.unwrap_or_default())
    }

    async fn pending(&self, user: &UserId) -> Result<Option<PendingDelivery>, StoreError> {
        let state = self.state.lock();
        let mailbox = state.mailboxes.get(user);
        Ok(mailbox.and_then(|mailbox| mailbox.pending(user)))
    }

    async fn failing(&self, limit: usize) -> Result<Vec<PendingDelivery>, StoreError> {
        let mut failing = self.state.lock().failing();
        failing.truncate(limit);
        Ok(failing)
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        let state = self.state.lock();
        let mailboxes = state.mailboxes.values();
        let pending = mailboxes.filter(|mailbox| mailbox.pending.is_some());
        let waiting = pending.map(|mailbox| mailbox.waiting_since);
        Ok(Depth {
            pending: waiting.clone().count() as u64,
            oldest_accepted_at: waiting.min(),
            failing: state.failing().len() as u64,
            parked: state.parked(),
            dead_letters: state.dead_letters.len() as u64,
            dead_letters_dropped: state.dead_letters_dropped,
        })
    }

    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let state = self.state.lock();
        let earlier = state.dead_letters.range(..before.unwrap_or(i64::MAX)).rev();
        let dead_letters = earlier.map(|(_, stored)| &stored.dead_letter);
        let dead_letters =
            dead_letters.filter(|dead_letter| user.is_none_or(|user| dead_letter.user == *user));
        Ok(dead_letters.take(limit).cloned().collect())
    }

    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, StoreError> {
        let state = self.state.lock();
        let stored = state.dead_letters.values();
        let theirs = stored.filter(|stored| stored.dead_letter.user == *user);
        Ok(theirs.count() as u64)
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, StoreError> {
        let mut state = self.state.lock();
        let Some(stored) = state.dead_letters.get(&dead_letter) else {
            return Ok(Replayed::Missing);
        };
        let Some(notification) = stored.notification.clone() else {
            return Ok(Replayed::Unparseable);
        };
        state.dead_letters.remove(&dead_letter);
        self.changes.announce(&notification.user);
        let (user, number) = (Some(&notification.user), dead_letter.to_string());
        self.recorder
            .record(AuditAction::ReplayDeadLetter, user, &number);
        let mailbox = state.mailbox(&notification.user.clone());
        mailbox.put(notification, now);
        mailbox.make_due(now);
        state.mark(now);
        Ok(Replayed::Queued)
    }

    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, StoreError> {
        let dropped = self.state.lock().dead_letters.remove(&dead_letter);
        if let Some(user) = dropped.as_ref().map(|stored| &stored.dead_letter.user) {
            self.changes.announce(user);
            let number = dead_letter.to_string();
            self.recorder
                .record(AuditAction::DropDeadLetter, Some(user), &number);
        }
        Ok(dropped.is_some())
    }

    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, StoreError> {
        let mut state = self.state.lock();
        self.changes.announce(user);
        let dropped = state
            .dead_letters
            .extract_if(..=last, |_, stored| stored.dead_letter.user == *user);
        let dropped = dropped.count() as u64;
        if dropped > 0 {
            let (action, detail) = (
                AuditAction::DropDeadLetter,
                format!("{dropped} up to {last}"),
            );
            self.recorder.record(action, Some(user), &detail);
        }
        Ok(dropped)
    }

    async fn marks(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError> {
        let state = self.state.lock();
        let marks = users.iter().filter_map(|user| {
            let mailbox = state.mailboxes.get(user)?;
            let pending = mailbox.pending(user);
            let letters = state.dead_letters.values();
            let letters = letters.filter(|stored| stored.dead_letter.user == *user);
            let letters: Vec<_> = letters.map(|stored| stored.dead_letter.id).collect();
            let mark = format!("{pending:?} {:?} {letters:?}", mailbox.deliveries.front());
            Some((user.clone(), mark))
        });
        Ok(marks.collect())
    }

    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        self.changes.announce(user);
        state.mailboxes.remove(user);
        state.cursors.retain(|(owner, _), _| owner != user);
        state
            .dead_letters
            .retain(|_, stored| stored.dead_letter.user != *user);
        Ok(())
    }
}
