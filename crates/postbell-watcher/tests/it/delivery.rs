use std::num::NonZeroUsize;
use std::time::Duration;

use postbell_core::HistoryId;
use postbell_google::{GmailError, HistoryType, TokenError};
use postbell_sandbox::{FaultPoint, Frequency, Kind};
use postbell_watcher::{SyncError, SyncOutcome};
use serde_json::{Value, json};

use crate::world::{EMAIL, TestWatcher};

#[tokio::test]
async fn the_webhook_payload_has_the_fields_of_the_protocol() {
    let world = TestWatcher::new().await;
    let id = world.deliver(
        "From: =?utf-8?q?Bj=C3=B6rn?= <b@example.org>\nTo: ann@example.com\nDate: today\n\
         Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Type: text/plain; charset=utf-8\n\n\
         Twenty bytes of äöü and more",
    );
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(1));

    let expected = json!({
        "source": "gmail",
        "account": EMAIL,
        "historyId": world.present().to_string(),
        "messages": [{
            "id": id, "threadId": id, "from": "Björn <b@example.org>", "to": "ann@example.com",
            "subject": "Grüße", "date": "today", "snippet": "Twenty bytes of äöü and more",
            "body": "Twenty bytes of äö", "bodyTruncated": true, "labels": ["INBOX", "UNREAD"],
        }],
        "untrusted": true,
    });
    let mut body = world.sandbox.bot().hooks()[0].body.clone();
    let message = body["messages"][0].as_object_mut().unwrap();
    let received = message.remove("internalDate").unwrap();
    assert!(received.as_u64().unwrap() > 1_700_000_000_000, "{received}");
    assert_eq!(body, expected);
    assert_eq!(world.state()["historyId"], world.present().to_string());
}

#[tokio::test]
async fn webhook_calls_continue_the_trace_of_the_notification_or_begin_one() {
    let world = TestWatcher::new().await;
    world.deliver("Subject: one\n\n.");
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let trace = given.parse().ok();
    let synced = world.watcher.sync.sync_to(world.present(), trace).await;
    synced.unwrap();
    world.deliver("Subject: two\n\n.");
    world.sync().await.unwrap();
    let hooks = world.sandbox.bot().hooks();
    let sent = |number: usize| hooks[number].traceparent.clone().unwrap();
    assert_eq!(sent(0)[..36], given[..36], "the version and the trace");
    assert_ne!(sent(0), given, "a span of its own");
    assert!(sent(1).parse::<postbell_core::TraceContext>().is_ok());
    assert_ne!(sent(1)[..36], given[..36]);
}

#[tokio::test]
async fn labels_that_come_and_go_are_posted_if_they_are_asked_for() {
    let world = TestWatcher::with(|settings| {
        settings.history_types = vec![HistoryType::LabelAdded, HistoryType::LabelRemoved];
    })
    .await;
    let id = world.deliver("Subject: hi\n\n.");
    world.sync().await.unwrap();
    assert!(world.hooks().is_empty(), "a new mail");
    let gmail = world.sandbox.gmail();
    assert!(gmail.relabel(EMAIL, &id, &["STARRED"], &["UNREAD"]));
    world.sync().await.unwrap();
    assert_eq!(world.hooks().concat(), [id.as_str(); 2], "each change");
    let messages = &world.sandbox.bot().hooks()[0].body["messages"];
    assert_eq!(messages[0]["labels"], json!(["INBOX", "STARRED"]));
    assert_eq!(world.state()["historyId"], world.present().to_string());

    gmail.relabel(EMAIL, &id, &["TRASH"], &["INBOX"]);
    world.sync().await.unwrap();
    assert_eq!(world.hooks().concat().len(), 2, "an excluded label");
}

#[tokio::test]
async fn every_page_of_history_is_read() {
    let world = TestWatcher::new().await;
    let sent = world.deliver_many(1_001);
    let outcome = world.sync().await.unwrap();
    assert_eq!(outcome, SyncOutcome::Delivered(1_001));
    assert_eq!(world.hooks().concat(), sent, "oldest first");
    assert!(world.hooks().iter().all(|hook| hook.len() <= 100));
}

#[tokio::test]
async fn the_cursor_moves_only_after_the_webhook_accepted() {
    let world = TestWatcher::new().await;
    let start = world.state()["historyId"].clone();
    let sent = world.deliver_many(2);
    for kind in [Kind::refuse(500), Kind::refuse(404), Kind::DropBefore] {
        world
            .sandbox
            .faults()
            .add(FaultPoint::Hook, kind, Frequency::Times(1));
        let failed = world.sync().await.unwrap_err();
        assert!(matches!(*failed, SyncError::Hook(_)), "{failed:?}");
        assert_eq!(world.state()["historyId"], start);
    }
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn after_a_failed_batch_accepted_batches_are_not_repeated() {
    let world =
        TestWatcher::with(|settings| settings.messages_per_hook = NonZeroUsize::new(2).unwrap())
            .await;
    let sent = world.deliver_many(5);
    world.sandbox.faults().add(
        FaultPoint::Hook,
        Kind::delay(Duration::ZERO),
        Frequency::Times(1),
    );
    world
        .sandbox
        .faults()
        .add(FaultPoint::Hook, Kind::refuse(503), Frequency::Times(1));
    world.sync().await.unwrap_err();
    assert_eq!(world.hooks(), [&sent[..2]]);

    // Not from memory.
    let world = world.restart().await;
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [&sent[..2], &sent[2..4], &sent[4..]]);
}

#[tokio::test]
async fn what_was_accepted_is_on_disk_when_the_next_call_is_made() {
    let world =
        TestWatcher::with(|settings| settings.messages_per_hook = NonZeroUsize::new(2).unwrap())
            .await;
    let sent = world.deliver_many(6);
    let faults = world.sandbox.faults();
    let [at_once, slowly] = [0, 1].map(|seconds| Kind::delay(Duration::from_secs(seconds)));
    faults.add(FaultPoint::Hook, at_once, Frequency::Times(1));
    faults.add(FaultPoint::Hook, slowly, Frequency::Times(1));
    let second_call = async {
        let is_begun = |_: &TestWatcher, state: &Value| state["pendingIds"] == json!(sent[2..4]);
        world.until(is_begun).await;
        world.state()
    };
    let (synced, then) = tokio::join!(world.sync(), second_call);
    synced.unwrap();
    assert_eq!(then["deliveredIds"], json!(sent[..2]));

    // As if it had been killed during that call.
    let world = world.restart_after(|world| world.write_state(&then)).await;
    world.sync().await.unwrap();
    let (first, second, third) = (&sent[..2], &sent[2..4], &sent[4..]);
    assert_eq!(world.hooks(), [first, second, third, second, third]);
    let hooks = world.sandbox.bot().hooks();
    assert_eq!(hooks[1].idempotency_key, hooks[3].idempotency_key);
}

#[tokio::test]
async fn a_batch_without_an_answer_is_repeated_under_the_same_key() {
    let world = TestWatcher::new().await;
    let first = world.deliver_many(2);
    world
        .sandbox
        .faults()
        .add(FaultPoint::Hook, Kind::DropAfter, Frequency::Times(1));
    world.sync().await.unwrap_err();

    let world = world.restart().await;
    let later = world.deliver_many(1);
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [first.clone(), first, later]);
    let hooks = world.sandbox.bot().hooks();
    assert_eq!(hooks[0].idempotency_key, hooks[1].idempotency_key);
    assert_ne!(hooks[1].idempotency_key, hooks[2].idempotency_key);
}

#[tokio::test]
async fn a_deleted_message_is_skipped_and_the_others_are_delivered() {
    let world = TestWatcher::new().await;
    let sent = world.deliver_many(3);
    assert!(world.sandbox.gmail().delete(EMAIL, &sent[1]));
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [[sent[0].clone(), sent[2].clone()]]);
}

#[tokio::test]
async fn a_message_that_is_not_readable_yet_is_read_later() {
    let world = TestWatcher::new().await;
    let sent = world.deliver_many(3);
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::GmailMessage,
        Kind::refuse(404),
        Frequency::Times(1),
    );
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn messages_with_excluded_labels_are_not_delivered() {
    let world = TestWatcher::new().await;
    for label in ["SPAM", "TRASH", "DRAFT", "SENT"] {
        let gmail = world.sandbox.gmail();
        gmail
            .deliver_with_labels(EMAIL, b"Subject: x\n\n", &[label])
            .unwrap();
    }
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::NothingNew);
    assert!(world.hooks().is_empty());
}

#[tokio::test]
async fn transient_errors_of_gmail_are_retried() {
    let world = TestWatcher::new().await;
    world.deliver_many(1);
    for place in [FaultPoint::GmailHistory, FaultPoint::GmailMessage] {
        for kind in [
            Kind::refuse(429),
            Kind::refuse(403),
            Kind::refuse(503),
            Kind::DropBefore,
        ] {
            world.sandbox.faults().add(place, kind, Frequency::Times(1));
            world.deliver_many(1);
            world.sync().await.unwrap();
        }
    }
    assert_eq!(world.hooks().concat().len(), 9);
}

#[tokio::test]
async fn a_refused_token_is_replaced() {
    let world = TestWatcher::new().await;
    world.deliver_many(1);
    world.sync().await.unwrap();
    world.sandbox.oauth().expire_access_tokens();
    world.deliver_many(1);
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(1));
}

#[tokio::test]
async fn a_revoked_grant_is_an_error_of_its_own() {
    let world = TestWatcher::new().await;
    world.sandbox.oauth().revoke(EMAIL);
    world.deliver_many(1);
    let failed = world.sync().await.unwrap_err();
    assert!(
        matches!(
            *failed,
            SyncError::Gmail(GmailError::Token(TokenError::GrantRevoked))
        ),
        "{failed:?}"
    );
    assert!(
        failed
            .to_string()
            .contains("connect the google account again")
    );
}

#[tokio::test]
async fn a_resync_repeats_no_delivered_message() {
    let world = TestWatcher::new().await;
    let before = world.deliver_many(2);
    world.sync().await.unwrap();
    let after = world.deliver_many(2);
    world.sandbox.gmail().expire_history(EMAIL);

    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [before, after]);
    assert_eq!(world.sandbox.bot().hooks()[1].body["resync"], true);
    assert_eq!(world.state()["historyId"], world.present().to_string());
}

#[tokio::test]
async fn concurrent_notifications_share_syncs() {
    let world = TestWatcher::new().await;
    let sent = world.deliver_many(3);
    let present = world.present();
    let syncs = (0..20).map(|_| world.sync_to(present));
    let outcomes = futures_util::future::join_all(syncs).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn a_notification_below_the_cursor_causes_no_sync() {
    let world = TestWatcher::new().await;
    world.deliver_many(1);
    world.sync().await.unwrap();
    world.sandbox.faults().add(
        FaultPoint::GmailHistory,
        Kind::refuse(500),
        Frequency::Always,
    );
    let older = HistoryId::new(world.present().get() - 1);
    assert_eq!(world.sync_to(older).await.unwrap(), SyncOutcome::NothingNew);
    world.sync().await.expect_err("an equal one is synced");
}

#[tokio::test]
async fn named_header_fields_are_delivered() {
    let world = TestWatcher::with(|settings| {
        settings.headers = ["X-Priority", "received"]
            .map(|name| name.parse().unwrap())
            .to_vec();
    })
    .await;
    world.deliver(
        "Received: from b\nReceived: from a\nx-priority: =?utf-8?q?h=C3=B6chste?=\nSubject: x\n\n.",
    );
    world.sync().await.unwrap();
    let message = &world.sandbox.bot().hooks()[0].body["messages"][0];
    let expected = json!({ "X-Priority": ["höchste"], "received": ["from b", "from a"] });
    assert_eq!(message["headers"], expected);
    assert!(message["headersTruncated"].is_null());
}
