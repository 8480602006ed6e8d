//! What [`Inbox`] promises: a file for each kind of promise.

mod dead_letters;
mod hours;
mod records;
mod retries;
mod waiting;

use std::time::Duration;

use bytes::Bytes;

pub use self::dead_letters::*;
pub use self::hours::*;
pub use self::records::*;
pub use self::retries::*;
pub use self::waiting::*;
use postbell_core::{
    Accepted, Claim, DeadLetterReason, HistoryId, Inbox, Notification, Settlement, Timestamp,
    UserId,
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
            a_users_dead_letters_are_counted_and_dropped_together
            a_machine_that_reports_in_makes_its_mailbox_due_at_once
            a_check_in_does_not_disturb_a_delivery_under_way
            a_check_in_ends_the_rest
            what_was_given_up_is_delivered_on_check_in
            the_last_deliveries_are_kept_the_latest_first
            a_user_who_is_removed_is_forgotten
            a_delivery_is_recorded_with_how_it_ended
            what_waits_is_counted
            what_waits_for_a_mailbox_is_shown
            those_that_fail_longest_are_listed_first
            what_fails_is_counted_until_a_delivery_succeeds
            deliveries_are_counted_by_the_hour
            hours_are_counted_for_a_day
            a_released_claim_is_due_at_once_and_keeps_its_place
            the_longest_due_are_claimed_first_and_no_more_than_asked
            the_next_due_time_is_known
            what_cannot_be_read_is_kept_once
            of_what_cannot_be_read_the_last_hundred_are_kept
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

fn bury_as(reason: DeadLetterReason, cause: &str) -> Settlement {
    Settlement::DeadLetter {
        reason,
        cause: cause.to_owned(),
        rest: MINUTE,
    }
}

fn bury(cause: &str) -> Settlement {
    bury_as(DeadLetterReason::Exhausted, cause)
}

/// Accepts a notification, claims it and gives it up.
async fn give_up(inbox: &dyn Inbox, message: &str, history_id: u64, reason: DeadLetterReason) {
    let now = T0 + MINUTE * u32::try_from(history_id).unwrap();
    accept(inbox, message, history_id, now).await;
    let claim = claim(inbox, now).await;
    let settlement = bury_as(reason, &format!("no answer to {message}"));
    inbox.settle(&claim, settlement, now).await.unwrap();
}
