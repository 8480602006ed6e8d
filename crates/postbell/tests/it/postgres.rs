//! Relay and platform on a PostgreSQL database, and the commands beside them.

use std::process::Stdio;
use std::time::Duration;

use postbell_core::{InstanceStatus, MachineLocation, NewUser, SandboxId, Timestamp, UserId};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::{PgBouncer, PostgresDatabase};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::platform::OurPlatform;
use crate::support::{DEADLOCK, Received, run, send};

const PASSWORD: &str = "hunter2";

/// The URL of a role that must not be shown; the server of the tests trusts everybody.
fn with_password(database: &PostgresDatabase) -> String {
    let url = database.url();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (user, host) = rest.split_once('@').unwrap();
    format!("{scheme}://{user}:{PASSWORD}@{host}")
}

#[tokio::test]
async fn a_mail_reaches_the_bot_and_the_pages() {
    let database = PostgresDatabase::create();
    a_mail_arrives_with(&with_password(&database)).await;
}

/// Whose sessions are fewer than our connections, and change with each transaction.
#[tokio::test]
async fn a_mail_reaches_the_bot_through_pgbouncer_in_transaction_mode() {
    let database = PostgresDatabase::create();
    let pooler = PgBouncer::start(&database.url());
    a_mail_arrives_with(&pooler.url(&with_password(&database))).await;
}

async fn a_mail_arrives_with(url: &str) {
    let mut ours = OurPlatform::new().await;
    ours.world.config.relay.inbox = url.to_owned().into();
    let world = &ours.world;
    // A command of a fresh installation creates the tables.
    ours.add_ada(&[]).await;
    let service = ours.serve().await;
    ours.connect().await;
    world.begin().await.unwrap();
    let mut hooks = world.sandbox.bot().subscribe();
    let mut received = Received::default();
    received.wait_for(&[send(world, 1)], &mut hooks).await;
    ours.delivery_reported().await;
    ours.drained().await;
    let delivered = &ours.deliveries().await[0];
    assert_eq!(delivered["outcome"], "delivered");
    assert!(ours.my_bot().await.contains("delivered"));

    // What one process has stored, the next one finds.
    service.kill().await;
    let again = ours.serve().await;
    received.wait_for(&[send(world, 2)], &mut hooks).await;
    assert_eq!(received.ids.len(), 2);
    assert_eq!(again.terminate().await, Some(0));
    let migrated = ours.command(&["migrate"]).await;
    assert!(migrated.contains("postgres://127.0.0.1"), "{migrated}");
    assert!(!migrated.contains(PASSWORD));
    assert!(
        ours.command(&["users", "remove", "ada"])
            .await
            .contains("Removed")
    );
    ours.world.stop().await.unwrap();
}

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

/// The same command continues, wherever it was killed. The store's tests stop a copy after every batch.
#[tokio::test]
async fn a_copy_that_is_killed_again_and_again_is_complete_in_the_end() {
    const USERS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("p.db").display());
    let store = Store::open(&file, StoreOptions::service()).unwrap();
    for number in 0..USERS {
        let user: UserId = format!("user-{number}").parse().unwrap();
        let new = NewUser {
            sandbox_id: SandboxId::from(&user),
            user,
            status: InstanceStatus::Running,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        let now = Timestamp::from_millis(1_700_000_000_000);
        store.users().add(new, now).await.unwrap();
    }
    drop(store);
    let database = PostgresDatabase::create();
    for tenths in 0.. {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command.args(["store", "copy", "--json", &file, &database.url()]);
        command
            .env_clear()
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let copying = command.spawn().unwrap().wait_with_output();
        // It is killed when this ends, somewhere in between.
        let Ok(output) = timeout(Duration::from_millis(50 * tenths), copying).await else {
            continue;
        };
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        break;
    }
    let copied = Store::open(&database.url(), StoreOptions::read_only()).unwrap();
    assert_eq!(copied.users().count().await.unwrap(), USERS as u64);
}

#[tokio::test]
async fn doctor_names_a_database_without_a_standby() {
    let database = PostgresDatabase::create();
    let mut ours = OurPlatform::new().await;
    ours.world.config.relay.inbox = database.url().into();
    ours.add_ada(&[]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    command.args(["doctor", "ada", "--json", "--wait", "10s"]);
    let home = tempfile::tempdir().unwrap();
    command
        .env_clear()
        .envs(ours.variables())
        .env("HOME", home.path());
    let (_, stdout, stderr) = run(&mut command).await;
    let report: Value = serde_json::from_str(&stdout).expect(&stderr);
    let hops = report["hops"].as_array().unwrap();
    let database = hops.iter().find(|hop| hop["hop"] == "database").unwrap();
    assert_eq!(database["state"], "warning");
    let detail = database["detail"].as_str().unwrap();
    assert!(detail.contains("synchronous_standby_names"), "{detail}");
    ours.world.stop().await.unwrap();
}
