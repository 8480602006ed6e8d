//! Requests to start machines, at most one per machine and pause.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::UserId;
use tokio::sync::mpsc;

/// A machine is started at most once in this time, even if it stops again: a machine that crashes on
/// every mail must not cost its owner a start each.
const PAUSE: Duration = Duration::from_secs(300);

/// How many requests may wait. Further ones are dropped; the next delivery attempt repeats them.
const CAPACITY: usize = 32;

/// The sending half of the queue, and the recent requests.
pub(super) struct StartQueue {
    sender: mpsc::Sender<UserId>,
    recent: Mutex<HashMap<UserId, Start>>,
}

struct Start {
    requested_at: Duration,
    is_in_progress: bool,
}

impl StartQueue {
    pub(super) fn new() -> (Self, mpsc::Receiver<UserId>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let queue = Self {
            sender,
            recent: Mutex::default(),
        };
        (queue, receiver)
    }

    /// Queues a start, unless there was one within the pause. Returns whether one is in progress.
    pub(super) fn request(&self, user: &UserId, now: Duration) -> bool {
        let mut recent = self.recent.lock();
        recent.retain(|_, start| now.saturating_sub(start.requested_at) < PAUSE);
        if let Some(start) = recent.get(user) {
            return start.is_in_progress;
        }
        let is_queued = self.sender.try_send(user.clone()).is_ok();
        if is_queued {
            let start = Start {
                requested_at: now,
                is_in_progress: true,
            };
            recent.insert(user.clone(), start);
        }
        is_queued
    }

    /// Marks a start as finished, whether it succeeded or not.
    pub(super) fn finish(&self, user: &UserId) {
        if let Some(start) = self.recent.lock().get_mut(user) {
            start.is_in_progress = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> UserId {
        "ann".parse().unwrap()
    }

    #[test]
    fn a_machine_is_started_once_within_the_pause() {
        let (queue, mut requests) = StartQueue::new();
        let at = Duration::from_secs;
        assert!(queue.request(&ann(), at(10)));
        assert!(queue.request(&ann(), at(11)), "it is in progress");
        queue.finish(&ann());
        assert!(!queue.request(&ann(), at(309)), "within the pause");
        assert!(queue.request(&ann(), at(310)));
        let mut times = 0;
        while requests.try_recv().is_ok() {
            times += 1;
        }
        assert_eq!(times, 2);
    }

    #[tokio::test]
    async fn a_request_that_found_the_queue_full_may_be_repeated() {
        let (queue, mut requests) = StartQueue::new();
        let user = |number: usize| format!("user-{number}").parse::<UserId>().unwrap();
        for number in 0..CAPACITY {
            assert!(queue.request(&user(number), Duration::ZERO));
        }
        assert!(!queue.request(&ann(), Duration::ZERO));
        requests.recv().await.unwrap();
        assert!(queue.request(&ann(), Duration::ZERO), "it was never queued");
    }
}
