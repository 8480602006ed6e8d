//! What an owner and an operator look at: what waits, what fails, and what came in a day.

use std::time::Duration;

use super::{
    LEASE, MINUTE, SECOND, T0, accept, bury, claim, notification, notification_of, retry, user,
};
use postbell_core::{HOURS_COUNTED, HistoryId, HourlyCount, Inbox, Settlement, Timestamp};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// For its owner: what waits, until when, and how often it has failed.
pub async fn what_waits_for_a_mailbox_is_shown(inbox: &dyn Inbox) {
    let ann = user("ann");
    let waiting = async || inbox.waiting(&ann).await.unwrap();
    assert_eq!(waiting().await, None);
    accept(inbox, "m1", 7, T0).await;
    let shown = waiting().await.unwrap();
    assert_eq!((&shown.user, shown.history_id), (&ann, HistoryId::new(7)));
    assert_eq!(shown.message_id.as_str(), "m1");
    assert_eq!((shown.accepted_at, shown.due_at), (T0, T0));
    assert_eq!((shown.failures, shown.under_way), (0, false));

    let claim = claim(inbox, T0 + SECOND).await;
    let shown = waiting().await.unwrap();
    assert_eq!((shown.due_at, shown.under_way), (T0 + SECOND + LEASE, true));
    let failed = inbox.settle(&claim, retry(2 * MINUTE, MINUTE), T0 + MINUTE);
    failed.await.unwrap();
    let shown = waiting().await.unwrap();
    assert_eq!((shown.due_at, shown.failures), (T0 + 3 * MINUTE, 1));
    assert!(!shown.under_way);

    let claims = inbox.claim(T0 + HOUR, LEASE, 1).await.unwrap();
    let done = inbox.settle(&claims[0], Settlement::Delivered, T0 + HOUR);
    done.await.unwrap();
    assert_eq!(waiting().await, None);
}

/// For the operator: those whose last delivery failed; what is given up waits no more.
pub async fn those_that_fail_longest_are_listed_first(inbox: &dyn Inbox) {
    for (seconds, name) in [(2, "ann"), (0, "cid"), (1, "bob"), (3, "dan"), (4, "eve")] {
        let now = T0 + seconds * SECOND;
        let accepted = inbox.accept(notification_of(name, "m1", 7), now);
        accepted.await.unwrap();
        let claim = claim(inbox, now).await;
        let settlement = match name {
            "dan" => Settlement::Delivered,
            "eve" => bury("no answer"),
            _ => retry(HOUR, HOUR),
        };
        inbox.settle(&claim, settlement, now).await.unwrap();
    }
    let failing = inbox.failing(9).await.unwrap();
    let names = failing.iter().map(|waiting| waiting.user.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["cid", "bob", "ann"]);
    assert_eq!((failing[0].failures, failing[0].due_at), (1, T0 + HOUR));
    assert_eq!(inbox.failing(2).await.unwrap(), failing[..2]);
    assert_eq!(inbox.depth().await.unwrap().failing, 3);
}

/// A mailbox that gets much mail is no better off than one that gets little: what starts the schedule
/// over delivers nothing.
pub async fn what_fails_is_counted_until_a_delivery_succeeds(inbox: &dyn Inbox) {
    let shown = async || {
        let failing = inbox.failing(9).await.unwrap();
        let of_failing = failing.first();
        of_failing.map(|waiting| (waiting.failures, waiting.failing_since))
    };
    let mut now = T0;
    for (number, settlement) in [retry(MINUTE, MINUTE), bury("no"), retry(MINUTE, MINUTE)]
        .into_iter()
        .enumerate()
    {
        let history_id = number as u64;
        let is_first = number == 0;
        accept(inbox, &format!("m{number}"), history_id, now).await;
        let expected = (!is_first).then_some((u32::try_from(number).unwrap(), Some(T0)));
        assert_eq!(shown().await, expected);
        let claim = claim(inbox, now).await;
        inbox.settle(&claim, settlement, now).await.unwrap();
        now = now + MINUTE;
    }
    accept(inbox, "m9", 9, now).await;
    inbox.wake(&user("ann"), now).await.unwrap();
    assert_eq!(shown().await, Some((3, Some(T0))));

    let released = claim(inbox, now).await;
    let released = inbox.settle(&released, Settlement::Release, now);
    released.await.unwrap();
    assert_eq!(shown().await, Some((3, Some(T0))));
    let delivered = claim(inbox, now).await;
    accept(inbox, "m10", 10, now).await;
    let delivered = inbox.settle(&delivered, Settlement::Delivered, now);
    delivered.await.unwrap();
    assert_eq!(shown().await, None);
    assert_eq!(inbox.depth().await.unwrap().failing, 0);
}

async fn deliver(inbox: &dyn Inbox, number: u64, settlement: Settlement, at: Timestamp) {
    let message = format!("m{number}");
    inbox
        .accept(notification(&message, number), at)
        .await
        .unwrap();
    let claim = claim(inbox, at).await;
    inbox.settle(&claim, settlement, at).await.unwrap();
}

/// What nobody wanted, and what was not tried, is not counted.
pub async fn deliveries_are_counted_by_the_hour(inbox: &dyn Inbox) {
    let ann = user("ann");
    let begin = HourlyCount::of_hour(HourlyCount::number(T0)).begins_at;
    let none = Duration::ZERO;
    assert_eq!(inbox.hours(&ann, T0).await.unwrap(), []);
    deliver(inbox, 1, Settlement::Delivered, begin).await;
    deliver(inbox, 2, Settlement::Delivered, begin + (HOUR - SECOND)).await;
    deliver(inbox, 3, Settlement::Unwanted, begin + HOUR).await;
    deliver(inbox, 4, retry(none, none), begin + HOUR).await;
    deliver(inbox, 5, Settlement::Release, begin + HOUR).await;
    deliver(inbox, 6, bury("no answer"), begin + HOUR).await;
    let expected =
        [(begin, 2, 0), (begin + HOUR, 0, 2)].map(|(begins_at, delivered, failed)| HourlyCount {
            begins_at,
            delivered,
            failed,
        });
    assert_eq!(inbox.hours(&ann, begin + HOUR).await.unwrap(), expected);
    assert_eq!(inbox.hours(&user("bob"), begin + HOUR).await.unwrap(), []);
}

/// And no longer: what is kept of a mailbox is bounded.
pub async fn hours_are_counted_for_a_day(inbox: &dyn Inbox) {
    let ann = user("ann");
    let begin = HourlyCount::of_hour(HourlyCount::number(T0)).begins_at;
    for hour in 0..=24_u32 {
        let at = begin + hour * HOUR;
        deliver(inbox, u64::from(hour), Settlement::Delivered, at).await;
    }
    let now = begin + 24 * HOUR;
    let hours = inbox.hours(&ann, now).await.unwrap();
    let begins: Vec<_> = hours.iter().map(|hour| hour.begins_at).collect();
    let expected: Vec<_> = (1..=24_u32).map(|hour| begin + hour * HOUR).collect();
    assert_eq!(begins, expected);
    assert!(hours.iter().all(|hour| hour.delivered == 1));
    assert_eq!(i64::try_from(hours.len()), Ok(HOURS_COUNTED));

    let later = inbox.hours(&ann, now + 23 * HOUR).await.unwrap();
    assert_eq!(later, hours[23..]);
    assert_eq!(inbox.hours(&ann, now + 24 * HOUR).await.unwrap(), []);
}
