//! Requests to start machines, at most one per machine and pause.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{StoreError, Timestamp, UserId, Users};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// A machine is started at most once in this time, even if it stops again: a machine that crashes on
/// every mail must not cost its owner a start each.
const PAUSE: Duration = Duration::from_secs(300);

/// How many requests may wait. Further ones are dropped; the next delivery attempt repeats them.
const CAPACITY: usize = 32;

/// The sending half of the queue, and the starts of this process that are in progress.
pub(super) struct StartQueue {
    sender: mpsc::Sender<UserId>,
    in_progress: Arc<Mutex<HashSet<UserId>>>,
    /// The tasks that record starts; each ends with one call of the store.
    records: Mutex<JoinSet<()>>,
}

impl StartQueue {
    pub(super) fn new() -> (Self, mpsc::Receiver<UserId>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let queue = Self {
            sender,
            in_progress: Arc::default(),
            records: Mutex::default(),
        };
        (queue, receiver)
    }

    /// Queues a start, unless this or another process has started the machine within the pause. Returns
    /// whether a start is in progress in this process.
    pub(super) async fn request(
        &self,
        users: &Arc<dyn Users>,
        user: &UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (users, recorded) = (Arc::clone(users), user.clone());
        let record = async move { users.record_start(&recorded, now, PAUSE).await };
        self.queue_if(record, user).await
    }

    /// Queues a start if `record` has recorded it, even if the caller goes away first: a start that is recorded and
    /// not queued would be made by no process within the pause.
    async fn queue_if(
        &self,
        record: impl Future<Output = Result<bool, StoreError>> + Send + 'static,
        user: &UserId,
    ) -> Result<bool, StoreError> {
        if self.in_progress.lock().contains(user) {
            return Ok(true);
        }
        // Before the start is recorded: one that finds no room may be repeated at once.
        let Ok(room) = self.sender.clone().try_reserve_owned() else {
            return Ok(false);
        };
        let (in_progress, user) = (Arc::clone(&self.in_progress), user.clone());
        let queued = async move {
            if !record.await? {
                // A concurrent request of this process may have recorded it.
                return Ok(in_progress.lock().contains(&user));
            }
            in_progress.lock().insert(user.clone());
            room.send(user);
            Ok(true)
        };
        let (reply, answer) = oneshot::channel();
        {
            let mut records = self.records.lock();
            while records.try_join_next().is_some() {}
            records.spawn(async move {
                // The caller may have gone.
                let _ = reply.send(queued.await);
            });
        }
        let stopped = |_| Err(StoreError::Unavailable("the start was not recorded".into()));
        answer.await.unwrap_or_else(stopped)
    }

    /// Marks a start as finished, whether it succeeded or not.
    pub(super) fn finish(&self, user: &UserId) {
        self.in_progress.lock().remove(user);
    }
}

#[cfg(test)]
mod tests {
    use postbell_core::{InstanceStatus, MachineLocation, NewUser, SandboxId};
    use postbell_testkit::MemoryUsers;
    use tokio::time::timeout;

    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    async fn add(users: &Arc<dyn Users>, name: &str) -> UserId {
        let user: UserId = name.parse().unwrap();
        let new = NewUser {
            sandbox_id: SandboxId::from(&user),
            user: user.clone(),
            status: InstanceStatus::Stopped,
            location: MachineLocation::Unknown,
            wake_on_mail: true,
        };
        users.add(new, T0).await.unwrap();
        user
    }

    fn users() -> Arc<dyn Users> {
        Arc::new(MemoryUsers::default())
    }

    fn queued(requests: &mut mpsc::Receiver<UserId>) -> usize {
        std::iter::from_fn(|| requests.try_recv().ok()).count()
    }

    /// Of any number of processes.
    #[tokio::test]
    async fn a_machine_is_started_once_within_the_pause() {
        let users = users();
        let ann = add(&users, "ann").await;
        let (queue, mut requests) = StartQueue::new();
        let (other, mut other_requests) = StartQueue::new();
        let request = async |queue: &StartQueue, seconds| {
            let now = T0 + Duration::from_secs(seconds);
            queue.request(&users, &ann, now).await.unwrap()
        };
        assert!(request(&queue, 10).await);
        assert!(request(&queue, 11).await, "it is in progress");
        assert!(!request(&other, 11).await, "elsewhere");
        queue.finish(&ann);
        assert!(!request(&queue, 309).await, "within the pause");
        assert!(!request(&other, 309).await, "within the pause");
        assert!(request(&other, 310).await);
        assert!(!request(&queue, 310).await);
        assert_eq!((queued(&mut requests), queued(&mut other_requests)), (1, 1));
    }

    #[tokio::test]
    async fn a_request_that_found_the_queue_full_may_be_repeated() {
        let users = users();
        let (queue, mut requests) = StartQueue::new();
        for number in 0..CAPACITY {
            let user = add(&users, &format!("user-{number}")).await;
            assert!(queue.request(&users, &user, T0).await.unwrap());
        }
        let ann = add(&users, "ann").await;
        assert!(!queue.request(&users, &ann, T0).await.unwrap());
        requests.recv().await.unwrap();
        let again = queue.request(&users, &ann, T0).await.unwrap();
        assert!(again, "it was never queued");
    }

    /// The relay has a time limit, and the store may be slow.
    #[tokio::test(start_paused = true)]
    async fn a_start_that_is_recorded_after_its_request_was_dropped_is_queued() {
        let (queue, mut requests) = StartQueue::new();
        let ann: UserId = "ann".parse().unwrap();
        let (commit, committed) = oneshot::channel();
        let record = async {
            committed.await.unwrap();
            Ok(true)
        };
        let limit = Duration::from_secs(5);
        let dropped = timeout(limit, queue.queue_if(record, &ann)).await;
        assert!(dropped.is_err());
        commit.send(()).unwrap();
        assert_eq!(requests.recv().await, Some(ann));
    }
}
