//! One mailbox in memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use postbell_core::{
    Accepted, Claim, DELIVERIES_KEPT, DeadLetter, DeliveryRecord, HOURS_COUNTED, HourlyCount,
    Notification, Outcome, PendingDelivery, Settlement, Timestamp, UserId,
};

/// A mailbox, and what waits in it.
#[derive(Default)]
pub(super) struct Mailbox {
    pub(super) waiting: Option<Held>,
    /// When the mailbox may be claimed; the end of the lease while it is claimed.
    pub(super) due: Timestamp,
    /// The last deliveries, the latest first.
    pub(super) deliveries: VecDeque<DeliveryRecord>,
    /// What ended in the last hours, by the hour's number within a day: a new day takes the place
    /// of the one before.
    hours: BTreeMap<i64, HourlyCount>,
    /// Nothing but a check-in makes the mailbox due before.
    rests_until: Timestamp,
    leased_until: Timestamp,
    lease: i64,
    /// How far the schedule has come.
    failures: u32,
    /// How many deliveries in a row have failed, and since when, whatever starts the schedule over.
    failed: u32,
    failing_since: Option<Timestamp>,
}

pub(super) struct Held {
    pub(super) notification: Notification,
    pub(super) accepted_at: Timestamp,
}

impl Mailbox {
    /// Lets a notification wait, unless what waits covers it, and starts the schedule over.
    pub(super) fn put(&mut self, notification: Notification, now: Timestamp) -> Accepted {
        let due = now.max(self.rests_until);
        let is_as_it_should = self.waiting.is_some() && self.failures == 0 && self.due <= due;
        if self.leased_until <= now && !is_as_it_should {
            self.due = due;
            self.failures = 0;
        }
        let waiting = Held {
            notification,
            accepted_at: now,
        };
        match &mut self.waiting {
            None => {
                self.waiting = Some(waiting);
                Accepted::Queued
            }
            Some(older) => {
                if older.notification.history_id < waiting.notification.history_id {
                    *older = waiting;
                    self.failures = 0;
                }
                Accepted::Merged
            }
        }
    }

    /// Begins anew, but for the number of the lease, which never returns.
    pub(super) fn forget(&mut self) {
        *self = Self {
            lease: self.lease,
            ..Self::default()
        };
    }

    pub(super) fn wake(&mut self, now: Timestamp) {
        if self.leased_until <= now {
            self.due = now;
            self.rests_until = now;
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.waiting.is_some() && self.due <= now
    }

    pub(super) fn claim(&mut self, now: Timestamp, lease: Duration) -> Option<Claim> {
        let waiting = self.waiting.as_ref()?;
        self.lease += 1;
        self.due = now + lease;
        self.leased_until = self.due;
        Some(Claim {
            notification: waiting.notification.clone(),
            failures: self.failures,
            accepted_at: waiting.accepted_at,
            claimed_at: now,
            lease: self.lease,
        })
    }

    /// Whether a claim is the latest one and not settled yet.
    pub(super) fn is_held_by(&self, claim: &Claim) -> bool {
        self.lease == claim.lease && self.leased_until != Timestamp::default()
    }

    /// Ends a claim that holds the mailbox, and returns what is to be buried.
    pub(super) fn settle(
        &mut self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Option<DeadLetter> {
        self.record(claim, &settlement, now);
        self.count_in_a_row(&settlement, now);
        let has_newer = self.has_newer_than(claim);
        match settlement {
            Settlement::Release => self.make_due(now, self.rests_until),
            Settlement::Delivered | Settlement::Unwanted => {
                self.make_due(now, now);
                self.failures = 0;
                self.waiting.take_if(|_| !has_newer);
            }
            Settlement::Retry { rest, .. } | Settlement::DeadLetter { rest, .. } if has_newer => {
                self.make_due(now + rest, now + rest);
            }
            Settlement::Retry { wait, rest, .. } => {
                self.make_due(now + wait, now + rest);
                self.failures = claim.failures + 1;
            }
            Settlement::DeadLetter {
                reason,
                cause,
                rest,
            } => {
                self.make_due(now, now + rest);
                self.failures = 0;
                self.waiting = None;
                let Notification {
                    user,
                    message_id,
                    history_id,
                    ..
                } = claim.notification.clone();
                let history_id = Some(history_id);
                let id = 0;
                return Some(DeadLetter {
                    id,
                    user,
                    message_id,
                    history_id,
                    reason,
                    cause,
                    buried_at: now,
                });
            }
        }
        None
    }

    fn count_in_a_row(&mut self, settlement: &Settlement, now: Timestamp) {
        match settlement {
            Settlement::Delivered | Settlement::Unwanted => {
                self.failed = 0;
                self.failing_since = None;
            }
            Settlement::Retry { .. } | Settlement::DeadLetter { .. } => {
                self.failed += 1;
                self.failing_since.get_or_insert(now);
            }
            Settlement::Release => (),
        }
    }

    /// Whether a newer notification took the place of the claimed one.
    fn has_newer_than(&self, claim: &Claim) -> bool {
        let claimed = &claim.notification.message_id;
        self.waiting
            .as_ref()
            .is_some_and(|waiting| waiting.notification.message_id != *claimed)
    }

    /// What waits, for people to look at.
    pub(super) fn shown(&self, user: &UserId) -> Option<PendingDelivery> {
        let held = self.waiting.as_ref()?;
        Some(PendingDelivery {
            user: user.clone(),
            message_id: held.notification.message_id.clone(),
            history_id: held.notification.history_id,
            accepted_at: held.accepted_at,
            due_at: self.due,
            failures: self.failed,
            failing_since: self.failing_since,
            under_way: self.leased_until != Timestamp::default(),
        })
    }

    /// What ended in the last hours, the earliest first.
    pub(super) fn hours(&self, now: Timestamp) -> Vec<HourlyCount> {
        let now = HourlyCount::number(now);
        let is_recent = |hour: &HourlyCount| {
            let number = HourlyCount::number(hour.begins_at);
            number > now - HOURS_COUNTED && number <= now
        };
        let recent = self.hours.values().copied().filter(is_recent);
        let mut recent: Vec<_> = recent.collect();
        recent.sort_by_key(|hour| hour.begins_at);
        recent
    }

    fn count(&mut self, outcome: Outcome, at: Timestamp) {
        let (delivered, failed) = outcome.counts_as();
        if delivered + failed == 0 {
            return;
        }
        let number = HourlyCount::number(at);
        let fresh = HourlyCount::of_hour(number);
        let slot = number.rem_euclid(HOURS_COUNTED);
        let hour = self.hours.entry(slot).or_insert(fresh);
        if hour.begins_at != fresh.begins_at {
            *hour = fresh;
        }
        hour.delivered += delivered;
        hour.failed += failed;
    }

    fn record(&mut self, claim: &Claim, settlement: &Settlement, settled_at: Timestamp) {
        let Some((outcome, cause)) = settlement.outcome() else {
            return;
        };
        self.count(outcome, settled_at);
        self.deliveries.push_front(DeliveryRecord {
            message_id: claim.notification.message_id.clone(),
            history_id: claim.notification.history_id,
            outcome,
            cause: cause.map(str::to_owned),
            failures: claim.failures,
            accepted_at: claim.accepted_at,
            claimed_at: claim.claimed_at,
            settled_at,
        });
        self.deliveries.truncate(DELIVERIES_KEPT);
    }

    fn make_due(&mut self, due: Timestamp, rests_until: Timestamp) {
        self.leased_until = Timestamp::default();
        self.due = due;
        self.rests_until = rests_until;
    }
}
