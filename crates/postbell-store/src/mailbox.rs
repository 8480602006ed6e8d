//! What happens to a mailbox: decided here for every engine, which stores the result.

use std::cmp::Ordering;

use postbell_core::{
    Accepted, Claim, EmailAddress, HistoryId, MessageIds, Notification, QueueCursor, Settlement,
    Timestamp,
};

use crate::columns::{Columns, count, parsed, parsed_if_any, text, time, time_if_any};

/// The row of a mailbox in the table `pending`.
#[derive(Debug, PartialEq)]
pub(crate) struct Mailbox {
    pub(crate) pending: Option<Pending>,
    /// When it may be claimed; the end of the lease while it is claimed.
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) cooldown_until: Timestamp,
    pub(crate) leased_until: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) consecutive_failures: u32,
    pub(crate) parked_for: Option<String>,
    /// When the machine last checked in without a problem during a delivery.
    pub(crate) checked_in_at: Timestamp,
}

/// The pending notification.
#[derive(Debug, PartialEq)]
pub(crate) struct Pending {
    pub(crate) message_id: String,
    pub(crate) history_id: HistoryId,
    pub(crate) address: Option<EmailAddress>,
    pub(crate) published_at: Option<Timestamp>,
    /// Further messages with the same history id.
    pub(crate) merged: MessageIds,
}

/// What a new notification does to a mailbox.
pub(crate) enum Effect {
    /// It is pending in place of the stored one.
    Replaced {
        merged: MessageIds,
        published_at: Option<Timestamp>,
    },
    /// The stored one stands for it, too.
    Merged {
        merged: MessageIds,
        published_at: Option<Timestamp>,
    },
    None,
}

/// What remains of a mailbox when its claim is settled.
pub(crate) enum Next {
    Pending(Schedule),
    /// The notification is done, but the mailbox is failing.
    Failing {
        cooldown_until: Timestamp,
    },
    /// The notification is done, and nothing else is to be remembered of the mailbox.
    Nothing,
}

/// When the pending notification is due again.
pub(crate) struct Schedule {
    pub(crate) due: Timestamp,
    pub(crate) cooldown_until: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) parked_for: Option<String>,
}

impl Mailbox {
    /// Returns whether a retry waits for its time.
    pub(crate) fn waits_for_retry(&self, now: Timestamp) -> bool {
        self.pending.is_some()
            && self.consecutive_failures > 0
            && self.due_at.is_some_and(|due| due > now)
            && self.leased_until <= now
            && self.parked_for.is_none()
    }

    /// Reads every column that has a field here.
    pub(crate) fn read<R: Columns>(row: &R) -> Result<Self, R::Failure> {
        let pending = match row.text("message_id")? {
            None => None,
            Some(_) => Some(Pending {
                message_id: text(row, "message_id")?,
                history_id: parsed(row, "history_id")?,
                address: parsed_if_any(row, "address")?,
                published_at: time_if_any(row, "published_at")?,
                merged: parsed(row, "merged_ids")?,
            }),
        };
        Ok(Self {
            pending,
            due_at: time_if_any(row, "due_at")?,
            cooldown_until: time(row, "cooldown_until")?,
            leased_until: time(row, "leased_until")?,
            attempt: count(row, "attempt")?,
            consecutive_failures: count(row, "consecutive_failures")?,
            parked_for: row.text("parked_for")?.map(str::to_owned),
            checked_in_at: time(row, "checked_in_at")?,
        })
    }

    /// Returns how the pending notification makes this one superfluous, if it does. One that is merged
    /// still has its [effect](Self::effect_of).
    pub(crate) fn covers(&self, notification: &Notification) -> Option<Accepted> {
        let pending = self.comparable_with(notification)?;
        if pending.is_repeated_by(notification) {
            return Some(Accepted::Duplicate);
        }
        let is_below = notification.history_id < pending.history_id;
        is_below.then_some(Accepted::Merged)
    }

    /// Returns the pending notification if it is of the same mailbox.
    fn comparable_with(&self, notification: &Notification) -> Option<&Pending> {
        let pending = self.pending.as_ref();
        pending.filter(|pending| notification.is_comparable(pending.address.as_ref()))
    }

    pub(crate) fn effect_of(&self, notification: &Notification) -> Effect {
        let Some(pending) = self.comparable_with(notification) else {
            return Effect::Replaced {
                merged: MessageIds::default(),
                published_at: notification.published_at,
            };
        };
        let is_in_progress = self.is_leased();
        let published_at = notification.merged_publish_time(pending.published_at, is_in_progress);
        let mut merged = pending.merged.clone();
        match notification.history_id.cmp(&pending.history_id) {
            Ordering::Greater => Effect::Replaced {
                merged: MessageIds::default(),
                published_at,
            },
            Ordering::Less if published_at == pending.published_at => Effect::None,
            Ordering::Less => Effect::Merged {
                merged,
                published_at,
            },
            Ordering::Equal if pending.is_repeated_by(notification) => Effect::None,
            // The delivery in progress may have read the mailbox before this one was sent.
            Ordering::Equal if is_in_progress => {
                merged.extend(pending.message_id.parse());
                Effect::Replaced {
                    merged,
                    published_at,
                }
            }
            Ordering::Equal => {
                merged.extend([notification.message_id.clone()]);
                Effect::Merged {
                    merged,
                    published_at,
                }
            }
        }
    }

    /// Returns when a mailbox is due whose schedule a notification at `now` restarts. A mailbox whose
    /// delivery is in progress, or that is in its cooldown, is not made due. One that is due already
    /// keeps its place.
    pub(crate) fn restart(&self, now: Timestamp) -> Option<Timestamp> {
        let due = now.max(self.cooldown_until);
        let is_due_already = self.attempt == 0 && self.due_at.is_some_and(|at| at <= due);
        (self.leased_until <= now && !is_due_already).then_some(due)
    }

    /// Returns whether a claim has the lease.
    pub(crate) fn is_leased(&self) -> bool {
        self.leased_until > Timestamp::default()
    }

    /// Returns whether a newer notification replaced the claimed one, or a message has arrived that the
    /// claim may not cover.
    pub(crate) fn has_newer_than(&self, claim: &Claim) -> bool {
        self.pending.as_ref().is_some_and(|pending| {
            pending.message_id != claim.notification.message_id.as_str()
                || pending.history_id != claim.notification.history_id
                || pending.published_at > claim.notification.published_at
        })
    }

    /// Returns the cursor after a claim. The messages that were merged into a newer notification with
    /// another history id are not those of the claim.
    pub(crate) fn cursor(&self, claim: &Claim, now: Timestamp) -> QueueCursor {
        let same = self.pending.as_ref();
        let same = same.filter(|pending| pending.history_id == claim.notification.history_id);
        let merged = same.map(|pending| pending.merged.clone());
        claim.cursor(merged.unwrap_or_default(), now)
    }

    /// Returns what remains after a claim that had the lease.
    pub(crate) fn after(&self, claim: &Claim, settlement: &Settlement, now: Timestamp) -> Next {
        let has_newer = self.has_newer_than(claim);
        match settlement {
            Settlement::Release => Next::Pending(Schedule {
                due: now,
                cooldown_until: self.cooldown_until,
                attempt: self.attempt,
                parked_for: self.parked_for.clone(),
            }),
            Settlement::Delivered | Settlement::Unwanted if has_newer => {
                Schedule::unparked(now, now, 0)
            }
            Settlement::Delivered | Settlement::Unwanted => Next::Nothing,
            // The problem is over since the attempt began.
            Settlement::Park { .. } if self.checked_in_at >= claim.claimed_at => {
                Schedule::unparked(now, now, self.attempt)
            }
            Settlement::Park { failure, until } => Next::Pending(Schedule {
                due: *until,
                cooldown_until: *until,
                attempt: self.attempt,
                parked_for: failure.kind.problem().map(|code| code.to_string()),
            }),
            Settlement::Retry { cooldown, .. } | Settlement::DeadLetter { cooldown, .. }
                if has_newer =>
            {
                Schedule::unparked(now + *cooldown, now + *cooldown, 0)
            }
            Settlement::Retry { wait, cooldown, .. } => {
                let attempt = claim.attempt.saturating_add(1);
                Schedule::unparked(now + *wait, now + *cooldown, attempt)
            }
            Settlement::DeadLetter { cooldown, .. } => Next::Failing {
                cooldown_until: now + *cooldown,
            },
        }
    }
}

impl Pending {
    fn is_repeated_by(&self, notification: &Notification) -> bool {
        let id = &notification.message_id;
        self.history_id == notification.history_id
            && (self.message_id == id.as_str() || self.merged.contains(id))
    }
}

impl Schedule {
    fn unparked(due: Timestamp, cooldown_until: Timestamp, attempt: u32) -> Next {
        Next::Pending(Self {
            due,
            cooldown_until,
            attempt,
            parked_for: None,
        })
    }
}
