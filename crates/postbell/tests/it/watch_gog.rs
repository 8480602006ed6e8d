//! `postbell watch` in the place of `gog gmail watch`.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::support::{ServiceProcess, run};
use crate::watch::{EMAIL, TOKEN, World, ids, port};

/// OpenClaw renews the watch of the `gog` that it runs by `start`, KiloClaw by `renew`.
#[tokio::test]
async fn a_watch_is_renewed_beside_the_watcher_that_runs() {
    let world = World::watched().await;
    let watcher = world.service(&["serve", "--port", "0"]).await;
    let end = || world.sandbox.gmail().watch(EMAIL).unwrap().1;
    let same = ["start", "--topic", &world.topic, "--label", ""];
    for (arguments, skew) in [(&same[..], 600), (&["renew"], 1200)] {
        world.sandbox.clock().set_skew(skew);
        let before = end();
        let (code, _, stderr) = world.run(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        assert!(end() >= before + 600_000, "{arguments:?}");
    }

    let other = ["start", "--topic", &world.topic, "--label", "INBOX"];
    let (code, _, stderr) = world.run(&other).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("stop it first"), "{stderr}");
    assert_eq!(watcher.terminate().await, Some(0));
}

/// The script of docs/openclaw.md, with the calls of OpenClaw 2026.9.6.
#[tokio::test]
async fn openclaw_starts_postbell_as_its_gog() {
    let mut world = World::new().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/gog");
    let programs = Path::new(env!("CARGO_BIN_EXE_postbell")).parent().unwrap();
    let gog = |arguments: &[&str]| {
        let mut command = Command::new("/bin/sh");
        command
            .arg(&script)
            .args(arguments)
            .current_dir(world.home.path());
        command
    };
    let mut variables = world.variables();
    variables.retain(|(name, _)| !name.starts_with("POSTBELL_WATCH") && *name != "GOG_ACCOUNT");
    variables.push(("PATH", programs.display().to_string()));
    variables.push(("GOG", "/bin/echo".to_owned()));

    let mut other = gog(&["gmail", "search", "is:unread"]);
    let (_, shown, _) = run(other.env_clear().envs(variables.clone())).await;
    assert_eq!(shown.trim(), "gmail search is:unread", "the real gog");

    let topic = world.topic.clone();
    let start = ["gmail", "watch", "start", "--account", EMAIL];
    let mut start = gog(&[&start[..], &["--label", "INBOX", "--topic", &topic]].concat());
    let (code, _, stderr) = run(start.env_clear().envs(variables.clone())).await;
    assert_eq!(code, Some(0), "{stderr}");

    let address = port().await;
    let hook_url = world.sandbox.bot().hook_url();
    let hook_token = world.sandbox.bot().token().to_owned();
    let port = address.port().to_string();
    let mut serve = gog(&["gmail", "watch", "serve", "--account", EMAIL]);
    serve.args(["--bind", "127.0.0.1", "--port", &port, "--path", "/"]);
    serve.args(["--token", TOKEN, "--hook-url", &hook_url]);
    serve.args(["--hook-token", &hook_token, "--include-body"]);
    serve.args(["--max-bytes", "20000", "--exclude-labels", "SPAM,TRASH"]);
    let watcher = ServiceProcess::run(serve, &variables, "The watcher is running").await;

    let sent = world.deliver();
    let data = serde_json::json!({ "emailAddress": EMAIL, "historyId": u64::MAX }).to_string();
    let data = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, data);
    let push = reqwest::Client::new()
        .post(format!("http://{address}/?token={TOKEN}"))
        .json(&serde_json::json!({ "message": { "data": data } }));
    assert!(push.send().await.unwrap().status().is_success());
    let hook = world.next_hook().await;
    assert_eq!(ids(&hook), [sent]);
    assert_ne!(hook.body["messages"][0]["body"], Value::Null);
    assert_eq!(watcher.terminate().await, Some(0));
}
