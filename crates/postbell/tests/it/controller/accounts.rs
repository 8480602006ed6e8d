//! Several Google accounts of one user, which the controller fetches from a platform.

use std::fs;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use postbell_sandbox::Sandbox;
use serde_json::{Value, json};
use tokio::task::{JoinSet, yield_now};

use super::{Machine, SANDBOX_GATEWAY, TOKEN, within_deadline};
use crate::support::free_port;

const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";

/// A machine of a platform with this configuration, and the sandbox of its mailboxes.
struct World {
    machine: Machine,
    /// `null`: no user has the machine.
    config: Arc<Mutex<Value>>,
    sandbox: Sandbox,
    _serving: JoinSet<()>,
}

async fn answer(State(config): State<Arc<Mutex<Value>>>) -> Response {
    match config.lock().clone() {
        Value::Null => (StatusCode::GONE, [("x-postbell-sandbox-id", "sandbox-7")]).into_response(),
        config => Json(config).into_response(),
    }
}

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::start(free_port().await).await.unwrap();
        let config = Arc::new(Mutex::new(Value::Null));
        let listener = free_port().await;
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/api/controller/config", get(answer))
            .with_state(Arc::clone(&config));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut machine = Machine::new(SANDBOX_GATEWAY).await;
        let url = sandbox.url().to_owned();
        for (name, value) in [
            ("POSTBELL_CONTROLLER__PLATFORM_URL", &base),
            ("KILOCLAW_SANDBOX_ID", &"sandbox-7".to_owned()),
            ("POSTBELL_GOOGLE__TOKEN_URL", &format!("{url}/token")),
            ("POSTBELL_GOOGLE__GMAIL_URL", &url),
            ("POSTBELL_GOOGLE__PUBSUB_URL", &url),
        ] {
            machine.set(name, value);
        }
        Self {
            machine,
            config,
            sandbox,
            _serving: serving,
        }
    }

    async fn account(&self, email: &str) -> Value {
        let url = format!("{}/sandbox/mailboxes/{email}/tarball", self.sandbox.url());
        let tarball = self.machine.client.post(url).send().await.unwrap();
        let tarball = tarball.text().await.unwrap();
        json!({
            "email": email, "gogConfigTarball": tarball, "lastHistoryId": null,
            "gmailNotificationsEnabled": true,
        })
    }

    fn set(&self, ann: &Value, further: &[&Value]) {
        *self.config.lock() = json!({
            "account": ann, "gmailNotificationsEnabled": true, "furtherAccounts": further,
        });
    }

    async fn reload(&self) {
        let url = self.machine.url("/_kilo/reload");
        let reload = self.machine.client.post(url).bearer_auth(TOKEN);
        let reload = reload.send().await.unwrap();
        assert_eq!(reload.status(), StatusCode::OK);
    }

    fn deliver(&self, email: &str, subject: &str) -> u64 {
        let mail = format!("From: b@example.org\nSubject: {subject}\n\nhello");
        let delivered = self.sandbox.gmail().deliver(email, mail.as_bytes());
        delivered.unwrap().history_id
    }

    /// Pushes a notification, and returns the status and the problem.
    async fn push(&self, email: &str, history_id: u64) -> (u16, Value) {
        let data = json!({ "emailAddress": email, "historyId": history_id }).to_string();
        let data = BASE64_STANDARD.encode(data);
        let body = json!({ "message": { "data": data, "messageId": history_id.to_string() } });
        let push = self
            .machine
            .client
            .post(self.machine.url("/_kilo/gmail-pubsub"));
        let pushed = push.bearer_auth(TOKEN).json(&body).send().await.unwrap();
        let status = pushed.status().as_u16();
        let body: Value = pushed.json().await.unwrap_or_default();
        (status, body["problem"].clone())
    }

    /// Delivers a mail, and pushes its notification until it is taken, as a relay does.
    async fn arrives(&self, email: &str, subject: &str) {
        let history_id = self.deliver(email, subject);
        within_deadline(async {
            while self.push(email, history_id).await.0 >= 300 {
                yield_now().await;
            }
        })
        .await;
        let expected = (email.to_owned(), subject.to_owned());
        assert!(
            self.machine.received().await.contains(&expected),
            "{expected:?}"
        );
    }

    async fn watcher(&self) -> Value {
        self.machine.get("/_kilo/version").await.unwrap()["watcher"].clone()
    }
}

#[tokio::test]
async fn accounts_come_and_go_beside_one_whose_watcher_runs_on() {
    let world = World::new().await;
    let ann = world.account(ANN).await;
    world.set(&ann, &[]);
    let controller = world.machine.start();
    world.machine.is("ready").await;
    world.arrives(ANN, "ann 1").await;
    let pid = world.watcher().await["pid"].clone();
    let unknown = world.deliver(BOB, "too early");
    assert_eq!(world.push(BOB, unknown).await, (500, json!("not_watched")));

    let bob = world.account(BOB).await;
    world.set(&ann, &[&bob]);
    world.reload().await;
    world.arrives(BOB, "bob 1").await;
    world.arrives(ANN, "ann 2").await;
    let watcher = world.watcher().await;
    assert_eq!(watcher["pid"], pid, "{watcher}");
    assert_eq!(watcher["accounts"][0]["email"], BOB);

    // New credentials.
    let bob = world.account(BOB).await;
    world.set(&ann, &[&bob]);
    world.reload().await;
    world.arrives(BOB, "bob 2").await;
    assert_eq!(world.watcher().await["pid"], pid);

    *world.config.lock() = Value::Null;
    world.reload().await;
    assert_eq!(world.watcher().await, Value::Null);
    let config = world.machine.home.path().join(".config");
    assert!(!config.join("gogcli/keyring").exists());
    let log = world.machine.log();
    // The sandbox, which is the gateway here, names its mailboxes.
    let mut ours = log.lines().filter(|line| !line.contains("gateway: "));
    let named = ours.find(|line| line.contains(BOB) || line.contains(ANN));
    assert_eq!(named, None);
    let accounts = fs::read_dir(config.join(".postbell-accounts")).unwrap();
    for account in accounts {
        assert!(!account.unwrap().path().join("gogcli/keyring").exists());
    }
    assert_eq!(controller.terminate().await, Some(0));
}
