//! The promises of [`AlertOutbox`] and [`AlertTargets`].

use std::time::Duration;

use postbell_core::{
    AlertMark, AlertOutbox, AlertRecipient, AlertScope, AlertSettlement, AlertTargets, NewAlert,
    StoredTarget, TargetId, Timestamp, UserId,
};
use secrecy::ExposeSecret;

use crate::Alerts;

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression for empty [`Alerts`] and a value that must live as long.
#[macro_export]
macro_rules! alerts_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (alerts, _kept_alive) = $open;
                $crate::conformance::alerts::$promise(&alerts).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::alerts_conformance! { @each $open;
            an_alert_is_stored_with_its_mark_or_not_at_all
            an_alert_is_stored_once_per_recipient
            a_due_mark_is_listed_until_it_is_observed
            a_claim_is_a_lease
            a_retry_is_due_later_and_counted
            only_alerts_within_the_scope_are_claimed
            old_alerts_are_pruned
            targets_are_limited_and_kept_apart
            a_removed_target_gets_no_waiting_alert
            nothing_is_left_of_a_removed_user
        }
    };
}

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn target_id(number: u8) -> TargetId {
    format!("tgt_{number:016x}").parse().unwrap()
}

fn recipient(owner: Option<&str>, target: u8) -> AlertRecipient {
    AlertRecipient {
        user: owner.map(user),
        target: target_id(target),
    }
}

fn alert(number: u8, recipients: &[AlertRecipient]) -> NewAlert {
    NewAlert {
        id: format!("evt_{number:032x}").parse().unwrap(),
        event: format!("{{\"number\":{number}}}"),
        recipients: recipients.to_vec(),
    }
}

fn everything() -> AlertScope {
    AlertScope {
        operator: (0..9).map(target_id).collect(),
        users: true,
    }
}

/// Adds alerts with a mark of their own.
async fn add(outbox: &dyn AlertOutbox, alerts: &[NewAlert], now: Timestamp) {
    let mark = outbox.mark("some thing").await.unwrap();
    assert!(outbox.observe(&mark, alerts, now).await.unwrap());
}

/// Of two processes that see the same change, one tells it.
pub async fn an_alert_is_stored_with_its_mark_or_not_at_all(alerts: &Alerts) {
    let outbox = &alerts.outbox;
    let mark = outbox.mark("ann").await.unwrap();
    assert_eq!((mark.version, mark.state.as_str()), (0, ""));
    let told = AlertMark {
        state: "told".to_owned(),
        ..mark
    };
    let first = [alert(1, &[recipient(None, 1)])];
    assert!(outbox.observe(&told, &first, T0).await.unwrap());
    let second = [alert(2, &[recipient(None, 1)])];
    assert!(!outbox.observe(&told, &second, T0).await.unwrap());
    let claims = outbox.claim(&everything(), T0, MINUTE, 9).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].event, first[0].event);
    let stored = outbox.mark("ann").await.unwrap();
    assert_eq!((stored.version, stored.state.as_str()), (1, "told"));
    assert!(outbox.observe(&stored, &second, T0).await.unwrap());
}

/// A process that died after the commit tells the same again.
pub async fn an_alert_is_stored_once_per_recipient(alerts: &Alerts) {
    let outbox = &alerts.outbox;
    let recipients = [recipient(None, 1), recipient(Some("ann"), 1)];
    for _ in 0..3 {
        add(&**outbox, &[alert(1, &recipients)], T0).await;
    }
    assert_eq!(outbox.waiting().await.unwrap(), 2);
    let claims = outbox.claim(&everything(), T0, MINUTE, 9).await.unwrap();
    let mut to: Vec<_> = claims.into_iter().map(|claim| claim.recipient).collect();
    to.sort();
    assert_eq!(to, recipients);
}

/// The longest due first.
pub async fn a_due_mark_is_listed_until_it_is_observed(alerts: &Alerts) {
    let outbox = &alerts.outbox;
    for (subject, due_at) in [
        ("ann", Some(T0 + 2 * MINUTE)),
        ("bob", Some(T0 + MINUTE)),
        ("cat", None),
    ] {
        let mut mark = outbox.mark(subject).await.unwrap();
        mark.due_at = due_at;
        assert!(outbox.observe(&mark, &[], T0).await.unwrap());
    }
    let due = |now: Timestamp, limit| async move {
        let marks = outbox.due_marks(now, limit).await.unwrap();
        let subjects = marks.into_iter().map(|mark| mark.subject);
        subjects.collect::<Vec<_>>()
    };
    assert!(due(T0, 9).await.is_empty());
    assert_eq!(due(T0 + MINUTE, 9).await, ["bob"]);
    assert_eq!(due(T0 + 2 * MINUTE, 9).await, ["bob", "ann"]);
    assert_eq!(due(T0 + 2 * MINUTE, 1).await, ["bob"]);
    let mut bob = outbox.mark("bob").await.unwrap();
    bob.due_at = None;
    assert!(outbox.observe(&bob, &[], T0).await.unwrap());
    assert_eq!(due(T0 + 2 * MINUTE, 9).await, ["ann"]);
}

/// Of two processes one sends; if it dies, another one does.
pub async fn a_claim_is_a_lease(alerts: &Alerts) {
    let outbox = &alerts.outbox;
    add(&**outbox, &[alert(1, &[recipient(None, 1)])], T0).await;
    let claim = |now| async move {
        let claims = outbox.claim(&everything(), now, MINUTE, 9).await.unwrap();
        claims.into_iter().next()
    };
    let first = claim(T0).await.unwrap();
    assert_eq!(claim(T0).await, None);
    let second = claim(T0 + MINUTE).await.unwrap();
    assert_ne!(first.lease, second.lease);
    let done = AlertSettlement::Done;
    assert!(!outbox.settle(&first, done).await.unwrap());
    let retry = AlertSettlement::Retry(T0);
    assert!(!outbox.settle(&first, retry).await.unwrap());
    assert!(outbox.settle(&second, done).await.unwrap());
    assert!(!outbox.settle(&second, done).await.unwrap());
    assert_eq!(outbox.waiting().await.unwrap(), 0);
}

/// A settled claim settles nothing more.
pub async fn a_retry_is_due_later_and_counted(alerts: &Alerts) {
    let outbox = &alerts.outbox;
    add(&**outbox, &[alert(1, &[recipient(None, 1)])], T0).await;
    for attempt in 0..3 {
        let now = T0 + attempt * 2 * MINUTE;
        let claims = outbox.claim(&everything(), now, MINUTE, 9).await.unwrap();
        let claim = &claims[0];
        assert_eq!((claim.attempt, claim.added_at), (attempt, T0));
        let later = AlertSettlement::Retry(now + 2 * MINUTE);
        assert!(outbox.settle(claim, later).await.unwrap());
        assert!(!outbox.settle(claim, AlertSettlement::Done).await.unwrap());
        let early = now + (2 * MINUTE - Duration::from_millis(1));
        let early = outbox.claim(&everything(), early, MINUTE, 9).await.unwrap();
        assert!(early.is_empty());
    }
}

/// A relay without the users' keys, or with other targets, leaves them to the platform.
pub async fn only_alerts_within_the_scope_are_claimed(alerts: &Alerts) {
    let outbox = &alerts.outbox;
    let recipients = [
        recipient(None, 1),
        recipient(None, 2),
        recipient(Some("ann"), 3),
    ];
    add(&**outbox, &[alert(1, &recipients)], T0).await;
    for (scope, expected) in [
        (AlertScope::default(), vec![]),
        (
            AlertScope {
                operator: vec![target_id(2), target_id(3)],
                users: false,
            },
            vec![recipients[1].clone()],
        ),
        (
            AlertScope {
                operator: Vec::new(),
                users: true,
            },
            vec![recipients[2].clone()],
        ),
        (everything(), vec![recipients[0].clone()]),
    ] {
        let claims = outbox.claim(&scope, T0, MINUTE, 9).await.unwrap();
        let to: Vec<_> = claims.into_iter().map(|claim| claim.recipient).collect();
        assert_eq!(to, expected);
    }
}

/// A target that never answers does not fill the disk.
pub async fn old_alerts_are_pruned(alerts: &Alerts) {
    let outbox = &alerts.outbox;
    add(&**outbox, &[alert(1, &[recipient(None, 1)])], T0).await;
    add(&**outbox, &[alert(2, &[recipient(None, 1)])], T0 + MINUTE).await;
    assert_eq!(outbox.prune(T0).await.unwrap(), 0);
    assert_eq!(outbox.prune(T0 + MINUTE).await.unwrap(), 1);
    assert_eq!(outbox.waiting().await.unwrap(), 1);
}

fn stored(number: u8) -> StoredTarget {
    StoredTarget {
        id: target_id(number),
        text: format!("https://example.com/{number}").into(),
        added_at: T0 + u32::from(number) * MINUTE,
    }
}

async fn texts(targets: &dyn AlertTargets, name: &str) -> Vec<String> {
    let found = targets.targets(&user(name)).await.unwrap();
    let text = |target: &StoredTarget| target.text.expose_secret().to_owned();
    found.iter().map(text).collect()
}

/// Each user has their own.
pub async fn targets_are_limited_and_kept_apart(alerts: &Alerts) {
    let targets = &alerts.targets;
    for (name, number, is_added) in [
        ("ann", 2, true),
        ("ann", 1, true),
        ("ann", 3, false),
        ("ann", 1, true),
        ("bob", 3, true),
    ] {
        let added = targets.add_target(&user(name), &stored(number), 2).await;
        assert_eq!(added.unwrap(), is_added, "{name} {number}");
    }
    let of_ann = ["https://example.com/1", "https://example.com/2"];
    assert_eq!(texts(&**targets, "ann").await, of_ann);
    assert_eq!(texts(&**targets, "bob").await, ["https://example.com/3"]);
    let found = targets.targets(&user("ann")).await.unwrap();
    assert_eq!(found[0].added_at, stored(1).added_at);
    let changed = StoredTarget {
        text: "https://example.com/1#secret".into(),
        added_at: T0 + 9 * MINUTE,
        ..stored(1)
    };
    let added = targets.add_target(&user("ann"), &changed, 2).await;
    assert!(added.unwrap());
    let of_ann = ["https://example.com/1#secret", "https://example.com/2"];
    assert_eq!(texts(&**targets, "ann").await, of_ann);
    let removed = targets.remove_target(&user("ann"), &target_id(3)).await;
    assert!(!removed.unwrap(), "it is another user's");
    let removed = targets.remove_target(&user("ann"), &target_id(1)).await;
    assert!(removed.unwrap());
    assert_eq!(texts(&**targets, "ann").await, ["https://example.com/2"]);
}

/// Its owner has decided otherwise.
pub async fn a_removed_target_gets_no_waiting_alert(alerts: &Alerts) {
    let (outbox, targets) = (&alerts.outbox, &alerts.targets);
    let added = targets.add_target(&user("ann"), &stored(1), 9).await;
    assert!(added.unwrap());
    let recipients = [recipient(Some("ann"), 1), recipient(Some("bob"), 1)];
    add(&**outbox, &[alert(1, &recipients)], T0).await;
    let removed = targets.remove_target(&user("ann"), &target_id(1)).await;
    assert!(removed.unwrap());
    assert_eq!(outbox.waiting().await.unwrap(), 1);
}

/// A user who is added later with the same id inherits nothing.
pub async fn nothing_is_left_of_a_removed_user(alerts: &Alerts) {
    let (outbox, targets) = (&alerts.outbox, &alerts.targets);
    for name in ["ann", "bob"] {
        let added = targets.add_target(&user(name), &stored(1), 9).await;
        assert!(added.unwrap());
        let mark = outbox.mark(name).await.unwrap();
        let alerts = [alert(1, &[recipient(Some(name), 1)])];
        assert!(outbox.observe(&mark, &alerts, T0).await.unwrap());
    }
    outbox.remove_user(&user("ann")).await.unwrap();
    assert_eq!(outbox.mark("ann").await.unwrap().version, 0);
    assert_eq!(outbox.mark("bob").await.unwrap().version, 1);
    assert!(texts(&**targets, "ann").await.is_empty());
    assert_eq!(texts(&**targets, "bob").await.len(), 1);
    assert_eq!(outbox.waiting().await.unwrap(), 1);
}
