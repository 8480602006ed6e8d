//! What an owner and an operator look at: what waits, what fails, and what came in a day.

use std::time::Duration;

use super::{
    LEASE, MINUTE, SECOND, T0, accept, bury, claim, notification, notification_of, retry, user,
};
use crate::inbox::{HOURS_COUNTED, HourCount};
use crate::{HistoryId, Inbox, Settlement, Timestamp};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// For its owner: what waits, until when, and how often it has failed.
pub async fn what_waits_for_a_mailbox_is_shown(inbox: &dyn Inbox) {
    let ann = user("ann");
    let waiting = async || inbox.waiting(&ann).await.unwrap();
    assert_eq!(waiting().await, None);
    accept(inbox, "m1", 7, T0).await;
    let shown = waiting().await.unwrap();
    assert_eq!((&shown.user, shown.history_id), (&ann, HistoryId::new(7)));
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

/// For the operator: those whose last delivery failed, in order; what is given up waits no more.
pub async fn those_that_fail_are_listed_a_page_at_a_time(inbox: &dyn Inbox) {
    for name in ["cid", "ann", "bob", "dan", "eve"] {
        let accepted = inbox.accept(notification_of(name, "m1", 7), T0);
        accepted.await.unwrap();
    }
    for claim in inbox.claim(T0, LEASE, 10).await.unwrap() {
        let settlement = match claim.notification.user.as_str() {
            "dan" => Settlement::Delivered,
            "eve" => bury("no answer"),
            _ => retry(MINUTE, MINUTE),
        };
        inbox.settle(&claim, settlement, T0).await.unwrap();
    }
    let first = inbox.failing(None, 2).await.unwrap();
    let rest = inbox.failing(Some(&first[1].user), 2).await.unwrap();
    let names = |page: &[crate::inbox::Waiting]| {
        let names = page.iter().map(|waiting| waiting.user.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&first), ["ann", "bob"]);
    assert_eq!(names(&rest), ["cid"]);
    assert_eq!((rest[0].failures, rest[0].due_at), (1, T0 + MINUTE));

    // A newer notification starts the schedule over.
    let newer = notification_of("ann", "m2", 8);
    inbox.accept(newer, T0 + SECOND).await.unwrap();
    assert_eq!(
        names(&inbox.failing(None, 9).await.unwrap()),
        ["bob", "cid"]
    );
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
    let begin = HourCount::of_hour(HourCount::number(T0)).begins_at;
    let none = Duration::ZERO;
    assert_eq!(inbox.hours(&ann, T0).await.unwrap(), []);
    deliver(inbox, 1, Settlement::Delivered, begin).await;
    deliver(inbox, 2, Settlement::Delivered, begin + (HOUR - SECOND)).await;
    deliver(inbox, 3, Settlement::NotWanted, begin + HOUR).await;
    deliver(inbox, 4, retry(none, none), begin + HOUR).await;
    deliver(inbox, 5, Settlement::Release, begin + HOUR).await;
    deliver(inbox, 6, bury("no answer"), begin + HOUR).await;
    let expected =
        [(begin, 2, 0), (begin + HOUR, 0, 2)].map(|(begins_at, delivered, failed)| HourCount {
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
    let begin = HourCount::of_hour(HourCount::number(T0)).begins_at;
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
