//! One watcher for several mailboxes and webhooks.

use std::collections::BTreeSet;

use postbell_sandbox::Hook;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::support::ServiceProcess;
use crate::watch::{EMAIL, TOKEN, World, ids, port, push_for};

const BOB: &str = "bob@example.com";

/// Ann with two webhooks, Bob with his own credentials, and Cid, who has none.
async fn world() -> World {
    let world = World::watched().await;
    let home = world.home.path();
    let grant = serde_json::to_value(world.sandbox.oauth().grant(BOB)).unwrap();
    std::fs::write(home.join("bob.json"), grant.to_string()).unwrap();
    let hook = world.sandbox.bot().hook_url();
    let tables = format!(
        r#"
        [[watch]]
        account = "{EMAIL}"
        name = "ann"
        [[watch.webhook]]
        hook_url = "{hook}"
        [[watch.webhook]]
        name = "boss"
        hook_url = "{hook}"
        from = ["boss@example.org"]
        from_unverified = true
        include_body = true

        [[watch]]
        account = "cid@example.com"
        credentials_file = "cid.json"

        [[watch]]
        account = "{BOB}"
        credentials_file = "bob.json"
        "#
    );
    std::fs::write(home.join("postbell.toml"), tables).unwrap();
    let topic = world.topic.clone();
    let credentials = home.join("bob.json").display().to_string();
    let start = [
        "start",
        "--topic",
        &topic,
        "--account",
        BOB,
        "--credentials",
        &credentials,
        "--hook-url",
        &hook,
    ];
    let (code, _, stderr) = world.run(&start).await;
    assert_eq!(code, Some(0), "{stderr}");
    world
}

fn deliver(world: &World, to: &str, from: &str) -> (String, u64) {
    let mail = format!("From: {from}\nSubject: hi\n\nhello");
    let delivered = world.sandbox.gmail().deliver(to, mail.as_bytes()).unwrap();
    (delivered.message_id, delivered.history_id)
}

/// The account, the message's id and whether the text was posted.
fn facts(hook: &Hook) -> (Value, String, bool) {
    let message = &hook.body["messages"][0];
    let has_body = message.get("body").is_some();
    (hook.body["account"].clone(), ids(hook).remove(0), has_body)
}

#[tokio::test]
async fn each_mailbox_and_webhook_gets_its_own_mail_and_a_broken_mailbox_stops_no_other() {
    let mut world = world().await;
    let address = port().await;
    let listen = address.to_string();
    let command = world.command(&["serve", "--listen", &listen]);
    let mut service =
        ServiceProcess::run(command, &world.variables(), "The watcher is running").await;

    let (plain, at) = deliver(&world, EMAIL, "a@example.org");
    assert!(push_for(address, EMAIL, at).await.is_success());
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(EMAIL), plain, false));

    let (of_boss, at) = deliver(&world, EMAIL, "boss@example.org");
    assert_eq!(push_for(address, EMAIL, at).await, StatusCode::OK);
    let both = [world.next_hook().await, world.next_hook().await];
    let both: BTreeSet<_> = both.iter().map(facts).map(|it| (it.1, it.2)).collect();
    let expected = [(of_boss.clone(), false), (of_boss, true)];
    assert_eq!(both, expected.into());

    let (bobs, at) = deliver(&world, BOB, "boss@example.org");
    assert_eq!(push_for(address, BOB, at).await, StatusCode::OK);
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(BOB), bobs, false));
    let status = push_for(address, "cid@example.com", 7).await;
    assert_eq!(
        status,
        StatusCode::ACCEPTED,
        "a mailbox that is not watched"
    );

    let metrics = Client::new().get(format!("http://{address}/metrics"));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    for name in ["ann", "ann/boss", "3"] {
        let label = format!("mailbox=\"{name}\"");
        assert!(metrics.contains(&label), "{metrics}");
    }
    assert!(!metrics.contains('@'), "{metrics}");
    let (_, status, _) = world
        .run(&["status", "--account", "ann@example.com/boss"])
        .await;
    assert!(
        status.contains(&format!("topic\t{}", world.topic)),
        "{status}"
    );
    service.stop().await;
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_flag_that_the_tables_would_hide_is_refused() {
    let world = world().await;
    for flag in [
        &["--from", "boss@example.org"][..],
        &["--hook-url", "http://127.0.0.1:1/"],
    ] {
        let arguments = [&["serve", "--token", TOKEN], flag].concat();
        let (code, _, stderr) = world.run(&arguments).await;
        assert_eq!(code, Some(78), "{stderr}");
        assert!(stderr.contains("[[watch]]"), "{stderr}");
    }
    world.sandbox.stop().await;
}
