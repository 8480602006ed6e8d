//! `postbell watch` with another spelling of the mailbox's address, an alias, or the credentials of
//! another mailbox.

use postbell_sandbox::{FaultPoint, Frequency, Kind};
use reqwest::StatusCode;
use serde_json::Value;

use crate::watch::{World, ids, port, push_for};

const GMAIL: &str = "firstlast@gmail.com";

fn state(world: &World, file: &str) -> Value {
    let folder = world.state_file();
    let file = folder.with_file_name(file);
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Starts a watch for `account`, and a watcher that delivers a mail whose notification names `named`.
async fn delivers(world: &mut World, account: &str, named: &str) -> String {
    let topic = world.topic.clone();
    let arguments = ["start", "--account", account, "--topic", &topic];
    let (code, _, told) = world.run(&arguments).await;
    assert_eq!(code, Some(0), "{told}");
    let address = port().await;
    let port = address.port().to_string();
    let watcher = world
        .service(&["serve", "--account", account, "--port", &port])
        .await;
    let mail = b"From: b@example.org\nSubject: hi\n\nhello";
    let sent = world.sandbox.gmail().deliver(named, mail).unwrap();
    // A notification for another mailbox would be answered 202.
    let answer = push_for(address, named, sent.history_id).await;
    assert!(answer.is_success(), "{answer}");
    let hook = world.next_hook().await;
    assert_eq!(ids(&hook), [sent.message_id]);
    assert_eq!(hook.body["account"], named);
    assert_eq!(watcher.terminate().await, Some(0));
    told
}

#[tokio::test]
async fn dots_case_and_the_older_domain_of_gmail_are_accepted_with_a_notice() {
    for (account, file) in [
        ("First.Last@gmail.com", "first_last_gmail_com.json"),
        ("FirstLast@googlemail.com", "firstlast_googlemail_com.json"),
        ("firstlast+bot@gmail.com", "firstlast_bot_gmail_com.json"),
    ] {
        let mut world = World::of(GMAIL).await;
        let told = delivers(&mut world, account, GMAIL).await;
        assert!(told.contains("the mailbox's own address"), "{told}");
        assert!(
            !told.contains("irstlast@") && !told.contains("irst.Last@"),
            "{told}"
        );
        assert!(state(&world, file)["historyId"].is_string());
        // The state is found under the other spelling, too.
        if !account.contains('+') {
            let (code, shown, told) = world.run(&["status", "--account", GMAIL]).await;
            assert_eq!(code, Some(1), "no watcher runs: {shown} {told}");
            assert!(shown.contains("account\t"), "{shown}");
        }
    }
}

#[tokio::test]
async fn an_alias_that_the_mailboxs_settings_name_is_accepted() {
    let mut world = World::of("ann@example.com").await;
    let gmail = world.sandbox.gmail();
    gmail.add_alias("ann@example.com", "support@example.com");
    delivers(&mut world, "support@example.com", "ann@example.com").await;
}

#[tokio::test]
async fn credentials_of_another_mailbox_are_refused_at_start_and_both_are_named() {
    let world = World::watched().await;
    let topic = world.topic.clone();
    let bob = ["--account", "bob@example.org"];
    let start = [&["start", "--topic", &topic][..], &bob].concat();
    let (code, _, told) = world.run(&start).await;
    assert_eq!(code, Some(78), "{told}");
    for words in ["a…@example.com", "b…@example.org", "--account"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("ann@") && !told.contains("bob@"), "{told}");
    let file = world.state_file().with_file_name("bob_example_org.json");
    assert!(!file.exists(), "nothing was begun");

    // A state from before: the problem is in it, for those who do not see the watcher's output.
    std::fs::copy(world.state_file(), &file).unwrap();
    let hook = world.sandbox.bot().hook_url();
    for command in [
        &["renew"][..],
        &["stop"],
        &["serve", "--port", "0", "--hook-url", &hook],
        &[
            "pull",
            "--subscription",
            "projects/p/subscriptions/s",
            "--hook-url",
            &hook,
        ],
    ] {
        let (code, _, told) = world.run(&[command, &bob].concat()).await;
        assert_eq!(code, Some(78), "{told}");
    }
    assert_eq!(
        state(&world, "bob_example_org.json")["problemCode"],
        "wrong_account"
    );
    let (code, shown, _) = world.run(&[&["status"], &bob[..]].concat()).await;
    assert_eq!(code, Some(1));
    assert!(shown.contains("wrong_account"), "{shown}");
}

#[tokio::test]
async fn an_address_that_gmail_could_not_confirm_at_start_is_confirmed_later() {
    let mut world = World::of(GMAIL).await;
    let topic = world.topic.clone();
    let account = ["--account", "First.Last+bot@gmail.com"];
    let start = [&["start", "--topic", &topic][..], &account].concat();
    assert_eq!(world.run(&start).await.0, Some(0));
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::GmailProfile,
        Kind::refuse(503),
        Frequency::Always,
    );
    let address = port().await;
    let port = address.port().to_string();
    let serve = [&["serve", "--port", &port][..], &account].concat();
    let watcher = world.service(&serve).await;
    let mail = b"From: b@example.org\nSubject: hi\n\nhello";
    let sent = world.sandbox.gmail().deliver(GMAIL, mail).unwrap();
    // Whether it is this mailbox is not known: the notification is kept, not dropped.
    let answer = push_for(address, GMAIL, sent.history_id).await;
    assert_eq!(answer, StatusCode::BAD_GATEWAY);
    world.sandbox.faults().clear();
    let answer = push_for(address, GMAIL, sent.history_id).await;
    assert!(answer.is_success(), "{answer}");
    assert_eq!(ids(&world.next_hook().await), [sent.message_id]);
    assert_eq!(watcher.terminate().await, Some(0));
}
