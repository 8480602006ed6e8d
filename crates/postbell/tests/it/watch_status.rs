//! What `postbell watch status` and the routes for monitoring say while mail does not get through.

use std::net::SocketAddr;

use postbell_sandbox::{FaultPoint, Frequency, Kind};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::support::ServiceProcess;
use crate::watch::{EMAIL, SUBSCRIPTION, World, port, push};

impl World {
    fn change_state(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        change(&mut state);
        std::fs::write(self.state_file(), state.to_string()).unwrap();
    }

    /// That the status ends with 1 and names a code.
    async fn assert_status(&self, code: &str) -> String {
        let (exit, shown, _) = self.run(&["status"]).await;
        assert_eq!(exit, Some(1), "{code}: {shown}");
        assert!(
            shown.contains(&format!("problem_code\t{code}")),
            "{code}: {shown}"
        );
        for line in ["problem\t", "problem_since\t", "next\t"] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        let (exit, shown, _) = self.run(&["status", "--json"]).await;
        assert_eq!(exit, Some(1));
        let json: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(json["watch"]["problemCode"], code);
        assert_eq!(json["ok"], false);
        shown
    }

    async fn delete_subscription(&self) {
        self.admin.delete_subscription(SUBSCRIPTION).await.unwrap();
    }

    /// That nothing keeps mail from getting through, but that perhaps no watcher runs.
    async fn assert_well(&self, arguments: &[&str]) {
        let arguments = [&["status", "--json"], arguments].concat();
        let (exit, shown, told) = self.run(&arguments).await;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["watch"]["problem"], "", "{shown} {told}");
        assert_eq!(shown["ok"], shown["running"], "{shown}");
        assert_eq!(exit == Some(0), shown["running"] == true, "{shown}");
    }
}

async fn get(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let answer = Client::new().get(format!("http://{address}{path}"));
    let answer = answer.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_state_without_a_watch_or_with_one_that_has_expired_is_a_problem() {
    let world = World::watched().await;
    world.assert_well(&[]).await;
    world.assert_well(&["--offline"]).await;
    let good = world.state();
    for (code, change) in [
        ("watch_missing", json!({ "topic": "" })),
        (
            "watch_missing",
            json!({ "expirationMs": 0, "providerExpirationMs": 0 }),
        ),
        (
            "watch_expired",
            json!({ "expirationMs": 5, "providerExpirationMs": 5 }),
        ),
        (
            "webhook_failing",
            json!({ "lastDeliveryStatus": "error", "lastDeliveryAtMs": 1_790_000_000_000_u64,
                    "lastDeliveryStatusNote": "the hook answered 500", "lastPollAtMs": 5 }),
        ),
        (
            "unknown",
            json!({ "problem": "the moon is full", "problemCode": "moon_phase" }),
        ),
    ] {
        let mut state = good.clone();
        let fields = change.as_object().unwrap().clone();
        state.as_object_mut().unwrap().extend(fields);
        std::fs::write(world.state_file(), state.to_string()).unwrap();
        world.assert_status(code).await;
    }
}

#[tokio::test]
async fn mails_that_were_set_aside_are_counted_and_one_is_named() {
    let world = World::watched().await;
    world.change_state(|state| {
        state["deadLetters"] = json!([
            { "id": "m7", "historyId": "5", "stage": "webhook", "reason": "the hook answered 400",
              "atMs": 1_790_000_000_000_u64, "tries": 5 },
        ]);
    });
    let (exit, shown, _) = world.run(&["status"]).await;
    assert_eq!(exit, Some(1), "{shown}");
    assert!(shown.contains("dead_letters\t1"), "{shown}");
    assert!(shown.contains("m7") && shown.contains("400"), "{shown}");
    let (_, listed, _) = world.run(&["dead-letters", "list"]).await;
    assert!(
        listed.contains("m7") && listed.contains("webhook"),
        "{listed}"
    );
    let (_, listed, _) = world.run(&["dead-letters", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["id"], "m7");

    let (exit, _, told) = world.run(&["dead-letters", "drop", "m7", "m8"]).await;
    assert_eq!(exit, Some(1), "{told}");
    assert!(told.contains("m8"), "{told}");
    world.assert_well(&[]).await;
    let (exit, dropped, _) = world
        .run(&["dead-letters", "drop", "--all", "--json"])
        .await;
    assert_eq!(exit, Some(0));
    let dropped: Value = serde_json::from_str(&dropped).unwrap();
    assert_eq!(
        dropped,
        json!({ "done": [], "missing": [], "pending": false })
    );
}

#[tokio::test]
async fn a_running_watcher_drops_what_it_is_asked_to() {
    let world = World::watched().await;
    world.change_state(|state| {
        state["deadLetters"] = json!([
            { "id": "m7", "historyId": "5", "stage": "gmail", "reason": "gmail refused: 400" },
        ]);
    });
    let watcher = world.service(&["serve", "--port", "0"]).await;
    let (exit, told, _) = world.run(&["dead-letters", "drop", "m7"]).await;
    assert_eq!(exit, Some(0), "{told}");
    world.assert_well(&[]).await;
    assert_eq!(world.state()["deliveredIds"], json!(["m7"]));
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn a_replayed_mail_is_delivered_by_a_running_watcher_or_by_the_next_one() {
    let mut world = World::watched().await;
    let ids = [world.deliver(), world.deliver()];
    let present = world.sandbox.gmail().history_id(EMAIL).to_string();
    world.change_state(|state| {
        state["historyId"] = json!(present);
        state["deadLetters"] = ids
            .iter()
            .map(|id| json!({ "id": id, "historyId": present, "reason": "the hook answered 400" }))
            .collect();
    });
    let (exit, _, stderr) = world.run(&["dead-letters", "replay", &ids[0]]).await;
    assert_eq!(exit, Some(0), "{stderr}");
    let watcher = world.service(&["serve", "--port", "0"]).await;
    let hook = world.next_hook().await;
    assert_eq!(crate::watch::ids(&hook), [ids[0].clone()]);
    let (exit, stdout, stderr) = world.run(&["dead-letters", "replay", "--all"]).await;
    assert_eq!(exit, Some(0), "{stdout} {stderr}");
    let hook = world.next_hook().await;
    assert_eq!(crate::watch::ids(&hook), [ids[1].clone()]);
    while world.state()["deadLetters"].is_array() {
        tokio::task::yield_now().await;
    }
    world.assert_well(&[]).await;
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn status_asks_gmail_and_pub_sub_unless_it_is_offline() {
    let world = World::watched().await;
    world.change_state(|state| state["subscription"] = json!(SUBSCRIPTION));
    world.assert_well(&[]).await;
    let pubsub = world.sandbox.pubsub();
    pubsub.remove_topic(&world.topic);
    let shown = world.assert_status("subscription_missing").await;
    assert!(shown.contains("was deleted"), "{shown}");
    world.assert_well(&["--offline"]).await;

    world.change_state(|state| {
        state["subscription"] = json!("projects/sandbox-project/subscriptions/gone");
    });
    world.assert_status("subscription_missing").await;
    world.change_state(|state| state["subscription"] = json!(""));
    world.change_state(|state| {
        state["historyId"] = json!(u64::MAX.to_string());
        state["updatedAtMs"] = json!(5);
    });
    world.assert_status("cursor_ahead").await;

    // Gmail's silence alone is no problem.
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::GmailProfile,
        Kind::refuse(503),
        Frequency::Always,
    );
    world.assert_well(&[]).await;
    let (_, shown, _) = world.run(&["status"]).await;
    assert!(shown.contains("not_asked\t"), "{shown}");
    assert!(shown.contains("watcher\tnot running: start"), "{shown}");
    world.sandbox.faults().clear();
    world.sandbox.oauth().revoke(EMAIL);
    world.assert_status("grant_revoked").await;
    world.assert_well(&["--offline"]).await;
}

#[tokio::test]
async fn without_credentials_the_state_alone_is_judged() {
    let world = World::watched().await;
    std::fs::remove_file(world.home.path().join("google.json")).unwrap();
    world.assert_well(&[]).await;
    let (_, shown, _) = world.run(&["status"]).await;
    assert!(shown.contains("not_asked\tno credentials"), "{shown}");
}

#[tokio::test]
async fn a_watcher_is_ready_only_while_mail_gets_through() {
    let world = World::watched().await;
    let address = port().await;
    let port = address.port().to_string();
    let watcher = world.service(&["serve", "--port", &port]).await;
    assert_eq!(get(address, "/health").await.0, StatusCode::OK);
    assert_eq!(get(address, "/ready").await.0, StatusCode::OK);
    world
        .sandbox
        .faults()
        .add(FaultPoint::Hook, Kind::refuse(404), Frequency::Always);
    world.deliver();
    assert!(push(address, u64::MAX).await.is_server_error());
    let (status, body) = get(address, "/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert!(body.contains("webhook_failing"), "{body}");
    let (_, metrics) = get(address, "/metrics").await;
    for line in [
        "postbell_watch_problem{code=\"webhook_failing\"} 1",
        "postbell_watch_problem{code=\"grant_revoked\"} 0",
        "postbell_watch_hooks_total{result=\"refused\"}",
        "postbell_watch_dead_letters 0",
        "postbell_watch_expires_timestamp_seconds 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    for text in [&body, &metrics] {
        assert!(!text.contains('@') && !text.contains("example"), "{text}");
    }
    let shown = world.assert_status("webhook_failing").await;
    assert!(shown.contains("404"), "{shown}");
    assert_eq!(get(address, "/health").await.0, StatusCode::OK);

    world.sandbox.faults().clear();
    assert!(push(address, u64::MAX).await.is_success());
    assert_eq!(get(address, "/ready").await.0, StatusCode::OK);
    world.assert_well(&[]).await;
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn a_watcher_that_pulls_serves_monitoring_where_it_is_asked_to() {
    let world = World::watched().await;
    let address = port().await;
    let listen = address.to_string();
    let arguments = ["pull", "--subscription", SUBSCRIPTION, "--listen", &listen];
    let watcher = world.service(&arguments).await;
    assert_eq!(get(address, "/ready").await.0, StatusCode::OK);
    let (_, metrics) = get(address, "/metrics").await;
    assert!(metrics.contains("# EOF"), "{metrics}");
    let (status, _) = get(address, "/gmail-pubsub").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn a_watcher_that_pulls_notices_that_its_subscription_is_deleted() {
    let world = World::watched().await;
    let address = port().await;
    let listen = address.to_string();
    let arguments = ["pull", "--subscription", SUBSCRIPTION, "--listen", &listen];
    let watcher = world.service(&arguments).await;
    assert_eq!(get(address, "/ready").await.0, StatusCode::OK);
    world.delete_subscription().await;
    let body = loop {
        let (status, body) = get(address, "/ready").await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            break body;
        }
        tokio::task::yield_now().await;
    };
    assert!(body.contains("subscription_missing"), "{body}");
    let shown = world.assert_status("subscription_missing").await;
    assert!(shown.contains("does not exist"), "{shown}");
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn a_watcher_whose_state_names_no_topic_says_so() {
    let world = World::watched().await;
    world.change_state(|state| {
        for field in ["topic", "expirationMs", "providerExpirationMs"] {
            state.as_object_mut().unwrap().remove(field);
        }
    });
    let address = port().await;
    let port = address.port().to_string();
    let watcher = world.service(&["serve", "--port", &port]).await;
    let (status, body) = get(address, "/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("watch_missing"), "{body}");
    world.deliver();
    assert!(push(address, u64::MAX).await.is_success());
    let shown = world.assert_status("watch_missing").await;
    assert!(shown.contains("postbell watch start"), "{shown}");
    assert_eq!(world.state()["problemCode"], "watch_missing");
    assert_eq!(watcher.terminate().await, Some(0));
}

/// As on a full disk: the system lets no file of the process grow beyond 512 bytes.
#[tokio::test]
async fn a_watcher_that_cannot_write_its_state_is_not_ready() {
    let mut world = World::watched().await;
    let address = port().await;
    let mut command = tokio::process::Command::new("/bin/sh");
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let (hook_url, port) = (world.sandbox.bot().hook_url(), address.port().to_string());
    command
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_postbell"),
            "watch",
            "serve",
        ])
        .args(["--port", &port, "--hook-url", &hook_url])
        .current_dir(world.home.path());
    let watcher = ServiceProcess::run(command, &world.variables(), "The watcher is running").await;
    world.deliver();
    assert!(push(address, u64::MAX).await.is_server_error());
    let (status, body) = get(address, "/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("state_unwritable"), "{body}");
    assert_eq!(get(address, "/health").await.0, StatusCode::OK);
    assert!(
        world.hooks.try_recv().is_err(),
        "nothing was sent unrecorded"
    );
    watcher.kill().await;
}

#[tokio::test]
async fn a_short_name_of_a_topic_or_subscription_is_wrong_usage() {
    let world = World::watched().await;
    for (command, flag, expected) in [
        ("start", "--topic", "projects/P/topics/T"),
        ("pull", "--subscription", "projects/P/subscriptions/S"),
    ] {
        for name in [
            "gmail",
            "projects/p",
            "projects//topics/",
            "projects/p/snapshots/s",
        ] {
            let (code, _, stderr) = world.run(&[command, flag, name]).await;
            assert_eq!(code, Some(2), "{stderr}");
            assert!(stderr.contains(expected), "{stderr}");
        }
    }
}

#[tokio::test]
async fn a_push_endpoint_cannot_take_the_place_of_monitoring() {
    let world = World::watched().await;
    for path in ["/health", "/ready", "/metrics"] {
        let (code, _, told) = world.run(&["serve", "--path", path]).await;
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains("monitoring"), "{told}");
    }
}

#[tokio::test]
async fn a_test_goes_through_the_whole_path_and_says_where_it_ends() {
    let world = World::watched().await;
    let (exit, _, told) = world.run(&["test"]).await;
    assert_eq!(exit, Some(1));
    assert!(told.contains("no watcher runs for this account"), "{told}");
    let watcher = world
        .service(&["pull", "--subscription", SUBSCRIPTION])
        .await;
    let (exit, shown, told) = world.run(&["test"]).await;
    assert_eq!(exit, Some(0), "{told}");
    assert!(
        shown.contains("It reached the watcher after") && shown.contains("Mail works."),
        "{shown}"
    );

    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(401), Frequency::Always);
    let (exit, _, told) = world.run(&["test"]).await;
    assert_eq!(exit, Some(1));
    assert!(
        told.contains("does not accept mail: the hook answered 401"),
        "{told}"
    );
    let (exit, _, told) = world.run(&["status"]).await;
    assert_eq!(exit, Some(1), "a failed test is no secret: {told}");
    world.assert_status("webhook_failing").await;
    let (exit, _, told) = world.run(&["renew"]).await;
    assert_eq!(exit, Some(0), "the watch was renewed: {told}");
    faults.clear();
    let (exit, _, told) = world.run(&["test"]).await;
    assert_eq!(exit, Some(0), "{told}");
    world.assert_well(&[]).await;
    world.delete_subscription().await;
    let (exit, _, told) = world.run(&["test", "--wait", "0s"]).await;
    assert_eq!(exit, Some(1));
    assert!(told.contains("no notification reache"), "{told}");
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn one_line_says_for_each_mailbox_whether_mail_works() {
    let world = World::watched().await;
    let status = async || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .arg("status")
            .env_clear()
            .envs(world.variables())
            .current_dir("/");
        crate::support::run(&mut command).await
    };
    let (exit, shown, _) = status().await;
    assert_eq!(exit, Some(1));
    let expected =
        format!("{EMAIL}: mail does NOT work: no watcher runs. Start `postbell watch pull`");
    assert!(
        shown.starts_with(&expected) && shown.lines().count() == 1,
        "{shown}"
    );
    let watcher = world.service(&["serve", "--port", "0"]).await;
    let (exit, shown, _) = status().await;
    assert_eq!(exit, Some(0), "{shown}");
    assert!(
        shown.starts_with(&format!("{EMAIL}: mail works: the watcher runs")),
        "{shown}"
    );
    assert_eq!(watcher.terminate().await, Some(0));
}
