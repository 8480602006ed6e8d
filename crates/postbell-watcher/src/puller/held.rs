//! The notifications that are not acknowledged yet, at most two of a mailbox.

use std::collections::HashMap;

use parking_lot::Mutex;
use postbell_core::HistoryId;

/// The notifications `N` that are held, by mailbox. While one is being handled, one further waits.
pub(super) struct HeldNotifications<N>(Mutex<HashMap<String, Waiting<N>>>);

impl<N> Default for HeldNotifications<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The notification that waits for a mailbox that is being handled, with its history id.
struct Waiting<N>(Option<(HistoryId, N)>);

/// What a new notification does.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Arrived<N> {
    /// Nothing is held of the mailbox: its handling begins.
    First,
    /// It waits for the end of the handling.
    Second,
    /// Two would wait: this one, of which the other one takes care, does not.
    Covered(N),
}

impl<N> HeldNotifications<N> {
    /// Holds a notification. Of two that would wait, the one with the greater history id does: Pub/Sub promises no order, and
    /// repeats.
    pub(super) fn arrived(&self, mailbox: &str, id: HistoryId, notification: N) -> Arrived<N> {
        let mut held = self.0.lock();
        let Some(Waiting(waiting)) = held.get_mut(mailbox) else {
            let waiting = Waiting(Some((id, notification)));
            held.insert(mailbox.to_owned(), waiting);
            return Arrived::First;
        };
        keep_greater(waiting, id, notification).map_or(Arrived::Second, Arrived::Covered)
    }

    /// Returns the notification to handle next, with its history id. If none waits, the handling has ended.
    pub(super) fn current(&self, mailbox: &str) -> Option<(HistoryId, N)> {
        let mut held = self.0.lock();
        let next = held.get_mut(mailbox)?.0.take();
        if next.is_none() {
            held.remove(mailbox);
        }
        next
    }

    /// Lets a notification wait again after a failure. Of two that would wait, returns the one of which the other one takes
    /// care.
    pub(super) fn again(&self, mailbox: &str, id: HistoryId, notification: N) -> Option<N> {
        let mut held = self.0.lock();
        match held.get_mut(mailbox) {
            Some(Waiting(waiting)) => keep_greater(waiting, id, notification),
            None => Some(notification),
        }
    }
}

/// Keeps the notification with the greater history id, and returns the other one.
fn keep_greater<N>(
    waiting: &mut Option<(HistoryId, N)>,
    id: HistoryId,
    notification: N,
) -> Option<N> {
    match waiting {
        Some((greater, _)) if *greater > id => Some(notification),
        waiting => waiting.replace((id, notification)).map(|(_, other)| other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Held = HeldNotifications<u64>;

    fn arrived(held: &Held, mailbox: &str, id: u64) -> Arrived<u64> {
        held.arrived(mailbox, HistoryId::new(id), id)
    }

    fn again(held: &Held, mailbox: &str, id: u64) -> Option<u64> {
        held.again(mailbox, HistoryId::new(id), id)
    }

    fn current(held: &Held, mailbox: &str) -> Option<u64> {
        held.current(mailbox).map(|(_, notification)| notification)
    }

    #[test]
    fn each_mailbox_is_handled_by_itself_until_nothing_waits() {
        let held = Held::default();
        assert_eq!(arrived(&held, "ann", 1), Arrived::First);
        assert_eq!(current(&held, "ann"), Some(1));
        assert_eq!(arrived(&held, "bob", 2), Arrived::First);
        assert_eq!(arrived(&held, "ann", 3), Arrived::Second);
        assert_eq!(arrived(&held, "ann", 4), Arrived::Covered(3));

        assert_eq!(current(&held, "ann"), Some(4));
        assert_eq!(current(&held, "ann"), None);
        assert_eq!(arrived(&held, "ann", 5), Arrived::First);
    }

    #[test]
    fn an_earlier_notification_that_arrives_later_takes_no_place() {
        let held = Held::default();
        arrived(&held, "ann", 90);
        current(&held, "ann");
        arrived(&held, "ann", 100);
        assert_eq!(arrived(&held, "ann", 95), Arrived::Covered(95));
        assert_eq!(again(&held, "ann", 90), Some(90));
        assert_eq!(current(&held, "ann"), Some(100));
        arrived(&held, "ann", 95);
        assert_eq!(again(&held, "ann", 100), Some(95));
        assert_eq!(current(&held, "ann"), Some(100));
    }

    #[test]
    fn a_failed_notification_waits_again_unless_a_newer_one_does() {
        let held = Held::default();
        arrived(&held, "ann", 1);
        current(&held, "ann");
        assert_eq!(again(&held, "ann", 1), None);
        assert_eq!(current(&held, "ann"), Some(1));

        arrived(&held, "ann", 2);
        assert_eq!(again(&held, "ann", 1), Some(1));
        assert_eq!(current(&held, "ann"), Some(2));
    }
}
