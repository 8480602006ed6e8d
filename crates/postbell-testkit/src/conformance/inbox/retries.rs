//! Leases, retries, and check-ins.

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, bury, bury_as, claim, notification,
    retry, user,
};
use postbell_core::{Claim, DUPLICATE_WINDOW, DeadLetterReason, Inbox, InboxError, Settlement};

/// One delivery of a mailbox at a time; a lost deliverer's work is taken up again.
pub async fn a_claimed_mailbox_is_hidden_until_its_lease_ends(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    claim(inbox, T0).await;

    assert_nothing_due(inbox, T0 + (LEASE - SECOND)).await;
    assert_eq!(
        claim(inbox, T0 + LEASE).await.notification,
        notification("m1", 7)
    );
}

/// A worker that lost its lease cannot finish the delivery behind the new owner's back.
pub async fn a_stale_claim_can_settle_nothing(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let stale = claim(inbox, T0).await;
    let fresh = claim(inbox, T0 + LEASE).await;

    for settlement in [
        Settlement::Delivered,
        Settlement::Release,
        retry(MINUTE, MINUTE),
        bury("x"),
    ] {
        let error = inbox
            .settle(&stale, settlement, T0 + LEASE)
            .await
            .unwrap_err();
        assert!(matches!(error, InboxError::LeaseLost { .. }), "{error:?}");
    }
    inbox
        .settle(&fresh, Settlement::Delivered, T0 + LEASE)
        .await
        .unwrap();
    assert_eq!(inbox.dead_letters(None, None, 10).await.unwrap(), []);
}

/// A claim that was settled is worth nothing, even if nobody claimed since.
pub async fn a_claim_can_be_settled_once(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let claim = claim(inbox, T0).await;
    inbox
        .settle(&claim, retry(MINUTE, MINUTE), T0)
        .await
        .unwrap();

    let error = inbox
        .settle(&claim, Settlement::Delivered, T0)
        .await
        .unwrap_err();
    assert!(matches!(error, InboxError::LeaseLost { .. }), "{error:?}");
    assert_eq!(inbox.next_due().await.unwrap(), Some(T0 + MINUTE));
}

/// Each failure is counted, and the wait is kept.
pub async fn a_retry_waits_and_counts(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let mut now = T0;
    for failures in 0..3 {
        let claim = claim(inbox, now).await;
        assert_eq!(claim.failures, failures);
        inbox
            .settle(&claim, retry(2 * MINUTE, MINUTE), now)
            .await
            .unwrap();

        assert_nothing_due(inbox, now + (2 * MINUTE - SECOND)).await;
        now = now + 2 * MINUTE;
    }
    assert_eq!(claim(inbox, now).await.accepted_at, T0);
}

/// News is worth a new try, but not a storm of them.
pub async fn a_new_notification_starts_the_schedule_over_but_respects_the_rest(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let failed = claim(inbox, T0).await;
    inbox
        .settle(&failed, retry(10 * MINUTE, MINUTE), T0)
        .await
        .unwrap();

    accept(inbox, "m2", 8, T0 + SECOND).await;
    assert_nothing_due(inbox, T0 + (MINUTE - SECOND)).await;
    let again = claim(inbox, T0 + MINUTE).await;
    assert_eq!(
        (again.notification, again.failures),
        (notification("m2", 8), 0)
    );

    inbox
        .settle(
            &claim_of(again.lease, "m2", 8),
            retry(10 * MINUTE, MINUTE),
            T0 + MINUTE,
        )
        .await
        .unwrap();
    accept(inbox, "m3", 9, T0 + 5 * MINUTE).await;
    assert_eq!(
        claim(inbox, T0 + 5 * MINUTE).await.failures,
        0,
        "the rest was over"
    );
}

fn claim_of(lease: i64, message: &str, history_id: u64) -> Claim {
    let notification = notification(message, history_id);
    Claim {
        notification,
        failures: 0,
        accepted_at: T0,
        claimed_at: T0,
        lease,
    }
}

/// The news starts the schedule over, also where it came during the failing delivery.
pub async fn a_failure_with_a_newer_notification_waits_only_the_rest(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let failing = claim(inbox, T0).await;
    accept(inbox, "m2", 8, T0).await;
    inbox
        .settle(&failing, retry(10 * MINUTE, MINUTE), T0)
        .await
        .unwrap();

    assert_nothing_due(inbox, T0 + (MINUTE - SECOND)).await;
    let newer = claim(inbox, T0 + MINUTE).await;
    assert_eq!(
        (newer.notification, newer.failures),
        (notification("m2", 8), 0)
    );
}

/// Nobody waits half an hour for a machine that has been back for twenty-nine minutes.
pub async fn a_machine_that_reports_in_makes_its_mailbox_due_at_once(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let failed = claim(inbox, T0).await;
    inbox
        .settle(&failed, retry(30 * MINUTE, MINUTE), T0)
        .await
        .unwrap();

    assert!(inbox.wake(&user("ann"), T0 + SECOND).await.unwrap());
    assert_eq!(
        claim(inbox, T0 + SECOND).await.notification,
        notification("m1", 7)
    );
    assert!(!inbox.wake(&user("bob"), T0 + SECOND).await.unwrap());
}

/// A check-in is no reason to deliver twice at once.
pub async fn a_check_in_does_not_disturb_a_delivery_under_way(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let first = claim(inbox, T0).await;
    inbox.wake(&user("ann"), T0 + SECOND).await.unwrap();

    assert_nothing_due(inbox, T0 + SECOND).await;
    inbox
        .settle(&first, Settlement::Delivered, T0 + SECOND)
        .await
        .unwrap();
    assert_nothing_due(inbox, T0 + DUPLICATE_WINDOW).await;
}

/// A process that stops hands back what it did not try.
pub async fn a_released_claim_is_due_at_once_and_keeps_its_place(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let failed = claim(inbox, T0).await;
    inbox
        .settle(&failed, retry(MINUTE, MINUTE), T0)
        .await
        .unwrap();
    let untried = claim(inbox, T0 + MINUTE).await;
    inbox
        .settle(&untried, Settlement::Release, T0 + MINUTE)
        .await
        .unwrap();

    assert_eq!(claim(inbox, T0 + MINUTE).await.failures, 1);
}

/// A machine that is up again need not wait for the next mail, though nothing waits when it says so.
pub async fn a_check_in_ends_the_rest(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let claim = claim(inbox, T0).await;
    let refused = bury_as(DeadLetterReason::Refused, "no");
    inbox.settle(&claim, refused, T0).await.unwrap();

    assert!(!inbox.wake(&user("ann"), T0 + SECOND).await.unwrap());
    accept(inbox, "m2", 8, T0 + SECOND).await;
    assert_eq!(inbox.next_due().await.unwrap(), Some(T0 + SECOND));
}
