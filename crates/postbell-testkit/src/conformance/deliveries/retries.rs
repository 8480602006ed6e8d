//! Leases, retries, and check-ins.

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, claim, dead_letter_as, due_at,
    exhausted, notification, retry, user,
};
use crate::Deliveries;
use postbell_core::{
    Claim, DUPLICATE_WINDOW, DeadLetterReason, Failure, ProblemCode, SettleError, Settlement,
    Timestamp,
};

/// One delivery of a mailbox at a time; another worker continues after a lost one.
pub async fn a_claimed_mailbox_is_hidden_until_its_lease_ends(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    claim(deliveries, T0).await;

    assert_nothing_due(deliveries, T0 + (LEASE - SECOND)).await;
    assert_eq!(
        claim(deliveries, T0 + LEASE).await.notification,
        notification("m1", 7)
    );
}

/// A worker that lost its lease cannot interfere with the one that has it.
pub async fn a_stale_claim_cannot_settle(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let stale = claim(deliveries, T0).await;
    let fresh = claim(deliveries, T0 + LEASE).await;

    for settlement in [
        Settlement::Delivered,
        Settlement::Release,
        retry(MINUTE, MINUTE),
        exhausted("x"),
    ] {
        let error = deliveries
            .queue
            .settle(&stale, settlement, T0 + LEASE)
            .await
            .unwrap_err();
        assert!(matches!(error, SettleError::LeaseLost { .. }), "{error:?}");
    }
    deliveries
        .queue
        .settle(&fresh, Settlement::Delivered, T0 + LEASE)
        .await
        .unwrap();
    assert_eq!(
        deliveries.log.dead_letters(None, None, 10).await.unwrap(),
        []
    );
}

/// Even if the mailbox was not claimed again.
pub async fn a_claim_can_be_settled_once(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let claim = claim(deliveries, T0).await;
    deliveries
        .queue
        .settle(&claim, retry(MINUTE, MINUTE), T0)
        .await
        .unwrap();

    let error = deliveries
        .queue
        .settle(&claim, Settlement::Delivered, T0)
        .await
        .unwrap_err();
    assert!(matches!(error, SettleError::LeaseLost { .. }), "{error:?}");
    assert_eq!(due_at(deliveries).await, Some(T0 + MINUTE));
}

/// The mailbox is not due earlier.
pub async fn a_retry_waits_and_counts_its_attempt(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let mut now = T0;
    for attempt in 0..3 {
        let claim = claim(deliveries, now).await;
        assert_eq!(claim.attempt, attempt);
        deliveries
            .queue
            .settle(&claim, retry(2 * MINUTE, MINUTE), now)
            .await
            .unwrap();

        assert_nothing_due(deliveries, now + (2 * MINUTE - SECOND)).await;
        now = now + 2 * MINUTE;
    }
    assert_eq!(claim(deliveries, now).await.accepted_at, T0);
}

/// A new notification is worth an attempt, but not a storm of them.
pub async fn a_new_notification_restarts_the_schedule_after_the_cooldown(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    deliveries
        .queue
        .settle(&failed, retry(10 * MINUTE, MINUTE), T0)
        .await
        .unwrap();

    accept(deliveries, "m2", 8, T0 + SECOND).await;
    assert_nothing_due(deliveries, T0 + (MINUTE - SECOND)).await;
    let again = claim(deliveries, T0 + MINUTE).await;
    assert_eq!(
        (again.notification, again.attempt),
        (notification("m2", 8), 0)
    );

    deliveries
        .queue
        .settle(
            &claim_of(again.lease, "m2", 8),
            retry(10 * MINUTE, MINUTE),
            T0 + MINUTE,
        )
        .await
        .unwrap();
    accept(deliveries, "m3", 9, T0 + 5 * MINUTE).await;
    assert_eq!(
        claim(deliveries, T0 + 5 * MINUTE).await.attempt,
        0,
        "the rest was over"
    );
}

fn claim_of(lease: i64, message: &str, history_id: u64) -> Claim {
    let notification = notification(message, history_id);
    Claim {
        notification,
        attempt: 0,
        accepted_at: T0,
        claimed_at: T0,
        lease,
    }
}

/// A notification during the failing delivery restarts the schedule, too.
pub async fn a_failure_with_a_newer_notification_waits_only_the_cooldown(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failing = claim(deliveries, T0).await;
    accept(deliveries, "m2", 8, T0).await;
    deliveries
        .queue
        .settle(&failing, retry(10 * MINUTE, MINUTE), T0)
        .await
        .unwrap();

    assert_nothing_due(deliveries, T0 + (MINUTE - SECOND)).await;
    let newer = claim(deliveries, T0 + MINUTE).await;
    assert_eq!(
        (newer.notification, newer.attempt),
        (notification("m2", 8), 0)
    );
}

/// The rest of a long wait is skipped.
pub async fn a_check_in_makes_the_mailbox_due_at_once(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    deliveries
        .queue
        .settle(&failed, retry(30 * MINUTE, MINUTE), T0)
        .await
        .unwrap();

    assert!(
        deliveries
            .queue
            .make_due(&user("ann"), None, T0 + SECOND)
            .await
            .unwrap()
    );
    assert_eq!(
        claim(deliveries, T0 + SECOND).await.notification,
        notification("m1", 7)
    );
    assert!(
        !deliveries
            .queue
            .make_due(&user("bob"), None, T0 + SECOND)
            .await
            .unwrap()
    );
}

/// Two deliveries never run at once.
pub async fn a_check_in_does_not_disturb_a_delivery_in_progress(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let first = claim(deliveries, T0).await;
    deliveries
        .queue
        .make_due(&user("ann"), None, T0 + SECOND)
        .await
        .unwrap();

    assert_nothing_due(deliveries, T0 + SECOND).await;
    deliveries
        .queue
        .settle(&first, Settlement::Delivered, T0 + SECOND)
        .await
        .unwrap();
    assert_nothing_due(deliveries, T0 + DUPLICATE_WINDOW).await;
}

/// A process that stops releases claims that it did not try.
pub async fn a_released_claim_is_due_at_once_and_keeps_its_attempt(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    deliveries
        .queue
        .settle(&failed, retry(MINUTE, MINUTE), T0)
        .await
        .unwrap();
    let untried = claim(deliveries, T0 + MINUTE).await;
    deliveries
        .queue
        .settle(&untried, Settlement::Release, T0 + MINUTE)
        .await
        .unwrap();

    assert_eq!(claim(deliveries, T0 + MINUTE).await.attempt, 1);
}

/// Even if nothing is pending at the check-in.
pub async fn a_check_in_ends_the_cooldown(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let claim = claim(deliveries, T0).await;
    let refused = dead_letter_as(DeadLetterReason::Refused, "no");
    deliveries.queue.settle(&claim, refused, T0).await.unwrap();

    assert!(
        !deliveries
            .queue
            .make_due(&user("ann"), None, T0 + SECOND)
            .await
            .unwrap()
    );
    accept(deliveries, "m2", 8, T0 + SECOND).await;
    assert_eq!(due_at(deliveries).await, Some(T0 + SECOND));
}

/// Whatever else a mailbox waits for, it goes on doing so.
pub async fn only_waiting_retries_are_due_when_what_they_wait_for_works(deliveries: &Deliveries) {
    let retried = async |now: Timestamp| {
        let both = [user("ann"), user("bob")];
        deliveries.queue.retry_now(&both, now).await.unwrap()
    };
    let settle = async |claim: Claim, settlement, now| {
        let settled = deliveries.queue.settle(&claim, settlement, now);
        settled.await.unwrap();
    };
    assert_eq!(retried(T0).await, 0);
    accept(deliveries, "m1", 7, T0).await;
    let first = claim(deliveries, T0).await;
    assert_eq!(retried(T0).await, 0, "it is being delivered");
    settle(first, retry(30 * MINUTE, MINUTE), T0).await;
    let soon = T0 + SECOND;
    assert_eq!((retried(soon).await, retried(soon).await), (1, 0));

    let second = claim(deliveries, soon).await;
    assert_eq!(second.attempt, 1);
    let until = soon + 60 * MINUTE;
    let parked = Settlement::Park {
        failure: Failure::status(503).because_of(ProblemCode::GrantRevoked),
        until,
    };
    settle(second, parked, soon).await;
    assert_eq!(retried(soon).await, 0, "its machine has a problem");

    let probe = claim(deliveries, until).await;
    settle(probe, exhausted("no answer"), until).await;
    assert_eq!(retried(until + SECOND).await, 0, "it is a dead letter");
    let letters = deliveries.log.dead_letters(None, None, 9).await;
    assert_eq!(letters.unwrap().len(), 1);
}
