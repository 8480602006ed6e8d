//! Every write is announced once it is committed; a write that is refused is not.

use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Changes, DeadLetterReason, Failure, HistoryId, InstanceStatus, Listener, MachineLocation,
    NewUser, Notification, SandboxId, Sessions, Settlement, Timestamp, UserId,
};

use crate::{Deliveries, RELAY, UserStore};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn ann() -> UserId {
    "ann".parse().unwrap()
}

/// Returns whether a change was announced since the last call.
async fn is_announced(listener: &mut Listener) -> bool {
    tokio::select! {
        biased;
        () = listener.changed() => true,
        () = std::future::ready(()) => false,
    }
}

fn notification(history_id: u64) -> Notification {
    Notification {
        trace: None,
        user: ann(),
        address: None,
        message_id: format!("m{history_id}").parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(history_id),
        body: Bytes::from_static(b"{}"),
    }
}

/// The queue and the log announce what they write, including single dead letters.
pub async fn deliveries_are_announced(deliveries: &Deliveries, changes: &Changes) {
    let Deliveries { queue, log } = deliveries;
    let mut listener = changes.listen_to(&ann());
    let mut other = changes.listen_to(&"bob".parse().unwrap());
    queue.accept(notification(1), NOW).await.unwrap();
    assert!(is_announced(&mut listener).await);
    let claims = queue
        .claim(RELAY, NOW, Duration::from_secs(9), 1)
        .await
        .unwrap()
        .claims;
    assert!(is_announced(&mut listener).await);
    let settled = queue.settle(&claims[0], Settlement::Delivered, NOW);
    settled.await.unwrap();
    assert!(is_announced(&mut listener).await);
    let stale = queue.settle(&claims[0], Settlement::Delivered, NOW);
    assert!(stale.await.is_err());
    assert!(!is_announced(&mut listener).await);

    let dead_letter = || Settlement::DeadLetter {
        reason: DeadLetterReason::Refused,
        failure: Failure::status(400),
        cooldown: Duration::ZERO,
    };
    for id in [2, 3] {
        queue.accept(notification(id), NOW).await.unwrap();
        let claims = queue
            .claim(RELAY, NOW, Duration::from_secs(9), 1)
            .await
            .unwrap()
            .claims;
        queue.settle(&claims[0], dead_letter(), NOW).await.unwrap();
    }
    let dead_letters = log.dead_letters(None, None, 9).await.unwrap();
    listener.catch_up();
    log.replay(dead_letters[0].id, NOW).await.unwrap();
    assert!(is_announced(&mut listener).await);
    log.replay(dead_letters[0].id, NOW).await.unwrap();
    assert!(!is_announced(&mut listener).await, "it was replayed before");
    assert!(log.drop_dead_letter(dead_letters[1].id).await.unwrap());
    assert!(is_announced(&mut listener).await);
    assert!(!log.drop_dead_letter(dead_letters[1].id).await.unwrap());
    assert!(!is_announced(&mut listener).await, "it was dropped before");
    log.drop_dead_letters(&ann(), i64::MAX).await.unwrap();
    assert!(is_announced(&mut listener).await);
    queue.make_due(&ann(), None, NOW).await.unwrap();
    assert!(is_announced(&mut listener).await);
    log.remove_user(&ann()).await.unwrap();
    assert!(is_announced(&mut listener).await);
    assert!(!is_announced(&mut other).await);
}

/// The users' records announce what is written.
pub async fn users_are_announced(store: &UserStore, changes: &Changes) {
    let users = &store.users;
    let mut listener = changes.listen_to(&ann());
    let new = NewUser {
        user: ann(),
        sandbox_id: SandboxId::from(&ann()),
        status: InstanceStatus::Running,
        location: MachineLocation::Unknown,
        wake_on_mail: false,
    };
    let record = users.add(new.clone(), NOW).await.unwrap();
    assert!(is_announced(&mut listener).await);
    assert!(users.add(new, NOW).await.is_err());
    assert!(!is_announced(&mut listener).await);
    let written = users.replace(&record, None, NOW).await.unwrap();
    assert!(is_announced(&mut listener).await);
    assert!(users.replace(&record, None, NOW).await.is_err());
    assert!(users.remove(&record).await.is_err());
    assert!(!is_announced(&mut listener).await);
    let user = ann();
    let raised = users.raise_history_id(&user, HistoryId::new(7));
    assert!(!raised.await.unwrap(), "no account is connected");
    assert!(!is_announced(&mut listener).await);
    assert!(users.remove(&written).await.unwrap());
    assert!(is_announced(&mut listener).await);
    assert!(!users.remove(&written).await.unwrap());
    assert!(!is_announced(&mut listener).await);
}

/// The end of a user's sessions is announced, so that their live pages end.
pub async fn ended_sessions_are_announced(sessions: &dyn Sessions, changes: &Changes) {
    let mut listener = changes.listen_to(&ann());
    sessions.end_sessions("operator olga").await.unwrap();
    assert!(!is_announced(&mut listener).await);
    sessions.end_sessions("ann").await.unwrap();
    assert!(is_announced(&mut listener).await);
    sessions.revoke_user(&ann()).await.unwrap();
    assert!(is_announced(&mut listener).await);
}
