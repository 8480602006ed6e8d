//! The notifications that are not acknowledged yet, at most two of a mailbox.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The notifications `N` that are held, by mailbox. While one is being handled, one further waits.
pub(super) struct HeldNotifications<N>(Mutex<HashMap<String, Waiting<N>>>);

impl<N> Default for HeldNotifications<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The notification that waits for a mailbox that is being handled.
struct Waiting<N>(Option<N>);

/// What a new notification does.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Arrived<N> {
    /// Nothing is held of the mailbox: its handling begins.
    First,
    /// It waits for the end of the handling.
    Second,
    /// It waits in the place of this one, for which it stands.
    InPlaceOf(N),
}

impl<N> HeldNotifications<N> {
    /// Holds a notification.
    pub(super) fn arrived(&self, mailbox: &str, notification: N) -> Arrived<N> {
        let mut held = self.0.lock();
        let Some(waiting) = held.get_mut(mailbox) else {
            held.insert(mailbox.to_owned(), Waiting(Some(notification)));
            return Arrived::First;
        };
        match waiting.0.replace(notification) {
            Some(older) => Arrived::InPlaceOf(older),
            None => Arrived::Second,
        }
    }

    /// Returns the notification to handle next. If none waits, the handling has ended.
    pub(super) fn current(&self, mailbox: &str) -> Option<N> {
        let mut held = self.0.lock();
        let next = held.get_mut(mailbox)?.0.take();
        if next.is_none() {
            held.remove(mailbox);
        }
        next
    }

    /// Lets a notification wait again after a failure, or returns it if a newer one stands for it.
    pub(super) fn again(&self, mailbox: &str, notification: N) -> Option<N> {
        let mut held = self.0.lock();
        match held.get_mut(mailbox) {
            Some(Waiting(Some(_))) | None => Some(notification),
            Some(Waiting(waiting)) => {
                *waiting = Some(notification);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mailbox_is_handled_by_itself_until_nothing_waits() {
        let held = HeldNotifications::default();
        assert_eq!(held.arrived("ann", 1), Arrived::First);
        assert_eq!(held.current("ann"), Some(1));
        assert_eq!(held.arrived("bob", 2), Arrived::First);
        assert_eq!(held.arrived("ann", 3), Arrived::Second);
        assert_eq!(held.arrived("ann", 4), Arrived::InPlaceOf(3));

        assert_eq!(held.current("ann"), Some(4));
        assert_eq!(held.current("ann"), None);
        assert_eq!(held.arrived("ann", 5), Arrived::First);
    }

    #[test]
    fn a_failed_notification_waits_again_unless_a_newer_one_does() {
        let held = HeldNotifications::default();
        held.arrived("ann", 1);
        let failed = held.current("ann").unwrap();
        assert_eq!(held.again("ann", failed), None);
        assert_eq!(held.current("ann"), Some(1));

        held.arrived("ann", 2);
        assert_eq!(held.again("ann", 1), Some(1));
        assert_eq!(held.current("ann"), Some(2));
    }
}
