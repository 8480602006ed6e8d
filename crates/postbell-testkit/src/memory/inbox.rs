//! An inbox in memory, for tests.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::mailbox::Mailbox;
use postbell_core::{
    Accepted, Claim, DUPLICATE_WINDOW, DeadLetter, DeadLetterReason, DeliveryRecord, Depth,
    HourlyCount, Inbox, InboxError, MessageId, Notification, PendingDelivery, Replayed, Settlement,
    Timestamp, UNPARSEABLE_KEPT, UnparseableMessage, UserId,
};

/// An inbox in memory, for tests: keeps every promise but that of surviving the process.
#[derive(Default)]
pub struct MemoryInbox {
    rooms: Mutex<Rooms>,
}

#[derive(Default)]
struct Rooms {
    mailboxes: BTreeMap<UserId, Mailbox>,
    seen: HashMap<(UserId, MessageId), Timestamp>,
    dead_letters: BTreeMap<i64, Buried>,
    buried: i64,
}

struct Buried {
    letter: DeadLetter,
    /// What can be replayed; `None` where it could not be read.
    notification: Option<Notification>,
}

impl Rooms {
    /// Returns whether the message is new, and remembers it.
    fn is_first(&mut self, user: &UserId, message: &MessageId, now: Timestamp) -> bool {
        let key = (user.clone(), message.clone());
        let repeated = self
            .seen
            .get(&key)
            .is_some_and(|seen| now < *seen + DUPLICATE_WINDOW);
        if !repeated {
            self.seen.insert(key, now);
        }
        !repeated
    }

    fn bury(&mut self, letter: DeadLetter, notification: Option<Notification>) {
        self.buried += 1;
        let letter = DeadLetter {
            id: self.buried,
            ..letter
        };
        self.dead_letters.insert(
            self.buried,
            Buried {
                letter,
                notification,
            },
        );
    }

    fn keep_the_last_unreadable(&mut self, user: &UserId) {
        let unreadable = self.dead_letters.iter().rev().filter(|(_, buried)| {
            buried.letter.user == *user && buried.letter.reason == DeadLetterReason::Malformed
        });
        let too_many: Vec<_> = unreadable
            .map(|(id, _)| *id)
            .skip(UNPARSEABLE_KEPT)
            .collect();
        for id in too_many {
            self.dead_letters.remove(&id);
        }
    }

    fn mailbox(&mut self, user: &UserId) -> &mut Mailbox {
        self.mailboxes.entry(user.clone()).or_default()
    }

    /// What waits although its last delivery failed, what fails longest first.
    fn failing(&self) -> Vec<PendingDelivery> {
        let shown = self.mailboxes.iter();
        let shown = shown.filter_map(|(user, mailbox)| mailbox.shown(user));
        let mut failing: Vec<_> = shown
            .filter(|waiting| waiting.failing_since.is_some())
            .collect();
        failing.sort_by_key(|waiting| waiting.failing_since);
        failing
    }

    /// Takes out what was given up for want of an answer, and returns the latest of it.
    fn take_exhausted(&mut self, user: &UserId) -> Option<Notification> {
        let is_exhausted = |_: &i64, buried: &mut Buried| {
            buried.letter.user == *user && buried.letter.reason == DeadLetterReason::Exhausted
        };
        let taken = self.dead_letters.extract_if(.., is_exhausted);
        taken
            .filter_map(|(_, buried)| buried.notification)
            .max_by_key(|taken| taken.history_id)
    }
}

#[async_trait]
impl Inbox for MemoryInbox {
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        let mut rooms = self.rooms.lock();
        if !rooms.is_first(&notification.user, &notification.message_id, now) {
            return Ok(Accepted::Duplicate);
        }
        Ok(rooms
            .mailbox(&notification.user.clone())
            .put(notification, now))
    }

    async fn dead_letter(
        &self,
        message: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        let UnparseableMessage {
            user,
            message_id,
            cause,
            ..
        } = message;
        let mut rooms = self.rooms.lock();
        if !rooms.is_first(&user, &message_id, now) {
            return Ok(Accepted::Duplicate);
        }
        let reason = DeadLetterReason::Malformed;
        let letter = DeadLetter {
            id: 0,
            user,
            message_id,
            history_id: None,
            reason,
            cause,
            buried_at: now,
        };
        let user = letter.user.clone();
        rooms.bury(letter, None);
        rooms.keep_the_last_unreadable(&user);
        Ok(Accepted::Queued)
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease: Duration,
        most: usize,
    ) -> Result<Vec<Claim>, InboxError> {
        let mut rooms = self.rooms.lock();
        let mut due: Vec<_> = rooms
            .mailboxes
            .values_mut()
            .filter(|mailbox| mailbox.is_due(now))
            .collect();
        due.sort_by_key(|mailbox| mailbox.due);
        Ok(due
            .into_iter()
            .take(most)
            .filter_map(|mailbox| mailbox.claim(now, lease))
            .collect())
    }

    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), InboxError> {
        let mut rooms = self.rooms.lock();
        let user = &claim.notification.user;
        let Some(mailbox) = rooms
            .mailboxes
            .get_mut(user)
            .filter(|held| held.is_held_by(claim))
        else {
            return Err(InboxError::LeaseLost { user: user.clone() });
        };
        if let Some(buried) = mailbox.settle(claim, settlement, now) {
            rooms.bury(buried, Some(claim.notification.clone()));
        }
        Ok(())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, InboxError> {
        let rooms = self.rooms.lock();
        let waiting = rooms
            .mailboxes
            .values()
            .filter(|mailbox| mailbox.waiting.is_some());
        Ok(waiting.map(|mailbox| mailbox.due).min())
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), InboxError> {
        let mut rooms = self.rooms.lock();
        rooms.mailbox(user).forget();
        rooms.seen.retain(|(whose, _), _| whose != user);
        rooms
            .dead_letters
            .retain(|_, buried| buried.letter.user != *user);
        Ok(())
    }

    async fn wake(&self, user: &UserId, now: Timestamp) -> Result<bool, InboxError> {
        let mut rooms = self.rooms.lock();
        let exhausted = rooms.take_exhausted(user);
        let mailbox = rooms.mailbox(user);
        if let Some(notification) = exhausted {
            mailbox.put(notification, now);
        }
        mailbox.wake(now);
        Ok(mailbox.waiting.is_some())
    }

    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<DeadLetter>, InboxError> {
        let rooms = self.rooms.lock();
        let letters = rooms.dead_letters.range(..before.unwrap_or(i64::MAX)).rev();
        let letters = letters.map(|(_, buried)| &buried.letter);
        let letters = letters.filter(|letter| user.is_none_or(|user| letter.user == *user));
        Ok(letters.take(most).cloned().collect())
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, InboxError> {
        let mut rooms = self.rooms.lock();
        let Some(buried) = rooms.dead_letters.get(&dead_letter) else {
            return Ok(Replayed::Missing);
        };
        let Some(notification) = buried.notification.clone() else {
            return Ok(Replayed::Unparseable);
        };
        rooms.dead_letters.remove(&dead_letter);
        let mailbox = rooms.mailbox(&notification.user.clone());
        mailbox.put(notification, now);
        mailbox.wake(now);
        Ok(Replayed::Queued)
    }

    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, InboxError> {
        Ok(self
            .rooms
            .lock()
            .dead_letters
            .remove(&dead_letter)
            .is_some())
    }

    async fn count_dead_letters(&self, user: &UserId) -> Result<u64, InboxError> {
        let rooms = self.rooms.lock();
        let buried = rooms.dead_letters.values();
        Ok(buried.filter(|buried| buried.letter.user == *user).count() as u64)
    }

    async fn drop_dead_letters(&self, user: &UserId, last: i64) -> Result<u64, InboxError> {
        let mut rooms = self.rooms.lock();
        let dropped = rooms
            .dead_letters
            .extract_if(..=last, |_, buried| buried.letter.user == *user);
        Ok(dropped.count() as u64)
    }

    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, InboxError> {
        let rooms = self.rooms.lock();
        let mailbox = rooms.mailboxes.get(user);
        Ok(mailbox
            .map(|mailbox| mailbox.deliveries.iter().cloned().collect())
            .unwrap_or_default())
    }

    async fn hours(&self, user: &UserId, now: Timestamp) -> Result<Vec<HourlyCount>, InboxError> {
        let rooms = self.rooms.lock();
        let mailbox = rooms.mailboxes.get(user);
        Ok(mailbox
            .map(|mailbox| mailbox.hours(now))
            .unwrap_or_default())
    }

    async fn waiting(&self, user: &UserId) -> Result<Option<PendingDelivery>, InboxError> {
        let rooms = self.rooms.lock();
        let mailbox = rooms.mailboxes.get(user);
        Ok(mailbox.and_then(|mailbox| mailbox.shown(user)))
    }

    async fn failing(&self, most: usize) -> Result<Vec<PendingDelivery>, InboxError> {
        let mut failing = self.rooms.lock().failing();
        failing.truncate(most);
        Ok(failing)
    }

    async fn depth(&self) -> Result<Depth, InboxError> {
        let rooms = self.rooms.lock();
        let accepted = || {
            let waiting = rooms
                .mailboxes
                .values()
                .filter_map(|mailbox| mailbox.waiting.as_ref());
            waiting.map(|waiting| waiting.accepted_at)
        };
        Ok(Depth {
            waiting: accepted().count() as u64,
            oldest_accepted_at: accepted().min(),
            failing: rooms.failing().len() as u64,
            dead_letters: rooms.dead_letters.len() as u64,
        })
    }

    async fn forget_old_ids(&self, now: Timestamp, most: usize) -> Result<usize, InboxError> {
        let mut rooms = self.rooms.lock();
        let is_old = |seen: &Timestamp| *seen + DUPLICATE_WINDOW <= now;
        let seen = rooms.seen.iter().filter(|(_, seen)| is_old(seen));
        let old: Vec<_> = seen.map(|(key, _)| key.clone()).take(most).collect();
        for key in &old {
            rooms.seen.remove(key);
        }
        Ok(old.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::inbox_conformance!((Box::new(MemoryInbox::default()), ()));
}
