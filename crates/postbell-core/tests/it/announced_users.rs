//! Records that announce their changes.

use std::sync::Arc;

use futures_util::FutureExt;
use postbell_core::{
    AnnouncedUsers, Changes, HistoryId, InstanceStatus, MachineLocation, NewUser, SandboxId,
    Timestamp, UserId, Users,
};
use postbell_testkit::MemoryUsers;

fn announced() -> AnnouncedUsers {
    AnnouncedUsers {
        users: Arc::new(MemoryUsers::default()),
        changes: Changes::new(),
    }
}

#[tokio::test]
async fn what_is_written_is_announced_once_it_is_done() {
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    let records = announced();
    let ann: UserId = "ann".parse().unwrap();
    let mut listener = records.changes.listen_to(&ann);
    let mut has_heard = || listener.changed().now_or_never().is_some();
    let new = NewUser {
        user: ann.clone(),
        sandbox_id: SandboxId::from(&ann),
        status: InstanceStatus::Running,
        location: MachineLocation::Unknown,
        wake_on_mail: false,
    };
    let record = records.add(new, NOW).await.unwrap();
    assert!(has_heard());
    records.replace(&record, None, NOW).await.unwrap();
    assert!(has_heard());
    let stale = records.replace(&record, None, NOW).await;
    assert!(stale.is_err() && !has_heard());
    let raised = records.raise_history_id(&ann, HistoryId::new(7), NOW);
    assert!(
        !raised.await.unwrap() && !has_heard(),
        "nobody is connected"
    );
    assert!(records.remove(&ann).await.unwrap() && has_heard());
    assert!(!records.remove(&ann).await.unwrap() && !has_heard());
}
