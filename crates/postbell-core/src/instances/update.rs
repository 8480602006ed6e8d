//! A change that loses nobody else's.

use super::{Credentials, InstanceRecord, Instances, InstancesError};
use crate::{Clock, UserId};

/// How often a change is tried. Each time that it fails, somebody else's has succeeded.
const TRIES: usize = 100;

/// Reads a user's record, changes it and writes it, again and again until nobody came in between.
///
/// `change` may run several times, on a new record each time. What it leaves as it was is not
/// written, unless there are `credentials` to store with it. Returns the record as it is now, or
/// `None` where there is no such user.
///
/// # Errors
///
/// What `change` refuses with, and what the backend does.
pub async fn update<E: From<InstancesError>>(
    instances: &dyn Instances,
    user: &UserId,
    credentials: Option<&Credentials>,
    clock: &dyn Clock,
    mut change: impl FnMut(&mut InstanceRecord) -> Result<(), E> + Send,
) -> Result<Option<InstanceRecord>, E> {
    let mut last = None;
    for _ in 0..TRIES {
        let Some(read) = instances.get(user).await? else {
            return Ok(None);
        };
        let mut record = read.clone();
        change(&mut record)?;
        if record == read && credentials.is_none() {
            return Ok(Some(record));
        }
        match instances.replace(&record, credentials, clock.now()).await {
            Ok(written) => return Ok(Some(written)),
            Err(InstancesError::Missing { .. }) => return Ok(None),
            Err(error @ InstancesError::Changed { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let error = last.map_or("the record was never read".into(), Into::into);
    Err(InstancesError::Unavailable(error).into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::instances::{MemoryInstances, NewInstance};
    use crate::{HistoryId, InstanceStatus, PausedClock, Place, SandboxId, Timestamp};

    async fn with_ann() -> (Arc<MemoryInstances>, UserId, PausedClock) {
        let user: UserId = "ann".parse().unwrap();
        let instances = Arc::new(MemoryInstances::default());
        let clock = PausedClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
        let new = NewInstance {
            user: user.clone(),
            sandbox_id: SandboxId::from(&user),
            status: InstanceStatus::Stopped,
            place: Place::Unknown,
            wake_on_mail: false,
        };
        instances.add(new, clock.now()).await.unwrap();
        (instances, user, clock)
    }

    #[tokio::test]
    async fn a_change_that_changes_nothing_writes_nothing() {
        let (instances, user, clock) = with_ann().await;
        let nothing = |_: &mut InstanceRecord| Ok::<_, InstancesError>(());
        let record = update(&*instances, &user, None, &clock, nothing).await;
        assert_eq!(record.unwrap().unwrap().version, 1);
        let nobody = "bob".parse().unwrap();
        let record = update(&*instances, &nobody, None, &clock, nothing).await;
        assert_eq!(record.unwrap(), None);
    }

    #[tokio::test]
    async fn a_change_that_is_refused_writes_nothing() {
        let (instances, user, clock) = with_ann().await;
        let refused = update(&*instances, &user, None, &clock, |record| {
            record.wake_on_mail = true;
            Err(InstancesError::SandboxTaken)
        });
        assert!(refused.await.is_err());
        assert!(!instances.get(&user).await.unwrap().unwrap().wake_on_mail);
    }

    #[tokio::test]
    async fn a_change_is_made_again_on_what_somebody_else_wrote() {
        let (instances, user, clock) = with_ann().await;
        let mut tries = 0;
        let record = update(&*instances, &user, None, &clock, |record| {
            tries += 1;
            if tries == 1 {
                // Somebody else is faster.
                let mut theirs = record.clone();
                theirs.status = InstanceStatus::Running;
                let written = instances.replace(&theirs, None, clock.now());
                without_waiting(written).unwrap();
            }
            record.wake_on_mail = true;
            Ok::<_, InstancesError>(())
        });
        let record = record.await.unwrap().unwrap();
        assert_eq!(tries, 2);
        assert!(record.wake_on_mail && record.status == InstanceStatus::Running);
        assert_eq!(record.last_history_id, None::<HistoryId>);
    }

    /// Runs a future that does not wait: those of the records in memory.
    fn without_waiting<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("expected no wait"),
        }
    }
}
