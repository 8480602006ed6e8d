//! What could not be delivered.

use bytes::Bytes;

use super::{
    MINUTE, SECOND, T0, accept, assert_nothing_due, bury, claim, give_up, notification, user,
};
use postbell_core::{
    Accepted, DUPLICATE_WINDOW, DeadLetterReason, HistoryId, Inbox, Replayed, UNPARSEABLE_KEPT,
    UnparseableMessage,
};

/// Nothing is dropped in silence.
pub async fn what_is_given_up_becomes_a_dead_letter(inbox: &dyn Inbox) {
    for (message, history_id) in [("m1", 7), ("m2", 8)] {
        give_up(inbox, message, history_id, DeadLetterReason::Exhausted).await;
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
        (Some(HistoryId::new(8)), DeadLetterReason::Exhausted)
    );
}

/// So that a page can show them, however many there are.
pub async fn dead_letters_can_be_paged_and_narrowed_to_a_user(inbox: &dyn Inbox) {
    for (message, history_id) in [("m1", 1), ("m2", 2), ("m3", 3)] {
        give_up(inbox, message, history_id, DeadLetterReason::Refused).await;
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
    give_up(inbox, "m1", 7, DeadLetterReason::Refused).await;
    let letter = inbox
        .dead_letters(None, None, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    let now = T0 + 7 * MINUTE;

    assert_eq!(inbox.replay(letter, now).await.unwrap(), Replayed::Queued);
    assert_eq!(claim(inbox, now).await.notification, notification("m1", 7));
    assert_eq!(inbox.dead_letters(None, None, 10).await.unwrap(), []);
    assert_eq!(inbox.replay(letter, now).await.unwrap(), Replayed::Missing);
}

/// A cursor that lies behind the waiting one has nothing to add.
pub async fn a_replayed_dead_letter_never_takes_the_place_of_a_later_one(inbox: &dyn Inbox) {
    give_up(inbox, "m1", 7, DeadLetterReason::Refused).await;
    let letter = inbox
        .dead_letters(None, None, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    let now = T0 + 7 * MINUTE;
    accept(inbox, "m2", 8, now).await;

    assert_eq!(inbox.replay(letter, now).await.unwrap(), Replayed::Queued);
    assert_eq!(claim(inbox, now).await.notification, notification("m2", 8));
}

/// What cannot be read cannot be delivered, however often it is tried.
pub async fn what_cannot_be_read_cannot_be_replayed(inbox: &dyn Inbox) {
    inbox.dead_letter(unreadable(), T0).await.unwrap();
    let letter = inbox
        .dead_letters(None, None, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    assert_eq!(
        inbox.replay(letter, T0).await.unwrap(),
        Replayed::Unparseable
    );
    assert_eq!(inbox.dead_letters(None, None, 10).await.unwrap().len(), 1);
}

/// Dropping is for good, and of one letter only.
pub async fn a_dropped_dead_letter_is_gone(inbox: &dyn Inbox) {
    give_up(inbox, "m1", 1, DeadLetterReason::Refused).await;
    give_up(inbox, "m2", 2, DeadLetterReason::Refused).await;
    let letters = inbox.dead_letters(None, None, 10).await.unwrap();

    assert!(inbox.drop_dead_letter(letters[0].id).await.unwrap());
    assert!(!inbox.drop_dead_letter(letters[0].id).await.unwrap());
    assert_eq!(
        inbox.dead_letters(None, None, 10).await.unwrap(),
        letters[1..]
    );
}

/// What came after somebody looked is not dropped unseen, nor is another user's.
pub async fn a_users_dead_letters_are_counted_and_dropped_together(inbox: &dyn Inbox) {
    let (ann, bob) = (user("ann"), user("bob"));
    for (message, history_id) in [("m1", 1), ("m2", 2), ("m3", 3)] {
        give_up(inbox, message, history_id, DeadLetterReason::Refused).await;
    }
    let of_bob = UnparseableMessage {
        user: bob.clone(),
        message_id: "m1".parse().unwrap(),
        body: Bytes::new(),
        cause: "expected JSON".to_owned(),
    };
    inbox.dead_letter(of_bob, T0).await.unwrap();
    assert_eq!(inbox.count_dead_letters(&ann).await.unwrap(), 3);

    let letters = inbox.dead_letters(Some(&ann), None, 10).await.unwrap();
    let dropped = inbox.drop_dead_letters(&ann, letters[1].id);
    assert_eq!(dropped.await.unwrap(), 2);
    let left = inbox.dead_letters(Some(&ann), None, 10).await.unwrap();
    assert_eq!(left, letters[..1]);
    assert_eq!(inbox.drop_dead_letters(&ann, i64::MAX).await.unwrap(), 1);
    assert_eq!(inbox.count_dead_letters(&ann).await.unwrap(), 0);
    assert_eq!(inbox.count_dead_letters(&bob).await.unwrap(), 1);
}

/// A machine that was off for longer than the schedule still gets its mail.
pub async fn what_was_given_up_is_delivered_on_check_in(inbox: &dyn Inbox) {
    give_up(inbox, "m1", 5, DeadLetterReason::Exhausted).await;
    give_up(inbox, "m2", 6, DeadLetterReason::Exhausted).await;
    give_up(inbox, "m3", 7, DeadLetterReason::Refused).await;

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

/// What can never be read is neither lost nor repeated.
pub async fn what_cannot_be_read_is_kept_once(inbox: &dyn Inbox) {
    let kept = inbox.dead_letter(unreadable(), T0).await.unwrap();
    let again = inbox.dead_letter(unreadable(), T0 + SECOND).await.unwrap();
    assert_eq!((kept, again), (Accepted::Queued, Accepted::Duplicate));

    let letters = inbox.dead_letters(None, None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].cause, "expected a JSON object");
    assert_eq!(
        (letters[0].reason, letters[0].history_id),
        (DeadLetterReason::Malformed, None)
    );
    assert_nothing_due(inbox, T0 + MINUTE).await;
}

/// A mailbox whose sender writes nonsense does not fill the disk, nor push out what others lost.
pub async fn of_what_cannot_be_read_the_last_hundred_are_kept(inbox: &dyn Inbox) {
    give_up(inbox, "given-up", 1, DeadLetterReason::Refused).await;
    let of_bob = UnparseableMessage {
        user: user("bob"),
        ..unreadable()
    };
    inbox.dead_letter(of_bob, T0).await.unwrap();
    for number in 0..UNPARSEABLE_KEPT + 3 {
        let message = UnparseableMessage {
            message_id: format!("bad-{number}").parse().unwrap(),
            ..unreadable()
        };
        inbox.dead_letter(message, T0).await.unwrap();
    }

    let letters = inbox.dead_letters(Some(&user("ann")), None, 1000).await;
    let letters = letters.unwrap();
    assert_eq!(letters.len(), UNPARSEABLE_KEPT + 1);
    assert_eq!(letters[UNPARSEABLE_KEPT - 1].message_id.as_str(), "bad-3");
    assert_eq!(letters[UNPARSEABLE_KEPT].message_id.as_str(), "given-up");
    let of_bob = inbox.dead_letters(Some(&user("bob")), None, 10).await;
    assert_eq!(of_bob.unwrap().len(), 1);
}

fn unreadable() -> UnparseableMessage {
    UnparseableMessage {
        user: user("ann"),
        message_id: "m1".parse().unwrap(),
        body: Bytes::from_static(b"\xff{"),
        cause: "expected a JSON object".to_owned(),
    }
}
