//! The delivery queue and log in memory.

mod log;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{
    Accepted, CLOCK_TOLERANCE, CURSORS_KEPT, Changes, Claim, ClaimOrder, Claimed, Coverage,
    DEAD_LETTERS_KEPT, DeadLetter, DeadLetterReason, DeliveryQueue, Notification, PendingDelivery,
    ProblemCode, QueueCursor, RELAY_TIMEOUT, RelayId, SettleError, Settlement, StoreError,
    Timestamp, UNPARSEABLE_KEPT, UnparseableMessage, UserId,
};

use super::audit::Recorder;
use super::mailbox::Mailbox;

/// The delivery queue and log in memory: every promise except durability. Clones share the state.
#[derive(Clone, Default)]
pub struct MemoryDeliveries {
    state: Arc<Mutex<State>>,
    changes: Changes,
    recorder: Recorder,
}

impl MemoryDeliveries {
    /// Announces every change through `changes`.
    #[must_use]
    pub fn announcing(changes: Changes) -> Self {
        Self {
            changes,
            ..Self::default()
        }
    }

    pub(super) fn recording(&self, recorder: Recorder) -> Self {
        Self {
            recorder,
            ..self.clone()
        }
    }
}

#[derive(Default)]
struct State {
    mailboxes: BTreeMap<UserId, Mailbox>,
    /// By user and mailbox.
    cursors: BTreeMap<(UserId, String), QueueCursor>,
    last_lease: i64,
    /// The last heartbeat of each relay.
    relays: BTreeMap<RelayId, Timestamp>,
    dead_letters: BTreeMap<i64, StoredDeadLetter>,
    last_id: i64,
    dead_letters_dropped: u64,
    /// The latest time at which something was scheduled.
    latest: Timestamp,
}

struct StoredDeadLetter {
    dead_letter: DeadLetter,
    /// `None` if the message cannot be parsed, and so cannot be replayed.
    notification: Option<Notification>,
}

impl State {
    /// Compares a notification with the cursor of its mailbox.
    fn coverage(&self, notification: &Notification, now: Timestamp) -> Coverage {
        let keys = [notification.mailbox_key().into_owned(), String::new()];
        let keys = keys.map(|address| (notification.user.clone(), address));
        let cursor = keys.iter().find_map(|key| self.cursors.get(key));
        cursor.map_or(Coverage::New, |cursor| cursor.coverage(notification, now))
    }

    /// Raises the cursor of the mailbox of a notification to what was settled.
    fn raise(&mut self, notification: &Notification, settled: QueueCursor) {
        let user = &notification.user;
        let key = (user.clone(), notification.mailbox_key().into_owned());
        if let Some(cursor) = self.cursors.get_mut(&key) {
            cursor.raise(settled);
            return;
        }
        let unknown = (user.clone(), String::new());
        self.cursors.remove(&unknown);
        let others = self.cursors.iter().filter(|((owner, _), _)| owner == user);
        let others = others.map(|(key, cursor)| (cursor.settled_at, key.clone()));
        let mut others: Vec<_> = others.collect();
        others.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        for (_, old) in others.into_iter().skip(CURSORS_KEPT - 1) {
            self.cursors.remove(&old);
        }
        self.cursors.insert(key, settled);
    }

    fn add_dead_letter(&mut self, dead_letter: DeadLetter, notification: Option<Notification>) {
        self.last_id += 1;
        let id = self.last_id;
        let stored = StoredDeadLetter {
            dead_letter: DeadLetter { id, ..dead_letter },
            notification,
        };
        let user = stored.dead_letter.user.clone();
        self.dead_letters.insert(id, stored);
        self.limit(&user, DEAD_LETTERS_KEPT, |_| true);
    }

    /// Deletes a user's oldest dead letters with one of these reasons beyond `kept`.
    fn limit(&mut self, user: &UserId, kept: usize, counts: fn(DeadLetterReason) -> bool) {
        let letters =
            self.dead_letters.values().rev().filter(|stored| {
                stored.dead_letter.user == *user && counts(stored.dead_letter.reason)
            });
        let ids = letters.map(|stored| stored.dead_letter.id);
        for id in ids.skip(kept).collect::<Vec<_>>() {
            self.dead_letters.remove(&id);
            self.dead_letters_dropped += 1;
        }
    }

    /// Remembers that something was scheduled, to a second.
    fn mark(&mut self, now: Timestamp) {
        if self.latest.as_millis() < now.as_millis() - 1000 {
            self.latest = now;
        }
    }

    /// Moves scheduled times back if the clock was ahead when they were set.
    fn correct_clock(&mut self, now: Timestamp, lease: Duration) {
        let ahead = self.latest - now;
        if ahead > CLOCK_TOLERANCE {
            let mailboxes = self.mailboxes.values_mut();
            mailboxes.for_each(|mailbox| mailbox.move_back(ahead, now, lease));
            self.latest = now;
        }
    }

    fn mailbox(&mut self, user: &UserId) -> &mut Mailbox {
        self.mailboxes.entry(user.clone()).or_default()
    }

    fn next_due(&self) -> Option<Timestamp> {
        let mailboxes = self.mailboxes.values();
        let pending = mailboxes.filter(|mailbox| mailbox.pending.is_some());
        pending.map(|mailbox| mailbox.due).min()
    }

    fn parked(&self) -> u64 {
        let mailboxes = self.mailboxes.values();
        mailboxes.filter(|mailbox| mailbox.is_parked()).count() as u64
    }

    /// Returns the pending notifications of failing mailboxes, the longest failing first.
    fn failing(&self) -> Vec<PendingDelivery> {
        let pending = self.mailboxes.iter();
        let pending = pending.filter_map(|(user, mailbox)| mailbox.pending(user));
        let mut failing: Vec<_> = pending
            .filter(|pending| pending.failing_since.is_some())
            .collect();
        failing.sort_by_key(|pending| pending.failing_since);
        failing
    }

    /// Removes a user's exhausted dead letters, and returns the notification of the latest.
    fn take_exhausted(&mut self, user: &UserId) -> Option<Notification> {
        let taken = self.dead_letters.extract_if(.., |_, stored| {
            stored.dead_letter.user == *user
                && stored.dead_letter.reason == DeadLetterReason::Exhausted
        });
        taken
            .filter_map(|(_, stored)| stored.notification)
            .max_by_key(|notification| notification.history_id)
    }
}

impl MemoryDeliveries {
    /// Claims those of the due mailboxes, the longest due first, that are selected.
    fn claim_due(
        &self,
        relay: RelayId,
        now: Timestamp,
        lease: Duration,
        select: impl FnOnce(&mut Vec<&mut Mailbox>),
    ) -> Claimed {
        let mut state = self.state.lock();
        state.correct_clock(now, lease);
        let State {
            mailboxes,
            last_lease,
            ..
        } = &mut *state;
        let mut due: Vec<_> = mailboxes
            .values_mut()
            .filter(|mailbox| mailbox.is_due(now))
            .collect();
        due.sort_by_key(|mailbox| mailbox.due);
        select(&mut due);
        let claims = due.into_iter().filter_map(|mailbox| {
            *last_lease += 1;
            mailbox.claim(*last_lease, relay, now, lease)
        });
        let claims: Vec<_> = claims.collect();
        for claim in &claims {
            self.changes.announce(&claim.notification.user);
            state.mark(now);
        }
        let next_due = state.next_due();
        Claimed { claims, next_due }
    }
}

#[async_trait]
impl DeliveryQueue for MemoryDeliveries {
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let mut state = self.state.lock();
        let user = notification.user.clone();
        self.changes.announce(&user);
        if let Some(covered) = state.mailbox(&user).cover(&notification, now) {
            return Ok(covered);
        }
        match state.coverage(&notification, now) {
            Coverage::Repeat => Ok(Accepted::Duplicate),
            Coverage::Covered => Ok(Accepted::Covered),
            Coverage::New => {
                if state.mailbox(&user).restart(now).is_some() {
                    state.mark(now);
                }
                Ok(state.mailbox(&user).put(notification, now))
            }
        }
    }

    async fn dead_letter(
        &self,
        message: UnparseableMessage,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let UnparseableMessage {
            user,
            message_id,
            cause,
            ..
        } = message;
        let mut state = self.state.lock();
        self.changes.announce(&user);
        let is_kept =
            state
                .dead_letters
                .values()
                .any(|StoredDeadLetter { dead_letter, .. }| {
                    dead_letter.reason == DeadLetterReason::Malformed
                        && (&dead_letter.user, &dead_letter.message_id) == (&user, &message_id)
                });
        if is_kept {
            return Ok(Accepted::Duplicate);
        }
        let dead_letter = DeadLetter {
            id: 0,
            user: user.clone(),
            message_id,
            history_id: None,
            reason: DeadLetterReason::Malformed,
            cause,
            failure_kind: None,
            dead_lettered_at: now,
        };
        state.add_dead_letter(dead_letter, None);
        state.limit(&user, UNPARSEABLE_KEPT, |reason| {
            reason == DeadLetterReason::Malformed
        });
        Ok(Accepted::Queued)
    }

    async fn claim_in(
        &self,
        order: ClaimOrder,
        relay: RelayId,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Claimed, StoreError> {
        Ok(self.claim_due(relay, now, lease, |due| {
            if order == ClaimOrder::LatestDue {
                due.reverse();
            }
            due.truncate(limit);
        }))
    }

    async fn heartbeat(&self, relay: RelayId, now: Timestamp) -> Result<usize, StoreError> {
        let mut state = self.state.lock();
        let State {
            relays, mailboxes, ..
        } = &mut *state;
        for heartbeat in relays.values_mut() {
            if *heartbeat > now + CLOCK_TOLERANCE {
                *heartbeat = now;
            }
        }
        let is_new = relays.insert(relay, now).is_none();
        let known = relays.len();
        relays.retain(|_, heartbeat| *heartbeat + RELAY_TIMEOUT > now);
        if !is_new && relays.len() == known {
            return Ok(0);
        }
        let mut released = 0;
        for (user, mailbox) in mailboxes {
            if mailbox.release_unless_of(relays) {
                self.changes.announce(user);
                released += 1;
            }
        }
        Ok(released)
    }

    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), SettleError> {
        let mut state = self.state.lock();
        let user = &claim.notification.user;
        let mailbox = state.mailboxes.get_mut(user);
        let Some(mailbox) = mailbox.filter(|mailbox| mailbox.is_leased_by(claim)) else {
            return Err(SettleError::LeaseLost { user: user.clone() });
        };
        self.changes.announce(user);
        let cursor = mailbox.cursor(claim, now);
        let is_final = settlement.is_final();
        if let Some(dead_letter) = mailbox.settle(claim, settlement, now) {
            state.add_dead_letter(dead_letter, Some(claim.notification.clone()));
        }
        if is_final {
            state.raise(&claim.notification, cursor);
        }
        state.mark(now);
        Ok(())
    }

    async fn make_due(
        &self,
        user: &UserId,
        problem: Option<ProblemCode>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut state = self.state.lock();
        self.changes.announce(user);
        if problem.is_none() || !state.mailbox(user).is_parked() {
            let exhausted = state.take_exhausted(user);
            state.mark(now);
            let mailbox = state.mailbox(user);
            if let Some(notification) = exhausted {
                mailbox.put(notification, now);
            }
            mailbox.make_due(now);
        }
        let mailbox = state.mailbox(user);
        if problem.is_none() {
            mailbox.problem_is_over(now);
        }
        Ok(mailbox.pending.is_some())
    }

    async fn retry_now(&self, users: &[UserId], now: Timestamp) -> Result<usize, StoreError> {
        let mut state = self.state.lock();
        let mut due = 0;
        for user in users {
            if state.mailbox(user).retry_now(now) {
                self.changes.announce(user);
                state.mark(now);
                due += 1;
            }
        }
        Ok(due)
    }

    async fn check_ready(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Deliveries;

    crate::deliveries_conformance!((Deliveries::new(Arc::new(MemoryDeliveries::default())), ()));
}
