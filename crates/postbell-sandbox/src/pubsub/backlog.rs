//! The unacknowledged messages of a subscription.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Message;

/// The unacknowledged messages of a subscription. Only an acknowledgement removes one.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    held: Mutex<Entry>,
    /// Notifies the pusher of available messages.
    pub(super) arrivals: Notify,
    /// Notifies pulls of available messages. A waiter checks again after it has subscribed.
    pub(super) available: Notify,
    /// Notified after an acknowledgement.
    pub(super) acknowledgements: Notify,
}

#[derive(Debug, Default)]
struct Entry {
    ready: VecDeque<Leased>,
    /// Outstanding messages and their deadlines, by acknowledgement id.
    out: BTreeMap<String, (Leased, Instant)>,
    handed_out: u64,
}

/// A message and its number of earlier deliveries.
#[derive(Clone, Debug)]
pub(super) struct Leased {
    pub(super) message: Arc<Message>,
    pub(super) attempts: u32,
}

impl Backlog {
    pub(super) fn add(&self, message: Arc<Message>) {
        self.held.lock().ready.push_back(Leased {
            message,
            attempts: 0,
        });
        self.notify();
    }

    fn notify(&self) {
        self.arrivals.notify_one();
        self.available.notify_waiters();
    }

    pub(super) fn len(&self) -> usize {
        let held = self.held.lock();
        held.ready.len() + held.out.len()
    }

    /// Number of outstanding messages.
    pub(super) fn out(&self) -> usize {
        self.held.lock().out.len()
    }

    /// Takes up to `most` messages, each to be acknowledged within `deadline`.
    pub(super) fn take(&self, most: usize, deadline: Duration) -> Vec<(String, Leased)> {
        let now = Instant::now();
        let mut held = self.held.lock();
        held.take_back_overdue(now);
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(mut leased) = held.ready.pop_front()
        {
            leased.attempts += 1;
            held.handed_out += 1;
            let id = format!("ack-{}", held.handed_out);
            held.out
                .insert(id.clone(), (leased.clone(), now + deadline));
            taken.push((id, leased));
        }
        taken
    }

    pub(super) fn acknowledge(&self, id: &str) {
        self.held.lock().out.remove(id);
        self.acknowledgements.notify_waiters();
    }

    /// Completes once everything is acknowledged.
    pub(super) async fn drained(&self) {
        loop {
            let acknowledged = self.acknowledgements.notified();
            if self.len() == 0 {
                return;
            }
            acknowledged.await;
        }
    }

    /// Changes a message's deadline; zero returns it to the backlog.
    pub(super) fn extend(&self, id: &str, deadline: Duration) {
        let mut held = self.held.lock();
        if deadline.is_zero() {
            if let Some((leased, _)) = held.out.remove(id) {
                held.ready.push_back(leased);
            }
            drop(held);
            self.notify();
        } else if let Some((_, until)) = held.out.get_mut(id) {
            *until = Instant::now() + deadline;
        }
    }
}

impl Entry {
    fn take_back_overdue(&mut self, now: Instant) {
        let overdue: Vec<_> = self
            .out
            .extract_if(.., |_, (_, until)| *until <= now)
            .collect();
        self.ready
            .extend(overdue.into_iter().map(|(_, (leased, _))| leased));
    }
}
