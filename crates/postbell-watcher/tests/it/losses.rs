//! Ways in which mail was lost, late or doubled.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::HistoryId;
use postbell_google::HistoryType;
use postbell_sandbox::{FaultPoint, Frequency, Kind};
use postbell_watcher::{NotSynced, SyncError, SyncOutcome, WatcherSettings};
use serde_json::{Value, json};

use crate::world::{EMAIL, TestWatcher};

const MOMENT: Duration = Duration::from_millis(1);

impl TestWatcher {
    /// Mails that Gmail received some hours ago and just now, the oldest first.
    fn deliver_of_hours_ago(&self) -> Vec<String> {
        let mails = [5, 4, 3, 2, 0].map(|hours| {
            self.sandbox.clock().set_skew(-3600 * hours);
            self.deliver(&format!("Subject: of {hours} hours ago\n\n."))
        });
        mails.to_vec()
    }
}

#[tokio::test]
async fn a_resync_after_an_outage_of_the_bot_reaches_back_to_the_last_complete_sync() {
    let world = TestWatcher::new().await;
    let first = world.deliver_many(1);
    world.sync().await.unwrap();
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(500), Frequency::Always);
    let sent = world.deliver_of_hours_ago();
    world.sync().await.unwrap_err();
    world.sandbox.gmail().expire_history(EMAIL);
    world.sync().await.unwrap_err();
    world.sync().await.unwrap_err();

    faults.clear();
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [first, sent]);
    assert_eq!(world.state()["resyncSinceMs"], Value::Null);
}

#[tokio::test]
async fn a_resync_that_fails_in_between_goes_on_where_it_stopped() {
    let world = TestWatcher::new().await;
    let sent = world.deliver_many(350);
    world.sandbox.gmail().expire_history(EMAIL);
    let faults = world.sandbox.faults();
    for kind in [Kind::delay(MOMENT), Kind::delay(MOMENT), Kind::refuse(503)] {
        faults.add(FaultPoint::Hook, kind, Frequency::Times(1));
    }
    world.sync().await.unwrap_err();
    assert_eq!(world.hooks().concat(), sent[..200]);
    world.sync().await.unwrap();
    assert_eq!(world.hooks().concat(), sent, "none is lost or repeated");
}

#[tokio::test]
async fn a_message_that_gmail_lists_before_it_has_it_delays_no_other_and_arrives_later() {
    let world = TestWatcher::with(|settings| {
        settings.retries.first_wait = Duration::from_millis(20);
        settings.retries.longest_wait = Duration::from_millis(20);
    })
    .await;
    let faults = world.sandbox.faults();
    // The message, twice, before and after the short wait.
    faults.add(
        FaultPoint::GmailMessage,
        Kind::refuse(404),
        Frequency::Times(2),
    );
    let late = world.deliver_many(1);
    let mut hooks = world.sandbox.bot().subscribe();
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::NothingNew);
    assert_eq!(world.state()["problem"], Value::Null);
    hooks.recv().await.unwrap();
    assert_eq!(world.hooks(), [late]);
    world.until(|_, state| state["failing"].is_null()).await;
}

#[tokio::test]
async fn a_message_that_stays_away_counts_as_gone_and_not_as_a_dead_letter() {
    let world = TestWatcher::with(|settings| {
        settings.retries.first_wait = MOMENT;
        settings.retries.longest_wait = MOMENT;
    })
    .await;
    let sent = world.deliver_many(2);
    assert!(world.sandbox.gmail().delete(EMAIL, &sent[0]));
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [&sent[1..]]);
    world.until(|_, state| state["failing"].is_null()).await;
    assert_eq!(world.state()["deadLetters"], Value::Null);
}

#[tokio::test]
async fn a_message_that_is_not_readable_yet_is_not_lost_behind_a_hundred_deleted_ones() {
    let world = TestWatcher::new().await;
    for deleted in world.deliver_many(100) {
        assert!(world.sandbox.gmail().delete(EMAIL, &deleted));
    }
    let late = world.deliver("Subject: late\n\n.");
    let faults = world.sandbox.faults();
    let twice = Frequency::Times(2);
    faults.add_for(FaultPoint::GmailMessage, &late, Kind::refuse(404), twice);
    let failed = world.sync().await.unwrap_err();
    assert!(matches!(*failed, SyncError::Message { .. }), "{failed:?}");
    assert_eq!(world.state()["problem"], Value::Null);
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(1));
    assert_eq!(world.hooks(), [[late]]);
}

#[tokio::test]
async fn the_first_notification_becomes_the_cursor_durably() {
    let world = TestWatcher::new().await;
    let without_cursor = |world: &TestWatcher| {
        let mut state = world.state();
        state["historyId"] = json!("");
        world.write_state(&state);
    };
    let world = world.restart_after(without_cursor).await;
    let sent = world.deliver_many(1);
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::GmailHistory,
        Kind::refuse(400),
        Frequency::Times(1),
    );
    world.sync().await.unwrap_err();
    let before = world.present().get() - 1;
    assert_eq!(world.state()["historyId"], before.to_string());

    let world = world.restart().await;
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn a_history_id_that_is_a_number_is_the_cursor() {
    let world = TestWatcher::new().await;
    let sent = world.deliver_many(2);
    let first = world.present().get() - 1;
    let numeric = |world: &TestWatcher| {
        let mut state = world.state();
        state["historyId"] = json!(first);
        world.write_state(&state);
    };
    let world = world.restart_after(numeric).await;
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [&sent[1..]], "only what came after it");
    assert_eq!(world.state()["historyId"], world.present().to_string());
}

#[tokio::test]
async fn a_cursor_ahead_of_the_mailbox_is_healed_by_a_resync() {
    let world = TestWatcher::new().await;
    let ahead = |world: &TestWatcher| {
        let mut state = world.state();
        state["historyId"] = json!("9000000000000000");
        world.write_state(&state);
        world.deliver_many(2);
    };
    let mut hooks = world.sandbox.bot().subscribe();
    let world = world.restart_after(ahead).await;
    hooks.recv().await.unwrap();
    assert_eq!(world.hooks().concat().len(), 2);
    assert_eq!(world.sandbox.bot().hooks()[0].body["resync"], true);
    let present = world.present().to_string();
    let is_healed = |state: &Value| state["historyId"] == present && state["problem"].is_null();
    world.until(|_, state| is_healed(state)).await;
}

#[tokio::test]
async fn a_mail_to_oneself_arrives() {
    let world = TestWatcher::new().await;
    let gmail = world.sandbox.gmail();
    let note = b"Subject: note to my bot\n\n.";
    let sent = gmail.deliver_with_labels(EMAIL, note, &["SENT", "INBOX"]);
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [[sent.unwrap().message_id]]);
}

#[tokio::test]
async fn a_sync_goes_on_when_the_request_that_asked_for_it_goes_away() {
    let world =
        TestWatcher::with(|settings| settings.times.push_wait = Duration::from_millis(30)).await;
    let slow = Kind::delay(Duration::from_millis(300));
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, slow, Frequency::Times(1));
    let mut hooks = world.sandbox.bot().subscribe();
    let sent = world.deliver_many(1);
    let waited = world.watcher.sync.sync_to(world.present(), None).await;
    assert!(matches!(waited, Err(NotSynced::StillRunning)), "{waited:?}");
    let abandoned = world.watcher.sync.sync_to(world.present(), None);
    drop(tokio::time::timeout(MOMENT, abandoned).await);

    hooks.recv().await.unwrap();
    world
        .until(|world, state| state["historyId"] == world.present().to_string())
        .await;
    assert_eq!(world.hooks(), [sent], "once");
}

#[tokio::test]
async fn a_request_is_answered_when_the_watcher_has_stopped() {
    let change = |settings: &mut WatcherSettings| settings.times.push_wait = MOMENT;
    let mut world = TestWatcher::with(change).await;
    world.stop().await;
    let asked = world.watcher.sync.sync_to(world.present(), None).await;
    assert!(matches!(asked, Err(NotSynced::Stopped)), "{asked:?}");
}

#[tokio::test]
async fn a_failed_sync_is_retried_without_another_notification() {
    let world = TestWatcher::with(|settings| {
        settings.times.first_wait = MOMENT;
        settings.times.longest_wait = MOMENT;
    })
    .await;
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(500), Frequency::Times(2));
    faults.add(FaultPoint::Hook, Kind::DropBefore, Frequency::Times(1));
    faults.add(
        FaultPoint::GmailHistory,
        Kind::refuse(400),
        Frequency::Times(2),
    );
    let mut hooks = world.sandbox.bot().subscribe();
    let sent = world.deliver_many(2);
    let _ = world.sync().await;
    hooks.recv().await.unwrap();
    assert_eq!(world.hooks(), [sent]);
    world.until(|_, state| state["problem"].is_null()).await;
}

#[tokio::test]
async fn the_retry_after_of_the_webhook_is_respected() {
    let world = TestWatcher::new().await;
    let faults = world.sandbox.faults();
    let busy = Kind::Refuse {
        status: 503,
        retry_after: Some(1),
    };
    faults.add(FaultPoint::Hook, busy, Frequency::Times(1));
    let sent = world.deliver_many(1);
    let asked_at = std::time::Instant::now();
    for _ in 0..3 {
        let held = world.sync().await.unwrap_err();
        assert!(matches!(*held, SyncError::Hook(_)), "{held:?}");
    }
    assert!(world.hooks().is_empty(), "a push does not call it earlier");
    while world.sync().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(asked_at.elapsed() >= Duration::from_secs(1));
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn a_problem_is_stored_with_its_code_and_time_until_it_is_over() {
    let world = TestWatcher::new().await;
    world.deliver_many(1);
    for (point, kind, code) in [
        (FaultPoint::Hook, Kind::refuse(500), "webhook_failing"),
        (FaultPoint::Hook, Kind::refuse(401), "webhook_failing"),
        (
            FaultPoint::GmailHistory,
            Kind::refuse(400),
            "gmail_refusing",
        ),
    ] {
        world.sandbox.faults().add(point, kind, Frequency::Times(1));
        world.sync().await.unwrap_err();
        let state = world.state();
        assert_eq!(state["problemCode"], code);
        assert!(state["problemSinceMs"].as_i64() > Some(0));
    }
    world.sync().await.unwrap();
    assert_eq!(world.state()["problemCode"], Value::Null);
    assert_eq!(world.state()["problemSinceMs"], Value::Null);
}

#[tokio::test]
async fn an_accepted_call_ends_the_webhooks_problem_before_the_rest_of_the_backlog() {
    let world = TestWatcher::with(|settings| settings.messages_per_hook = NonZeroUsize::MIN).await;
    let sent = world.deliver_many(2);
    let faults = world.sandbox.faults();
    let unread = Kind::refuse(503);
    faults.add_for(
        FaultPoint::GmailMessage,
        &sent[1],
        unread,
        Frequency::Always,
    );
    faults.add(FaultPoint::Hook, Kind::refuse(500), Frequency::Times(1));
    world.sync().await.unwrap_err();
    assert_eq!(world.state()["problemCode"], "webhook_failing");
    world.sync().await.unwrap_err();
    assert_eq!(world.hooks(), [[sent[0].clone()]]);
    assert_ne!(world.state()["problemCode"], "webhook_failing");
}

/// Gmail's quota counts each read.
#[tokio::test]
async fn a_webhook_call_is_repeated_without_reading_its_mails_again() {
    let world = TestWatcher::new().await;
    let sent = world.deliver_many(3);
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(500), Frequency::Times(1));
    world.sync().await.unwrap_err();
    let unread = Kind::refuse(503);
    faults.add(FaultPoint::GmailMessage, unread, Frequency::Always);
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn labels_that_changed_after_a_failed_webhook_call_are_read_again() {
    let world = TestWatcher::with(|settings| {
        settings.history_types = vec![HistoryType::MessageAdded, HistoryType::LabelRemoved];
    })
    .await;
    let id = world.deliver("Subject: x\n\n");
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(500), Frequency::Times(1));
    world.sync().await.unwrap_err();
    let gmail = world.sandbox.gmail();
    assert!(gmail.relabel(EMAIL, &id, &["STARRED"], &["UNREAD"]));
    world.sync().await.unwrap();
    assert_eq!(
        world.hooks().concat(),
        [id.as_str(); 2],
        "the mail, and the change"
    );
    let last = &world.sandbox.bot().hooks().pop().unwrap().body["messages"];
    let last = last.as_array().unwrap().last().unwrap();
    assert_eq!(last["labels"], json!(["INBOX", "STARRED"]));
}

#[tokio::test]
async fn notifications_of_one_sync_share_its_failure() {
    let world = TestWatcher::new().await;
    world.deliver_many(1);
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::GmailHistory,
        Kind::refuse(400),
        Frequency::Times(1),
    );
    let syncs = (0..5).map(|_| world.sync());
    let failed = futures_util::future::join_all(syncs).await;
    let first = failed[0].as_ref().unwrap_err();
    let share =
        |one: &Result<SyncOutcome, Arc<SyncError>>| Arc::ptr_eq(one.as_ref().unwrap_err(), first);
    assert!(failed.iter().all(share), "{failed:?}");
    let early = HistoryId::new(1);
    assert_eq!(world.sync_to(early).await.unwrap(), SyncOutcome::NothingNew);
}
