//! One mailbox while a transaction changes it, whatever the engine.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use postbell_core::{
    Accepted, CURSORS_KEPT, Claim, Coverage, DeadLetterReason, Failure as DeliveryFailure,
    Notification, ProblemCode, QueueCursor, Settlement, Timestamp, TraceContext, UserId,
};

use crate::columns::{Columns, number, time_if_any};
use crate::mailbox::{Effect, Mailbox, Next, Pending};

/// The stored columns of a mailbox that the transaction needs, and those that it changes.
pub(crate) struct LoadedMailbox<Place> {
    pub(crate) user: UserId,
    /// Where its row is, as the engine names it; `None` if there is none.
    pub(crate) place: Option<Place>,
    pub(crate) row: Option<PendingRow>,
    pub(crate) changed: RowChange,
    /// By the key of the address.
    pub(crate) cursors: BTreeMap<String, QueueCursor>,
    pub(crate) changed_cursors: BTreeSet<String>,
    /// The exhausted dead letter with the greatest history id, if they were read.
    pub(crate) exhausted: Option<Notification>,
    pub(crate) takes_exhausted: bool,
    pub(crate) dead_letters: Vec<NewDeadLetter>,
    pub(crate) delivery: Option<NewDelivery>,
    /// When something was scheduled last.
    pub(crate) scheduled_at: Option<Timestamp>,
    pub(crate) is_announced: bool,
}

/// Which columns of a row have changed.
#[derive(Clone, Copy, Default)]
pub(crate) struct RowChange {
    /// Those of the notification, which are in no index.
    pub(crate) notification: bool,
    /// All others.
    pub(crate) schedule: bool,
}

/// The row in the table `pending`.
#[derive(Debug, PartialEq)]
pub(crate) struct PendingRow {
    pub(crate) mailbox: Mailbox,
    pub(crate) lease: i64,
    pub(crate) accepted_at: Option<Timestamp>,
    pub(crate) waiting_since: Option<Timestamp>,
    pub(crate) failing_since: Option<Timestamp>,
    /// The body of a notification that replaces the stored one.
    pub(crate) body: Option<Bytes>,
    /// Its trace.
    pub(crate) trace: Option<TraceContext>,
}

pub(crate) struct NewDeadLetter {
    pub(crate) notification: Notification,
    pub(crate) reason: DeadLetterReason,
    pub(crate) failure: DeliveryFailure,
    pub(crate) at: Timestamp,
}

pub(crate) struct NewDelivery {
    pub(crate) claim: Claim,
    pub(crate) settlement: Settlement,
    pub(crate) settled_at: Timestamp,
}

impl PendingRow {
    pub(crate) fn read<R: Columns>(row: &R) -> Result<Self, R::Failure> {
        Ok(Self {
            mailbox: Mailbox::read(row)?,
            lease: number(row, "lease")?,
            accepted_at: time_if_any(row, "accepted_at")?,
            waiting_since: time_if_any(row, "waiting_since")?,
            failing_since: time_if_any(row, "failing_since")?,
            body: None,
            trace: None,
        })
    }

    fn new(notification: &Notification, now: Timestamp) -> Self {
        Self {
            mailbox: Mailbox {
                pending: Some(pending(notification)),
                due_at: Some(now),
                cooldown_until: Timestamp::default(),
                leased_until: Timestamp::default(),
                attempt: 0,
                consecutive_failures: 0,
                parked_for: None,
                checked_in_at: Timestamp::default(),
            },
            lease: 0,
            accepted_at: Some(now),
            waiting_since: Some(now),
            failing_since: None,
            body: Some(notification.body.clone()),
            trace: notification.trace,
        }
    }

    fn apply(&mut self, effect: Effect, notification: &Notification, now: Timestamp) {
        match effect {
            Effect::Replaced {
                merged,
                published_at,
            } => {
                self.mailbox.pending = Some(Pending {
                    merged,
                    published_at,
                    ..pending(notification)
                });
                self.mailbox.attempt = 0;
                self.accepted_at = Some(now);
                self.body = Some(notification.body.clone());
                self.trace = notification.trace;
            }
            Effect::Merged {
                merged,
                published_at,
            } => {
                if let Some(pending) = &mut self.mailbox.pending {
                    pending.merged = merged;
                    pending.published_at = published_at;
                }
                // A message that a delivery in progress may not cover begins to wait now.
                if self.mailbox.is_leased() {
                    self.accepted_at = Some(now);
                }
            }
            Effect::None => (),
        }
    }

    fn count_failures(&mut self, settlement: &Settlement, now: Timestamp) {
        match settlement {
            Settlement::Delivered | Settlement::Unwanted => {
                self.mailbox.consecutive_failures = 0;
                self.failing_since = None;
            }
            Settlement::Retry { .. } | Settlement::DeadLetter { .. } | Settlement::Park { .. } => {
                self.mailbox.consecutive_failures += 1;
                self.failing_since = self.failing_since.or(Some(now));
            }
            Settlement::Release => (),
        }
    }

    /// The notification is done, but the mailbox is failing.
    fn empty(&mut self, cooldown_until: Timestamp) {
        let mailbox = &mut self.mailbox;
        mailbox.pending = None;
        mailbox.due_at = None;
        mailbox.cooldown_until = cooldown_until;
        mailbox.leased_until = Timestamp::default();
        mailbox.attempt = 0;
        mailbox.parked_for = None;
        self.accepted_at = None;
        self.waiting_since = None;
        self.body = None;
        self.trace = None;
    }
}

fn pending(notification: &Notification) -> Pending {
    Pending {
        message_id: notification.message_id.as_str().to_owned(),
        history_id: notification.history_id,
        address: notification.address.clone(),
        published_at: notification.published_at,
        merged: Default::default(),
    }
}

impl<Place> LoadedMailbox<Place> {
    /// A mailbox of which nothing is stored, as far as is known.
    pub(crate) fn new(user: UserId) -> Self {
        Self {
            user,
            place: None,
            row: None,
            changed: RowChange::default(),
            cursors: BTreeMap::new(),
            changed_cursors: BTreeSet::new(),
            exhausted: None,
            takes_exhausted: false,
            dead_letters: Vec::new(),
            delivery: None,
            scheduled_at: None,
            is_announced: false,
        }
    }

    /// Makes a notification pending, unless it is a repeat or covered.
    pub(crate) fn accept(&mut self, notification: &Notification, now: Timestamp) -> Accepted {
        self.is_announced = true;
        if let Some(row) = &mut self.row
            && let Some(accepted) = row.mailbox.covers(notification)
        {
            if accepted == Accepted::Merged {
                let effect = row.mailbox.effect_of(notification);
                self.changed.notification |= !matches!(effect, Effect::None);
                row.apply(effect, notification, now);
            }
            return accepted;
        }
        let key = notification.mailbox_key();
        // The cursor of an unknown address applies to every address of which there is none.
        let cursor = self.cursors.get(&*key).or_else(|| self.cursors.get(""));
        match cursor.map(|cursor| cursor.coverage(notification, now)) {
            Some(Coverage::Repeat) => Accepted::Duplicate,
            Some(Coverage::Covered) => Accepted::Covered,
            Some(Coverage::New) | None => self.put(notification, now),
        }
    }

    /// Makes a notification pending, unless the pending one covers it, and restarts the schedule.
    pub(crate) fn put(&mut self, notification: &Notification, now: Timestamp) -> Accepted {
        self.changed.notification = true;
        let Some(row) = &mut self.row else {
            self.row = Some(PendingRow::new(notification, now));
            self.scheduled(now);
            return Accepted::Queued;
        };
        let restart = row.mailbox.restart(now);
        let was_pending = row.mailbox.pending.is_some();
        row.apply(row.mailbox.effect_of(notification), notification, now);
        if !was_pending {
            row.waiting_since = row.accepted_at;
            self.changed.schedule = true;
        }
        if let Some(due) = restart {
            row.mailbox.due_at = Some(due);
            row.mailbox.attempt = 0;
            self.changed.schedule = true;
            self.scheduled(now);
        }
        if was_pending {
            Accepted::Merged
        } else {
            Accepted::Queued
        }
    }

    /// Makes the pending notification due at once, and ends the cooldown, unless a delivery is in
    /// progress.
    pub(crate) fn make_due(&mut self, now: Timestamp) {
        self.scheduled(now);
        let row = self.row.as_mut();
        if let Some(row) = row.filter(|row| row.mailbox.leased_until <= now) {
            row.mailbox.due_at = row.mailbox.due_at.map(|_| now);
            row.mailbox.cooldown_until = Timestamp::default();
            row.mailbox.parked_for = None;
            self.changed.schedule = true;
        }
    }

    /// Makes a retry due that waits for its time, and returns whether one did.
    pub(crate) fn retry_now(&mut self, now: Timestamp) -> bool {
        let row = self.row.as_ref();
        let waits = row.is_some_and(|row| row.mailbox.waits_for_retry(now));
        if waits {
            self.make_due(now);
        }
        waits
    }

    /// Makes the mailbox due because its machine checked in, and retries its exhausted dead letters,
    /// unless it is parked and the machine still has a problem. Returns whether a notification is
    /// pending.
    pub(crate) fn check_in(&mut self, problem: Option<ProblemCode>, now: Timestamp) -> bool {
        self.is_announced = true;
        let row = self.row.as_ref();
        let is_parked = row.is_some_and(|row| row.mailbox.parked_for.is_some());
        if problem.is_none() || !is_parked {
            if let Some(notification) = self.take_exhausted() {
                self.put(&notification, now);
            }
            self.make_due(now);
        }
        let Some(row) = &mut self.row else {
            return false;
        };
        if problem.is_none() && row.mailbox.leased_until > now {
            row.mailbox.checked_in_at = now;
            self.changed.schedule = true;
        }
        row.mailbox.pending.is_some()
    }

    /// Removes the exhausted dead letters, and returns the notification of the latest.
    fn take_exhausted(&mut self) -> Option<Notification> {
        let stored = self.exhausted.take();
        self.takes_exhausted |= stored.is_some();
        let of_this_transaction = self
            .dead_letters
            .extract_if(.., |new| new.reason == DeadLetterReason::Exhausted);
        let notifications = of_this_transaction.map(|new| new.notification);
        let all = notifications.chain(stored);
        all.max_by_key(|notification| notification.history_id)
    }

    /// Settles a claim, and returns whether it had the lease.
    pub(crate) fn settle(
        &mut self,
        claim: &Claim,
        settlement: &Settlement,
        now: Timestamp,
    ) -> bool {
        let row = self.row.as_mut();
        let Some(row) = row.filter(|row| row.lease == claim.lease && row.mailbox.is_leased())
        else {
            return false;
        };
        let has_newer = row.mailbox.has_newer_than(claim);
        let cursor = row.mailbox.cursor(claim, now);
        match row.mailbox.after(claim, settlement, now) {
            Next::Nothing => self.row = None,
            Next::Pending(schedule) => {
                row.count_failures(settlement, now);
                if has_newer && matches!(settlement, Settlement::Delivered | Settlement::Unwanted) {
                    row.waiting_since = row.accepted_at;
                }
                row.mailbox.due_at = Some(schedule.due);
                row.mailbox.cooldown_until = schedule.cooldown_until;
                row.mailbox.attempt = schedule.attempt;
                row.mailbox.leased_until = Timestamp::default();
                row.mailbox.parked_for = schedule.parked_for;
            }
            Next::Failing { cooldown_until } => {
                row.count_failures(settlement, now);
                row.empty(cooldown_until);
                self.changed.notification = true;
            }
        }
        self.changed.schedule = true;
        self.is_announced = true;
        self.scheduled(now);
        if settlement.is_final() {
            self.raise(&claim.notification, cursor);
        }
        if let Settlement::DeadLetter {
            reason, failure, ..
        } = settlement
            && !has_newer
        {
            self.dead_letters.push(NewDeadLetter {
                notification: claim.notification.clone(),
                reason: *reason,
                failure: failure.clone(),
                at: now,
            });
        }
        if settlement.outcome().is_some() {
            self.delivery = Some(NewDelivery {
                claim: claim.clone(),
                settlement: settlement.clone(),
                settled_at: now,
            });
        }
        true
    }

    /// Raises the cursor of the mailbox of a notification to what was settled.
    fn raise(&mut self, notification: &Notification, settled: QueueCursor) {
        let key = notification.mailbox_key();
        if let Some(cursor) = self.cursors.get_mut(&*key) {
            cursor.raise(settled);
        } else {
            self.prune_cursors(&key);
            self.cursors.insert(key.to_string(), settled);
        }
        self.changed_cursors.insert(key.into_owned());
    }

    /// Deletes what the new cursor of an address replaces: that of an unknown address, and all but the
    /// latest others.
    fn prune_cursors(&mut self, key: &str) {
        let mut others: Vec<_> = self
            .cursors
            .iter()
            .filter(|(address, _)| !address.is_empty())
            .map(|(address, cursor)| (std::cmp::Reverse(cursor.settled_at), address.clone()))
            .collect();
        others.sort();
        let mut old: Vec<_> = others.into_iter().skip(CURSORS_KEPT - 1).collect();
        if !key.is_empty() {
            old.push((std::cmp::Reverse(Timestamp::default()), String::new()));
        }
        for (_, address) in old {
            if self.cursors.remove(&address).is_some() {
                self.changed_cursors.insert(address);
            }
        }
    }

    /// Returns whether it gets a row, which it did not have.
    pub(crate) fn is_added(&self) -> bool {
        self.is_row_changed() && self.row.is_some() && self.place.is_none()
    }

    /// Returns whether something has to be stored.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_row_changed()
            || self.takes_exhausted
            || !self.changed_cursors.is_empty()
            || !self.dead_letters.is_empty()
            || self.delivery.is_some()
    }

    /// Returns whether the row has to be stored or deleted.
    pub(crate) fn is_row_changed(&self) -> bool {
        self.changed.notification || self.changed.schedule
    }

    fn scheduled(&mut self, now: Timestamp) {
        self.scheduled_at = self.scheduled_at.max(Some(now));
    }
}
