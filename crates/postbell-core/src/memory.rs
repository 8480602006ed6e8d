//! An inbox in memory, for tests.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::inbox::{DUPLICATE_WINDOW, UnreadableMessage};
use crate::{
    Accepted, Claim, DeadLetter, Inbox, InboxError, MessageId, Notification, Settlement, Timestamp,
    UserId,
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
    dead_letters: Vec<DeadLetter>,
}

#[derive(Default)]
struct Mailbox {
    waiting: Option<Waiting>,
    /// When the mailbox may be claimed; the end of the lease while it is claimed.
    due: Timestamp,
    /// Nothing makes the mailbox due before.
    rests_until: Timestamp,
    leased_until: Timestamp,
    lease: i64,
    failures: u32,
}

struct Waiting {
    notification: Notification,
    accepted_at: Timestamp,
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

    fn bury(&mut self, user: UserId, message_id: MessageId, cause: String, buried_at: Timestamp) {
        let id = i64::try_from(self.dead_letters.len())
            .unwrap_or(i64::MAX)
            .saturating_add(1);
        self.dead_letters.push(DeadLetter {
            id,
            user,
            message_id,
            cause,
            buried_at,
        });
    }
}

impl Mailbox {
    fn accept(&mut self, notification: Notification, now: Timestamp) -> Accepted {
        self.failures = 0;
        if self.leased_until <= now {
            self.due = now.max(self.rests_until);
        }
        let waiting = Waiting {
            notification,
            accepted_at: now,
        };
        match &mut self.waiting {
            None => {
                self.waiting = Some(waiting);
                Accepted::Waiting
            }
            Some(older) => {
                if older.notification.history_id < waiting.notification.history_id {
                    *older = waiting;
                }
                Accepted::Merged
            }
        }
    }

    fn claim(&mut self, now: Timestamp, lease: Duration) -> Option<Claim> {
        let waiting = self.waiting.as_ref()?;
        self.lease += 1;
        self.due = now + lease;
        self.leased_until = self.due;
        Some(Claim {
            notification: waiting.notification.clone(),
            failures: self.failures,
            accepted_at: waiting.accepted_at,
            lease: self.lease,
        })
    }

    /// Whether a newer notification took the place of the claimed one.
    fn has_newer_than(&self, claim: &Claim) -> bool {
        let claimed = &claim.notification.message_id;
        self.waiting
            .as_ref()
            .is_some_and(|waiting| waiting.notification.message_id != *claimed)
    }

    fn make_due(&mut self, due: Timestamp, rests_until: Timestamp) {
        self.leased_until = Timestamp::default();
        self.due = due;
        self.rests_until = rests_until;
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
        let mailbox = rooms
            .mailboxes
            .entry(notification.user.clone())
            .or_default();
        Ok(mailbox.accept(notification, now))
    }

    async fn bury_unreadable(
        &self,
        letter: UnreadableMessage,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        let mut rooms = self.rooms.lock();
        if !rooms.is_first(&letter.user, &letter.message_id, now) {
            return Ok(Accepted::Duplicate);
        }
        rooms.bury(letter.user, letter.message_id, letter.cause, now);
        Ok(Accepted::Waiting)
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease: Duration,
        most: usize,
    ) -> Result<Vec<Claim>, InboxError> {
        let mut rooms = self.rooms.lock();
        let waiting = rooms
            .mailboxes
            .values_mut()
            .filter(|mailbox| mailbox.waiting.is_some());
        let mut due: Vec<_> = waiting.filter(|mailbox| mailbox.due <= now).collect();
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
        let held = rooms
            .mailboxes
            .get_mut(user)
            .filter(|mailbox| mailbox.lease == claim.lease);
        let Some(mailbox) = held.filter(|mailbox| mailbox.leased_until != Timestamp::default())
        else {
            return Err(InboxError::LeaseLost { user: user.clone() });
        };
        let has_newer = mailbox.has_newer_than(claim);
        match settlement {
            Settlement::Release => mailbox.make_due(now, mailbox.rests_until),
            Settlement::Done => {
                mailbox.make_due(now, now);
                mailbox.failures = 0;
                mailbox.waiting.take_if(|_| !has_newer);
            }
            Settlement::Retry { rest, .. } | Settlement::Bury { rest, .. } if has_newer => {
                mailbox.make_due(now + rest, now + rest);
            }
            Settlement::Retry { wait, rest } => {
                mailbox.make_due(now + wait, now + rest);
                mailbox.failures = claim.failures + 1;
            }
            Settlement::Bury { cause, rest } => {
                mailbox.make_due(now, now + rest);
                mailbox.failures = 0;
                mailbox.waiting = None;
                rooms.bury(
                    user.clone(),
                    claim.notification.message_id.clone(),
                    cause,
                    now,
                );
            }
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

    async fn dead_letters(&self, most: usize) -> Result<Vec<DeadLetter>, InboxError> {
        let rooms = self.rooms.lock();
        Ok(rooms
            .dead_letters
            .iter()
            .rev()
            .take(most)
            .cloned()
            .collect())
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
