//! Up to where the notifications of a mailbox are settled.

use std::cmp::Ordering;
use std::time::Duration;

use crate::{CLOCK_TOLERANCE, DUPLICATE_WINDOW, HistoryId, MessageIds, Notification, Timestamp};

/// How much later than the end of a delivery a message that the delivery covers may have been published:
/// the clocks of Pub/Sub and of this machine differ.
pub const PUBLISH_TOLERANCE: Duration = Duration::from_secs(2 * 60);

/// Of how many addresses per user a cursor is kept.
pub const CURSORS_KEPT: usize = 4;

/// The greatest history id of a mailbox whose notification is settled: delivered, no longer wanted, or
/// a dead letter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueueCursor {
    /// The history id.
    pub history_id: HistoryId,

    /// The messages that announced it.
    pub message_ids: MessageIds,

    /// When the last of them was settled.
    pub settled_at: Timestamp,
}

/// How a notification relates to the cursor of its mailbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coverage {
    /// It is a new one.
    New,
    /// It is a repeat of a message with the cursor's history id.
    Repeat,
    /// The cursor is above its history id, and later.
    Covered,
    /// Its history id is below the cursor's although it was published later, so the cursor is wrong: a
    /// message had an invented history id, or the mailbox was replaced.
    Contradiction,
}

impl QueueCursor {
    /// Compares a notification of the same mailbox, which arrives at `now`, with the cursor.
    ///
    /// A message without a publish time counts as a later one: it is delivered rather than lost. So does
    /// every message if the clock was ahead when the cursor was written.
    #[must_use]
    pub fn coverage(&self, notification: &Notification, now: Timestamp) -> Coverage {
        match notification.history_id.cmp(&self.history_id) {
            Ordering::Greater => Coverage::New,
            Ordering::Equal => {
                let is_recent = now < self.settled_at + DUPLICATE_WINDOW;
                if is_recent && self.message_ids.contains(&notification.message_id) {
                    Coverage::Repeat
                } else {
                    Coverage::New
                }
            }
            Ordering::Less => {
                let latest = self.settled_at + PUBLISH_TOLERANCE;
                let is_earlier = notification.published_at.is_some_and(|at| at <= latest);
                if is_earlier && self.settled_at <= now + CLOCK_TOLERANCE {
                    Coverage::Covered
                } else {
                    Coverage::Contradiction
                }
            }
        }
    }

    /// Adds what was settled of the same mailbox later. A lower history id, as of a dead letter that was
    /// replayed, changes nothing.
    pub fn raise(&mut self, settled: Self) {
        match settled.history_id.cmp(&self.history_id) {
            Ordering::Less => (),
            Ordering::Equal => {
                self.message_ids.extend(settled.message_ids);
                self.settled_at = settled.settled_at;
            }
            Ordering::Greater => *self = settled,
        }
    }
}
