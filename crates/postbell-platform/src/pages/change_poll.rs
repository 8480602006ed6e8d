//! Changes that other processes make to the users whose pages are open.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Changes, DeliveryLog, StoreError, UserId, Users};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How often the store is asked. Without an open page it is not.
const INTERVAL: Duration = Duration::from_secs(1);

/// Announces what other processes have changed of the users who have a listener.
pub(super) struct ChangePoll {
    pub(super) users: Arc<dyn Users>,
    pub(super) log: Option<Arc<dyn DeliveryLog>>,
    pub(super) changes: Changes,
}

type Marks = HashMap<UserId, [String; 2]>;

impl ChangePoll {
    /// Runs until `stop` is cancelled.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut seen = Marks::new();
        while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
            match self.marks().await {
                Ok(marks) => {
                    // The first mark of a user may be later than what the page shows.
                    let changed = marks
                        .iter()
                        .filter(|(user, mark)| seen.get(*user) != Some(mark));
                    changed.for_each(|(user, _)| self.changes.announce(user));
                    seen = marks;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    debug!(error, "Could not ask for the changes of other processes");
                }
            }
        }
    }

    async fn marks(&self) -> Result<Marks, StoreError> {
        let users = self.changes.listened_to();
        if users.is_empty() {
            return Ok(Marks::new());
        }
        let of_users = self.users.marks(&users).await?;
        let of_deliveries = match &self.log {
            Some(log) => log.marks(&users).await?,
            None => Vec::new(),
        };
        // A user who was removed has no mark, which differs from having one.
        let mut marks: Marks = users
            .into_iter()
            .map(|user| (user, Default::default()))
            .collect();
        for (part, found) in [of_users, of_deliveries].into_iter().enumerate() {
            for (user, mark) in found {
                marks.entry(user).or_default()[part] = mark;
            }
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use postbell_core::{
        DeliveryQueue, HistoryId, InstanceStatus, MachineLocation, NewUser, Notification,
        SandboxId, Timestamp,
    };
    use postbell_testkit::{MemoryDeliveries, MemoryUsers};
    use tokio::time::{Instant, timeout};

    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// Not only when they are rendered anyway.
    #[tokio::test(start_paused = true)]
    async fn what_another_process_changes_is_announced_within_a_second() {
        let (users, log) = (
            Arc::new(MemoryUsers::default()),
            Arc::new(MemoryDeliveries::default()),
        );
        let ann: UserId = "ann".parse().unwrap();
        let changes = Changes::new();
        let poll = ChangePoll {
            users: Arc::clone(&users) as _,
            log: Some(Arc::clone(&log) as _),
            changes: changes.clone(),
        };
        let tasks = postbell_core::Tasks::new();
        tasks.start("changes", |stop| poll.run(stop));
        let mut listener = changes.listen_to(&ann);
        // That of its first look.
        listener.changed().await;

        let new = NewUser {
            sandbox_id: SandboxId::from(&ann),
            user: ann.clone(),
            status: InstanceStatus::Running,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        users.add(new, T0).await.unwrap();
        let begun = Instant::now();
        listener.changed().await;
        assert!(begun.elapsed() <= INTERVAL);

        let notification = Notification {
            trace: None,
            user: ann,
            address: None,
            message_id: "m1".parse().unwrap(),
            published_at: None,
            history_id: HistoryId::new(7),
            body: Bytes::from_static(b"{}"),
        };
        log.accept(notification, T0).await.unwrap();
        let begun = Instant::now();
        listener.changed().await;
        assert!(begun.elapsed() <= INTERVAL);
        let quiet = timeout(60 * INTERVAL, listener.changed()).await;
        assert!(quiet.is_err(), "nothing has changed");
        tasks.stop(INTERVAL).await.unwrap();
    }
}
