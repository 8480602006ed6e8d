//! A machine that fetches its configuration from a platform.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::credentials::tarball;
use crate::fixture::{
    Served, TOKEN, TestController, TestMachine, answer, closed_port, is_dead, with_deadline,
};

/// A watcher that writes its accounts, and its arguments and its first account.
const WATCHER: &str = r#"echo "$POSTBELL_WATCH_ACCOUNTS" > "$HOME/accounts"
    echo "$GOG_ACCOUNT $@" > "$HOME/watcher"; exec sleep 1000"#;

/// The file with the configuration that was fetched last.
pub(crate) const SEALED: &str = ".config/.postbell-machine-config";

/// A platform whose configuration for the machine the test sets; `null`: it fails; a text: no user has the machine with
/// this sandbox id; a number: a server in front of it answers with this status.
pub(crate) struct Platform {
    pub(crate) served: Served,
    config: Arc<Mutex<Value>>,
    check_in: Arc<Mutex<Option<Value>>>,
}

impl Platform {
    pub(crate) async fn new(config: Value) -> Self {
        let config = Arc::new(Mutex::new(config));
        let answered = Arc::clone(&config);
        let route = get(async move |RawQuery(query): RawQuery, headers: HeaderMap| {
            assert_eq!(query, None, "access logs contain URLs");
            assert_eq!(headers["x-postbell-sandbox-id"], "sandbox-7");
            assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
            assert_eq!(headers["x-kiloclaw-gateway-token"], TOKEN);
            let accounts = headers.get("x-postbell-accounts");
            assert!(accounts.is_none_or(|accounts| accounts == "several"));
            match answered.lock().clone() {
                Value::Null => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                Value::String(id) => {
                    (StatusCode::GONE, [("x-postbell-sandbox-id", id)]).into_response()
                }
                Value::Number(status) => {
                    let status = status.as_u64().unwrap().try_into().unwrap();
                    let status = StatusCode::from_u16(status).unwrap();
                    (status, Json(json!({ "error": "gone" }))).into_response()
                }
                config => Json(config).into_response(),
            }
        });
        let check_in = Arc::new(Mutex::new(None));
        let reported = Arc::clone(&check_in);
        let check_ins = post(async move |Json(body): Json<Value>| {
            *reported.lock() = Some(body);
        });
        let router = Router::new()
            .route("/base/api/controller/config", route)
            .route("/base/api/controller/checkin", check_ins);
        Self {
            served: Served::new(router).await,
            config,
            check_in,
        }
    }

    pub(crate) fn machine(&self) -> TestMachine {
        at(TestMachine::new(), self.served.port)
    }

    /// A machine whose watcher is `gog`, which is restarted by each change.
    fn machine_with_gog(&self) -> TestMachine {
        let machine = TestMachine::new().program("gog", "exec sleep 1000");
        machine.platform(&base_url(self.served.port))
    }

    pub(crate) fn set(&self, config: Value) {
        *self.config.lock() = config;
    }

    /// Waits for a check-in.
    pub(crate) async fn checked_in(&self) -> Value {
        with_deadline(async {
            loop {
                let body = self.check_in.lock().take();
                match body {
                    Some(body) => return body,
                    None => yield_now().await,
                }
            }
        })
        .await
    }
}

/// A machine that fetches from the platform at this port.
pub(crate) fn at(machine: TestMachine, port: u16) -> TestMachine {
    machine.watcher(WATCHER).platform(&base_url(port))
}

fn base_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/base/")
}

/// The configuration with an account whose tarball has this file.
pub(crate) fn config(email: &str, file: &str) -> Value {
    json!({
        "account": {
            "email": email,
            "gogConfigTarball": tarball(&[("gogcli/config.json", file)]),
            "lastHistoryId": "7",
        },
        "gmailNotificationsEnabled": true,
        "watcherArguments": ["--per-message"],
    })
}

/// The same with credentials that cannot be installed.
fn damaged(email: &str) -> Value {
    let mut damaged = config(email, "");
    damaged["account"]["gogConfigTarball"] = json!("no tarball");
    damaged
}

pub(crate) async fn reload(controller: &TestController) -> (u16, Value) {
    let request = controller.post("/_kilo/reload").bearer_auth(TOKEN);
    let (status, body) = answer(request).await;
    (status.as_u16(), body)
}

/// The process ids of the gateway and of the watcher.
pub(crate) async fn pids(controller: &TestController) -> [Value; 2] {
    let request = controller.get("/_kilo/version").bearer_auth(TOKEN);
    let (_, version) = answer(request).await;
    ["gateway", "watcher"].map(|child| version[child]["pid"].clone())
}

pub(crate) fn installed(controller: &TestController) -> String {
    let file = controller.folder.path().join(".config/gogcli/config.json");
    fs::read_to_string(file).unwrap()
}

pub(crate) fn changed(changed: bool) -> (u16, Value) {
    (200, json!({ "ok": true, "changed": changed }))
}

#[tokio::test]
async fn a_machine_starts_with_the_configuration_of_the_platform_and_keeps_it_sealed() {
    let platform = Platform::new(config("ann@example.com", "one")).await;
    let controller = platform.machine().start().await;
    assert_eq!(controller.settled().await["state"], "ready");
    let command = controller.written("watcher").await;
    assert!(
        command.starts_with("ann@example.com --log-format json watch serve "),
        "{command}"
    );
    assert!(command.ends_with(" --per-message"), "{command}");
    assert_eq!(installed(&controller), "one");
    let sealed = controller.folder.path().join(SEALED);
    let text = fs::read_to_string(&sealed).unwrap();
    assert!(
        text.starts_with("enc:v1:") && !text.contains("ann"),
        "{text}"
    );
    let mode = fs::metadata(&sealed).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    controller.shut_down().await;
}

#[tokio::test]
async fn a_reload_restarts_the_watcher_and_not_the_gateway() {
    let platform = Platform::new(config("ann@example.com", "one")).await;
    let controller = platform.machine().start().await;
    controller.settled().await;
    let [gateway, watcher] = pids(&controller).await;
    assert_eq!(reload(&controller).await, changed(false));
    assert_eq!(pids(&controller).await, [gateway.clone(), watcher.clone()]);

    platform.set(config("bob@example.com", "two"));
    assert_eq!(reload(&controller).await, changed(true));
    let [same, restarted] = pids(&controller).await;
    assert_eq!(same, gateway);
    assert!(restarted != watcher && restarted.is_number());
    is_dead(&watcher.to_string()).await;
    assert_eq!(installed(&controller), "two");

    let mut off = config("bob@example.com", "two");
    off["gmailNotificationsEnabled"] = json!(false);
    platform.set(off);
    assert_eq!(reload(&controller).await, changed(true));
    assert_eq!(pids(&controller).await, [gateway.clone(), Value::Null]);
    assert_eq!(controller.push(&format!("Bearer {TOKEN}")).await.0, 404);
    assert_eq!(installed(&controller), "two", "the account is connected");

    platform.set(json!({ "account": null, "gmailNotificationsEnabled": false }));
    assert_eq!(reload(&controller).await, changed(true));
    assert!(!controller.folder.path().join(".config/gogcli").exists());
    assert_eq!(pids(&controller).await, [gateway, Value::Null]);
    controller.shut_down().await;
}

#[tokio::test]
async fn a_machine_starts_without_the_platform_and_gets_the_present_configuration_once_it_is_back()
{
    let platform = Platform::new(config("ann@example.com", "one")).await;
    let controller = platform.machine().start().await;
    controller.settled().await;
    let folder = controller.shut_down_but_folder().await;

    platform.set(Value::Null);
    let again = at(TestMachine::again(folder), platform.served.port);
    let controller = again.start().await;
    assert_eq!(controller.settled().await["state"], "ready");
    assert!(pids(&controller).await[1].is_number());
    assert_eq!(installed(&controller), "one");
    let (status, _) = reload(&controller).await;
    assert_eq!(status, 502, "the platform is away");

    fs::remove_file(controller.folder.path().join("watcher")).unwrap();
    platform.set(config("bob@example.com", "two"));
    // Without a reload: it is tried again.
    let command = controller.written("watcher").await;
    assert!(command.starts_with("bob@example.com "), "{command}");
    controller.shut_down().await;
}

#[tokio::test]
async fn a_new_machine_without_the_platform_starts_the_gateway_and_waits_for_its_mailbox() {
    let platform = Platform::new(Value::Null).await;
    let machine = platform.machine();
    let kept = machine.path(".config/gogcli");
    fs::create_dir_all(&kept).unwrap();
    let controller = machine.start().await;
    controller.settled().await;
    assert!(pids(&controller).await[0].is_number());
    assert!(kept.exists(), "nothing is known of the account");
    platform.set(config("ann@example.com", "one"));
    controller.written("watcher").await;
    controller.shut_down().await;
}

#[tokio::test]
async fn credentials_that_cannot_be_installed_change_nothing_and_are_tried_again() {
    let platform = Platform::new(config("ann@example.com", "one")).await;
    let controller = platform.machine().start().await;
    controller.settled().await;
    let before = pids(&controller).await;
    platform.set(damaged("ann@example.com"));
    assert_eq!(reload(&controller).await.0, 500);
    assert_eq!(installed(&controller), "one");
    assert_eq!(pids(&controller).await, before, "Ann's mail goes on");
    let health = controller.settled().await;
    assert_eq!(health["error"], "Startup failed during gmail-credentials");
    // It is taken back.
    platform.set(config("ann@example.com", "one"));
    assert_eq!(reload(&controller).await, changed(false));
    assert_eq!(controller.settled().await["state"], "ready");
    platform.set(damaged("ann@example.com"));
    assert_eq!(reload(&controller).await.0, 500);
    platform.set(config("ann@example.com", "two"));
    // Without a reload.
    while controller.settled().await["state"] != "ready" {}
    assert_eq!(installed(&controller), "two");
    controller.shut_down().await;
}

#[tokio::test]
async fn a_disconnected_account_is_not_watched_also_if_the_one_in_its_place_cannot_be_installed() {
    let platform = Platform::new(config("ann@example.com", "one")).await;
    let controller = platform.machine().start().await;
    controller.settled().await;
    let [gateway, _] = pids(&controller).await;
    platform.set(damaged("bob@example.com"));
    assert_eq!(reload(&controller).await.0, 500);
    assert_eq!(pids(&controller).await, [gateway, Value::Null]);
    assert!(!controller.folder.path().join(".config/gogcli").exists());
    platform.set(config("bob@example.com", "two"));
    // Without a reload.
    while controller.settled().await["state"] != "ready" {}
    assert_eq!(installed(&controller), "two");
    controller.shut_down().await;
}

/// A proxy's page, or the platform's answer to another machine.
#[tokio::test]
async fn a_refusal_that_is_not_of_the_platform_to_this_machine_changes_nothing() {
    let platform = Platform::new(config("ann@example.com", "one")).await;
    let controller = platform.machine().start().await;
    controller.settled().await;
    let before = pids(&controller).await;
    for refusal in [json!(410), json!(404), json!(451), json!("sandbox-8")] {
        platform.set(refusal);
        assert_eq!(reload(&controller).await.0, 502);
        assert_eq!(installed(&controller), "one");
        assert!(controller.folder.path().join(SEALED).exists());
        assert_eq!(pids(&controller).await, before);
    }
    controller.shut_down().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_removed_restarts_no_watcher() {
    let platform = Platform::new(config("ann@example.com", "one")).await;
    let machine = platform.machine_with_gog();
    let folder = machine.path(".config/.postbell-accounts/0123456789abcdef0123456789abcdef");
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    // A file cannot be removed as a folder.
    fs::write(&folder, "").unwrap();
    let controller = machine.start().await;
    assert_eq!(controller.settled().await["state"], "degraded");
    let before = pids(&controller).await;
    assert!(before[1].is_number());
    for _ in 0..3 {
        assert_eq!(reload(&controller).await.0, 500);
        assert_eq!(pids(&controller).await, before);
    }
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    while controller.settled().await["state"] != "ready" {}
    assert!(!folder.exists());
    assert_eq!(pids(&controller).await, before);
    controller.shut_down().await;
}

#[tokio::test]
async fn only_the_platform_can_have_a_machine_reload_and_only_one_that_fetches() {
    let machine = TestMachine::new().start().await;
    assert_eq!(reload(&machine).await.0, 404);
    machine.shut_down().await;
    let controller = at(TestMachine::new(), closed_port().await).start().await;
    let (status, _) = answer(controller.post("/_kilo/reload").bearer_auth("wrong")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    controller.shut_down().await;
}
