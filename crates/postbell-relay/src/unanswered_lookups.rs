//! Makes deliveries due that failed because the directory did not answer, as soon as it does.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{Clock, DeliveryQueue, UserId};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::DirectoryCache;

/// The pause between two questions to a directory that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause after a round. A delivery that fails again is retried on the schedule: a directory that answers only now and
/// then must not use up its attempts.
const ROUND_PAUSE: Duration = Duration::from_secs(60);

/// How many retries are made due in one transaction.
const BATCH: usize = 256;

/// How many users are remembered. Those of further ones wait for their next retry.
const CAPACITY: usize = 65_536;

/// The users whose look-up failed, and whose deliveries therefore wait for a retry.
#[derive(Default)]
pub(crate) struct UnansweredLookups {
    users: Mutex<BTreeSet<UserId>>,
    added: Notify,
}

impl UnansweredLookups {
    /// Adds a user whose delivery is settled.
    pub(crate) fn add(&self, user: &UserId) {
        let mut users = self.users.lock();
        if users.len() < CAPACITY {
            users.insert(user.clone());
        }
        drop(users);
        self.added.notify_one();
    }

    /// Works until `stop` is cancelled.
    pub(crate) async fn run(
        &self,
        directory: &DirectoryCache,
        queue: &dyn DeliveryQueue,
        clock: &dyn Clock,
        stop: CancellationToken,
    ) {
        let rounds = async {
            loop {
                self.added.notified().await;
                // They may have been added during the round before, and be part of it.
                if self.users.lock().is_empty() {
                    continue;
                }
                self.wait_for(directory).await;
                self.make_due(queue, clock).await;
                sleep(ROUND_PAUSE).await;
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    /// Asks for one user after the other until the directory answers.
    async fn wait_for(&self, directory: &DirectoryCache) {
        let mut last = None;
        loop {
            sleep(PAUSE).await;
            let Some(user) = self.next(last.as_ref()) else {
                return;
            };
            if directory.answers(&user).await {
                return;
            }
            last = Some(user);
        }
    }

    /// The next user in their order, and the first one after the last.
    fn next(&self, last: Option<&UserId>) -> Option<UserId> {
        let users = self.users.lock();
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut next = users.range::<UserId, _>((after, Bound::Unbounded));
        next.next().or_else(|| users.first()).cloned()
    }

    async fn make_due(&self, queue: &dyn DeliveryQueue, clock: &dyn Clock) {
        let users = std::mem::take(&mut *self.users.lock());
        let users: Vec<_> = users.into_iter().collect();
        let mut due = 0;
        for batch in users.chunks(BATCH) {
            match queue.retry_now(batch, clock.now()).await {
                Ok(number) => due += number,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        error,
                        "Could not make deliveries due; they wait for their next retries"
                    );
                }
            }
        }
        info!(
            users = due,
            "The directory answers again: the deliveries that had failed because of it are due"
        );
    }
}
