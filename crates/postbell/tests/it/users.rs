use postbell_core::{MailProblem, ProblemCode, Timestamp};
use postbell_store::{Store, StoreOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::run;

/// A platform's store, and the program.
struct Operator {
    folder: TempDir,
}

impl Operator {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .args(arguments)
            .env_clear()
            .env("POSTBELL_PLATFORM__GATEWAY_SECRET", "hunter2")
            .current_dir(self.folder.path());
        run(&mut command).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["users"], arguments, &["--json"]].concat();
        let (code, stdout, stderr) = self.run(&arguments).await;
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

#[tokio::test]
async fn a_user_is_added_shown_and_removed() {
    let operator = Operator::new();
    let on_fly = ["add", "ann", "--app", "bot", "--machine", "d8910"];
    let running = ["--machine-status", "running"];
    let added = operator.json(&[&on_fly[..], &running].concat()).await;
    assert_eq!(added, operator.json(&["show", "ann"]).await);
    for (field, value) in [
        ("userId", json!("ann")),
        ("sandboxId", json!("ann")),
        ("status", json!("running")),
        ("flyAppName", json!("bot")),
        ("flyMachineId", json!("d8910")),
        ("googleConnected", json!(false)),
        ("gmailNotificationsEnabled", json!(false)),
        ("gmailLastHistoryId", Value::Null),
        ("watchExpiresAt", Value::Null),
        ("wakeOnMail", json!(false)),
    ] {
        assert_eq!(added[field], value, "{field}");
    }
    let (_, stdout, _) = operator.run(&["users", "show", "ann"]).await;
    assert!(stdout.contains("bot/d8910"), "{stdout}");
    let (code, _, stderr) = operator.run(&["users", "add", "ann"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("the user ann already exists"), "{stderr}");

    let renamed = operator.json(&["change", "ann", "--new-sandbox-id"]).await;
    let id = renamed["sandboxId"].as_str().unwrap();
    assert!(id.starts_with("ann."), "{id}");
    let both = [
        "users",
        "change",
        "ann",
        "--new-sandbox-id",
        "--sandbox-id",
        "a",
    ];
    assert_eq!(operator.run(&both).await.0, Some(2));

    let removed = operator.json(&["remove", "ann"]).await;
    assert_eq!(removed, json!({ "removed": true }));
    for arguments in [&["show", "ann"][..], &["remove", "ann"], &["token", "ann"]] {
        let (code, _, stderr) = operator.run(&[&["users"], arguments].concat()).await;
        assert_eq!(code, Some(1));
        assert!(stderr.contains("postbell users list"), "{stderr}");
    }
}

#[tokio::test]
async fn a_user_who_does_not_exist_is_an_error_of_every_command() {
    let operator = Operator::new();
    operator.json(&["add", "bob"]).await;
    for command in [
        "audit ann",
        "users show ann",
        "users change ann --notifications true",
        "users remove ann",
        "users token ann",
        "users link ann",
        "users sign-out ann",
        "deliveries ann",
        "dead-letters list ann",
        "dead-letters replay --user ann",
        "dead-letters drop --user ann",
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let (code, _, stderr) = operator.run(&arguments).await;
        assert_eq!(code, Some(1), "{command}: {stderr}");
        assert!(
            stderr.contains("there is no user ann"),
            "{command}: {stderr}"
        );
    }
    let (code, _, stderr) = operator.run(&["dead-letters", "list", "bob"]).await;
    assert_eq!(code, Some(0), "{stderr}");
}

#[tokio::test]
async fn a_machine_can_be_changed_without_its_other_settings() {
    let operator = Operator::new();
    let added = operator
        .json(&["add", "ann", "--url", "https://old.example.com"])
        .await;
    let moved = ["change", "ann", "--app", "bot", "--machine", "d8910"];
    let changed = operator.json(&moved).await;
    assert_eq!(changed["flyMachineId"], "d8910");
    assert_eq!(changed["url"], Value::Null);
    assert_eq!(changed["status"], added["status"]);
    let more = ["change", "ann", "--machine-status", "stopped"];
    operator
        .json(&[&more[..], &["--wake-on-mail", "true"]].concat())
        .await;
    let shown = operator.json(&["show", "ann"]).await;
    assert_eq!(shown["status"], "stopped");
    assert_eq!(shown["wakeOnMail"], true);
    assert_eq!(shown["flyMachineId"], "d8910");
    let (code, _, _) = operator.run(&["users", "change", "bob"]).await;
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn users_are_listed_searched_and_paged() {
    let operator = Operator::new();
    for user in ["ann", "anna", "bob"] {
        let url = format!("https://{user}.example.com");
        operator.json(&["add", user, "--url", &url]).await;
    }
    for (arguments, expected) in [
        (&["list"][..], &["ann", "anna", "bob"][..]),
        (&["list", "--limit", "1", "--after", "ann"], &["anna"]),
        (&["list", "--search", "ann"], &["ann", "anna"]),
        (&["list", "--by", "email"], &[]),
    ] {
        let listed = operator.json(arguments).await;
        let users = listed.as_array().unwrap().iter();
        let users: Vec<_> = users.map(|user| user["userId"].as_str().unwrap()).collect();
        assert_eq!(users, expected, "{arguments:?}");
    }
    let (_, stdout, _) = operator.run(&["users", "list"]).await;
    assert!(stdout.contains("https://bob.example.com/"), "{stdout}");
}

#[tokio::test]
async fn a_token_is_printed_on_stdout_and_its_validity_on_stderr() {
    let operator = Operator::new();
    operator.json(&["add", "ann"]).await;
    let (code, stdout, stderr) = operator.run(&["users", "token", "ann"]).await;
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("postbell3."), "{stdout}");
    assert_eq!(stdout.lines().count(), 1);
    assert!(stderr.contains("Valid until"), "{stderr}");
    let shown = operator.json(&["token", "ann", "--valid-for", "1h"]).await;
    let expires_at = shown["expiresAt"].as_str().unwrap();
    assert!(expires_at.ends_with('Z') && shown["token"].is_string());
}

#[tokio::test]
async fn a_sign_in_link_is_printed_on_stdout_and_its_validity_on_stderr() {
    let operator = Operator::new();
    operator.json(&["add", "ann"]).await;
    let (code, stdout, stderr) = operator.run(&["users", "link", "ann"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let begins = "http://127.0.0.1:8081/sign-in/link/";
    assert!(stdout.starts_with(begins), "{stdout}");
    assert_eq!(stdout.lines().count(), 1);
    assert!(stderr.contains("Valid once"), "{stderr}");
    let again = operator.json(&["link", "ann", "--operator"]).await;
    assert!(again["url"].as_str().unwrap().starts_with(begins));
    assert!(again["expiresAt"].as_str().unwrap().ends_with('Z'));
    operator
        .json(&["link", "--operator", "--valid-for", "1h"])
        .await;
    assert_eq!(operator.run(&["users", "link"]).await.0, Some(2));
    assert_eq!(operator.run(&["users", "link", "bob"]).await.0, Some(1));
}

#[tokio::test]
async fn the_users_of_a_file_are_invited_with_a_link_each_and_an_error_by_line() {
    let operator = Operator::new();
    let file = operator.folder.path().join("users.csv");
    std::fs::write(&file, "user\nann\nb b\ncid\nann\n").unwrap();
    let all = ["users", "invite-all", "users.csv"];
    let (code, stdout, stderr) = operator.run(&all).await;
    assert_eq!(code, Some(1));
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines[0], "user,link,ends");
    for (line, user) in [(1, "ann"), (2, "cid")] {
        let begin = format!("{user},http://127.0.0.1:8081/sign-in/link/");
        assert!(lines[line].starts_with(&begin), "{stdout}");
    }
    assert_eq!(lines.len(), 3, "{stdout}");
    for expected in [
        "warning: platform.url is not set",
        "line 3: b b: user: expected",
        "line 5: ann: an earlier line has the same user",
        "2 invited, 2 of whom were added; 2 refused.",
    ] {
        assert!(stderr.contains(expected), "{stderr}");
    }
    std::fs::write(&file, "user\nann\n").unwrap();
    let (code, _, stderr) = operator.run(&all).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("1 invited, 0 of whom were added"),
        "{stderr}"
    );
}

#[tokio::test]
async fn the_variables_of_a_machine_are_printed() {
    let operator = Operator::new();
    operator.json(&["add", "ann"]).await;
    let (code, stdout, stderr) = operator.run(&["users", "machine", "ann"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let names: Vec<_> = stdout
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    assert_eq!(
        names[0],
        ("POSTBELL_CONTROLLER__PLATFORM_URL", "http://127.0.0.1:8081")
    );
    assert_eq!(names[1], ("KILOCLAW_SANDBOX_ID", "ann"));
    assert_eq!(
        (names[2].0, names[2].1.len()),
        ("OPENCLAW_GATEWAY_TOKEN", 64)
    );
    assert_eq!(names.len(), 3);
}

#[tokio::test]
async fn users_and_operators_can_be_signed_out() {
    let operator = Operator::new();
    operator.json(&["add", "ann"]).await;
    for (arguments, who) in [
        (&["sign-out", "ann"][..], "ann"),
        (&["sign-out", "--operators"], "all operators"),
        (&["sign-out", "ann", "--operators"], "ann and all operators"),
    ] {
        let shown = operator.json(arguments).await;
        assert_eq!(shown, json!({ "signedOut": who }));
    }
    let out = |who| ["users", "sign-out", who];
    assert_eq!(operator.run(&out("bob")).await.0, Some(1));
    assert_eq!(operator.run(&out("ann")).await.1, "Signed out: ann.\n");
    assert_eq!(operator.run(&["users", "sign-out"]).await.0, Some(2));
}

#[tokio::test]
async fn listing_users_of_a_missing_store_does_not_create_it() {
    let operator = Operator::new();
    let (code, _, stderr) = operator.run(&["users", "list"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("the file does not exist"), "{stderr}");
    let files = std::fs::read_dir(operator.folder.path()).unwrap();
    assert_eq!(files.count(), 0);
}

#[tokio::test]
async fn invalid_users_are_usage_errors() {
    let operator = Operator::new();
    for wrong in [
        &["add", "a b"][..],
        &["add", "ann", "--app", "bot"],
        &["add", "ann", "--url", "bot.example.com"],
        &[
            "add",
            "ann",
            "--url",
            "https://x",
            "--app",
            "b",
            "--machine",
            "m",
        ],
        &["add", "ann", "--machine-status", "tired"],
        &["token", "ann", "--valid-for", "soon"],
    ] {
        let arguments = [&["users"], wrong].concat();
        assert_eq!(operator.run(&arguments).await.0, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_reported_problem_is_shown_with_what_to_do() {
    let operator = Operator::new();
    let added = operator.json(&["add", "ann"]).await;
    assert_eq!(added["problem"], Value::Null);
    let (_, stdout, _) = operator.run(&["users", "show", "ann"]).await;
    let line = stdout.lines().find(|line| line.starts_with("problem"));
    assert!(line.unwrap().ends_with('-'), "{stdout}");

    let url = format!(
        "sqlite:{}",
        operator.folder.path().join("postbell.db").display()
    );
    let users = Store::open(&url, StoreOptions::read_write())
        .unwrap()
        .users();
    let mut record = users.get(&"ann".parse().unwrap()).await.unwrap().unwrap();
    let since = Timestamp::from_millis(1_700_000_000_000);
    record.problem = Some(MailProblem {
        code: ProblemCode::GrantRevoked,
        since,
    });
    users.replace(&record, None, since).await.unwrap();

    let shown = operator.json(&["show", "ann"]).await;
    let expected = json!({ "code": "grant_revoked", "since": 1_700_000_000_000_i64 });
    assert_eq!(shown["problem"], expected);
    let (_, stdout, _) = operator.run(&["users", "show", "ann"]).await;
    for part in [
        "grant_revoked since 2023-11-14",
        ProblemCode::GrantRevoked.advice(),
    ] {
        assert!(stdout.contains(part), "{stdout}");
    }
    let (_, stdout, _) = operator.run(&["users", "list"]).await;
    let line = stdout.lines().find(|line| line.starts_with("ann"));
    assert!(line.unwrap().ends_with("grant_revoked"), "{stdout}");
}
