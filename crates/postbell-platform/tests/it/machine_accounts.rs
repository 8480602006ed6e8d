//! The machine of a user with several Google accounts.

use std::time::Duration;

use axum::http::Method;
use postbell_core::{
    GoogleConnection, InstanceStatus, MachineLocation, NewAccount, ProblemCode, UserRecord, Users,
};
use postbell_platform::Perform;
use postbell_protocol::api::operator::ChangeUser;
use postbell_protocol::gateway_token::GatewayToken;
use serde_json::{Value, json};

use crate::accounts::{ANN, TEAM, both, team};
use crate::test_platform::{TestPlatform, gateway_token, google_credentials, olga, sandbox};
use crate::wake::waited_for;

/// A machine fetches its configuration.
async fn fetch(world: &TestPlatform, several: bool) -> Value {
    let token = format!("Bearer {}", gateway_token("sandbox-of-ann"));
    let mut headers = vec![
        ("authorization", &*token),
        ("x-postbell-sandbox-id", "sandbox-of-ann"),
    ];
    headers.extend(several.then_some(("x-postbell-accounts", "several")));
    let path = "/api/controller/config";
    let (status, config) = world.send(Method::GET, path, &headers, "").await;
    assert_eq!(status, 200, "{config}");
    config
}

/// What a relay learns of a record.
async fn look_up(world: &TestPlatform, record: &UserRecord) -> Value {
    let path = format!("/api/platform/lookup?userId={}", record.user.url_segment());
    let (status, answer) = world.ask(Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200);
    answer["user"].clone()
}

/// A machine checks in.
async fn check_in(world: &TestPlatform, mut report: Value) {
    let token = format!("Bearer {}", gateway_token("sandbox-of-ann"));
    let headers = [("authorization", &*token)];
    report["sandboxId"] = json!("sandbox-of-ann");
    let path = "/api/controller/checkin";
    let report = report.to_string();
    let sent = world.send(Method::POST, path, &headers, report).await;
    assert_eq!(sent.0, 204);
}

/// The token with which the notifications of `ann`'s further accounts are delivered.
fn token_of_further_accounts() -> String {
    let token = GatewayToken::try_from(&*gateway_token("sandbox-of-ann")).unwrap();
    token.of_further_accounts().expose().to_owned()
}

/// Whether the notifications of the further account wait.
async fn is_held(world: &TestPlatform) -> bool {
    look_up(world, &team(world).await).await["status"] == "stopped"
}

#[tokio::test]
async fn a_machine_that_watches_several_accounts_gets_all_and_reports_on_each() {
    let sandbox = sandbox().await;
    let (pages, _browser) = both(&sandbox).await;
    let world = &pages.world;
    let url = MachineLocation::Url("https://bot.example.com".parse().unwrap());
    world
        .change("ann", |record| record.location = url.clone())
        .await;
    let held = look_up(world, &team(world).await).await;
    assert_eq!(held["status"], "stopped", "its notifications wait: {held}");
    assert_eq!(held["problem"]["code"], "accounts_unsupported");
    assert_eq!(fetch(world, false).await.get("furtherAccounts"), None);
    assert_eq!(
        look_up(world, &team(world).await).await["status"],
        "stopped"
    );

    let config = fetch(world, true).await;
    let further = &config["furtherAccounts"];
    assert_eq!(further.as_array().unwrap().len(), 1);
    assert_eq!(further[0]["email"], TEAM);
    assert_eq!(further[0]["gmailNotificationsEnabled"], true);
    assert_eq!(config["account"]["email"], ANN);
    assert_ne!(
        config["account"]["gogConfigTarball"],
        further[0]["gogConfigTarball"]
    );
    let found = look_up(world, &team(world).await).await;
    for (field, expected) in [
        ("status", json!("running")),
        ("url", json!("https://bot.example.com/")),
        ("sandboxId", json!("sandbox-of-ann")),
        ("gatewayToken", json!(token_of_further_accounts())),
        ("googleAccountEmail", json!(TEAM)),
        ("accountOf", json!("ann")),
        ("problem", Value::Null),
    ] {
        assert_eq!(found[field], expected, "{field}: {found}");
    }
    assert_eq!(team(world).await.pending_sync, None);
    assert_reports_on_each(world).await;

    // An older controller again.
    fetch(world, false).await;
    assert_eq!(
        look_up(world, &team(world).await).await["status"],
        "stopped"
    );
    sandbox.stop().await;
}

/// A machine reports that the grant of the further account is revoked.
async fn assert_reports_on_each(world: &TestPlatform) {
    world.relays.0.lock().clear();
    let report = json!({
        "accounts": [{"email": "Team@Example.com", "problem": {"code": "grant_revoked", "since": 7}}],
    });
    check_in(world, report).await;
    let of_team = team(world).await;
    assert_eq!(of_team.problem.unwrap().code, ProblemCode::GrantRevoked);
    assert_eq!(world.record("ann").await.problem, None);
    let up = |name: &str| format!("the machine of {name} is up");
    let told = world.relays.0.lock().clone();
    assert!(
        told.contains(&up("ann")) && told.contains(&up(of_team.user.as_str())),
        "{told:?}"
    );
}

/// Its controller has gone back to an earlier version, or has its account in the variables: its watcher would answer 202 to a
/// mailbox that it does not know.
#[tokio::test]
async fn a_check_in_that_says_nothing_of_accounts_holds_their_notifications() {
    let sandbox = sandbox().await;
    let (pages, _browser) = both(&sandbox).await;
    let world = &pages.world;
    let account = team(world).await;
    let changed = format!("{} has changed", account.user);
    for reported_by_a_relay in [false, true] {
        fetch(world, true).await;
        check_in(world, json!({ "accounts": [] })).await;
        assert!(!is_held(world).await);
        world.relays.0.lock().clear();
        if reported_by_a_relay {
            let path = "/api/platform/running";
            let said = json!({ "userId": "ann", "accounts": [] });
            assert_eq!(world.ask(Method::POST, path, said).await.0, 200);
            assert!(!is_held(world).await);
            let silent = json!({ "userId": "ann" });
            assert_eq!(world.ask(Method::POST, path, silent).await.0, 200);
            assert_eq!(*world.relays.0.lock(), std::slice::from_ref(&changed));
        } else {
            check_in(world, json!({})).await;
            let up = format!("the machine of {} is up", account.user);
            assert!(world.relays.0.lock().contains(&up));
        }
        assert!(is_held(world).await);
        // Only a fetch says that it has the accounts.
        check_in(world, json!({ "accounts": [] })).await;
        assert!(is_held(world).await);
    }
    sandbox.stop().await;
}

/// The machine can keep what it has. One that watches one account gets an error, and keeps everything.
#[tokio::test]
async fn credentials_that_cannot_be_read_keep_no_other_account_from_its_changes() {
    let sandbox = sandbox().await;
    let (pages, _browser) = both(&sandbox).await;
    let world = &pages.world;
    let unreadable = "not encrypted".to_owned().into();
    let account = team(world).await;
    let replaced = world
        .store
        .replace(&account, Some(&unreadable), pages.now());
    replaced.await.unwrap();
    let config = fetch(world, true).await;
    let further = json!([{
        "email": TEAM, "lastHistoryId": null, "gmailNotificationsEnabled": true,
    }]);
    assert_eq!(config["furtherAccounts"], further);
    assert!(config["account"]["gogConfigTarball"].is_string());
    let ann = world.record("ann").await;
    let replaced = world.store.replace(&ann, Some(&unreadable), pages.now());
    replaced.await.unwrap();
    let config = fetch(world, true).await;
    assert_eq!(
        config["account"],
        json!({ "email": ANN, "lastHistoryId": null })
    );
    assert_eq!(config["furtherAccounts"], further);
    let token = format!("Bearer {}", gateway_token("sandbox-of-ann"));
    let headers = [
        ("authorization", &*token),
        ("x-postbell-sandbox-id", "sandbox-of-ann"),
    ];
    let path = "/api/controller/config";
    assert_eq!(world.send(Method::GET, path, &headers, "").await.0, 500);
    sandbox.stop().await;
}

#[tokio::test]
async fn relays_learn_that_the_accounts_have_another_machine_or_token() {
    let sandbox = sandbox().await;
    let (pages, _browser) = both(&sandbox).await;
    let world = &pages.world;
    let changed = format!("{} has changed", team(world).await.user);
    for change in [
        json!({ "userId": "ann", "url": "https://new.example.com" }),
        json!({ "userId": "ann", "newSandboxId": true }),
    ] {
        world.relays.0.lock().clear();
        let request: ChangeUser = serde_json::from_value(change).unwrap();
        world.operator.perform(request, &olga()).await.unwrap();
        let told = world.relays.0.lock().clone();
        assert!(told.contains(&changed), "{told:?}");
    }
    sandbox.stop().await;
}

/// Adds a further account of `ann`, whose machine is on Fly and asleep.
async fn add_account(world: &TestPlatform) -> UserRecord {
    let ann = world.record("ann").await;
    let new = NewAccount {
        record: "ann.team".parse().unwrap(),
        owner: ann.user,
        owner_added: ann.created_at,
        connection: GoogleConnection {
            email: Some(TEAM.parse().unwrap()),
            push_account: None,
            connected_at: world.now(),
        },
        watch_expires_at: None,
    };
    let credentials = google_credentials()["gogConfigTarball"].to_string();
    let credentials = credentials.into();
    let added = world.store.add_account(new, &credentials, world.now());
    added.await.unwrap()
}

#[tokio::test]
async fn mail_of_a_further_account_starts_no_machine_that_watches_one_account() {
    let sandbox = sandbox().await;
    let world = TestPlatform::on_fly(&sandbox).await;
    let account = add_account(&world).await.user;
    for (never_seen, several_accounts, starts) in [
        (false, false, false),
        (true, false, true),
        (false, true, true),
    ] {
        sandbox.fly().put("bot", "m", "stopped", &[]);
        world
            .change("ann", |record| {
                record.status = InstanceStatus::Stopped;
                record.wake_on_mail = true;
                record.never_seen = never_seen;
                record.several_accounts = several_accounts;
            })
            .await;
        let starting = world.fleet.request_start(&account).await.unwrap();
        assert_eq!(starting, starts, "{never_seen} {several_accounts}");
        if starts {
            waited_for(&sandbox).await;
        }
        world.pass(Duration::from_secs(600));
    }
    sandbox.stop().await;
}
