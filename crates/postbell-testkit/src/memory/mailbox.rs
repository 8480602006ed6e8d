//! One mailbox in memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use postbell_core::{
    Accepted, Claim, DELIVERIES_KEPT, DeadLetter, DeliveryRecord, HOURS_COUNTED, HourlyCount,
    MessageIds, Notification, Outcome, PendingDelivery, ProblemCode, QueueCursor, RelayId,
    Settlement, Timestamp, UserId,
};

/// A mailbox with its pending notification and its log.
#[derive(Default)]
pub(super) struct Mailbox {
    pub(super) pending: Option<Pending>,
    /// When the mailbox may be claimed; the end of the lease while it is claimed.
    pub(super) due: Timestamp,
    /// The last deliveries, the latest first.
    pub(super) deliveries: VecDeque<DeliveryRecord>,
    /// Counts by the hour's number modulo [`HOURS_COUNTED`]: an hour replaces the one a day before.
    hours: BTreeMap<i64, HourlyCount>,
    /// When the mailbox began to wait.
    pub(super) waiting_since: Timestamp,
    /// Until then only a check-in makes the mailbox due.
    cooldown_until: Timestamp,
    leased_until: Timestamp,
    lease: i64,
    /// The relay that has the lease.
    holder: Option<RelayId>,
    /// The position in the retry schedule.
    attempt: u32,
    /// Failures in a row, even if the schedule restarted.
    consecutive_failures: u32,
    failing_since: Option<Timestamp>,
    parked_for: Option<ProblemCode>,
    /// When the machine last checked in without a problem during a delivery.
    checked_in_at: Timestamp,
}

pub(super) struct Pending {
    pub(super) notification: Notification,
    pub(super) accepted_at: Timestamp,
    /// The messages with its history id.
    message_ids: MessageIds,
}

impl Pending {
    /// Returns whether the history ids can be compared.
    fn is_comparable(&self, notification: &Notification) -> bool {
        notification.is_comparable(self.notification.address.as_ref())
    }

    fn is_repeated_by(&self, notification: &Notification) -> bool {
        self.notification.history_id == notification.history_id
            && (self.notification.message_id == notification.message_id
                || self.message_ids.contains(&notification.message_id))
    }

    /// Remembers that it stands for another message, too: with a delivery in progress, one that this
    /// delivery may not cover begins to wait now.
    fn stand_for(&mut self, other: &Notification, is_in_progress: bool, now: Timestamp) {
        let stored = self.notification.published_at;
        let published_at = other.merged_publish_time(stored, is_in_progress);
        if published_at != stored {
            self.notification.published_at = published_at;
            if is_in_progress {
                self.accepted_at = now;
            }
        }
    }
}

impl Mailbox {
    /// Lets the pending notification stand for this one, if it can, and returns how.
    pub(super) fn cover(
        &mut self,
        notification: &Notification,
        now: Timestamp,
    ) -> Option<Accepted> {
        let is_in_progress = self.leased_until != Timestamp::default();
        let pending = self.pending.as_mut();
        let pending = pending.filter(|pending| pending.is_comparable(notification))?;
        if pending.is_repeated_by(notification) {
            return Some(Accepted::Duplicate);
        }
        if notification.history_id >= pending.notification.history_id {
            return None;
        }
        pending.stand_for(notification, is_in_progress, now);
        Some(Accepted::Merged)
    }

    /// Returns when the mailbox is due if a notification at `now` restarts its schedule.
    pub(super) fn restart(&self, now: Timestamp) -> Option<Timestamp> {
        let due = now.max(self.cooldown_until);
        let is_due_already = self.pending.is_some() && self.attempt == 0 && self.due <= due;
        (self.leased_until <= now && !is_due_already).then_some(due)
    }

    /// Makes a notification pending, unless the pending one covers it, and restarts the schedule.
    pub(super) fn put(&mut self, notification: Notification, now: Timestamp) -> Accepted {
        if let Some(due) = self.restart(now) {
            self.due = due;
            self.attempt = 0;
        }
        let mut newer = Pending {
            message_ids: notification.message_id.clone().into(),
            notification,
            accepted_at: now,
        };
        let Some(pending) = &mut self.pending else {
            self.waiting_since = now;
            self.pending = Some(newer);
            return Accepted::Queued;
        };
        let stored = pending.notification.history_id;
        let is_comparable = pending.is_comparable(&newer.notification);
        let is_in_progress = self.leased_until != Timestamp::default();
        if is_comparable && pending.is_repeated_by(&newer.notification) {
            return Accepted::Merged;
        }
        if is_comparable
            && (newer.notification.history_id < stored
                || newer.notification.history_id == stored && !is_in_progress)
        {
            pending.stand_for(&newer.notification, is_in_progress, now);
            if newer.notification.history_id == stored {
                pending.message_ids.extend(newer.message_ids);
            }
            return Accepted::Merged;
        }
        if is_comparable {
            let published_at = pending.notification.published_at;
            let notification = &mut newer.notification;
            notification.published_at =
                notification.merged_publish_time(published_at, is_in_progress);
            if notification.history_id == stored {
                // The delivery in progress may have read the mailbox before this one was sent.
                let mut ids = pending.message_ids.clone();
                ids.extend(newer.message_ids);
                newer.message_ids = ids;
            }
        }
        *pending = newer;
        self.attempt = 0;
        Accepted::Merged
    }

    pub(super) fn make_due(&mut self, now: Timestamp) {
        if self.leased_until <= now {
            self.due = now;
            self.cooldown_until = Timestamp::default();
            self.parked_for = None;
        }
    }

    /// Makes a retry due that waits for its time, and returns whether one did.
    pub(super) fn retry_now(&mut self, now: Timestamp) -> bool {
        let waits = self.pending.is_some()
            && self.consecutive_failures > 0
            && self.due > now
            && self.leased_until <= now
            && !self.is_parked();
        if waits {
            self.make_due(now);
        }
        waits
    }

    pub(super) const fn is_parked(&self) -> bool {
        self.parked_for.is_some()
    }

    /// Remembers a check-in without a problem during a delivery.
    pub(super) fn problem_is_over(&mut self, now: Timestamp) {
        if self.leased_until > now {
            self.checked_in_at = now;
        }
    }

    /// Moves times back that were set while the clock was `ahead`.
    pub(super) fn move_back(&mut self, ahead: Duration, now: Timestamp, lease: Duration) {
        let back = |time: Timestamp, least: Timestamp| {
            let millis = i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
            let earlier = Timestamp::from_millis(time.as_millis().saturating_sub(millis));
            time.min(earlier.max(least))
        };
        let is_leased = self.leased_until != Timestamp::default();
        let least = if is_leased { now + lease } else { now };
        self.due = back(self.due, least);
        self.cooldown_until = back(self.cooldown_until, now);
        if is_leased {
            self.leased_until = back(self.leased_until, least);
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.pending.is_some() && self.due <= now
    }

    /// Releases a claim of a relay that is not one of `living`, and returns whether there was one.
    pub(super) fn release_unless_of(&mut self, living: &BTreeMap<RelayId, Timestamp>) -> bool {
        let lives = |relay| living.contains_key(&relay);
        let is_leased = self.leased_until != Timestamp::default();
        let is_orphaned = self.pending.is_some() && is_leased && !self.holder.is_some_and(lives);
        if is_orphaned {
            self.release(self.cooldown_until, self.cooldown_until);
        }
        is_orphaned
    }

    pub(super) fn claim(
        &mut self,
        number: i64,
        relay: RelayId,
        now: Timestamp,
        lease: Duration,
    ) -> Option<Claim> {
        let pending = self.pending.as_ref()?;
        self.holder = Some(relay);
        self.lease = number;
        self.due = now + lease;
        self.leased_until = self.due;
        Some(Claim {
            notification: pending.notification.clone(),
            attempt: self.attempt,
            accepted_at: pending.accepted_at,
            claimed_at: now,
            lease: self.lease,
        })
    }

    /// Returns whether a claim is the latest one and was not settled.
    pub(super) fn is_leased_by(&self, claim: &Claim) -> bool {
        self.lease == claim.lease && self.leased_until != Timestamp::default()
    }

    /// Ends a claim that has the lease, and returns the dead letter that results.
    pub(super) fn settle(
        &mut self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Option<DeadLetter> {
        self.record(claim, &settlement, now);
        self.count_failures(&settlement, now);
        let has_newer = self.has_newer_than(claim);
        if settlement != Settlement::Release {
            self.parked_for = None;
        }
        match settlement {
            Settlement::Release => self.release(now, self.cooldown_until),
            // The problem is over since the attempt began.
            Settlement::Park { .. } if self.checked_in_at >= claim.claimed_at => {
                self.release(now, now);
            }
            Settlement::Park { failure, until } => {
                self.release(until, until);
                self.parked_for = failure.kind.problem();
            }
            Settlement::Delivered | Settlement::Unwanted => {
                self.release(now, if has_newer { now } else { Timestamp::default() });
                self.attempt = 0;
                if let Some(newer) = self.pending.take_if(|_| has_newer) {
                    self.waiting_since = newer.accepted_at;
                    self.pending = Some(newer);
                } else {
                    self.pending = None;
                    self.checked_in_at = Timestamp::default();
                }
            }
            Settlement::Retry { cooldown, .. } | Settlement::DeadLetter { cooldown, .. }
                if has_newer =>
            {
                self.release(now + cooldown, now + cooldown);
            }
            Settlement::Retry { wait, cooldown, .. } => {
                self.release(now + wait, now + cooldown);
                self.attempt = claim.attempt + 1;
            }
            Settlement::DeadLetter {
                reason,
                failure,
                cooldown,
            } => {
                self.release(now, now + cooldown);
                self.attempt = 0;
                self.pending = None;
                let notification = claim.notification.clone();
                return Some(DeadLetter {
                    id: 0,
                    user: notification.user,
                    message_id: notification.message_id,
                    history_id: Some(notification.history_id),
                    reason,
                    cause: failure.detail,
                    failure_kind: Some(failure.kind),
                    dead_lettered_at: now,
                });
            }
        }
        None
    }

    fn count_failures(&mut self, settlement: &Settlement, now: Timestamp) {
        match settlement {
            Settlement::Delivered | Settlement::Unwanted => {
                self.consecutive_failures = 0;
                self.failing_since = None;
            }
            Settlement::Retry { .. } | Settlement::DeadLetter { .. } | Settlement::Park { .. } => {
                self.consecutive_failures += 1;
                self.failing_since.get_or_insert(now);
            }
            Settlement::Release => (),
        }
    }

    /// Returns whether a newer notification replaced the claimed one, or a message has arrived that the
    /// claim may not cover.
    fn has_newer_than(&self, claim: &Claim) -> bool {
        let claimed = &claim.notification;
        let pending = self.pending.as_ref().map(|pending| &pending.notification);
        pending.is_some_and(|pending| {
            (&pending.message_id, pending.history_id) != (&claimed.message_id, claimed.history_id)
                || pending.published_at > claimed.published_at
        })
    }

    /// Returns the cursor after a claim that is settled for good.
    pub(super) fn cursor(&self, claim: &Claim, now: Timestamp) -> QueueCursor {
        let pending = self.pending.as_ref();
        let same = pending
            .filter(|pending| pending.notification.history_id == claim.notification.history_id);
        let ids = same.map(|pending| {
            let newest = &pending.notification.message_id;
            let ids = pending.message_ids.clone().into_iter();
            ids.filter(move |id| id != newest || *id == claim.notification.message_id)
        });
        let mut message_ids = MessageIds::default();
        message_ids.extend(ids.into_iter().flatten());
        claim.cursor(message_ids, now)
    }

    pub(super) fn pending(&self, user: &UserId) -> Option<PendingDelivery> {
        let pending = self.pending.as_ref()?;
        Some(PendingDelivery {
            user: user.clone(),
            message_id: pending.notification.message_id.clone(),
            history_id: pending.notification.history_id,
            accepted_at: pending.accepted_at,
            due_at: self.due,
            consecutive_failures: self.consecutive_failures,
            failing_since: self.failing_since,
            in_progress: self.leased_until != Timestamp::default(),
            parked_for: self.parked_for,
        })
    }

    pub(super) fn hourly_counts(&self, now: Timestamp) -> Vec<HourlyCount> {
        let now = HourlyCount::hour_number(now);
        let recent = self.hours.values().copied().filter(|hour| {
            let number = HourlyCount::hour_number(hour.begins_at);
            number > now - HOURS_COUNTED && number <= now
        });
        let mut recent: Vec<_> = recent.collect();
        recent.sort_by_key(|hour| hour.begins_at);
        recent
    }

    fn count(&mut self, outcome: Outcome, at: Timestamp) {
        let (delivered, failed) = outcome.counts_as();
        if delivered + failed == 0 {
            return;
        }
        let number = HourlyCount::hour_number(at);
        let zero = HourlyCount::of_hour(number);
        let slot = number.rem_euclid(HOURS_COUNTED);
        let hour = self.hours.entry(slot).or_insert(zero);
        if hour.begins_at != zero.begins_at {
            *hour = zero;
        }
        hour.delivered += delivered;
        hour.failed += failed;
    }

    fn record(&mut self, claim: &Claim, settlement: &Settlement, settled_at: Timestamp) {
        let Some((outcome, failure)) = settlement.outcome() else {
            return;
        };
        self.count(outcome, settled_at);
        self.deliveries.push_front(DeliveryRecord {
            message_id: claim.notification.message_id.clone(),
            history_id: claim.notification.history_id,
            outcome,
            cause: failure.map(|failure| failure.detail.clone()),
            failure_kind: failure.map(|failure| failure.kind),
            attempt: claim.attempt,
            accepted_at: claim.accepted_at,
            claimed_at: claim.claimed_at,
            settled_at,
            trace_id: claim.notification.trace.map(|one| one.trace),
        });
        self.deliveries.truncate(DELIVERIES_KEPT);
    }

    fn release(&mut self, due: Timestamp, cooldown_until: Timestamp) {
        self.leased_until = Timestamp::default();
        self.due = due;
        self.cooldown_until = cooldown_until;
    }
}
