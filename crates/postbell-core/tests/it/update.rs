//! The retried compare-and-set of `update`.

use std::sync::Arc;

use postbell_core::{
    Clock, HistoryId, InstanceStatus, MachineLocation, NewUser, SandboxId, Timestamp, UserId,
    UserRecord, Users, UsersError, update_user,
};
use postbell_testkit::{MemoryUsers, PausedClock};

async fn with_ann() -> (Arc<MemoryUsers>, UserId, PausedClock) {
    let user: UserId = "ann".parse().unwrap();
    let users = Arc::new(MemoryUsers::default());
    let clock = PausedClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
    let new = NewUser {
        user: user.clone(),
        sandbox_id: SandboxId::from(&user),
        status: InstanceStatus::Stopped,
        location: MachineLocation::Unknown,
        wake_on_mail: false,
    };
    users.add(new, clock.now()).await.unwrap();
    (users, user, clock)
}

#[tokio::test]
async fn a_change_that_changes_nothing_writes_nothing() {
    let (users, user, clock) = with_ann().await;
    let nothing = |_: &mut UserRecord| Ok::<_, UsersError>(());
    let record = update_user(&*users, &user, None, &clock, nothing).await;
    assert_eq!(record.unwrap().unwrap().version, 1);
    let nobody = "bob".parse().unwrap();
    let record = update_user(&*users, &nobody, None, &clock, nothing).await;
    assert_eq!(record.unwrap(), None);
}

#[tokio::test]
async fn a_change_that_is_refused_writes_nothing() {
    let (users, user, clock) = with_ann().await;
    let refused = update_user(&*users, &user, None, &clock, |record| {
        record.wake_on_mail = true;
        Err(UsersError::SandboxTaken)
    });
    assert!(refused.await.is_err());
    assert!(!users.get(&user).await.unwrap().unwrap().wake_on_mail);
}

#[tokio::test]
async fn a_change_is_made_again_on_what_somebody_else_wrote() {
    let (users, user, clock) = with_ann().await;
    let mut tries = 0;
    let record = update_user(&*users, &user, None, &clock, |record| {
        tries += 1;
        if tries == 1 {
            // Somebody else is faster.
            let mut theirs = record.clone();
            theirs.status = InstanceStatus::Running;
            let written = users.replace(&theirs, None, clock.now());
            without_waiting(written).unwrap();
        }
        record.wake_on_mail = true;
        Ok::<_, UsersError>(())
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
