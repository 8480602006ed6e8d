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
    held: Mutex<Held>,
    /// Notifies the pusher of available messages.
    pub(super) arrivals: Notify,
    /// Notifies pulls of available messages. A waiter checks again after it has subscribed.
    pub(super) available: Notify,
    /// Notified after an acknowledgement.
    pub(super) acknowledgements: Notify,
}

#[derive(Debug, Default)]
struct Held {
    ready: VecDeque<Handed>,
    /// Outstanding messages and their deadlines, by acknowledgement id.
    out: BTreeMap<String, (Handed, Instant)>,
    handed_out: u64,
}

/// A message and its number of earlier deliveries.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) message: Arc<Message>,
    pub(super) attempts: u32,
}

impl Backlog {
    pub(super) fn add(&self, message: Arc<Message>) {
        self.held.lock().ready.push_back(Handed {
            message,
            attempts: 0,
        });
        self.tell();
    }

    fn tell(&self) {
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
    pub(super) fn take(&self, most: usize, deadline: Duration) -> Vec<(String, Handed)> {
        let now = Instant::now();
        let mut held = self.held.lock();
        held.take_back_overdue(now);
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(mut handed) = held.ready.pop_front()
        {
            handed.attempts += 1;
            held.handed_out += 1;
            let id = format!("ack-{}", held.handed_out);
            held.out
                .insert(id.clone(), (handed.clone(), now + deadline));
            taken.push((id, handed));
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
            if let Some((handed, _)) = held.out.remove(id) {
                held.ready.push_back(handed);
            }
            drop(held);
            self.tell();
        } else if let Some((_, until)) = held.out.get_mut(id) {
            *until = Instant::now() + deadline;
        }
    }
}

impl Held {
    fn take_back_overdue(&mut self, now: Instant) {
        let overdue: Vec<_> = self
            .out
            .extract_if(.., |_, (_, until)| *until <= now)
            .collect();
        self.ready
            .extend(overdue.into_iter().map(|(_, (handed, _))| handed));
    }
}
