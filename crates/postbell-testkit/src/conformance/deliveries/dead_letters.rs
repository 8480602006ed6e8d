//! Dead letters.

use bytes::Bytes;

use super::{
    MINUTE, SECOND, T0, accept, assert_nothing_due, claim, exhausted, fail_for_good, notification,
    user,
};
use crate::Deliveries;
use postbell_core::{
    Accepted, DEAD_LETTERS_KEPT, DUPLICATE_WINDOW, DeadLetter, DeadLetterReason, FailureKind,
    HistoryId, Replayed, UNPARSEABLE_KEPT, UnparseableMessage, UserId,
};

async fn listed(
    deliveries: &Deliveries,
    user: Option<&UserId>,
    before: Option<i64>,
    limit: usize,
) -> Vec<DeadLetter> {
    let listed = deliveries.log.dead_letters(user, before, limit).await;
    listed.unwrap()
}

async fn latest_id(deliveries: &Deliveries) -> i64 {
    listed(deliveries, None, None, 1).await[0].id
}

/// No notification is lost silently.
pub async fn a_delivery_that_fails_for_good_becomes_a_dead_letter(deliveries: &Deliveries) {
    for (message, history_id) in [("m1", 7), ("m2", 8)] {
        fail_for_good(deliveries, message, history_id, DeadLetterReason::Exhausted).await;
        assert_nothing_due(deliveries, T0 + DUPLICATE_WINDOW).await;
    }

    let dead_letters = listed(deliveries, None, None, 10).await;
    let causes: Vec<_> = dead_letters
        .iter()
        .map(|dead_letter| (dead_letter.message_id.as_str(), dead_letter.cause.as_str()))
        .collect();
    assert_eq!(
        causes,
        [("m2", "no answer to m2"), ("m1", "no answer to m1")],
        "latest first"
    );
    let latest = &dead_letters[0];
    assert_eq!(
        (&latest.user, latest.dead_lettered_at),
        (&user("ann"), T0 + 8 * MINUTE)
    );
    assert_eq!(
        (latest.history_id, latest.reason),
        (Some(HistoryId::new(8)), DeadLetterReason::Exhausted)
    );
    assert_eq!(latest.failure_kind, Some(FailureKind::Status(503)));
}

/// A page shows a part of them.
pub async fn dead_letters_are_paged_and_filtered_by_user(deliveries: &Deliveries) {
    for (message, history_id) in [("m1", 1), ("m2", 2), ("m3", 3)] {
        fail_for_good(deliveries, message, history_id, DeadLetterReason::Refused).await;
    }
    let all = listed(deliveries, None, None, 10).await;
    assert_eq!(listed(deliveries, None, None, 2).await, all[..2]);
    assert_eq!(listed(deliveries, None, Some(all[1].id), 2).await, all[2..]);
    assert_eq!(listed(deliveries, Some(&user("ann")), None, 10).await, all);
    assert_eq!(listed(deliveries, Some(&user("bob")), None, 10).await, []);
}

/// After an operator has fixed the cause.
pub async fn a_replayed_dead_letter_is_pending_again(deliveries: &Deliveries) {
    fail_for_good(deliveries, "m1", 7, DeadLetterReason::Refused).await;
    let id = latest_id(deliveries).await;
    let now = T0 + 7 * MINUTE;

    let replayed = deliveries.log.replay(id, now).await;
    assert_eq!(replayed.unwrap(), Replayed::Queued);
    assert_eq!(
        claim(deliveries, now).await.notification,
        notification("m1", 7)
    );
    assert_eq!(listed(deliveries, None, None, 10).await, []);
    let replayed = deliveries.log.replay(id, now).await;
    assert_eq!(replayed.unwrap(), Replayed::Missing);
}

/// The greater history id covers it.
pub async fn a_replayed_dead_letter_never_replaces_a_later_notification(deliveries: &Deliveries) {
    fail_for_good(deliveries, "m1", 7, DeadLetterReason::Refused).await;
    let id = latest_id(deliveries).await;
    let now = T0 + 7 * MINUTE;
    accept(deliveries, "m2", 8, now).await;

    let replayed = deliveries.log.replay(id, now).await;
    assert_eq!(replayed.unwrap(), Replayed::Queued);
    assert_eq!(
        claim(deliveries, now).await.notification,
        notification("m2", 8)
    );
}

/// It stays a dead letter.
pub async fn an_unparseable_message_cannot_be_replayed(deliveries: &Deliveries) {
    deliveries
        .queue
        .dead_letter(unparseable(), T0)
        .await
        .unwrap();
    let id = latest_id(deliveries).await;
    let replayed = deliveries.log.replay(id, T0).await;
    assert_eq!(replayed.unwrap(), Replayed::Unparseable);
    assert_eq!(listed(deliveries, None, None, 10).await.len(), 1);
}

/// Only that one.
pub async fn a_dropped_dead_letter_is_gone(deliveries: &Deliveries) {
    fail_for_good(deliveries, "m1", 1, DeadLetterReason::Refused).await;
    fail_for_good(deliveries, "m2", 2, DeadLetterReason::Refused).await;
    let dead_letters = listed(deliveries, None, None, 10).await;

    assert!(
        deliveries
            .log
            .drop_dead_letter(dead_letters[0].id)
            .await
            .unwrap()
    );
    assert!(
        !deliveries
            .log
            .drop_dead_letter(dead_letters[0].id)
            .await
            .unwrap()
    );
    assert_eq!(listed(deliveries, None, None, 10).await, dead_letters[1..]);
}

/// Later dead letters, and those of other users, are kept.
pub async fn a_users_dead_letters_are_counted_and_dropped_together(deliveries: &Deliveries) {
    let (ann, bob) = (user("ann"), user("bob"));
    for (message, history_id) in [("m1", 1), ("m2", 2), ("m3", 3)] {
        fail_for_good(deliveries, message, history_id, DeadLetterReason::Refused).await;
    }
    let of_bob = UnparseableMessage {
        user: bob.clone(),
        message_id: "m1".parse().unwrap(),
        body: Bytes::new(),
        cause: "expected JSON".to_owned(),
    };
    deliveries.queue.dead_letter(of_bob, T0).await.unwrap();
    assert_eq!(deliveries.log.count_dead_letters(&ann).await.unwrap(), 3);

    let dead_letters = listed(deliveries, Some(&ann), None, 10).await;
    let dropped = deliveries.log.drop_dead_letters(&ann, dead_letters[1].id);
    assert_eq!(dropped.await.unwrap(), 2);
    let left = listed(deliveries, Some(&ann), None, 10).await;
    assert_eq!(left, dead_letters[..1]);
    assert_eq!(
        deliveries
            .log
            .drop_dead_letters(&ann, i64::MAX)
            .await
            .unwrap(),
        1
    );
    assert_eq!(deliveries.log.count_dead_letters(&ann).await.unwrap(), 0);
    assert_eq!(deliveries.log.count_dead_letters(&bob).await.unwrap(), 1);
}

/// A machine that was stopped for longer than the schedule still gets its mail.
pub async fn a_check_in_retries_exhausted_dead_letters(deliveries: &Deliveries) {
    fail_for_good(deliveries, "m1", 5, DeadLetterReason::Exhausted).await;
    fail_for_good(deliveries, "m2", 6, DeadLetterReason::Exhausted).await;
    fail_for_good(deliveries, "m3", 7, DeadLetterReason::Refused).await;

    let now = T0 + 8 * MINUTE;
    assert!(
        deliveries
            .queue
            .make_due(&user("ann"), None, now)
            .await
            .unwrap()
    );
    assert_eq!(
        claim(deliveries, now).await.notification,
        notification("m2", 6),
        "it covers m1"
    );
    let left = listed(deliveries, None, None, 10).await;
    let left: Vec<_> = left
        .iter()
        .map(|dead_letter| dead_letter.message_id.as_str())
        .collect();
    assert_eq!(left, ["m3"], "what was refused needs a person");
}

/// The newer notification will deliver the same mail.
pub async fn a_covered_notification_does_not_become_a_dead_letter(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failing = claim(deliveries, T0).await;
    accept(deliveries, "m2", 8, T0).await;
    deliveries
        .queue
        .settle(&failing, exhausted("no answer"), T0)
        .await
        .unwrap();

    assert_eq!(listed(deliveries, None, None, 10).await, []);
    assert_nothing_due(deliveries, T0 + (MINUTE - SECOND)).await;
    assert_eq!(
        claim(deliveries, T0 + MINUTE).await.notification,
        notification("m2", 8)
    );
}

/// It is neither lost nor repeated.
pub async fn an_unparseable_message_is_kept_once(deliveries: &Deliveries) {
    let kept = deliveries
        .queue
        .dead_letter(unparseable(), T0)
        .await
        .unwrap();
    let again = deliveries
        .queue
        .dead_letter(unparseable(), T0 + SECOND)
        .await
        .unwrap();
    assert_eq!((kept, again), (Accepted::Queued, Accepted::Duplicate));

    let dead_letters = listed(deliveries, None, None, 10).await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].cause, "expected a JSON object");
    assert_eq!(
        (dead_letters[0].reason, dead_letters[0].history_id),
        (DeadLetterReason::Malformed, None)
    );
    assert_nothing_due(deliveries, T0 + MINUTE).await;
}

/// A sender of malformed messages neither fills the disk nor displaces other dead letters.
pub async fn the_last_hundred_unparseable_messages_are_kept(deliveries: &Deliveries) {
    fail_for_good(deliveries, "given-up", 1, DeadLetterReason::Refused).await;
    let of_bob = UnparseableMessage {
        user: user("bob"),
        ..unparseable()
    };
    deliveries.queue.dead_letter(of_bob, T0).await.unwrap();
    for number in 0..UNPARSEABLE_KEPT + 3 {
        let message = UnparseableMessage {
            message_id: format!("bad-{number}").parse().unwrap(),
            ..unparseable()
        };
        deliveries.queue.dead_letter(message, T0).await.unwrap();
    }

    let dead_letters = deliveries
        .log
        .dead_letters(Some(&user("ann")), None, 1000)
        .await;
    let dead_letters = dead_letters.unwrap();
    assert_eq!(dead_letters.len(), UNPARSEABLE_KEPT + 1);
    assert_eq!(
        dead_letters[UNPARSEABLE_KEPT - 1].message_id.as_str(),
        "bad-3"
    );
    assert_eq!(
        dead_letters[UNPARSEABLE_KEPT].message_id.as_str(),
        "given-up"
    );
    let of_bob = deliveries
        .log
        .dead_letters(Some(&user("bob")), None, 10)
        .await;
    assert_eq!(of_bob.unwrap().len(), 1);
}

fn unparseable() -> UnparseableMessage {
    UnparseableMessage {
        user: user("ann"),
        message_id: "m1".parse().unwrap(),
        body: Bytes::from_static(b"\xff{"),
        cause: "expected a JSON object".to_owned(),
    }
}

/// Whatever the reason: a machine that refuses everything cannot fill the disk.
pub async fn the_last_thousand_dead_letters_of_a_user_are_kept(deliveries: &Deliveries) {
    const MORE: u64 = 3;
    for number in 1..=DEAD_LETTERS_KEPT as u64 + MORE {
        let message = format!("m{number}");
        fail_for_good(deliveries, &message, number, DeadLetterReason::Refused).await;
    }
    let log = &deliveries.log;
    let kept = log.count_dead_letters(&user("ann")).await.unwrap();
    assert_eq!(kept, DEAD_LETTERS_KEPT as u64);
    let depth = log.depth().await.unwrap();
    assert_eq!(depth.dead_letters_dropped, MORE);
    let letters = log
        .dead_letters(Some(&user("ann")), None, 2000)
        .await
        .unwrap();
    let oldest = letters.last().unwrap().history_id;
    assert_eq!(oldest, Some(HistoryId::new(MORE + 1)));
}
