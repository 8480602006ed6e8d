//! What can be counted and looked at.

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, claim, give_up, notification_of, retry,
    user,
};
use postbell_core::{
    DELIVERIES_KEPT, DeadLetterReason, Depth, Inbox, InboxError, Outcome, Settlement,
};

/// For the owner to look at, and bounded.
pub async fn the_last_deliveries_are_kept_the_latest_first(inbox: &dyn Inbox) {
    let kept = DELIVERIES_KEPT as u64;
    for history_id in 1..=kept + 3 {
        let now = T0 + SECOND * u32::try_from(history_id).unwrap();
        accept(inbox, &format!("m{history_id}"), history_id, now).await;
        let claim = claim(inbox, now).await;
        inbox
            .settle(&claim, Settlement::Delivered, now + SECOND)
            .await
            .unwrap();
    }
    let deliveries = inbox.deliveries(&user("ann")).await.unwrap();
    let seen: Vec<_> = deliveries
        .iter()
        .map(|delivery| delivery.history_id.get())
        .collect();
    assert_eq!(seen, (4..=kept + 3).rev().collect::<Vec<_>>());
    assert_eq!(inbox.deliveries(&user("bob")).await.unwrap(), []);
}

/// What went wrong can be read, and what was never tried is no delivery.
pub async fn a_delivery_is_recorded_with_how_it_ended(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let failing = claim(inbox, T0 + SECOND).await;
    inbox
        .settle(&failing, retry(MINUTE, MINUTE), T0 + 2 * SECOND)
        .await
        .unwrap();
    let released = claim(inbox, T0 + 2 * MINUTE).await;
    inbox
        .settle(&released, Settlement::Release, T0 + 2 * MINUTE)
        .await
        .unwrap();
    let last = claim(inbox, T0 + 2 * MINUTE).await;
    inbox
        .settle(&last, Settlement::Unwanted, T0 + 2 * MINUTE)
        .await
        .unwrap();

    let deliveries = inbox.deliveries(&user("ann")).await.unwrap();
    let ends: Vec<_> = deliveries
        .iter()
        .map(|one| (one.outcome, one.cause.as_deref()))
        .collect();
    assert_eq!(
        ends,
        [
            (Outcome::Unwanted, None),
            (Outcome::Failed, Some("no answer"))
        ]
    );
    let times = (
        deliveries[1].accepted_at,
        deliveries[1].claimed_at,
        deliveries[1].settled_at,
    );
    assert_eq!(times, (T0, T0 + SECOND, T0 + 2 * SECOND));
    assert_eq!((deliveries[0].failures, deliveries[1].failures), (1, 0));
}

/// What an operator's alarm looks at.
pub async fn what_waits_is_counted(inbox: &dyn Inbox) {
    assert_eq!(inbox.depth().await.unwrap(), Depth::default());
    give_up(inbox, "m0", 0, DeadLetterReason::Refused).await;
    for (seconds, name) in [(1, "bob"), (2, "cid")] {
        inbox
            .accept(notification_of(name, "m1", 7), T0 + seconds * SECOND)
            .await
            .unwrap();
    }
    inbox.claim(T0 + MINUTE, LEASE, 1).await.unwrap();

    let depth = inbox.depth().await.unwrap();
    let expected = Depth {
        waiting: 2,
        oldest_accepted_at: Some(T0 + SECOND),
        failing: 0,
        dead_letters: 1,
    };
    assert_eq!(depth, expected);
}

/// So that nobody has to poll.
pub async fn the_next_due_time_is_known(inbox: &dyn Inbox) {
    assert_eq!(inbox.next_due().await.unwrap(), None);
    accept(inbox, "m1", 7, T0).await;
    assert_eq!(inbox.next_due().await.unwrap(), Some(T0));

    let claim = claim(inbox, T0).await;
    assert_eq!(inbox.next_due().await.unwrap(), Some(T0 + LEASE));
    inbox
        .settle(&claim, retry(MINUTE, MINUTE), T0)
        .await
        .unwrap();
    assert_eq!(inbox.next_due().await.unwrap(), Some(T0 + MINUTE));
}

/// Whoever is added under the same name begins with nothing; others keep what is theirs.
pub async fn a_user_who_is_removed_is_forgotten(inbox: &dyn Inbox) {
    give_up(inbox, "m1", 1, DeadLetterReason::Refused).await;
    let later = T0 + 10 * MINUTE;
    accept(inbox, "m2", 2, later).await;
    let stale = claim(inbox, later).await;
    let of_bob = notification_of("bob", "m2", 2);
    inbox.accept(of_bob, later + LEASE).await.unwrap();
    inbox.forget_user(&user("ann")).await.unwrap();

    let settled = inbox.settle(&stale, Settlement::Delivered, later).await;
    let error = settled.unwrap_err();
    assert!(matches!(error, InboxError::LeaseLost { .. }), "{error:?}");
    let ann = user("ann");
    let letters = inbox.dead_letters(Some(&ann), None, 10).await.unwrap();
    assert_eq!(letters.len(), 0);
    assert_eq!(inbox.deliveries(&ann).await.unwrap(), []);
    let hours = inbox.hours(&ann, later).await.unwrap();
    assert!(hours.iter().all(|hour| hour.delivered + hour.failed == 0));
    assert_eq!(inbox.waiting(&ann).await.unwrap(), None);
    let bobs = claim(inbox, later + LEASE).await;
    assert_eq!(bobs.notification.user, user("bob"));

    // A message that the one before has seen is new to this one, and its lease is a new one.
    accept(inbox, "m2", 2, later + LEASE).await;
    let fresh = claim(inbox, later + LEASE).await;
    assert!(fresh.lease > stale.lease);
    let settled = inbox
        .settle(&stale, Settlement::Delivered, later + LEASE)
        .await;
    assert!(settled.is_err());
    assert_nothing_due(inbox, later + LEASE).await;
}
