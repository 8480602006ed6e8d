use std::num::NonZeroUsize;

use postbell_core::HistoryId;
use postbell_google::{GmailError, TokenError};
use postbell_sandbox::{Kind, Often, Place};
use postbell_watcher::{SyncError, SyncOutcome};
use serde_json::json;

use crate::world::{EMAIL, World};

#[tokio::test]
async fn the_bot_gets_a_mail_as_the_contract_has_it() {
    let world = World::new().await;
    let id = world.deliver(
        "From: =?utf-8?q?Bj=C3=B6rn?= <b@example.org>\nTo: ann@example.com\nDate: today\n\
         Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Type: text/plain; charset=utf-8\n\n\
         Twenty bytes of äöü and more",
    );
    assert_eq!(
        world.watcher.sync.sync_to(world.present()).await.unwrap(),
        SyncOutcome::Delivered(1)
    );

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
    assert_eq!(world.sandbox.bot().hooks()[0].body, expected);
    assert_eq!(world.state()["historyId"], world.present().to_string());
}

#[tokio::test]
async fn every_page_of_history_is_read() {
    let world = World::new().await;
    let sent = world.deliver_many(1_234);
    let looked = world.watcher.sync.sync_to(world.present()).await.unwrap();
    assert_eq!(looked, SyncOutcome::Delivered(1_234));
    assert_eq!(world.hooks().concat(), sent, "oldest first");
    assert!(world.hooks().iter().all(|hook| hook.len() <= 100));
}

#[tokio::test]
async fn the_place_in_history_moves_only_when_the_hook_has_taken_it() {
    let world = World::new().await;
    let start = world.state()["historyId"].clone();
    let sent = world.deliver_many(2);
    for kind in [Kind::refuse(500), Kind::refuse(400), Kind::DropBefore] {
        world
            .sandbox
            .faults()
            .add(Place::Hook, kind, Often::Times(1));
        let failed = world
            .watcher
            .sync
            .sync_to(world.present())
            .await
            .unwrap_err();
        assert!(matches!(failed, SyncError::Hook(_)), "{failed:?}");
        assert_eq!(world.state()["historyId"], start);
    }
    world.watcher.sync.sync_to(world.present()).await.unwrap();
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn a_hook_that_failed_in_the_middle_is_not_repeated_from_the_start() {
    let world =
        World::with(|settings| settings.messages_per_hook = NonZeroUsize::new(2).unwrap()).await;
    let sent = world.deliver_many(5);
    world.sandbox.faults().add(
        Place::Hook,
        Kind::delay(std::time::Duration::ZERO),
        Often::Times(1),
    );
    world
        .sandbox
        .faults()
        .add(Place::Hook, Kind::refuse(503), Often::Times(1));
    world
        .watcher
        .sync
        .sync_to(world.present())
        .await
        .unwrap_err();
    assert_eq!(world.hooks(), [&sent[..2]]);

    world.watcher.sync.sync_to(world.present()).await.unwrap();
    assert_eq!(world.hooks(), [&sent[..2], &sent[2..4], &sent[4..]]);
}

#[tokio::test]
async fn a_hook_whose_answer_was_lost_is_repeated_as_it_was_under_the_same_key() {
    let world = World::new().await;
    let first = world.deliver_many(2);
    world
        .sandbox
        .faults()
        .add(Place::Hook, Kind::DropAfter, Often::Times(1));
    world
        .watcher
        .sync
        .sync_to(world.present())
        .await
        .unwrap_err();

    let world = world.restart();
    let later = world.deliver_many(1);
    world.watcher.sync.sync_to(world.present()).await.unwrap();
    assert_eq!(world.hooks(), [first.clone(), first, later]);
    let hooks = world.sandbox.bot().hooks();
    assert_eq!(hooks[0].idempotency_key, hooks[1].idempotency_key);
    assert_ne!(hooks[1].idempotency_key, hooks[2].idempotency_key);
}

#[tokio::test]
async fn a_message_that_is_gone_is_left_out_and_the_rest_delivered() {
    let world = World::new().await;
    let sent = world.deliver_many(3);
    assert!(world.sandbox.gmail().delete(EMAIL, &sent[1]));
    world.watcher.sync.sync_to(world.present()).await.unwrap();
    assert_eq!(world.hooks(), [[sent[0].clone(), sent[2].clone()]]);
}

#[tokio::test]
async fn a_mail_that_cannot_be_read_yet_is_read_a_moment_later() {
    let world = World::new().await;
    let sent = world.deliver_many(3);
    let faults = world.sandbox.faults();
    faults.add(Place::GmailMessage, Kind::refuse(404), Often::Times(1));
    world.watcher.sync.sync_to(world.present()).await.unwrap();
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn what_is_not_for_the_bot_is_left_out() {
    let world = World::new().await;
    for label in ["SPAM", "TRASH", "DRAFT", "SENT"] {
        let gmail = world.sandbox.gmail();
        gmail
            .deliver_with_labels(EMAIL, b"Subject: x\n\n", &[label])
            .unwrap();
    }
    assert_eq!(
        world.watcher.sync.sync_to(world.present()).await.unwrap(),
        SyncOutcome::NothingNew
    );
    assert!(world.hooks().is_empty());
}

#[tokio::test]
async fn what_passes_at_gmail_is_waited_out() {
    let world = World::new().await;
    world.deliver_many(1);
    for place in [Place::GmailHistory, Place::GmailMessage] {
        for kind in [
            Kind::refuse(429),
            Kind::refuse(403),
            Kind::refuse(503),
            Kind::DropBefore,
        ] {
            world.sandbox.faults().add(place, kind, Often::Times(1));
            world.deliver_many(1);
            world.watcher.sync.sync_to(world.present()).await.unwrap();
        }
    }
    assert_eq!(world.hooks().concat().len(), 9);
}

#[tokio::test]
async fn a_token_that_was_refused_is_replaced() {
    let world = World::new().await;
    world.deliver_many(1);
    world.watcher.sync.sync_to(world.present()).await.unwrap();
    world.sandbox.oauth().expire_access_tokens();
    world.deliver_many(1);
    assert_eq!(
        world.watcher.sync.sync_to(world.present()).await.unwrap(),
        SyncOutcome::Delivered(1)
    );
}

#[tokio::test]
async fn a_grant_that_was_taken_back_is_told_apart() {
    let world = World::new().await;
    world.sandbox.oauth().revoke(EMAIL);
    world.deliver_many(1);
    let failed = world
        .watcher
        .sync
        .sync_to(world.present())
        .await
        .unwrap_err();
    assert!(
        matches!(
            failed,
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
async fn a_lost_place_is_resynchronised_without_repeating_what_was_delivered() {
    let world = World::new().await;
    let before = world.deliver_many(2);
    world.watcher.sync.sync_to(world.present()).await.unwrap();
    let after = world.deliver_many(2);
    world.sandbox.gmail().expire_history(EMAIL);

    world.watcher.sync.sync_to(world.present()).await.unwrap();
    assert_eq!(world.hooks(), [before, after]);
    assert_eq!(world.sandbox.bot().hooks()[1].body["resync"], true);
    assert_eq!(world.state()["historyId"], world.present().to_string());
}

#[tokio::test]
async fn notifications_that_arrive_together_share_looks() {
    let world = World::new().await;
    let sent = world.deliver_many(3);
    let present = world.present();
    let looks = (0..20).map(|_| world.watcher.sync.sync_to(present));
    let looked = futures_util::future::join_all(looks).await;
    assert!(looked.iter().all(Result::is_ok));
    assert_eq!(world.hooks(), [sent]);
}

#[tokio::test]
async fn an_older_notification_needs_no_look() {
    let world = World::new().await;
    world.deliver_many(1);
    world.watcher.sync.sync_to(world.present()).await.unwrap();
    world
        .sandbox
        .faults()
        .add(Place::GmailHistory, Kind::refuse(500), Often::Always);
    let older = HistoryId::new(world.present().get() - 1);
    assert_eq!(
        world.watcher.sync.sync_to(older).await.unwrap(),
        SyncOutcome::NothingNew
    );
    world
        .watcher
        .sync
        .sync_to(world.present())
        .await
        .expect_err("an equal one is looked at");
}
