//! Mailboxes whose machine has reported a problem.

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, before, claim, exhausted, notification,
    retry, user,
};
use crate::Deliveries;
use postbell_core::{
    Accepted, Claim, Failure, FailureKind, Outcome, ProblemCode, Settlement, Timestamp,
};

const PROBLEM: ProblemCode = ProblemCode::GrantRevoked;

fn park(until: Timestamp) -> Settlement {
    Settlement::Park {
        failure: Failure::status(503).because_of(PROBLEM),
        until,
    }
}

async fn settle(deliveries: &Deliveries, claim: &Claim, settlement: Settlement, now: Timestamp) {
    let settled = deliveries.queue.settle(claim, settlement, now).await;
    settled.unwrap();
}

async fn check_in(deliveries: &Deliveries, problem: Option<ProblemCode>, now: Timestamp) -> bool {
    let ann = user("ann");
    let due = deliveries.queue.make_due(&ann, problem, now);
    due.await.unwrap()
}

/// Accepts a notification, whose delivery is retried once and then parked for an hour.
async fn parked(deliveries: &Deliveries) -> Timestamp {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    settle(deliveries, &failed, retry(MINUTE, MINUTE), T0).await;
    let now = T0 + MINUTE;
    let failed = claim(deliveries, now).await;
    settle(deliveries, &failed, park(now + 60 * MINUTE), now).await;
    now + 60 * MINUTE
}

/// The attempts of the schedule are those that were made without a known problem.
pub async fn a_parked_mailbox_waits_and_does_not_count_its_attempt(deliveries: &Deliveries) {
    let mut until = parked(deliveries).await;
    for _ in 0..3 {
        assert_nothing_due(deliveries, before(until, SECOND)).await;
        let probe = claim(deliveries, until).await;
        assert_eq!((probe.attempt, probe.accepted_at), (1, T0));
        let again = until + 60 * MINUTE;
        settle(deliveries, &probe, park(again), until).await;
        until = again;
    }
    let letters = deliveries.log.dead_letters(None, None, 10).await;
    assert_eq!(letters.unwrap(), []);
}

/// They are one notification with the latest position, so the probe catches up with all of them.
pub async fn new_notifications_of_a_parked_mailbox_wait_with_it(deliveries: &Deliveries) {
    let until = parked(deliveries).await;
    for (message, history_id) in [("m2", 8), ("m4", 10), ("m3", 9)] {
        let accepted = accept(deliveries, message, history_id, T0 + 2 * MINUTE).await;
        assert_eq!(accepted, Accepted::Merged);
        assert_nothing_due(deliveries, before(until, SECOND)).await;
    }
    let probe = claim(deliveries, until).await;
    assert_eq!(probe.notification, notification("m4", 10));
}

/// One that arrived during the failing delivery waits, too.
pub async fn a_newer_notification_is_parked_with_the_failed_one(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    accept(deliveries, "m2", 8, T0 + SECOND).await;
    let until = T0 + 60 * MINUTE;
    settle(deliveries, &failed, park(until), T0 + SECOND).await;
    assert_nothing_due(deliveries, before(until, SECOND)).await;
    let probe = claim(deliveries, until).await;
    assert_eq!(probe.notification, notification("m2", 8));
}

/// A check-in that repeats the problem changes nothing.
pub async fn a_check_in_without_a_problem_ends_parking(deliveries: &Deliveries) {
    let until = parked(deliveries).await;
    let now = T0 + 5 * MINUTE;
    assert!(check_in(deliveries, Some(PROBLEM), now).await);
    assert!(check_in(deliveries, Some(ProblemCode::WebhookGone), now).await);
    assert_nothing_due(deliveries, before(until, SECOND)).await;

    let now = before(until, SECOND);
    assert!(check_in(deliveries, None, now).await);
    let pending = deliveries.log.pending(&user("ann")).await.unwrap();
    assert_eq!(pending.unwrap().parked_for, None);
    let again = claim(deliveries, now).await;
    assert_eq!(again.notification, notification("m1", 7));
    settle(deliveries, &again, Settlement::Delivered, now).await;
    let log = &deliveries.log;
    assert_eq!(log.failing(10).await.unwrap(), []);
    assert_eq!(log.depth().await.unwrap().parked, 0);
}

/// The machine was down: whether the problem blocks the delivery shows when it is tried.
pub async fn a_check_in_with_a_problem_makes_a_mailbox_due_that_is_not_parked(
    deliveries: &Deliveries,
) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    settle(deliveries, &failed, retry(30 * MINUTE, MINUTE), T0).await;
    assert!(check_in(deliveries, Some(PROBLEM), T0 + SECOND).await);
    let again = claim(deliveries, T0 + SECOND).await;
    settle(deliveries, &again, exhausted("no answer"), T0 + SECOND).await;
    assert!(check_in(deliveries, Some(PROBLEM), T0 + MINUTE).await);
    claim(deliveries, T0 + MINUTE).await;
}

/// The delivery began before the problem was over, so it must not wait for the next probe.
pub async fn a_check_in_during_a_delivery_prevents_parking(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    for now in [T0, T0 + MINUTE] {
        let failing = claim(deliveries, now).await;
        check_in(deliveries, None, now + SECOND).await;
        assert_nothing_due(deliveries, now + SECOND).await;
        let later = now + 2 * SECOND;
        settle(deliveries, &failing, park(later + 60 * MINUTE), later).await;

        let again = claim(deliveries, later).await;
        assert_eq!(again.attempt, 0);
        let problem = Some(PROBLEM);
        check_in(deliveries, problem, later + SECOND).await;
        let until = now + MINUTE;
        settle(deliveries, &again, park(until), later + SECOND).await;
        assert_nothing_due(deliveries, before(until, SECOND)).await;
    }
}

/// In the pending delivery, the depth and the log.
pub async fn a_parked_mailbox_is_shown_with_its_problem(deliveries: &Deliveries) {
    let until = parked(deliveries).await;
    let log = &deliveries.log;
    let pending = log.pending(&user("ann")).await.unwrap().unwrap();
    assert_eq!(pending.parked_for, Some(PROBLEM));
    assert_eq!(pending.due_at, until);
    assert_eq!(pending.consecutive_failures, 2);
    assert_eq!(log.failing(10).await.unwrap(), [pending]);
    let depth = log.depth().await.unwrap();
    assert_eq!((depth.pending, depth.failing, depth.parked), (1, 1, 1));

    let records = log.deliveries(&user("ann")).await.unwrap();
    assert_eq!(records[0].outcome, Outcome::Parked);
    assert_eq!(records[0].failure_kind, Some(FailureKind::Problem(PROBLEM)));
    let cause = records[0].cause.as_deref().unwrap();
    assert!(cause.starts_with(PROBLEM.summary()), "{cause}");

    let probe = claim(deliveries, until).await;
    settle(deliveries, &probe, retry(MINUTE, MINUTE), until).await;
    assert_eq!(log.depth().await.unwrap().parked, 0);
    assert_nothing_due(deliveries, until + (MINUTE - SECOND)).await;
    let again = claim(deliveries, until + MINUTE).await;
    settle(deliveries, &again, park(until + LEASE), until + MINUTE).await;
    log.remove_user(&user("ann")).await.unwrap();
    assert_eq!(log.depth().await.unwrap().parked, 0);
}
