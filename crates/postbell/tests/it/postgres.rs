//! Relay and platform on a PostgreSQL database, and the commands beside them.

use postbell_testkit::PostgresDatabase;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::platform::OurPlatform;
use crate::support::{DEADLOCK, run};

const PASSWORD: &str = "hunter2";

async fn postbell(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    command.args(arguments).env_clear();
    command.envs(variables.iter().copied());
    timeout(DEADLOCK, run(&mut command)).await.unwrap()
}

#[tokio::test]
async fn the_url_may_be_in_a_file_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    // Nothing listens there.
    std::fs::write(&file, format!("postgres://ann:{PASSWORD}@127.0.0.1:1/db\n")).unwrap();
    let file = file.to_str().unwrap();
    let variables = [
        ("POSTBELL_RELAY__INBOX_FILE", file),
        ("POSTBELL_PLATFORM__STORE_FILE", file),
        ("POSTBELL_RELAY__AUDIENCE", "http://127.0.0.1:1"),
        ("POSTBELL_PLATFORM__API_KEY", "a key of the tests"),
        ("POSTBELL_PLATFORM__GATEWAY_SECRET", "a secret of the tests"),
        ("HOME", folder.path().to_str().unwrap()),
        ("XDG_STATE_HOME", folder.path().to_str().unwrap()),
    ];
    let (code, checked, stderr) = postbell(&["config", "check"], &variables).await;
    assert_eq!(code, Some(0), "{checked} {stderr}");
    for (arguments, words) in [
        (&["users", "list"][..], "postgres"),
        (&["migrate"], "postgres://127.0.0.1:1/db"),
        (
            &["doctor", "ada", "--wait", "5s"],
            "postgres://127.0.0.1:1/db",
        ),
    ] {
        let (code, stdout, stderr) = postbell(arguments, &variables).await;
        assert_eq!(code, Some(1), "{arguments:?}: {stdout} {stderr}");
        let shown = format!("{checked} {stdout} {stderr}");
        assert!(!shown.contains(PASSWORD), "{arguments:?}: {shown}");
        let is_said = shown.replace(['\n', ' '], "").contains(words);
        assert!(is_said || words == "postgres", "{arguments:?}: {shown}");
    }
}

#[tokio::test]
async fn doctor_names_a_database_without_a_standby() {
    let database = PostgresDatabase::create();
    let mut ours = OurPlatform::new().await;
    ours.world.config.relay.inbox = database.url().into();
    ours.add_ada(&[]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    command.args(["doctor", "ada", "--json", "--wait", "10s"]);
    command.env_clear().envs(ours.variables());
    let (_, stdout, stderr) = run(&mut command).await;
    let report: Value = serde_json::from_str(&stdout).expect(&stderr);
    let hops = report["hops"].as_array().unwrap();
    let database = hops.iter().find(|hop| hop["hop"] == "database").unwrap();
    assert_eq!(database["state"], "warning");
    let detail = database["detail"].as_str().unwrap();
    assert!(detail.contains("synchronous_standby_names"), "{detail}");
    ours.world.stop().await.unwrap();
}
