//! Up to where the notifications of a mailbox are settled.

use std::cmp::Ordering;

use crate::{CLOCK_TOLERANCE, DUPLICATE_WINDOW, HistoryId, MessageIds, Notification, Timestamp};

/// Of how many addresses per user a cursor is kept.
pub const CURSORS_KEPT: usize = 4;

/// The greatest history id of a mailbox whose notification is settled: delivered, no longer wanted, or
/// a dead letter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueueCursor {
    /// The history id.
    pub history_id: HistoryId,

    /// The messages that announced it, and settled ones below it that do not say when they were
    /// published.
    pub message_ids: MessageIds,

    /// When the last notification of the mailbox was settled, by the clock of the relay.
    pub settled_at: Timestamp,

    /// When the latest settled notification was published, by the clock of Pub/Sub: its delivery found
    /// everything that was in the mailbox by then.
    pub published_at: Option<Timestamp>,
}

/// How a notification relates to the cursor of its mailbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coverage {
    /// It is a new one.
    New,
    /// It is a repeat of a message that the cursor remembers.
    Repeat,
    /// It was published no later than a settled one with a greater history id.
    Covered,
}

impl QueueCursor {
    /// Compares a notification of the same mailbox, which arrives at `now`, with the cursor.
    ///
    /// A lower history id alone covers nothing: the greater one may be invented, or of a mailbox that was
    /// replaced. Only Pub/Sub's own times are compared, so no difference between two clocks counts. A
    /// message without a publish time, and one that arrives after the clock of the relay was ahead, is
    /// delivered rather than lost.
    #[must_use]
    pub fn coverage(&self, notification: &Notification, now: Timestamp) -> Coverage {
        let order = notification.history_id.cmp(&self.history_id);
        let is_recent = now < self.settled_at + DUPLICATE_WINDOW;
        if order != Ordering::Greater
            && is_recent
            && self.message_ids.contains(&notification.message_id)
        {
            return Coverage::Repeat;
        }
        let covers = |published| {
            let settled = self.published_at.filter(|at| *at <= now + CLOCK_TOLERANCE);
            settled.is_some_and(|settled| published <= settled)
        };
        if order == Ordering::Less && notification.published_at.is_some_and(covers) {
            Coverage::Covered
        } else {
            Coverage::New
        }
    }

    /// Adds what was settled of the same mailbox later. A lower history id does not lower the cursor.
    pub fn raise(&mut self, settled: Self) {
        let published_at = self.published_at.max(settled.published_at);
        match settled.history_id.cmp(&self.history_id) {
            Ordering::Greater => *self = settled,
            Ordering::Less if settled.published_at.is_some() => {
                self.settled_at = settled.settled_at;
            }
            Ordering::Less | Ordering::Equal => {
                self.message_ids.extend(settled.message_ids);
                self.settled_at = settled.settled_at;
            }
        }
        self.published_at = published_at;
    }
}
