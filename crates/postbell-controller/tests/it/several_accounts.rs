//! A machine that fetches several accounts of one user.

use std::fs;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use parking_lot::Mutex;
use postbell_protocol::gateway_token::GatewayToken;
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::credentials::tarball;
use crate::fixture::{Served, TOKEN, TestController, TestMachine, answer, with_deadline};
use crate::reload::{Platform, SEALED, at, changed, config, installed, pids, reload};

/// The problem of a push that the watcher does not know.
const NOT_WATCHED: &str = r#"{"error":"","problem":"not_watched"}"#;

/// The same with a further account.
fn with_further(mut config: Value, email: &str, file: &str, is_on: bool) -> Value {
    let further = json!({
        "email": email,
        "gogConfigTarball": tarball(&[("gogcli/config.json", file)]),
        "lastHistoryId": "7",
        "gmailNotificationsEnabled": is_on,
    });
    if config.get("furtherAccounts").is_none() {
        config["furtherAccounts"] = json!([]);
    }
    config["furtherAccounts"]
        .as_array_mut()
        .unwrap()
        .push(further);
    config
}

/// The same of a user without further accounts.
fn alone(mut config: Value) -> Value {
    config["furtherAccounts"] = json!([]);
    config
}

/// The files of the further accounts.
fn installed_further(controller: &TestController) -> Vec<String> {
    let folder = controller.folder.path().join(".config/.postbell-accounts");
    let accounts = fs::read_dir(folder).into_iter().flatten();
    let files = accounts.map(|account| account.unwrap().path().join("gogcli/config.json"));
    let mut files: Vec<_> = files
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    files.sort();
    files
}

/// A watcher's server, with the accounts that it was sent.
async fn watcher_server(status: StatusCode) -> (Served, Arc<Mutex<Vec<Value>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&sent);
    let put = put(
        async move |headers: HeaderMap, Json(accounts): Json<Value>| {
            assert_eq!(headers["x-gog-token"], TOKEN);
            received.lock().push(accounts);
            status
        },
    );
    let push = post(async || (StatusCode::SERVICE_UNAVAILABLE, NOT_WATCHED));
    let router = Router::new()
        .route("/accounts", put)
        .route("/gmail-pubsub", push)
        .route("/metrics", get(async || "of_the_watcher 1\n# EOF\n"));
    (Served::new(router).await, sent)
}

/// Waits until the controller has seen that the watcher listens.
async fn watcher_is_ready(controller: &TestController) {
    with_deadline(async {
        loop {
            let metrics = controller.get("/_kilo/metrics").bearer_auth(TOKEN);
            let metrics = metrics.send().await.unwrap().text().await.unwrap();
            if metrics.contains("of_the_watcher") {
                return;
            }
            yield_now().await;
        }
    })
    .await;
}

/// The accounts as `email`, with `-` before a paused one.
fn emails(accounts: &Value) -> String {
    let accounts = accounts.as_array().unwrap().iter().map(|account| {
        let paused = if account["isPaused"] == true { "-" } else { "" };
        let name = account["email"].as_str().unwrap();
        format!("{paused}{}", name.split('@').next().unwrap())
    });
    accounts.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn several_accounts_have_one_watcher_and_credentials_of_their_own() {
    let first = config("ann@example.com", "one");
    let both = with_further(first, "bob@example.com", "two", true);
    let all = with_further(both, "cid@example.com", "three", false);
    let platform = Platform::new(all.clone()).await;
    let controller = platform.machine().start().await;
    assert_eq!(controller.settled().await["state"], "ready");
    let watched = || async {
        let accounts = controller.written("accounts").await;
        emails(&serde_json::from_str(&accounts).unwrap())
    };
    assert_eq!(watched().await, "ann bob");
    assert_eq!(installed(&controller), "one");
    assert_eq!(installed_further(&controller), ["three", "two"]);

    // The first one is disconnected, and the credentials of another cannot be installed.
    let mut rest = all.clone();
    rest["account"] = Value::Null;
    rest["furtherAccounts"][1]["gogConfigTarball"] = json!("no tarball");
    rest["furtherAccounts"][1]["gmailNotificationsEnabled"] = json!(true);
    platform.set(rest);
    fs::remove_file(controller.folder.path().join("accounts")).unwrap();
    assert_eq!(reload(&controller).await.0, 500);
    assert_eq!(watched().await, "bob cid", "it has the former ones");
    assert!(!controller.folder.path().join(".config/gogcli").exists());
    assert_eq!(installed_further(&controller), ["three", "two"]);

    platform.set(json!({
        "account": null, "gmailNotificationsEnabled": false, "furtherAccounts": [],
    }));
    reload(&controller).await;
    assert_eq!(installed_further(&controller), [] as [&str; 0]);
    assert_eq!(pids(&controller).await[1], Value::Null);
    let folder = controller.shut_down_but_folder().await;

    platform.set(all);
    let again = at(TestMachine::again(folder), platform.served.port);
    let controller = again.start().await;
    controller.settled().await;
    let folder = controller.shut_down_but_folder().await;
    fs::remove_dir_all(folder.path().join(".config/.postbell-accounts")).unwrap();
    platform.set(Value::Null);
    let again = at(TestMachine::again(folder), platform.served.port);
    let controller = again.start().await;
    controller.settled().await;
    assert_eq!(installed_further(&controller), ["three", "two"], "sealed");
    controller.shut_down().await;
}

#[tokio::test]
async fn a_reload_changes_one_account_and_the_watcher_runs_on() {
    let first = config("ann@example.com", "one");
    let platform = Platform::new(first.clone()).await;
    let (server, sent) = watcher_server(StatusCode::OK).await;
    let controller = platform.machine().watcher_at(&server).start().await;
    watcher_is_ready(&controller).await;
    let before = pids(&controller).await;
    let steps = [
        (
            with_further(first.clone(), "bob@example.com", "two", true),
            "ann -bob",
            "ann bob",
        ),
        (
            with_further(first.clone(), "bob@example.com", "new", true),
            "ann -bob",
            "ann bob",
        ),
        (
            with_further(first.clone(), "bob@example.com", "new", false),
            "ann",
            "ann",
        ),
        (alone(config("ann@example.com", "new")), "-ann", "ann"),
    ];
    for (config, paused, watched) in steps {
        platform.set(config);
        assert_eq!(reload(&controller).await, changed(true));
        let sent: Vec<_> = sent.lock().drain(..).map(|it| emails(&it)).collect();
        assert_eq!(sent, [paused, watched]);
        assert_eq!(pids(&controller).await, before);
    }
    assert_eq!(installed(&controller), "new");
    assert_eq!(installed_further(&controller), [] as [&str; 0]);
    controller.shut_down().await;
}

#[tokio::test]
async fn what_a_platform_leaves_out_stays_as_it_is() {
    let first = config("ann@example.com", "one");
    let all = with_further(first.clone(), "bob@example.com", "two", true);
    let all = with_further(all, "cid@example.com", "three", true);
    let platform = Platform::new(all.clone()).await;
    let (server, sent) = watcher_server(StatusCode::OK).await;
    let controller = platform.machine().watcher_at(&server).start().await;
    watcher_is_ready(&controller).await;
    let watched = || sent.lock().last().map(emails);

    // A platform of an earlier version does not know of further accounts.
    platform.set(config("ann@example.com", "new"));
    assert_eq!(reload(&controller).await, changed(true));
    assert_eq!(installed(&controller), "new");
    assert_eq!(installed_further(&controller), ["three", "two"]);
    assert_eq!(watched().unwrap(), "ann bob cid");

    // One that cannot read the credentials of two accounts, and has a change of another.
    let mut unread = all.clone();
    unread["account"]
        .as_object_mut()
        .unwrap()
        .remove("gogConfigTarball");
    let cid = unread["furtherAccounts"][1].as_object_mut().unwrap();
    cid.remove("gogConfigTarball");
    unread["furtherAccounts"][0]["gmailNotificationsEnabled"] = json!(false);
    platform.set(unread.clone());
    assert_eq!(reload(&controller).await, changed(true));
    assert_eq!(installed(&controller), "new");
    assert_eq!(installed_further(&controller), ["three", "two"]);
    assert_eq!(watched().unwrap(), "ann cid");

    // A machine without them is incomplete, watches the others, and says so.
    unread["furtherAccounts"][0]["gmailNotificationsEnabled"] = json!(true);
    let fresh = Platform::new(unread).await;
    let controller = fresh.machine().watcher_at(&server).start().await;
    let checked_in = fresh.checked_in().await;
    assert_eq!(controller.settled().await["state"], "degraded");
    assert_eq!(installed_further(&controller), ["two"]);
    let code = |report: &Value| report["problem"]["code"].clone();
    let further = checked_in["accounts"].as_array().unwrap().iter();
    let further: Vec<_> = further.map(|it| (it["email"].clone(), code(it))).collect();
    let unreadable = json!("credentials_unreadable");
    assert_eq!(code(&checked_in), unreadable);
    let expected = [
        (json!("bob@example.com"), Value::Null),
        (json!("cid@example.com"), unreadable),
    ];
    assert_eq!(further, expected);
    fresh.set(all);
    // The controller fetches a configuration that is incomplete again by itself, and may be first.
    assert_eq!(reload(&controller).await.0, 200);
    assert_eq!(installed(&controller), "one");
    assert_eq!(installed_further(&controller), ["three", "two"]);
    // One of before may still be under way.
    while fresh.checked_in().await.get("problem").is_some() {}
    controller.shut_down().await;
}

#[tokio::test]
async fn a_check_in_reports_each_further_account() {
    let state = json!({
        "account": "bob@example.com", "problem": "in a sentence", "problemCode": "grant_revoked",
        "problemSinceMs": 7,
    });
    let file = "gogcli/state/gmail-watch/bob_example_com.json";
    let mut all = with_further(
        config("ann@example.com", "one"),
        "bob@example.com",
        "",
        true,
    );
    all["furtherAccounts"][0]["gogConfigTarball"] = json!(tarball(&[(file, &state.to_string())]));
    let platform = Platform::new(all).await;
    let (server, _) = watcher_server(StatusCode::OK).await;
    let controller = platform.machine().watcher_at(&server).start().await;
    let checked_in = platform.checked_in();
    let expected = json!({
        "sandboxId": "sandbox-7",
        "accounts": [{
            "email": "bob@example.com", "problem": { "code": "grant_revoked", "since": 7 },
        }],
    });
    assert_eq!(checked_in.await, expected);
    let version = controller.get("/_kilo/version").bearer_auth(TOKEN);
    let (_, version) = answer(version).await;
    let bob = &version["watcher"]["accounts"][0];
    let token = GatewayToken::try_from(TOKEN).unwrap();
    assert_eq!(
        (&bob["email"], &bob["mailbox"]),
        (
            &json!("bob@example.com"),
            &json!(token.mailbox_name("bob@example.com"))
        )
    );
    assert_eq!(controller.settled().await["mail"], "problem");
    controller.shut_down().await;
}

#[tokio::test]
async fn a_watcher_that_does_not_take_a_change_is_restarted() {
    let platform = Platform::new(config("ann@example.com", "one")).await;
    let (server, _) = watcher_server(StatusCode::NOT_FOUND).await;
    let controller = platform.machine().watcher_at(&server).start().await;
    watcher_is_ready(&controller).await;
    let [_, before] = pids(&controller).await;
    platform.set(config("ann@example.com", "two"));
    assert_eq!(reload(&controller).await, changed(true));
    let [_, after] = pids(&controller).await;
    assert!(after.is_number() && after != before);
    assert_eq!(installed(&controller), "two");
    controller.shut_down().await;
}

#[tokio::test]
async fn a_push_for_an_account_that_is_not_watched_is_refused_and_fetches_the_configuration() {
    let first = config("ann@example.com", "one");
    let platform = Platform::new(first.clone()).await;
    let (server, sent) = watcher_server(StatusCode::OK).await;
    let controller = platform.machine().watcher_at(&server).start().await;
    watcher_is_ready(&controller).await;
    platform.set(with_further(first, "bob@example.com", "two", true));
    let token = GatewayToken::try_from(TOKEN).unwrap().of_further_accounts();
    let (status, body) = controller.push(&format!("Bearer {}", token.expose())).await;
    assert_eq!((status, &body["problem"]), (500, &json!("not_watched")));
    with_deadline(async {
        while sent.lock().len() < 2 {
            yield_now().await;
        }
    })
    .await;
    controller.shut_down().await;
}

#[tokio::test]
async fn a_machine_that_no_user_has_any_more_keeps_no_credentials() {
    let all = with_further(
        config("ann@example.com", "one"),
        "bob@example.com",
        "two",
        true,
    );
    let platform = Platform::new(all.clone()).await;
    let controller = platform.machine().start().await;
    controller.settled().await;
    let state = ".config/gogcli/state/gmail-watch/ann_example_com.json";
    let state = controller.folder.path().join(state);
    fs::create_dir_all(state.parent().unwrap()).unwrap();
    fs::write(&state, r#"{"account":"ann@example.com","historyId":"9"}"#).unwrap();
    platform.set(json!("sandbox-7"));
    assert_eq!(reload(&controller).await, changed(true));
    assert_eq!(pids(&controller).await[1], Value::Null);
    let home = controller.folder.path();
    assert!(!home.join(".config/gogcli/config.json").exists());
    assert!(!home.join(SEALED).exists());
    assert_eq!(installed_further(&controller), [] as [&str; 0]);
    assert!(state.exists(), "the cursor stays");
    assert_eq!(reload(&controller).await, changed(false));
    let folder = controller.shut_down_but_folder().await;

    let again = at(TestMachine::again(folder), platform.served.port);
    let controller = again.start().await;
    controller.settled().await;
    assert_eq!(pids(&controller).await[1], Value::Null);
    platform.set(all);
    assert_eq!(reload(&controller).await, changed(true));
    assert_eq!(installed(&controller), "one");
    let kept = fs::read_to_string(state).unwrap();
    assert!(kept.contains("\"9\""), "{kept}");
    controller.shut_down().await;
}
