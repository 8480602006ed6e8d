//! Attachments, threads and sources: what Gmail, the disk or the webhook does not take never stops a mail.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_sandbox::{BotPolicy, FaultPoint, Frequency, Kind, Reason};
use postbell_watcher::{
    AttachmentFolder, BodyWanted, Extras, Filter, SenderProof, SyncOutcome, WatcherSettings,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{EMAIL, TestWatcher};

const WITH_FILES: &str = "Subject: files\nContent-Type: multipart/mixed; boundary=a\n\n\
    --a\nContent-Type: text/plain\n\nSee below.\n\
    --a\nContent-Type: text/plain; name=\"../notes.txt\"\nContent-Disposition: attachment\n\nfirst\n\
    --a\nContent-Type: text/plain\nContent-Disposition: attachment\n\nnameless\n\
    --a\nContent-Type: message/rfc822; name=\"old.eml\"\nContent-Disposition: attachment; filename=\"old.eml\"\n\n\
    Subject: old\nContent-Type: multipart/mixed; boundary=b\n\n\
    --b\nContent-Type: text/plain\n\nOlder.\n\
    --b\nContent-Type: text/plain; name=\"inner.txt\"\nContent-Disposition: attachment\n\ninner\n--b--\n\
    --a--\n";

/// What Gmail answers for a part that it does not give, and never will.
fn refusals() -> [Kind; 5] {
    let reason = Reason::Forbidden;
    [
        Kind::refuse(404),
        Kind::RefuseFor {
            status: 403,
            reason,
        },
        Kind::refuse(500),
        Kind::DropBefore,
        Kind::Unreadable,
    ]
}

fn quota() -> Kind {
    Kind::RefuseFor {
        status: 403,
        reason: Reason::UserRateLimitExceeded,
    }
}

/// A watcher that writes attachments.
async fn saving(limit: u64) -> (TestWatcher, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let world = TestWatcher::with(move |settings| {
        let attachments = AttachmentFolder::open(&path, limit).unwrap();
        settings.extras.attachments = Some(Arc::new(attachments));
    });
    (world.await, folder)
}

impl TestWatcher {
    fn refuse_always(&self, at: FaultPoint, kind: Kind) {
        self.sandbox.faults().add(at, kind, Frequency::Always);
    }

    fn last_message(&self) -> Value {
        let hooks = self.sandbox.bot().hooks();
        let messages = hooks.last().unwrap().body["messages"].as_array().cloned();
        messages.unwrap().pop().unwrap()
    }

    fn reply(&self, number: usize, from: &str, labels: &[&str]) -> String {
        let mail = format!(
            "From: {from}\nSubject: Re: x\nMessage-ID: <{number}@x>\nReferences: <1@x>\n\nText {number}"
        );
        let gmail = self.sandbox.gmail();
        let delivered = gmail.deliver_with_labels(EMAIL, mail.as_bytes(), labels);
        delivered.unwrap().message_id
    }

    /// Delivers the first mail of a thread.
    fn begin_thread(&self) -> String {
        self.deliver("From: ann@example.org\nSubject: x\nMessage-ID: <1@x>\n\nText 1")
    }
}

fn ids(messages: &Value) -> Vec<&str> {
    let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    let ids = messages.iter().map(|one| one["id"].as_str().unwrap());
    ids.collect()
}

fn content(attachment: &Value) -> String {
    let path = Path::new(attachment["path"].as_str().unwrap());
    assert!(path.is_absolute());
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_text_part_that_gmail_does_not_give_is_left_out_with_a_mark() {
    let world = TestWatcher::new().await;
    for kind in refusals() {
        if kind == Kind::DropBefore {
            // No answer may be a short failure: the mail is tried again.
            continue;
        }
        world.refuse_always(FaultPoint::GmailAttachment, kind);
        let id = world.deliver(
            "Subject: x\nContent-Type: text/plain; name=\"letter.txt\"\nContent-Disposition: inline\n\nhello",
        );
        assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(1));
        let message = world.last_message();
        assert_eq!(message["id"], id);
        assert_eq!(message["bodyTruncated"], true, "{kind:?}");
        assert!(message["body"].is_null());
        world.sandbox.faults().clear();
    }
    assert!(world.state()["failing"].is_null());
}

#[tokio::test]
async fn attachments_are_written_before_the_webhook_is_called_also_those_of_attached_mails() {
    let (world, folder) = saving(1_000_000).await;
    let id = world.deliver(WITH_FILES);
    world.sync().await.unwrap();
    let message = world.last_message();
    let attachments = message["attachments"].as_array().unwrap();
    let names: Vec<_> = attachments
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["../notes.txt", "", "old.eml", "inner.txt"]);
    assert_eq!(content(&attachments[0]).trim(), "first");
    assert_eq!(content(&attachments[1]).trim(), "nameless");
    assert!(content(&attachments[2]).contains("Subject: old"));
    assert_eq!(content(&attachments[3]).trim(), "inner");
    let below = folder
        .path()
        .canonicalize()
        .unwrap()
        .join(format!("mail-{id}"));
    let path = |index: usize| PathBuf::from(attachments[index]["path"].as_str().unwrap());
    assert_eq!(path(0), below.join("_notes.txt"));
    assert_eq!(path(1), below.join("attachment"));
}

#[tokio::test]
async fn a_repeated_delivery_uses_the_files_that_were_written() {
    let (world, _folder) = saving(1_000_000).await;
    let at = FaultPoint::GmailAttachment;
    let counted = Kind::delay(Duration::ZERO);
    world.refuse_always(at, counted);
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(500), Frequency::Times(1));
    world.deliver(WITH_FILES);
    world.sync().await.unwrap_err();
    assert_eq!(faults.occurred(at), 3);
    world.sync().await.unwrap();
    assert_eq!(faults.occurred(at), 3);
    assert_eq!(
        content(&world.last_message()["attachments"][3]).trim(),
        "inner"
    );
}

#[tokio::test]
async fn an_attachment_that_gmail_does_not_give_is_named_and_the_mail_arrives() {
    let (world, _folder) = saving(1_000_000).await;
    for kind in refusals() {
        world.refuse_always(FaultPoint::GmailAttachment, kind);
        let id = world.deliver(WITH_FILES);
        assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(1));
        let message = world.last_message();
        assert_eq!(message["id"], id);
        let skipped = |index: usize| message["attachments"][index]["skipped"].clone();
        assert_eq!(
            [skipped(0), skipped(2), skipped(3)],
            ["gmail"; 3],
            "{kind:?}"
        );
        world.sandbox.faults().clear();
    }
    assert!(world.state()["failing"].is_null());
}

#[tokio::test]
async fn a_used_up_quota_delays_the_mail_and_loses_no_extra() {
    let (world, _folder) = saving(1_000_000).await;
    world.refuse_always(FaultPoint::GmailAttachment, quota());
    world.deliver(WITH_FILES);
    world.sync().await.unwrap_err();
    assert!(world.hooks().is_empty());
    world.sandbox.faults().clear();
    world.sync().await.unwrap();
    assert_eq!(
        content(&world.last_message()["attachments"][0]).trim(),
        "first"
    );
}

#[tokio::test]
async fn a_mail_arrives_without_its_files_if_the_directory_is_full_or_broken() {
    let (world, _folder) = saving(10_000).await;
    let large = "x".repeat(20_000);
    world.deliver(&WITH_FILES.replace("first", &large));
    world.sync().await.unwrap();
    let attachments = &world.last_message()["attachments"];
    assert_eq!(attachments[0]["skipped"], "disk");
    assert!(attachments[0]["path"].is_null());

    let (world, folder) = saving(1_000_000).await;
    let id = world.deliver(WITH_FILES);
    fs::write(folder.path().join(format!("mail-{id}")), "in the way").unwrap();
    assert_eq!(world.sync().await.unwrap(), SyncOutcome::Delivered(1));
    let attachments = &world.last_message()["attachments"];
    assert_eq!(attachments[0]["skipped"], "disk");
}

#[tokio::test]
async fn mail_before_one_with_files_does_not_wait_for_them() {
    let (world, _folder) = saving(1_000_000).await;
    let never = Kind::delay(Duration::from_secs(3_600));
    world.refuse_always(FaultPoint::GmailAttachment, never);
    let first = world.deliver("Subject: first\n\n.");
    let second = world.deliver("Subject: second\n\n.");
    world.deliver(WITH_FILES);
    tokio::select! {
        synced = world.sync() => panic!("the files came: {synced:?}"),
        () = world.until(|world, _| !world.hooks().is_empty()) => {}
    }
    assert_eq!(world.hooks(), [[first, second]]);
}

#[tokio::test]
async fn each_mail_with_files_begins_a_request_and_the_order_stays() {
    let (world, _folder) = saving(1_000_000).await;
    let plain = "Subject: x\n\n.";
    let ids = [plain, WITH_FILES, plain, plain, WITH_FILES].map(|mail| world.deliver(mail));
    let hook = FaultPoint::Hook;
    let faults = world.sandbox.faults();
    faults.add(hook, Kind::refuse(500), Frequency::Times(1));
    world.sync().await.unwrap_err();
    world.sync().await.unwrap();
    let hooks = world.hooks();
    assert_eq!(hooks[hooks.len() - 3..], [&ids[..1], &ids[1..4], &ids[4..]]);
}

/// The bot has it already, under the key of all its messages.
#[tokio::test]
async fn a_pending_request_stays_whole_if_attachments_are_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let is_on = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&is_on);
    let world = TestWatcher::with(move |settings| {
        if is_on.load(Ordering::SeqCst) {
            let attachments = AttachmentFolder::open(&path, 1_000_000).unwrap();
            settings.extras.attachments = Some(Arc::new(attachments));
        }
    })
    .await;
    let ids = ["Subject: x\n\n.", WITH_FILES].map(|mail| world.deliver(mail));
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::DropAfter, Frequency::Times(1));
    world.sync().await.unwrap_err();
    switch.store(true, Ordering::SeqCst);
    let world = world.restart().await;
    world.sync().await.unwrap();
    assert_eq!(world.hooks(), [&ids, &ids]);
    let hooks = world.sandbox.bot().hooks();
    assert_eq!(hooks[0].idempotency_key, hooks[1].idempotency_key);
    let inner = &world.last_message()["attachments"][3];
    assert_eq!(content(inner).trim(), "inner");
}

#[tokio::test]
async fn attachments_of_mail_that_is_not_for_the_bot_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let world = TestWatcher::with(move |settings| {
        let attachments = AttachmentFolder::open(&path, 1_000_000).unwrap();
        settings.extras.attachments = Some(Arc::new(attachments));
        settings.filter.senders = vec!["boss.example".to_owned()];
    })
    .await;
    world.deliver(WITH_FILES);
    world.sync().await.unwrap();
    assert!(world.hooks().is_empty());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn with_thread(settings: &mut WatcherSettings) {
    settings.body = BodyWanted::text(20_000);
    settings.extras.thread = 2;
}

#[tokio::test]
async fn the_mails_before_a_mail_come_with_it_the_oldest_first() {
    let world = TestWatcher::with(with_thread).await;
    let calls = FaultPoint::GmailThread;
    world.refuse_always(calls, Kind::delay(Duration::ZERO));
    let first = world.begin_thread();
    world.sync().await.unwrap();
    assert!(world.last_message()["thread"].is_null());
    assert_eq!(
        world.sandbox.faults().occurred(calls),
        0,
        "it begins a thread"
    );

    let own = world.reply(2, EMAIL, &["SENT"]);
    for label in ["DRAFT", "SPAM", "TRASH"] {
        world.reply(3, "ann@example.org", &[label]);
    }
    let answer = world.reply(4, "ann@example.org", &["INBOX"]);
    world.reply(5, "ann@example.org", &["INBOX"]);
    world.sync().await.unwrap();
    let read = world.sandbox.faults().occurred(calls);
    assert_eq!(read, 1, "it is read once for the mails of a request");
    let hooks = world.sandbox.bot().hooks();
    let messages = &hooks.last().unwrap().body["messages"];
    let thread = |index: usize| messages[index]["thread"].clone();
    assert_eq!(ids(&thread(0)), [&*first, &*own]);
    assert_eq!(thread(0)[0]["body"], "Text 1");
    assert_eq!(ids(&thread(1)), [&*own, &*answer], "the last two");
}

#[tokio::test]
async fn texts_of_a_thread_are_cut() {
    let world = TestWatcher::with(with_thread).await;
    let long = "A long text. ".repeat(1_000);
    world.deliver(&format!("Subject: x\nMessage-ID: <1@x>\n\n{long}"));
    world.reply(2, "ann@example.org", &["INBOX"]);
    world.sync().await.unwrap();
    let thread = &world.last_message()["thread"];
    assert!(thread[0]["body"].as_str().unwrap().len() <= 5_000);
    assert_eq!(thread[0]["bodyTruncated"], true);
}

#[tokio::test]
async fn a_sender_who_is_not_allowed_cannot_write_into_a_thread() {
    let world = TestWatcher::with(|settings| {
        with_thread(settings);
        settings.filter = Filter {
            senders: vec!["example.org".to_owned()],
            sender_proof: SenderProof::Unverified,
            query: None,
        };
    })
    .await;
    let first = world.begin_thread();
    world.reply(2, "eve@evil.example", &["INBOX"]);
    let own = world.reply(3, EMAIL, &["SENT"]);
    world.reply(4, "ann@example.org", &["INBOX"]);
    world.sync().await.unwrap();
    assert_eq!(ids(&world.last_message()["thread"]), [&*first, &*own]);
}

#[tokio::test]
async fn a_thread_or_a_source_that_gmail_does_not_give_is_named_and_the_mail_arrives() {
    let world = TestWatcher::with(|settings| {
        with_thread(settings);
        settings.extras.raw = Some(1_000_000);
    })
    .await;
    world.begin_thread();
    for kind in refusals() {
        world.refuse_always(FaultPoint::GmailThread, kind);
        world.refuse_always(FaultPoint::GmailRaw, kind);
        world.reply(2, "ann@example.org", &["INBOX"]);
        world.sync().await.unwrap();
        let message = world.last_message();
        let found = [&message["threadSkipped"], &message["rawSkipped"]];
        assert_eq!(found, ["gmail", "gmail"], "{kind:?}");
        assert_eq!(message["body"], "Text 2");
        world.sandbox.faults().clear();
    }
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::GmailThread,
        Kind::Unreadable,
        Frequency::Times(1),
    );
    world.reply(3, "ann@example.org", &["INBOX"]);
    world.sync().await.unwrap();
    let thread = &world.last_message()["thread"];
    assert_eq!(
        thread[1]["bodyTruncated"], true,
        "only headers could be read"
    );
    assert_eq!(thread[1]["subject"], "Re: x");
}

#[tokio::test]
async fn the_source_comes_byte_for_byte_or_not_at_all() {
    let world = TestWatcher::with(|settings| settings.extras.raw = Some(1_000)).await;
    let mail = b"Subject: x\r\nX-Odd: \xff\xfe\r\n\r\nText \xf6";
    world.sandbox.gmail().deliver(EMAIL, mail).unwrap();
    world.sync().await.unwrap();
    let raw = world.last_message()["raw"].as_str().unwrap().to_owned();
    assert_eq!(BASE64_STANDARD.decode(raw).unwrap(), mail);
    for length in [1_500, 30_000] {
        world.deliver(&format!("Subject: x\n\n{}", "x".repeat(length)));
        world.sync().await.unwrap();
        let message = world.last_message();
        assert!(message["raw"].is_null());
        assert_eq!(message["rawSkipped"], "tooLarge");
    }
}

#[tokio::test]
async fn a_webhook_that_takes_no_large_request_gets_the_text_before_the_extras() {
    let world = TestWatcher::with(|settings| {
        with_thread(settings);
        settings.extras = Extras {
            raw: Some(1_000_000),
            ..settings.extras.clone()
        };
        settings.headers = vec!["X-Note".parse().unwrap()];
    })
    .await;
    let long = "A line of a letter.\n".repeat(200);
    world.deliver(&format!("Subject: x\nMessage-ID: <1@x>\n\n{long}"));
    let note = "n".repeat(3_000);
    let mail = format!("Subject: y\nX-Note: {note}\nReferences: <1@x>\n\n{long}");
    for (max_bytes, expected) in [
        (100_000, [true, true, true]),
        (20_000, [false, true, true]),
        (10_000, [false, false, true]),
        (6_000, [false, false, false]),
    ] {
        world.sandbox.bot().set_policy(BotPolicy {
            max_bytes: Some(max_bytes),
            ..BotPolicy::default()
        });
        world.deliver(&mail);
        world.sync().await.unwrap();
        let message = world.last_message();
        let found = ["raw", "thread", "headers"].map(|field| !message[field].is_null());
        assert_eq!(found, expected, "{max_bytes}");
        assert_eq!(
            message["body"].as_str().unwrap().trim_end(),
            long.trim_end()
        );
        assert_eq!(message["bodyTruncated"], Value::Null);
        assert_eq!(message["rawSkipped"] == json!("tooLarge"), !expected[0]);
        assert_eq!(message["threadSkipped"] == json!("tooLarge"), !expected[1]);
        assert_eq!(message["headersTruncated"] == json!(true), !expected[2]);
    }
}
