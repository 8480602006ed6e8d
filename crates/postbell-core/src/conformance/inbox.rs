//! What [`Inbox`] promises.

use std::time::Duration;

use bytes::Bytes;

use crate::inbox::{
    DELIVERIES_KEPT, DUPLICATE_WINDOW, Depth, Outcome, Replayed, UnreadableMessage,
};
use crate::{
    Accepted, Claim, DeathReason, HistoryId, Inbox, InboxError, Notification, Settlement,
    Timestamp, UserId,
};

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression that gives a box or an `Arc` of an inbox that is empty and nobody else's, and
/// whatever must live as long as the inbox does.
#[macro_export]
macro_rules! inbox_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (inbox, _kept_alive) = $open;
                $crate::conformance::inbox::$promise(&*inbox).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::inbox_conformance! { @each $open;
            what_was_accepted_is_claimed_unchanged
            a_repeat_within_24_hours_is_a_duplicate
            the_same_message_id_of_two_users_is_no_duplicate
            the_greatest_history_id_waits_whatever_the_order
            history_ids_beyond_two_to_the_63_are_ordered
            a_claimed_mailbox_is_hidden_until_its_lease_ends
            a_stale_claim_can_settle_nothing
            a_claim_can_be_settled_once
            what_is_done_is_gone
            what_arrives_during_a_delivery_is_delivered_after_it
            what_an_ongoing_delivery_covers_is_not_delivered_again
            a_retry_waits_and_counts
            a_new_notification_starts_the_schedule_over_but_respects_the_rest
            a_failure_with_a_newer_notification_waits_only_the_rest
            what_is_given_up_becomes_a_dead_letter
            what_a_newer_notification_covers_is_not_buried
            dead_letters_can_be_paged_and_narrowed_to_a_user
            a_replayed_dead_letter_waits_again
            a_replayed_dead_letter_never_takes_the_place_of_a_later_one
            what_cannot_be_read_cannot_be_replayed
            a_dropped_dead_letter_is_gone
            a_machine_that_reports_in_makes_its_mailbox_due_at_once
            a_check_in_does_not_disturb_a_delivery_under_way
            what_was_given_up_is_delivered_on_check_in
            the_last_deliveries_are_kept_the_latest_first
            a_delivery_is_recorded_with_how_it_ended
            what_waits_is_counted
            a_released_claim_is_due_at_once_and_keeps_its_place
            the_longest_due_are_claimed_first_and_no_more_than_asked
            the_next_due_time_is_known
            what_cannot_be_read_is_kept_once
            old_ids_are_forgotten_in_batches
        }
    };
}

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LEASE: Duration = Duration::from_secs(45);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn notification_of(name: &str, message: &str, history_id: u64) -> Notification {
    Notification {
        user: user(name),
        message_id: message.parse().unwrap(),
        history_id: HistoryId::new(history_id),
        body: Bytes::from(format!("body of {message}")),
    }
}

fn notification(message: &str, history_id: u64) -> Notification {
    notification_of("ann", message, history_id)
}

async fn accept(inbox: &dyn Inbox, message: &str, history_id: u64, now: Timestamp) -> Accepted {
    inbox
        .accept(notification(message, history_id), now)
        .await
        .unwrap()
}

/// Claims the one mailbox that is due.
async fn claim(inbox: &dyn Inbox, now: Timestamp) -> Claim {
    let mut claims = inbox.claim(now, LEASE, 10).await.unwrap();
    assert_eq!(claims.len(), 1, "expected one due mailbox: {claims:?}");
    claims.remove(0)
}

async fn assert_nothing_due(inbox: &dyn Inbox, now: Timestamp) {
    assert_eq!(inbox.claim(now, LEASE, 10).await.unwrap(), []);
}

fn retry(wait: Duration, rest: Duration) -> Settlement {
    Settlement::Retry {
        cause: "no answer".to_owned(),
        wait,
        rest,
    }
}

fn bury_as(reason: DeathReason, cause: &str) -> Settlement {
    Settlement::Bury {
        reason,
        cause: cause.to_owned(),
        rest: MINUTE,
    }
}

fn bury(cause: &str) -> Settlement {
    bury_as(DeathReason::Exhausted, cause)
}

/// Accepts a notification, claims it and gives it up.
async fn give_up(inbox: &dyn Inbox, message: &str, history_id: u64, reason: DeathReason) {
    let now = T0 + MINUTE * u32::try_from(history_id).unwrap();
    accept(inbox, message, history_id, now).await;
    let claim = claim(inbox, now).await;
    let settlement = bury_as(reason, &format!("no answer to {message}"));
    inbox.settle(&claim, settlement, now).await.unwrap();
}

/// What comes out is what went in, to the byte.
pub async fn what_was_accepted_is_claimed_unchanged(inbox: &dyn Inbox) {
    assert_eq!(accept(inbox, "m1", 7, T0).await, Accepted::Waiting);

    let claim = claim(inbox, T0).await;
    assert_eq!(claim.notification, notification("m1", 7));
    assert_eq!((claim.failures, claim.accepted_at), (0, T0));
}

/// Pub/Sub delivers at least once; we accept once.
pub async fn a_repeat_within_24_hours_is_a_duplicate(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let first = claim(inbox, T0).await;
    inbox
        .settle(&first, Settlement::Delivered, T0)
        .await
        .unwrap();

    let almost_a_day = T0 + (DUPLICATE_WINDOW - SECOND);
    assert_eq!(
        accept(inbox, "m1", 7, almost_a_day).await,
        Accepted::Duplicate
    );
    assert_nothing_due(inbox, almost_a_day).await;
    assert_eq!(
        accept(inbox, "m1", 7, T0 + DUPLICATE_WINDOW).await,
        Accepted::Waiting
    );
}

/// Message ids are unique within a topic, and every user may have a topic of their own.
pub async fn the_same_message_id_of_two_users_is_no_duplicate(inbox: &dyn Inbox) {
    for name in ["ann", "bob"] {
        let accepted = inbox
            .accept(notification_of(name, "m1", 7), T0)
            .await
            .unwrap();
        assert_eq!(accepted, Accepted::Waiting);
    }
    assert_eq!(inbox.claim(T0, LEASE, 10).await.unwrap().len(), 2);
}

/// Arrival order says nothing; the history id does.
pub async fn the_greatest_history_id_waits_whatever_the_order(inbox: &dyn Inbox) {
    accept(inbox, "m1", 8, T0).await;
    for (message, history_id) in [("m2", 10), ("m3", 9), ("m4", 10)] {
        assert_eq!(
            accept(inbox, message, history_id, T0).await,
            Accepted::Merged
        );
    }
    assert_eq!(claim(inbox, T0).await.notification, notification("m2", 10));
}

/// Gmail's ids are unsigned.
pub async fn history_ids_beyond_two_to_the_63_are_ordered(inbox: &dyn Inbox) {
    accept(inbox, "m1", 9, T0).await;
    accept(inbox, "m2", u64::MAX, T0).await;
    accept(inbox, "m3", i64::MAX.unsigned_abs() + 1, T0).await;
    assert_eq!(
        claim(inbox, T0).await.notification,
        notification("m2", u64::MAX)
    );
}

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

/// A delivered notification does not come back.
pub async fn what_is_done_is_gone(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let claim = claim(inbox, T0).await;
    inbox
        .settle(&claim, Settlement::Delivered, T0)
        .await
        .unwrap();

    assert_nothing_due(inbox, T0 + DUPLICATE_WINDOW).await;
    assert_eq!(inbox.next_due().await.unwrap(), None);
}

/// The machine may have read the mailbox just before the newer change.
pub async fn what_arrives_during_a_delivery_is_delivered_after_it(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let first = claim(inbox, T0).await;
    accept(inbox, "m2", 8, T0 + SECOND).await;
    assert_nothing_due(inbox, T0 + SECOND).await;

    inbox
        .settle(&first, Settlement::Delivered, T0 + SECOND)
        .await
        .unwrap();
    let second = claim(inbox, T0 + SECOND).await;
    assert_eq!(second.notification, notification("m2", 8));
    assert_eq!((second.failures, second.accepted_at), (0, T0 + SECOND));
}

/// A delivery that began with a later history id covers what came late.
pub async fn what_an_ongoing_delivery_covers_is_not_delivered_again(inbox: &dyn Inbox) {
    accept(inbox, "m1", 8, T0).await;
    let first = claim(inbox, T0).await;
    accept(inbox, "m2", 7, T0).await;

    inbox
        .settle(&first, Settlement::Delivered, T0)
        .await
        .unwrap();
    assert_nothing_due(inbox, T0 + DUPLICATE_WINDOW).await;
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

/// Nothing is dropped in silence.
pub async fn what_is_given_up_becomes_a_dead_letter(inbox: &dyn Inbox) {
    for (message, history_id) in [("m1", 7), ("m2", 8)] {
        give_up(inbox, message, history_id, DeathReason::Exhausted).await;
        assert_nothing_due(inbox, T0 + DUPLICATE_WINDOW).await;
    }

    let letters = inbox.dead_letters(None, None, 10).await.unwrap();
    let told: Vec<_> = letters
        .iter()
        .map(|letter| (letter.message_id.as_str(), letter.cause.as_str()))
        .collect();
    assert_eq!(
        told,
        [("m2", "no answer to m2"), ("m1", "no answer to m1")],
        "latest first"
    );
    let latest = &letters[0];
    assert_eq!(
        (&latest.user, latest.buried_at),
        (&user("ann"), T0 + 8 * MINUTE)
    );
    assert_eq!(
        (latest.history_id, latest.reason),
        (Some(HistoryId::new(8)), DeathReason::Exhausted)
    );
}

/// So that a page can show them, however many there are.
pub async fn dead_letters_can_be_paged_and_narrowed_to_a_user(inbox: &dyn Inbox) {
    for (message, history_id) in [("m1", 1), ("m2", 2), ("m3", 3)] {
        give_up(inbox, message, history_id, DeathReason::Refused).await;
    }
    let all = inbox.dead_letters(None, None, 10).await.unwrap();
    assert_eq!(inbox.dead_letters(None, None, 2).await.unwrap(), all[..2]);
    assert_eq!(
        inbox.dead_letters(None, Some(all[1].id), 2).await.unwrap(),
        all[2..]
    );
    assert_eq!(
        inbox
            .dead_letters(Some(&user("ann")), None, 10)
            .await
            .unwrap(),
        all
    );
    assert_eq!(
        inbox
            .dead_letters(Some(&user("bob")), None, 10)
            .await
            .unwrap(),
        []
    );
}

/// The operator mended what was wrong.
pub async fn a_replayed_dead_letter_waits_again(inbox: &dyn Inbox) {
    give_up(inbox, "m1", 7, DeathReason::Refused).await;
    let letter = inbox
        .dead_letters(None, None, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    let now = T0 + 7 * MINUTE;

    assert_eq!(inbox.replay(letter, now).await.unwrap(), Replayed::Waiting);
    assert_eq!(claim(inbox, now).await.notification, notification("m1", 7));
    assert_eq!(inbox.dead_letters(None, None, 10).await.unwrap(), []);
    assert_eq!(inbox.replay(letter, now).await.unwrap(), Replayed::Missing);
}

/// A cursor that lies behind the waiting one has nothing to add.
pub async fn a_replayed_dead_letter_never_takes_the_place_of_a_later_one(inbox: &dyn Inbox) {
    give_up(inbox, "m1", 7, DeathReason::Refused).await;
    let letter = inbox
        .dead_letters(None, None, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    let now = T0 + 7 * MINUTE;
    accept(inbox, "m2", 8, now).await;

    assert_eq!(inbox.replay(letter, now).await.unwrap(), Replayed::Waiting);
    assert_eq!(claim(inbox, now).await.notification, notification("m2", 8));
}

/// What cannot be read cannot be delivered, however often it is tried.
pub async fn what_cannot_be_read_cannot_be_replayed(inbox: &dyn Inbox) {
    inbox.bury_unreadable(unreadable(), T0).await.unwrap();
    let letter = inbox
        .dead_letters(None, None, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    assert_eq!(inbox.replay(letter, T0).await.unwrap(), Replayed::Malformed);
    assert_eq!(inbox.dead_letters(None, None, 10).await.unwrap().len(), 1);
}

/// Dropping is for good, and of one letter only.
pub async fn a_dropped_dead_letter_is_gone(inbox: &dyn Inbox) {
    give_up(inbox, "m1", 1, DeathReason::Refused).await;
    give_up(inbox, "m2", 2, DeathReason::Refused).await;
    let letters = inbox.dead_letters(None, None, 10).await.unwrap();

    assert!(inbox.drop_dead_letter(letters[0].id).await.unwrap());
    assert!(!inbox.drop_dead_letter(letters[0].id).await.unwrap());
    assert_eq!(
        inbox.dead_letters(None, None, 10).await.unwrap(),
        letters[1..]
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

/// A machine that was off for longer than the schedule still gets its mail.
pub async fn what_was_given_up_is_delivered_on_check_in(inbox: &dyn Inbox) {
    give_up(inbox, "m1", 5, DeathReason::Exhausted).await;
    give_up(inbox, "m2", 6, DeathReason::Exhausted).await;
    give_up(inbox, "m3", 7, DeathReason::Refused).await;

    let now = T0 + 8 * MINUTE;
    assert!(inbox.wake(&user("ann"), now).await.unwrap());
    assert_eq!(
        claim(inbox, now).await.notification,
        notification("m2", 6),
        "it covers m1"
    );
    let left = inbox.dead_letters(None, None, 10).await.unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|letter| letter.message_id.as_str())
        .collect();
    assert_eq!(left, ["m3"], "what was refused needs a person");
}

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
        .settle(&last, Settlement::NotWanted, T0 + 2 * MINUTE)
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
            (Outcome::Dropped, None),
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
    give_up(inbox, "m0", 0, DeathReason::Refused).await;
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
        dead_letters: 1,
    };
    assert_eq!(depth, expected);
}

/// Burying what will be delivered anyway would tell the operator of a loss that is none.
pub async fn what_a_newer_notification_covers_is_not_buried(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let failing = claim(inbox, T0).await;
    accept(inbox, "m2", 8, T0).await;
    inbox.settle(&failing, bury("no answer"), T0).await.unwrap();

    assert_eq!(inbox.dead_letters(None, None, 10).await.unwrap(), []);
    assert_nothing_due(inbox, T0 + (MINUTE - SECOND)).await;
    assert_eq!(
        claim(inbox, T0 + MINUTE).await.notification,
        notification("m2", 8)
    );
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

/// Nobody waits behind those who came later.
pub async fn the_longest_due_are_claimed_first_and_no_more_than_asked(inbox: &dyn Inbox) {
    for (seconds, name) in [(2, "cid"), (0, "ann"), (1, "bob")] {
        let now = T0 + seconds * SECOND;
        inbox
            .accept(notification_of(name, "m1", 7), now)
            .await
            .unwrap();
    }
    let claims = inbox.claim(T0 + MINUTE, LEASE, 2).await.unwrap();
    let names: Vec<_> = claims
        .iter()
        .map(|claim| claim.notification.user.as_str())
        .collect();
    assert_eq!(names, ["ann", "bob"]);
    assert_eq!(
        claim(inbox, T0 + MINUTE).await.notification.user,
        user("cid")
    );
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

/// What can never be read is neither lost nor repeated.
pub async fn what_cannot_be_read_is_kept_once(inbox: &dyn Inbox) {
    let kept = inbox.bury_unreadable(unreadable(), T0).await.unwrap();
    let again = inbox
        .bury_unreadable(unreadable(), T0 + SECOND)
        .await
        .unwrap();
    assert_eq!((kept, again), (Accepted::Waiting, Accepted::Duplicate));

    let letters = inbox.dead_letters(None, None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].cause, "expected a JSON object");
    assert_eq!(
        (letters[0].reason, letters[0].history_id),
        (DeathReason::Malformed, None)
    );
    assert_nothing_due(inbox, T0 + MINUTE).await;
}

fn unreadable() -> UnreadableMessage {
    UnreadableMessage {
        user: user("ann"),
        message_id: "m1".parse().unwrap(),
        body: Bytes::from_static(b"\xff{"),
        cause: "expected a JSON object".to_owned(),
    }
}

/// No long transaction, and no id forgotten before its time.
pub async fn old_ids_are_forgotten_in_batches(inbox: &dyn Inbox) {
    for message in ["m1", "m2", "m3"] {
        accept(inbox, message, 7, T0).await;
    }
    accept(inbox, "m4", 7, T0 + SECOND).await;
    let later = T0 + DUPLICATE_WINDOW;

    for expected in [2, 1, 0] {
        assert_eq!(inbox.forget_old_ids(later, 2).await.unwrap(), expected);
    }
    assert_eq!(accept(inbox, "m4", 7, later).await, Accepted::Duplicate);
}
