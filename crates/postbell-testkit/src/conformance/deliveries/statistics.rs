//! What pages show of a mailbox: pending, failing, and counts of the last day.

use std::time::Duration;

use super::{
    LEASE, MINUTE, SECOND, T0, accept, claim, exhausted, notification, notification_of, retry, user,
};
use crate::{Deliveries, RELAY};
use postbell_core::{HOURS_COUNTED, HistoryId, HourlyCount, Settlement, Timestamp};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// With its due time and its consecutive failures.
pub async fn the_pending_notification_is_shown(deliveries: &Deliveries) {
    let ann = user("ann");
    let pending = async || deliveries.log.pending(&ann).await.unwrap();
    assert_eq!(pending().await, None);
    accept(deliveries, "m1", 7, T0).await;
    let shown = pending().await.unwrap();
    assert_eq!((&shown.user, shown.history_id), (&ann, HistoryId::new(7)));
    assert_eq!(shown.message_id.as_str(), "m1");
    assert_eq!((shown.accepted_at, shown.due_at), (T0, T0));
    assert_eq!((shown.consecutive_failures, shown.in_progress), (0, false));

    let claim = claim(deliveries, T0 + SECOND).await;
    let shown = pending().await.unwrap();
    assert_eq!(
        (shown.due_at, shown.in_progress),
        (T0 + SECOND + LEASE, true)
    );
    let failed = deliveries
        .queue
        .settle(&claim, retry(2 * MINUTE, MINUTE), T0 + MINUTE);
    failed.await.unwrap();
    let shown = pending().await.unwrap();
    assert_eq!(
        (shown.due_at, shown.consecutive_failures),
        (T0 + 3 * MINUTE, 1)
    );
    assert!(!shown.in_progress);

    let claims = deliveries
        .queue
        .claim(RELAY, T0 + HOUR, LEASE, 1)
        .await
        .unwrap()
        .claims;
    let done = deliveries
        .queue
        .settle(&claims[0], Settlement::Delivered, T0 + HOUR);
    done.await.unwrap();
    assert_eq!(pending().await, None);
}

/// A dead letter is not pending, so it is not listed.
pub async fn the_longest_failing_are_listed_first(deliveries: &Deliveries) {
    for (seconds, name) in [(2, "ann"), (0, "cid"), (1, "bob"), (3, "dan"), (4, "eve")] {
        let now = T0 + seconds * SECOND;
        let accepted = deliveries.queue.accept(notification_of(name, "m1", 7), now);
        accepted.await.unwrap();
        let claim = claim(deliveries, now).await;
        let settlement = match name {
            "dan" => Settlement::Delivered,
            "eve" => exhausted("no answer"),
            _ => retry(HOUR, HOUR),
        };
        deliveries
            .queue
            .settle(&claim, settlement, now)
            .await
            .unwrap();
    }
    let failing = deliveries.log.failing(9).await.unwrap();
    let names = failing.iter().map(|pending| pending.user.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["cid", "bob", "ann"]);
    assert_eq!(
        (failing[0].consecutive_failures, failing[0].due_at),
        (1, T0 + HOUR)
    );
    assert_eq!(deliveries.log.failing(2).await.unwrap(), failing[..2]);
    assert_eq!(deliveries.log.depth().await.unwrap().failing, 3);
}

/// The user has turned notifications off in between.
pub async fn an_unwanted_delivery_ends_the_count_of_failures(deliveries: &Deliveries) {
    accept(deliveries, "m1", 1, T0).await;
    for (settlement, now) in [
        (retry(MINUTE, MINUTE), T0),
        (Settlement::Unwanted, T0 + MINUTE),
    ] {
        let claim = claim(deliveries, now).await;
        let settled = deliveries.queue.settle(&claim, settlement, now).await;
        settled.unwrap();
    }
    accept(deliveries, "m2", 2, T0 + MINUTE).await;
    let pending = deliveries.log.pending(&user("ann")).await.unwrap().unwrap();
    assert_eq!(
        (pending.consecutive_failures, pending.failing_since),
        (0, None)
    );
    assert_eq!(deliveries.log.failing(9).await.unwrap(), []);
}

/// A new notification restarts the schedule, but does not clear the count.
pub async fn consecutive_failures_are_counted_until_a_delivery_succeeds(deliveries: &Deliveries) {
    let shown = async || {
        let failing = deliveries.log.failing(9).await.unwrap();
        let of_failing = failing.first();
        of_failing.map(|pending| (pending.consecutive_failures, pending.failing_since))
    };
    let mut now = T0;
    for (number, settlement) in [
        retry(MINUTE, MINUTE),
        exhausted("no"),
        retry(MINUTE, MINUTE),
    ]
    .into_iter()
    .enumerate()
    {
        let history_id = number as u64;
        let is_first = number == 0;
        accept(deliveries, &format!("m{number}"), history_id, now).await;
        let expected = (!is_first).then_some((u32::try_from(number).unwrap(), Some(T0)));
        assert_eq!(shown().await, expected);
        let claim = claim(deliveries, now).await;
        deliveries
            .queue
            .settle(&claim, settlement, now)
            .await
            .unwrap();
        now = now + MINUTE;
    }
    accept(deliveries, "m9", 9, now).await;
    deliveries
        .queue
        .make_due(&user("ann"), None, now)
        .await
        .unwrap();
    assert_eq!(shown().await, Some((3, Some(T0))));

    let released = claim(deliveries, now).await;
    let released = deliveries.queue.settle(&released, Settlement::Release, now);
    released.await.unwrap();
    assert_eq!(shown().await, Some((3, Some(T0))));
    let delivered = claim(deliveries, now).await;
    accept(deliveries, "m10", 10, now).await;
    let delivered = deliveries
        .queue
        .settle(&delivered, Settlement::Delivered, now);
    delivered.await.unwrap();
    assert_eq!(shown().await, None);
    assert_eq!(deliveries.log.depth().await.unwrap().failing, 0);
}

async fn deliver(deliveries: &Deliveries, number: u64, settlement: Settlement, at: Timestamp) {
    let message = format!("m{number}");
    deliveries
        .queue
        .accept(notification(&message, number), at)
        .await
        .unwrap();
    let claim = claim(deliveries, at).await;
    deliveries
        .queue
        .settle(&claim, settlement, at)
        .await
        .unwrap();
}

/// Unwanted and released deliveries are not counted.
pub async fn deliveries_are_counted_by_the_hour(deliveries: &Deliveries) {
    let ann = user("ann");
    let begin = HourlyCount::of_hour(HourlyCount::hour_number(T0)).begins_at;
    let none = Duration::ZERO;
    assert_eq!(deliveries.log.hourly_counts(&ann, T0).await.unwrap(), []);
    deliver(deliveries, 1, Settlement::Delivered, begin).await;
    deliver(
        deliveries,
        2,
        Settlement::Delivered,
        begin + (HOUR - SECOND),
    )
    .await;
    deliver(deliveries, 3, Settlement::Unwanted, begin + HOUR).await;
    deliver(deliveries, 4, retry(none, none), begin + HOUR).await;
    deliver(deliveries, 5, Settlement::Release, begin + HOUR).await;
    deliver(deliveries, 6, exhausted("no answer"), begin + HOUR).await;
    let expected =
        [(begin, 2, 0), (begin + HOUR, 0, 2)].map(|(begins_at, delivered, failed)| HourlyCount {
            begins_at,
            delivered,
            failed,
        });
    assert_eq!(
        deliveries
            .log
            .hourly_counts(&ann, begin + HOUR)
            .await
            .unwrap(),
        expected
    );
    assert_eq!(
        deliveries
            .log
            .hourly_counts(&user("bob"), begin + HOUR)
            .await
            .unwrap(),
        []
    );
}

/// The counts of a mailbox are bounded.
pub async fn hours_are_counted_for_a_day(deliveries: &Deliveries) {
    let ann = user("ann");
    let begin = HourlyCount::of_hour(HourlyCount::hour_number(T0)).begins_at;
    for hour in 0..=24_u32 {
        let at = begin + hour * HOUR;
        deliver(deliveries, u64::from(hour), Settlement::Delivered, at).await;
    }
    let now = begin + 24 * HOUR;
    let hours = deliveries.log.hourly_counts(&ann, now).await.unwrap();
    let begins: Vec<_> = hours.iter().map(|hour| hour.begins_at).collect();
    let expected: Vec<_> = (1..=24_u32).map(|hour| begin + hour * HOUR).collect();
    assert_eq!(begins, expected);
    assert!(hours.iter().all(|hour| hour.delivered == 1));
    assert_eq!(i64::try_from(hours.len()), Ok(HOURS_COUNTED));

    let later = deliveries
        .log
        .hourly_counts(&ann, now + 23 * HOUR)
        .await
        .unwrap();
    assert_eq!(later, hours[23..]);
    assert_eq!(
        deliveries
            .log
            .hourly_counts(&ann, now + 24 * HOUR)
            .await
            .unwrap(),
        []
    );
}
