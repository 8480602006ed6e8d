//! From what is known of a mailbox to the alerts in the outbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postbell_alerts::AlertKind;
use postbell_core::{
    AlertTargets, Clock, DeadLetterReason, DeliveryLog, DeliveryQueue, HistoryId, MachineReport,
    Notification, ProblemCode, Settlement, StoreError, UnparseableMessage, UserId,
};
use postbell_testkit::RELAY;

use crate::world::{BrokenTargets, HOUR, MINUTE, World};

#[tokio::test]
async fn a_problem_and_its_end_are_reported_once_to_owner_and_operator() {
    let mut world = World::new().await;
    world.add("ann", true).await;
    world.add("bob", true).await;
    world.check_in("ann", None).await;
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.wait(5).await;
    world.restart();
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.wait(5).await;
    world.check_in("ann", None).await;
    world.wait(5).await;
    let mut reported = world.reported();
    reported[..2].sort();
    reported[2..].sort();
    let expected = [
        ("ntfy", "grant.revoked"),
        ("webhook", "grant.revoked"),
        ("ntfy", "recovered"),
        ("webhook", "recovered"),
    ];
    let kinds: Vec<_> = reported
        .iter()
        .map(|(to, kind, _)| (*to, kind.as_str()))
        .collect();
    assert_eq!(kinds, expected);
    let event = &world.services.received().into_iter();
    let event = event
        .clone()
        .find(|alert| alert.service == "webhook")
        .unwrap();
    assert_eq!(event.json["data"]["account"], "ann@example.com");
    assert_eq!(event.json["data"]["user"], "ann");
}

#[tokio::test]
async fn a_failing_webhook_is_reported_when_it_has_lasted() {
    let world = World::new().await;
    world.add("ann", false).await;
    world
        .check_in("ann", Some(ProblemCode::WebhookFailing))
        .await;
    world.wait(4).await;
    assert!(world.reported().is_empty());
    world.wait(1).await;
    assert_eq!(
        world.reported_to_operator(),
        [("webhook.failing".to_owned(), 1)]
    );
}

#[tokio::test]
async fn nothing_is_reported_of_a_user_who_wants_no_notifications() {
    let world = World::new().await;
    world.add("ann", true).await;
    world
        .check_in("ann", Some(ProblemCode::WebhookFailing))
        .await;
    let mut record = world.record("ann").await;
    record.notifications_enabled = false;
    world.write(&record).await;
    world.wait(30).await;
    assert!(world.reported().is_empty());
}

#[tokio::test]
async fn a_hundred_dead_letters_are_one_alert() {
    let world = World::new().await;
    world.add("ann", true).await;
    world.step().await;
    for number in 0..100 {
        let user = if number < 40 { "ann" } else { "bob" };
        let message = UnparseableMessage {
            user: format!(
                "{user}{}",
                if number < 40 {
                    String::new()
                } else {
                    number.to_string()
                }
            )
            .parse()
            .unwrap(),
            message_id: format!("m{number}").parse().unwrap(),
            body: bytes::Bytes::from_static(b"?"),
            cause: "expected JSON".to_owned(),
        };
        let queue: &dyn DeliveryQueue = &*world.deliveries;
        queue.dead_letter(message, world.clock.now()).await.unwrap();
    }
    let kept = world.deliveries.depth().await.unwrap().dead_letters;
    world.wait(30).await;
    let kind = AlertKind::DeliveryDeadLettered.to_string();
    assert_eq!(world.reported_to_operator(), [(kind.clone(), kept)]);
    let to_ann = world
        .reported()
        .into_iter()
        .filter(|(to, ..)| *to == "ntfy");
    assert_eq!(to_ann.count(), 1);
    let received = world.services.received();
    let to_operator = received.iter().find(|alert| alert.service == "webhook");
    assert_eq!(
        to_operator.unwrap().json["data"]["detail"],
        "Of ann, bob40, bob41, bob42, bob43, and 56 more users."
    );
}

#[tokio::test]
async fn mails_that_the_watcher_sets_aside_are_reported_together() {
    let world = World::new().await;
    world.add("ann", true).await;
    for dead_letters in [2, 2, 5, 9, 9] {
        let report = MachineReport {
            dead_letters,
            ..MachineReport::default()
        };
        world.report("ann", report).await;
    }
    world.wait(30).await;
    // Dropping some is no news; further ones are, after an hour.
    for dead_letters in [0, 3] {
        let report = MachineReport {
            dead_letters,
            ..MachineReport::default()
        };
        world.report("ann", report).await;
    }
    let kind = AlertKind::MailDeadLettered.to_string();
    assert_eq!(world.reported_to_operator(), [(kind.clone(), 9)]);
    world.wait(60).await;
    assert_eq!(world.reported_to_operator(), [(kind.clone(), 9), (kind, 3)]);
}

#[tokio::test]
async fn dead_letters_from_before_are_no_news() {
    let world = World::new().await;
    let message = UnparseableMessage {
        user: "ann".parse().unwrap(),
        message_id: "m".parse().unwrap(),
        body: bytes::Bytes::from_static(b"?"),
        cause: "expected JSON".to_owned(),
    };
    let queue: &dyn DeliveryQueue = &*world.deliveries;
    queue.dead_letter(message, world.clock.now()).await.unwrap();
    world.wait(10).await;
    assert!(world.reported().is_empty());
}

#[tokio::test]
async fn a_thousand_revoked_grants_do_not_flood_the_operator() {
    let world = World::new().await;
    for number in 0..100 {
        let name = format!("user-{number}");
        world.add(&name, false).await;
        world.check_in(&name, Some(ProblemCode::GrantRevoked)).await;
    }
    world.wait(10).await;
    let reported = world.reported_to_operator();
    let counts: Vec<_> = reported.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts.len(), 11, "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), 100);
}

#[tokio::test]
async fn a_silent_machine_is_reported_only_if_it_used_to_check_in() {
    let world = World::new().await;
    world.add("ann", false).await;
    world.add("bob", false).await;
    world.check_in("bob", None).await;
    for _ in 0..3 {
        world.check_in("ann", None).await;
        world.wait(60).await;
    }
    world.wait(24 * 60).await;
    let silent = ("mailbox.silent".to_owned(), 1);
    assert_eq!(world.reported_to_operator(), std::slice::from_ref(&silent));
    world.check_in("ann", None).await;
    world.wait(1).await;
    let recovered = ("recovered".to_owned(), 1);
    assert_eq!(world.reported_to_operator(), [silent, recovered]);
}

#[tokio::test]
async fn a_machine_that_cannot_be_reached_is_reported_and_its_return_too() {
    let world = World::new().await;
    world.add("ann", false).await;
    let queue: &dyn DeliveryQueue = &*world.deliveries;
    let notification = Notification {
        trace: None,
        user: "ann".parse().unwrap(),
        address: None,
        message_id: "m1".parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(7),
        body: bytes::Bytes::from_static(b"{}"),
    };
    let now = world.clock.now();
    queue.accept(notification, now).await.unwrap();
    let claims = queue.claim(RELAY, now, MINUTE, 9).await.unwrap().claims;
    let retry = Settlement::Retry {
        failure: postbell_core::Failure::unreachable(),
        wait: HOUR,
        cooldown: Duration::ZERO,
    };
    queue.settle(&claims[0], retry, now).await.unwrap();
    world.wait(14).await;
    assert!(world.reported().is_empty());
    world.wait(10).await;
    let reported = [("machine.unreachable".to_owned(), 1)];
    assert_eq!(world.reported_to_operator(), reported);
    let later = now + HOUR;
    let claims = queue.claim(RELAY, later, MINUTE, 9).await.unwrap().claims;
    queue
        .settle(&claims[0], Settlement::Delivered, later)
        .await
        .unwrap();
    world.wait(2).await;
    assert_eq!(world.reported_to_operator()[1].0, "recovered");
}

#[tokio::test]
async fn an_unreachable_machine_recovers_with_a_check_in_and_not_with_a_dead_letter() {
    let world = World::new().await;
    world.add("ann", false).await;
    let queue: &dyn DeliveryQueue = &*world.deliveries;
    let notification = Notification {
        trace: None,
        user: "ann".parse().unwrap(),
        address: None,
        message_id: "m1".parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(7),
        body: bytes::Bytes::from_static(b"{}"),
    };
    let now = world.clock.now();
    queue.accept(notification, now).await.unwrap();
    let claims = queue.claim(RELAY, now, MINUTE, 9).await.unwrap().claims;
    let failure = postbell_core::Failure::unreachable;
    let retry = Settlement::Retry {
        failure: failure(),
        wait: HOUR,
        cooldown: Duration::ZERO,
    };
    queue.settle(&claims[0], retry, now).await.unwrap();
    world.wait(70).await;
    let later = world.clock.now();
    let claims = queue.claim(RELAY, later, MINUTE, 9).await.unwrap().claims;
    let dead_letter = Settlement::DeadLetter {
        reason: DeadLetterReason::Exhausted,
        failure: failure(),
        cooldown: Duration::ZERO,
    };
    queue.settle(&claims[0], dead_letter, later).await.unwrap();
    world.wait(30).await;
    let kinds = || {
        world
            .reported_to_operator()
            .into_iter()
            .map(|(kind, _)| kind)
    };
    let reported = ["machine.unreachable", "delivery.dead_lettered"];
    assert_eq!(kinds().collect::<Vec<_>>(), reported);
    world.check_in("ann", None).await;
    world.step().await;
    assert_eq!(kinds().next_back().as_deref(), Some("recovered"));
}

/// What the operator gets if the webhooks of ann and bob fail and ann's targets cannot be read.
async fn alerts_despite(error: fn() -> StoreError) -> Vec<(String, u64)> {
    let error = move |user: &UserId| (user.as_str() == "ann").then(error);
    let broken = |targets| Arc::new(BrokenTargets { targets, error }) as Arc<dyn AlertTargets>;
    let world = World::with_targets(broken).await;
    for name in ["ann", "bob"] {
        world.add(name, false).await;
        world
            .check_in(name, Some(ProblemCode::WebhookFailing))
            .await;
    }
    world.wait(6).await;
    world.reported_to_operator()
}

#[tokio::test]
async fn an_error_of_one_user_does_not_delay_the_alerts_of_others() {
    let unavailable = || StoreError::Unavailable("busy".into());
    let failing = ("webhook.failing".to_owned(), 1);
    assert_eq!(alerts_despite(unavailable).await, [failing]);
}

#[tokio::test]
async fn an_unreadable_target_does_not_keep_the_alert_from_the_operator() {
    let corrupt = || StoreError::Corrupt {
        what: "alert target",
        source: "another key".into(),
    };
    let failing = ("webhook.failing".to_owned(), 1);
    assert_eq!(alerts_despite(corrupt).await, [failing.clone(), failing]);
}

#[tokio::test]
async fn what_the_operator_gets_together_survives_a_store_that_is_busy() {
    let is_busy = Arc::new(AtomicBool::new(false));
    let busy = |targets| {
        let is_busy = Arc::clone(&is_busy);
        let unavailable = || StoreError::Unavailable("busy".into());
        let error = move |_: &UserId| is_busy.load(Ordering::Relaxed).then(unavailable);
        Arc::new(BrokenTargets { targets, error }) as Arc<dyn AlertTargets>
    };
    let world = World::with_targets(busy).await;
    world.step().await;
    let message = UnparseableMessage {
        user: "ann".parse().unwrap(),
        message_id: "m".parse().unwrap(),
        body: bytes::Bytes::from_static(b"?"),
        cause: "expected JSON".to_owned(),
    };
    let queue: &dyn DeliveryQueue = &*world.deliveries;
    queue.dead_letter(message, world.clock.now()).await.unwrap();
    world.step().await;
    for number in 0..30 {
        let name = format!("user-{number}");
        world.add(&name, false).await;
        world.check_in(&name, Some(ProblemCode::GrantRevoked)).await;
    }
    // The alert of the dead letter is due, and needs the targets of ann.
    let later = world.clock.now() + 2 * MINUTE;
    *world.clock.0.lock() = later;
    is_busy.store(true, Ordering::Relaxed);
    world.monitor.observe().await.unwrap_err();
    is_busy.store(false, Ordering::Relaxed);
    world.wait(10).await;
    let reported = world.reported_to_operator().into_iter();
    let revoked = reported.filter(|(kind, _)| kind == "grant.revoked");
    let counts: Vec<_> = revoked.map(|(_, count)| count).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (11, 30));
}
