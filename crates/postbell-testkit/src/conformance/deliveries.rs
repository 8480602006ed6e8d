//! The promises of [`DeliveryQueue`](postbell_core::DeliveryQueue) and
//! [`DeliveryLog`](postbell_core::DeliveryLog).

mod clock;
mod cursor;
mod dead_letters;
mod parked;
mod queue;
mod records;
mod relays;
mod retries;
mod statistics;

use std::time::Duration;

use bytes::Bytes;

pub use self::clock::*;
pub use self::cursor::*;
pub use self::dead_letters::*;
pub use self::parked::*;
pub use self::queue::*;
pub use self::records::*;
pub use self::relays::*;
pub use self::retries::*;
pub use self::statistics::*;
use crate::{Deliveries, RELAY};
use postbell_core::{
    Accepted, Claim, DeadLetterReason, Failure, FailureKind, HistoryId, Notification, Settlement,
    Timestamp, TraceContext, UserId,
};

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression for an empty [`Deliveries`] and a value that must live as
/// long.
#[macro_export]
macro_rules! deliveries_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (deliveries, _kept_alive) = $open;
                $crate::conformance::deliveries::$promise(&deliveries).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::deliveries_conformance! { @each $open;
            a_notification_is_claimed_unchanged
            a_repeat_within_24_hours_is_a_duplicate
            the_same_message_id_of_two_users_is_no_duplicate
            the_greatest_history_id_is_pending_in_any_order
            history_ids_beyond_two_to_the_63_are_ordered
            a_claimed_mailbox_is_hidden_until_its_lease_ends
            a_stale_claim_cannot_settle
            a_claim_can_be_settled_once
            a_delivered_notification_does_not_return
            a_notification_during_a_delivery_is_delivered_after_it
            a_notification_that_a_delivery_covers_is_not_delivered
            a_retry_waits_and_counts_its_attempt
            a_new_notification_restarts_the_schedule_after_the_cooldown
            a_failure_with_a_newer_notification_waits_only_the_cooldown
            a_delivery_that_fails_for_good_becomes_a_dead_letter
            a_covered_notification_does_not_become_a_dead_letter
            dead_letters_are_paged_and_filtered_by_user
            a_replayed_dead_letter_is_pending_again
            a_replayed_dead_letter_never_replaces_a_later_notification
            an_unparseable_message_cannot_be_replayed
            a_dropped_dead_letter_is_gone
            a_users_dead_letters_are_counted_and_dropped_together
            a_check_in_makes_the_mailbox_due_at_once
            a_check_in_does_not_disturb_a_delivery_in_progress
            a_check_in_ends_the_cooldown
            only_waiting_retries_are_due_when_what_they_wait_for_works
            a_check_in_retries_exhausted_dead_letters
            the_last_deliveries_are_kept_the_latest_first
            removing_a_user_deletes_everything
            a_delivery_is_recorded_with_its_outcome
            the_depth_counts_pending_and_dead_letters
            the_pending_notification_is_shown
            the_longest_failing_are_listed_first
            consecutive_failures_are_counted_until_a_delivery_succeeds
            an_unwanted_delivery_ends_the_count_of_failures
            deliveries_are_counted_by_the_hour
            hours_are_counted_for_a_day
            a_released_claim_is_due_at_once_and_keeps_its_attempt
            the_longest_due_are_claimed_first_up_to_the_limit
            the_latest_due_are_claimed_first_where_that_is_asked_for
            a_claim_returns_when_the_next_mailbox_is_due
            the_last_thousand_dead_letters_of_a_user_are_kept
            a_parked_mailbox_waits_and_does_not_count_its_attempt
            new_notifications_of_a_parked_mailbox_wait_with_it
            a_newer_notification_is_parked_with_the_failed_one
            a_check_in_without_a_problem_ends_parking
            a_check_in_with_a_problem_makes_a_mailbox_due_that_is_not_parked
            a_check_in_during_a_delivery_prevents_parking
            a_parked_mailbox_is_shown_with_its_problem
            a_wait_does_not_last_longer_because_the_clock_was_ahead
            a_cooldown_does_not_last_longer_because_the_clock_was_ahead
            a_notification_of_a_clock_that_was_ahead_is_due
            a_replay_of_a_clock_that_was_ahead_is_due
            what_schedules_nothing_does_not_show_that_the_clock_was_ahead
            a_lease_does_not_last_longer_because_the_clock_was_ahead
            a_small_step_back_moves_nothing
            a_new_store_is_ready
            an_unparseable_message_is_kept_once
            the_last_hundred_unparseable_messages_are_kept
            a_repeat_of_any_message_of_a_delivery_is_a_duplicate
            another_message_with_the_same_history_id_is_delivered
            another_message_during_the_delivery_of_its_history_id_is_delivered_after_it
            a_repeat_of_a_pending_notification_changes_nothing
            a_repeat_of_a_dead_letter_is_a_duplicate
            a_late_notification_below_the_cursor_is_covered
            a_history_id_that_is_too_great_delays_nothing
            a_lower_history_id_that_is_published_during_a_delivery_is_delivered_after_it
            a_failure_with_a_lower_history_id_that_was_published_later_waits_only_the_cooldown
            a_lower_history_id_that_was_published_earlier_is_covered_by_a_delivery_in_progress
            a_repeat_of_a_merged_notification_starts_no_second_delivery
            a_message_without_a_publish_time_is_never_covered_by_a_delivery
            a_cursor_of_a_clock_that_was_ahead_covers_nothing
            a_notification_of_another_address_replaces_the_pending_one
            every_address_has_its_own_cursor
            the_cursors_of_the_last_addresses_are_kept
            a_replayed_dead_letter_does_not_lower_the_cursor
            a_newer_notification_does_not_hide_how_long_a_mailbox_waits
            the_claims_of_a_dead_relay_are_released
            a_released_claim_cannot_settle
            a_living_relay_keeps_its_claims
            a_new_relay_releases_the_claims_of_unknown_ones
            a_relay_whose_clock_was_ahead_when_it_died_is_dead
            a_mark_differs_once_anything_of_its_user_has_changed
        }
    };
}

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LEASE: Duration = Duration::from_secs(45);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn before(time: Timestamp, span: Duration) -> Timestamp {
    let millis = i64::try_from(span.as_millis()).unwrap();
    Timestamp::from_millis(time.as_millis() - millis)
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

/// Another trace for each message.
fn trace_of(message: &str) -> TraceContext {
    let number = message.bytes().fold(1_u64, |number, byte| {
        number.wrapping_mul(31).wrapping_add(byte.into())
    });
    format!("00-{number:032x}-{number:016x}-01")
        .parse()
        .unwrap()
}

fn notification_of(name: &str, message: &str, history_id: u64) -> Notification {
    Notification {
        trace: Some(trace_of(message)),
        user: user(name),
        address: Some(format!("{name}@example.com").parse().unwrap()),
        message_id: message.parse().unwrap(),
        published_at: Some(T0),
        history_id: HistoryId::new(history_id),
        body: Bytes::from(format!("body of {message}")),
    }
}

fn notification(message: &str, history_id: u64) -> Notification {
    notification_of("ann", message, history_id)
}

async fn accept(
    deliveries: &Deliveries,
    message: &str,
    history_id: u64,
    now: Timestamp,
) -> Accepted {
    deliveries
        .queue
        .accept(notification(message, history_id), now)
        .await
        .unwrap()
}

/// Claims the one mailbox that is due.
async fn claim(deliveries: &Deliveries, now: Timestamp) -> Claim {
    let mut claims = deliveries
        .queue
        .claim(RELAY, now, LEASE, 10)
        .await
        .unwrap()
        .claims;
    assert_eq!(claims.len(), 1, "expected one due mailbox: {claims:?}");
    claims.remove(0)
}

/// Returns when the mailbox of ann is due.
async fn due_at(deliveries: &Deliveries) -> Option<Timestamp> {
    let pending = deliveries.log.pending(&user("ann")).await.unwrap();
    pending.map(|pending| pending.due_at)
}

async fn assert_nothing_due(deliveries: &Deliveries, now: Timestamp) {
    assert_eq!(
        deliveries
            .queue
            .claim(RELAY, now, LEASE, 10)
            .await
            .unwrap()
            .claims,
        []
    );
}

fn retry(wait: Duration, cooldown: Duration) -> Settlement {
    Settlement::Retry {
        failure: Failure::new(FailureKind::Timeout, "no answer"),
        wait,
        cooldown,
    }
}

fn dead_letter_as(reason: DeadLetterReason, cause: &str) -> Settlement {
    Settlement::DeadLetter {
        reason,
        failure: Failure::new(FailureKind::Status(503), cause),
        cooldown: MINUTE,
    }
}

fn exhausted(cause: &str) -> Settlement {
    dead_letter_as(DeadLetterReason::Exhausted, cause)
}

/// Accepts a notification, claims it and settles it as a dead letter.
async fn fail_for_good(
    deliveries: &Deliveries,
    message: &str,
    history_id: u64,
    reason: DeadLetterReason,
) {
    let now = T0 + MINUTE * u32::try_from(history_id).unwrap();
    accept(deliveries, message, history_id, now).await;
    let claim = claim(deliveries, now).await;
    let settlement = dead_letter_as(reason, &format!("no answer to {message}"));
    deliveries
        .queue
        .settle(&claim, settlement, now)
        .await
        .unwrap();
}
