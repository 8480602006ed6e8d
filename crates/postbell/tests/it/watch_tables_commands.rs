//! The commands about mailboxes that `[[watch]]` tables name.

use serde_json::Value;

use crate::doctor::doctor;
use crate::support::{ServiceProcess, run};
use crate::watch::{EMAIL, World, port};
use crate::watch_tables::{BOB, world};

const BOSS: &str = "ann@example.com/boss";
const CID: &str = "cid@example.com";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

impl World {
    async fn postbell(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_postbell"));
        command.args(arguments).current_dir(self.home.path());
        run(command.env_clear().envs(self.variables())).await
    }
}

#[tokio::test]
async fn status_and_test_are_about_every_webhook_of_the_tables() {
    let world = world().await;
    let (code, shown, _) = world.postbell(&["status"]).await;
    assert_eq!(code, Some(1));
    for line in [
        "ann@example.com: mail does NOT work: no watcher runs",
        "ann@example.com/boss: mail does NOT work: no watcher has run for it yet",
        "bob@example.com: mail does NOT work: no watcher runs",
        "cid@example.com: mail does NOT work: no watch was started",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let mut service = ServiceProcess::run(
        world.command(&["pull"]),
        &world.variables(),
        "The watcher is running",
    )
    .await;

    let (code, shown, _) = world.run(&["status", "--json"]).await;
    assert_eq!(code, Some(1), "Cid is not watched");
    let shown = json(&shown);
    let webhooks = shown["webhooks"].as_array().unwrap().iter();
    let states: Vec<_> = webhooks
        .map(|it| {
            (
                it["watch"]["account"].as_str().unwrap(),
                it["running"] == true,
            )
        })
        .collect();
    assert_eq!(
        states,
        [(EMAIL, true), (BOSS, true), (CID, false), (BOB, true)]
    );

    let (code, tested, _) = world.run(&["test", "--json"]).await;
    assert_eq!(code, Some(1), "{tested}");
    let tested = json(&tested);
    for webhook in tested["webhooks"].as_array().unwrap() {
        let is_well = webhook["account"] != CID;
        assert_eq!(webhook["result"]["ok"], is_well, "{webhook}");
    }

    service.stop().await;
    world.sandbox.stop().await;
}

#[tokio::test]
async fn doctor_checks_every_webhook_of_the_tables() {
    let world = world().await;
    let mut service = ServiceProcess::run(
        world.command(&["pull"]),
        &world.variables(),
        "The watcher is running",
    )
    .await;
    let output = doctor(&["--json"], &world.variables(), world.home.path()).await;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    let shown = json(&output.stdout);
    let paths = shown["paths"].as_array().unwrap();
    let state = |path: &Value, hop: &str| {
        let mut hops = path["hops"].as_array().unwrap().iter();
        hops.find(|it| it["hop"] == hop).unwrap()["state"].clone()
    };
    for (path, address) in paths.iter().zip([EMAIL, BOSS, CID, BOB]) {
        assert_eq!(path["account"], address);
        let expected = if address == CID { "failed" } else { "ok" };
        for hop in ["keys", "watch", "grant", "watcher", "hook"] {
            if address != CID || ["keys", "watch"].contains(&hop) {
                assert_eq!(state(path, hop), expected, "{hop}: {path}");
            }
        }
    }
    let one = ["--account", BOSS, "--json"];
    let output = doctor(&one, &world.variables(), world.home.path()).await;
    assert_eq!(output.hop("hook").0, "ok", "{}", output.stdout);
    service.stop().await;
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_further_webhook_is_forgotten_alone_and_a_mailbox_with_all_of_its_webhooks() {
    let world = world().await;
    let (code, _, stderr) = world.run(&["renew"]).await;
    assert_eq!(code, Some(78), "which of them? {stderr}");
    let start = ["start", "--account", BOSS, "--topic", &world.topic.clone()];
    assert_eq!(world.run(&start).await.0, Some(78), "they share one watch");
    let states = || {
        let folder = world.state_file().parent().unwrap().to_owned();
        let files = std::fs::read_dir(folder).unwrap();
        let names = files.map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".json")).collect();
        names.sort();
        names
    };
    let run = async || {
        let listen = port().await.to_string();
        let command = world.command(&["serve", "--listen", &listen]);
        let mut service =
            ServiceProcess::run(command, &world.variables(), "The watcher is running").await;
        service.stop().await;
    };
    run().await;
    assert_eq!(
        states(),
        [
            "ann_example_com.json",
            "ann_example_com_boss.json",
            "bob_example_com.json"
        ]
    );
    assert_eq!(world.run(&["stop", "--account", BOSS]).await.0, Some(0));
    assert_eq!(states(), ["ann_example_com.json", "bob_example_com.json"]);
    run().await;
    let (code, _, stderr) = world.run(&["stop", "--account", EMAIL]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(states(), ["bob_example_com.json"]);
    world.sandbox.stop().await;
}

#[tokio::test]
async fn the_configuration_check_names_what_a_mailbox_of_the_tables_lacks() {
    let world = world().await;
    let (code, _, stderr) = world.postbell(&["config", "check"]).await;
    assert_eq!(code, Some(78), "{stderr}");
    assert!(
        stderr.contains("watch.credentials_file") && stderr.contains("cid.json"),
        "{stderr}"
    );
    std::fs::copy(
        world.home.path().join("bob.json"),
        world.home.path().join("cid.json"),
    )
    .unwrap();
    let (code, _, stderr) = world.postbell(&["config", "check"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    world.sandbox.stop().await;
}
