//! One watcher for several mailboxes and webhooks.

use std::collections::BTreeSet;

use postbell_sandbox::Hook;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::support::{ServiceProcess, free_port};
use crate::watch::{EMAIL, SUBSCRIPTION, TOKEN, World, ids, port, push_for};

pub(crate) const BOB: &str = "bob@example.com";

/// Ann with two webhooks, of which the further one has this URL, Bob with his own credentials, and Cid, who has none. All
/// are pulled from one subscription.
async fn world_with(further: &str) -> World {
    let world = World::watched().await;
    let home = world.home.path();
    let grant = serde_json::to_value(world.sandbox.oauth().grant(BOB)).unwrap();
    std::fs::write(home.join("bob.json"), grant.to_string()).unwrap();
    std::fs::write(home.join("token"), world.sandbox.bot().token()).unwrap();
    set_tables(
        &world,
        further,
        &format!("subscription = \"{SUBSCRIPTION}\""),
    );
    let topic = world.topic.clone();
    let start = ["start", "--topic", &topic, "--account", BOB];
    let (code, _, stderr) = world.run(&start).await;
    assert_eq!(code, Some(0), "{stderr}");
    world
}

/// Writes the tables. `of_bob` are further keys of Bob's.
fn set_tables(world: &World, further: &str, of_bob: &str) {
    let hook = world.sandbox.bot().hook_url();
    let own = format!("hook_url = \"{hook}\"\nhook_token_file = \"token\"");
    let tables = format!(
        r#"
        [[watch]]
        account = "{EMAIL}"
        name = "ann"
        subscription = "{SUBSCRIPTION}"
        [[watch.webhook]]
        {own}
        [[watch.webhook]]
        name = "boss"
        hook_url = "{further}"
        hook_token_file = "token"
        from = ["boss@example.org"]
        from_unverified = true
        include_body = true

        [[watch]]
        account = "cid@example.com"
        credentials_file = "cid.json"
        subscription = "{SUBSCRIPTION}"

        [[watch]]
        account = "{BOB}"
        credentials_file = "bob.json"
        {of_bob}
        [[watch.webhook]]
        {own}
        "#
    );
    std::fs::write(world.home.path().join("postbell.toml"), tables).unwrap();
}

pub(crate) async fn world() -> World {
    let world = world_with("http://127.0.0.1:1/").await;
    let hook = world.sandbox.bot().hook_url();
    set_tables(&world, &hook, &format!("subscription = \"{SUBSCRIPTION}\""));
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
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "not watched yet");

    let metrics = Client::new().get(format!("http://{address}/metrics"));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    for name in ["ann", "ann/boss", "3"] {
        let label = format!("mailbox=\"{name}\"");
        assert!(metrics.contains(&label), "{metrics}");
    }
    assert!(!metrics.contains('@'), "{metrics}");
    let ready = Client::new().get(format!("http://{address}/ready"));
    let ready = ready.send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["mailbox"], "2", "Cid is not watched: {ready}");
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

#[tokio::test]
async fn pulled_notifications_reach_their_mailboxes_and_a_webhook_that_hangs_holds_up_no_other() {
    let hanging = free_port().await;
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let mut world = world_with(&url).await;
    let mut service = ServiceProcess::run(
        world.command(&["pull"]),
        &world.variables(),
        "The watcher is running",
    )
    .await;
    let (of_boss, _) = deliver(&world, EMAIL, "boss@example.org");
    let (hung, _) = hanging.accept().await.unwrap();
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(EMAIL), of_boss, false));
    let (bobs, _) = deliver(&world, BOB, "a@example.org");
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(BOB), bobs, false));
    let (anns, _) = deliver(&world, EMAIL, "a@example.org");
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(EMAIL), anns, false));
    // The webhook still hangs: its request was not given up meanwhile.
    let mut buffer = [0; 65_536];
    while let Ok(read) = hung.try_read(&mut buffer) {
        assert_ne!(read, 0, "the request was given up");
    }
    service.stop().await;
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_subscription_that_is_missing_stops_no_other_and_its_mailbox_is_polled() {
    let mut world = world().await;
    let hook = world.sandbox.bot().hook_url();
    let missing = "subscription = \"projects/sandbox-project/subscriptions/missing\"";
    set_tables(&world, &hook, missing);
    let (bobs, _) = deliver(&world, BOB, "a@example.org");
    let mut service = ServiceProcess::run(
        world.command(&["pull"]),
        &world.variables(),
        "The watcher is running",
    )
    .await;
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(BOB), bobs, false));
    let (anns, _) = deliver(&world, EMAIL, "a@example.org");
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(EMAIL), anns, false));
    let (_, status, _) = world.run(&["status", "--account", BOB]).await;
    assert!(status.contains("subscription_missing"), "{status}");
    service.stop().await;
    world.sandbox.stop().await;
}

/// The webhook's state outlives the process: its mail is kept while it is down, and comes once.
#[tokio::test]
async fn the_mail_of_a_webhook_that_is_down_waits_for_it_alone_also_over_a_kill() {
    let down = free_port().await;
    let mut world = world_with(&format!("http://{}/", down.local_addr().unwrap())).await;
    drop(down);
    let address = port().await;
    let listen = address.to_string();
    let serve = |world: &World| {
        let command = world.command(&["serve", "--listen", &listen]);
        let variables = world.variables();
        async move { ServiceProcess::run(command, &variables, "The watcher is running").await }
    };
    let service = serve(&world).await;
    let (first, at) = deliver(&world, EMAIL, "boss@example.org");
    let status = push_for(address, EMAIL, at).await;
    assert!(status.is_success(), "repeated by the watcher: {status}");
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(EMAIL), first.clone(), false));
    let (code, status, _) = world
        .run(&["status", "--account", "ann@example.com/boss"])
        .await;
    assert_eq!(code, Some(1));
    assert!(status.contains("webhook_failing"), "{status}");
    let (_, status, _) = world.run(&["status", "--account", EMAIL]).await;
    assert!(!status.contains("problem_code"), "{status}");
    service.kill().await;

    let hook = world.sandbox.bot().hook_url();
    set_tables(&world, &hook, "");
    let mut service = serve(&world).await;
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(EMAIL), first, true));
    let (second, at) = deliver(&world, EMAIL, "a@example.org");
    assert!(push_for(address, EMAIL, at).await.is_success());
    let hook = world.next_hook().await;
    assert_eq!(facts(&hook), (json!(EMAIL), second, false));
    service.stop().await;
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_webhook_that_is_added_while_mail_waits_for_another_begins_with_the_present() {
    let mut world = World::watched().await;
    let (earlier, _) = deliver(&world, EMAIL, "boss@example.org");
    let hook = world.sandbox.bot().hook_url();
    let down = free_port().await;
    let first = down.local_addr().unwrap();
    drop(down);
    let tables = format!(
        r#"
        [[watch]]
        account = "{EMAIL}"
        [[watch.webhook]]
        hook_url = "http://{first}/"
        [[watch.webhook]]
        name = "boss"
        hook_url = "{hook}"
        hook_token = "{}"
        "#,
        world.sandbox.bot().token()
    );
    std::fs::write(world.home.path().join("postbell.toml"), tables).unwrap();
    let address = port().await;
    let listen = address.to_string();
    let command = world.command(&["serve", "--listen", &listen]);
    let mut service =
        ServiceProcess::run(command, &world.variables(), "The watcher is running").await;
    let (later, at) = deliver(&world, EMAIL, "a@example.org");
    assert!(push_for(address, EMAIL, at).await.is_success());
    let hook = world.next_hook().await;
    assert_eq!(ids(&hook), [later], "{earlier} came before the webhook");
    service.stop().await;
    world.sandbox.stop().await;
}
