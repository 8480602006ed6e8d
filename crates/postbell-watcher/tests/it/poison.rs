//! A mail that fails each time, alone, never stops the others.

use std::time::Duration;

use postbell_sandbox::{BotPolicy, FaultPoint, Frequency, Kind};
use postbell_watcher::{
    BodyWanted, DeadLetterAction, DeadLetterRequest, Requested, SyncError, SyncOutcome,
    WatcherSettings,
};
use serde_json::{Value, json};

use crate::world::{EMAIL, TestWatcher};

const MOMENT: Duration = Duration::from_millis(1);

/// Retries by itself, and almost without a wait.
fn quickly(settings: &mut WatcherSettings) {
    settings.body = BodyWanted::text(20_000);
    settings.times.first_wait = MOMENT;
    settings.times.longest_wait = MOMENT;
    settings.retries.first_wait = MOMENT;
    settings.retries.longest_wait = MOMENT;
}

impl TestWatcher {
    /// Delivers mails with these subjects, and returns their ids.
    fn deliver_subjects(&self, subjects: &[&str]) -> Vec<String> {
        let deliver = |subject: &&str| self.deliver(&format!("Subject: {subject}\n\n."));
        subjects.iter().map(deliver).collect()
    }

    fn refuse(&self, subject: &str, status: u16) {
        self.sandbox.bot().set_policy(BotPolicy {
            refuse_subject: Some(subject.to_owned()),
            refuse_status: Some(status),
            ..BotPolicy::default()
        });
    }

    /// Asks for a sync, and completes once everything present was handled.
    async fn settle(&self) {
        let _ = self.sync().await;
        let present = self.present().to_string();
        let is_settled =
            |state: &Value| state["historyId"] == present && state["failing"].is_null();
        self.until(|_, state| is_settled(state)).await;
    }

    /// The ids of the dead letters.
    fn dead_letters(&self) -> Vec<String> {
        let state = self.state();
        let letters = state["deadLetters"].as_array().cloned().unwrap_or_default();
        let id = |letter: &Value| letter["id"].as_str().unwrap().to_owned();
        letters.iter().map(id).collect()
    }

    fn bodies(&self) -> Vec<Value> {
        let hooks = self.sandbox.bot().hooks();
        let messages = |body: &Value| body["messages"].as_array().unwrap().clone();
        hooks.iter().flat_map(|hook| messages(&hook.body)).collect()
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved_until_it_fits() {
    let world = TestWatcher::with(quickly).await;
    let max_bytes = Some(20_000);
    world.sandbox.bot().set_policy(BotPolicy {
        max_bytes,
        ..BotPolicy::default()
    });
    let long = "A line of a long letter.\n".repeat(100);
    let mail = format!("Subject: long\n\n{long}");
    let sent: Vec<_> = (0..30).map(|_| world.deliver(&mail)).collect();
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(30));
    assert_eq!(world.hooks().concat(), sent);
    assert!(
        world
            .bodies()
            .iter()
            .all(|mail| mail["bodyTruncated"].is_null())
    );
}

#[tokio::test]
async fn a_mail_that_is_too_large_is_shortened_and_its_neighbours_are_whole() {
    let world = TestWatcher::with(quickly).await;
    world.sandbox.bot().set_policy(BotPolicy {
        max_bytes: Some(3_000),
        ..BotPolicy::default()
    });
    let long = "A line of a long letter.\n".repeat(600);
    let mut sent = world.deliver_subjects(&["one"]);
    sent.push(world.deliver(&format!("Subject: two\n\n{long}")));
    sent.extend(world.deliver_subjects(&["three"]));
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(3));
    assert_eq!(world.hooks().concat(), sent);
    let bodies = world.bodies();
    let cut: Vec<_> = bodies
        .iter()
        .map(|mail| mail["bodyTruncated"] == true)
        .collect();
    assert_eq!(cut, [false, true, false]);
    assert!(
        bodies[1]["body"]
            .as_str()
            .unwrap()
            .contains("A line of a long letter.")
    );
    assert!(world.dead_letters().is_empty());
}

#[tokio::test]
async fn a_mail_that_the_webhook_refuses_is_set_aside_and_the_others_arrive_in_order() {
    for status in [400, 422, 413] {
        let world = TestWatcher::with(quickly).await;
        world.refuse("POISON", status);
        let mut sent = world.deliver_subjects(&["a", "b", "POISON", "c", "d", "e"]);
        world.settle().await;
        let poison = sent.remove(2);
        assert_eq!(world.hooks().concat(), sent, "{status}");
        assert_eq!(world.dead_letters(), [poison], "{status}");
        assert_eq!(world.state()["problem"], Value::Null);
    }
}

#[tokio::test]
async fn a_short_failure_of_one_mail_changes_no_order() {
    let world = TestWatcher::with(quickly).await;
    let sent = world.deliver_subjects(&["a", "b", "c"]);
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(400), Frequency::Times(3));
    let mut hooks = world.sandbox.bot().subscribe();
    let failed = world.sync().await.unwrap_err();
    assert!(matches!(*failed, SyncError::Message { .. }), "{failed:?}");
    for _ in 0..2 {
        hooks.recv().await.unwrap();
    }
    world.settle().await;
    assert_eq!(world.hooks().concat(), sent);
}

#[tokio::test]
async fn several_bad_mails_in_a_row_do_not_stop_those_behind_them() {
    let world = TestWatcher::with(quickly).await;
    world.refuse("POISON", 400);
    let bad = world.deliver_subjects(&["POISON"; 7]);
    let good = world.deliver_subjects(&["a", "b"]);
    world.settle().await;
    assert_eq!(world.hooks().concat(), good);
    assert_eq!(world.dead_letters(), bad);
}

#[tokio::test]
async fn a_webhook_that_refuses_everything_sets_nothing_aside() {
    let world = TestWatcher::with(|settings| {
        quickly(settings);
        settings.times.longest_wait = Duration::from_millis(5);
    })
    .await;
    let start = world.state()["historyId"].clone();
    world.refuse("mail", 400);
    let sent = world.deliver_many(8);
    let _ = world.sync().await;
    let waits = |state: &Value| state["failing"].as_array().map_or(0, Vec::len);
    world.until(|_, state| waits(state) == 8).await;
    let refused = world.sandbox.bot().refused();
    while world.sandbox.bot().refused() < refused + 60 {
        tokio::task::yield_now().await;
    }
    let failed = world.sync().await.unwrap_err();
    assert!(
        matches!(*failed, SyncError::EveryMessage { .. }),
        "{failed:?}"
    );
    let state = world.state();
    assert_eq!(state["problemCode"], "webhook_failing");
    assert!(world.dead_letters().is_empty());
    let cursor: u64 = state["historyId"].as_str().unwrap().parse().unwrap();
    let start: u64 = start.as_str().unwrap().parse().unwrap();
    assert!(cursor < world.present().get() && cursor >= start);

    world.sandbox.bot().set_policy(BotPolicy::default());
    world.settle().await;
    let mut arrived = world.hooks().concat();
    arrived.sort();
    assert_eq!(arrived, sent);
    assert_eq!(world.state()["problem"], Value::Null);
}

#[tokio::test]
async fn a_message_that_gmail_refuses_is_set_aside_and_the_others_arrive_in_order() {
    for kind in [Kind::refuse(400), Kind::refuse(500), Kind::Unreadable] {
        let world = TestWatcher::with(quickly).await;
        let mut sent = world.deliver_many(5);
        let bad = sent.remove(1);
        let faults = world.sandbox.faults();
        faults.add_for(FaultPoint::GmailMessage, &bad, kind, Frequency::Always);
        world.settle().await;
        assert_eq!(world.hooks().concat(), sent, "{kind:?}");
        assert_eq!(world.dead_letters(), [bad], "{kind:?}");
    }
}

#[tokio::test]
async fn a_gmail_that_fails_for_every_message_sets_nothing_aside() {
    let world = TestWatcher::with(quickly).await;
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::GmailMessage,
        Kind::refuse(500),
        Frequency::Always,
    );
    let sent = world.deliver_many(6);
    let _ = world.sync().await;
    let waits = |state: &Value| state["failing"].as_array().map_or(0, Vec::len);
    world.until(|_, state| waits(state) == 6).await;
    let occurred = faults.occurred(FaultPoint::GmailMessage);
    while faults.occurred(FaultPoint::GmailMessage) < occurred + 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.state()["problemCode"], "gmail_refusing");
    assert!(world.dead_letters().is_empty());

    faults.clear();
    world.settle().await;
    // Those that had just been tried again follow the others.
    let mut arrived = world.hooks().concat();
    arrived.sort();
    assert_eq!(arrived, sent);
}

#[tokio::test]
async fn a_part_of_a_split_batch_is_repeated_under_its_own_key() {
    let world = TestWatcher::with(|settings| settings.body = BodyWanted::text(20_000)).await;
    world.sandbox.bot().set_policy(BotPolicy {
        max_bytes: Some(4_000),
        ..BotPolicy::default()
    });
    let long = "A line of a long letter.\n".repeat(60);
    let mail = format!("Subject: long\n\n{long}");
    let sent: Vec<_> = (0..4).map(|_| world.deliver(&mail)).collect();
    let faults = world.sandbox.faults();
    for kind in [Kind::delay(MOMENT), Kind::delay(MOMENT), Kind::DropAfter] {
        faults.add(FaultPoint::Hook, kind, Frequency::Times(1));
    }
    world.sync().await.unwrap_err();
    let world = world.restart().await;
    world.sync().await.unwrap();
    let halves = [&sent[..2], &sent[2..], &sent[2..]];
    assert_eq!(world.hooks(), halves);
    let hooks = world.sandbox.bot().hooks();
    assert_eq!(hooks[1].idempotency_key, hooks[2].idempotency_key);
}

#[tokio::test]
async fn a_dead_letter_is_replayed_beside_the_running_watcher() {
    let world = TestWatcher::with(quickly).await;
    world.refuse("POISON", 400);
    let sent = world.deliver_subjects(&["a", "POISON", "b"]);
    world.settle().await;
    let replay = DeadLetterRequest {
        action: DeadLetterAction::Replay,
        ids: Some(vec![sent[1].clone()]),
    };
    let request = || replay.carry_out(world.folder(), EMAIL);
    assert_eq!(request().await.unwrap(), Requested::Done);
    world.until(|_, state| state["replayIds"].is_null()).await;
    assert_eq!(world.dead_letters(), [sent[1].clone()], "it failed again");

    world.sandbox.bot().set_policy(BotPolicy::default());
    assert_eq!(request().await.unwrap(), Requested::Done);
    world.until(|_, state| state["deadLetters"].is_null()).await;
    assert_eq!(world.hooks().concat().last(), Some(&sent[1]));
    assert_eq!(world.state()["historyId"], world.present().to_string());
}

#[tokio::test]
async fn a_deferred_mail_that_breaks_the_webhook_does_not_stop_new_mail() {
    let world = TestWatcher::new().await;
    world.refuse("POISON", 400);
    world.deliver_subjects(&["POISON"]);
    for _ in 0..3 {
        world.sync().await.unwrap_err();
    }
    assert_eq!(world.state()["failing"][0]["deferred"], true);

    world.refuse("POISON", 500);
    let new = world.deliver_subjects(&["a"]);
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(1));
    assert_eq!(world.hooks(), [new]);
    let state = world.state();
    assert_eq!(state["failing"][0]["tries"], 3, "the attempt did not count");
    assert_eq!(state["problem"], Value::Null);
}

#[tokio::test]
async fn a_replayed_mail_that_breaks_the_webhook_does_not_stop_new_mail() {
    let world = TestWatcher::with(quickly).await;
    world.refuse("POISON", 400);
    let sent = world.deliver_subjects(&["a", "POISON", "b"]);
    world.settle().await;
    world.refuse("POISON", 500);
    let replay = DeadLetterRequest {
        action: DeadLetterAction::Replay,
        ids: None,
    };
    let replayed = replay.carry_out(world.folder(), EMAIL).await.unwrap();
    assert_eq!(replayed, Requested::Done);
    let new = world.deliver_subjects(&["c"]).remove(0);
    let mut hooks = world.sandbox.bot().subscribe();
    let _ = world.sync().await;
    if world.hooks().len() < 3 {
        hooks.recv().await.unwrap();
    }
    assert_eq!(world.hooks().concat().last(), Some(&new));

    world.sandbox.bot().set_policy(BotPolicy::default());
    let _ = world.sync().await;
    world.until(|_, state| state["deadLetters"].is_null()).await;
    assert_eq!(world.hooks().concat().last(), Some(&sent[1]));
}

#[tokio::test]
async fn pages_without_an_end_are_an_error_and_keep_the_progress() {
    for kind in [Kind::RepeatPage, Kind::EndlessPages] {
        let world = TestWatcher::new().await;
        let sent = world.deliver_many(3);
        let faults = world.sandbox.faults();
        faults.add(FaultPoint::GmailHistory, kind, Frequency::Always);
        let failed = world.sync().await.unwrap_err();
        assert!(matches!(*failed, SyncError::EndlessPages), "{failed:?}");
        assert_eq!(world.hooks().concat(), sent, "{kind:?}");
        assert_eq!(world.state()["problemCode"], "gmail_refusing");
        faults.clear();
        world.sync().await.unwrap();
        assert_eq!(world.hooks().concat(), sent);
        assert_eq!(
            world.state()["historyId"],
            json!(world.present().to_string())
        );
    }
}
