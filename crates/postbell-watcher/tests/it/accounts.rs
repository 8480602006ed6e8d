//! The accounts of a machine: each with a watcher that starts and ends without the others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use postbell_core::{BoxError, SystemClock, Tasks};
use postbell_protocol::watched_accounts::WatchedAccount;
use postbell_sandbox::Sandbox;
use postbell_watcher::{Accounts, OpenAccount, PushAuth, Watcher};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::yield_now;

use crate::world::{Limits, TOKEN, watcher};

/// Opens watchers of the sandbox's mailboxes, except those that the test has broken.
#[derive(Clone)]
struct Opener(Arc<Inner>);

struct Inner {
    sandbox: Sandbox,
    folder: TempDir,
    broken: Mutex<Vec<String>>,
    /// The names of the accounts in the order in which they were opened, with their tasks.
    opened: Mutex<Vec<(String, Tasks)>>,
}

#[async_trait]
impl OpenAccount for Opener {
    async fn open(&self, account: &WatchedAccount, tasks: &Tasks) -> Result<Watcher, BoxError> {
        if self.0.broken.lock().contains(&account.email) {
            return Err("it is broken".into());
        }
        let opened = watcher(
            &self.0.sandbox,
            &account.email,
            self.0.folder.path(),
            &|_| (),
            &Limits::none(),
        );
        let sync = Arc::clone(&opened.sync);
        tasks.start("sync", |stop| sync.run(stop));
        let named = (name(&account.email).to_owned(), tasks.clone());
        self.0.opened.lock().push(named);
        Ok(opened)
    }
}

/// Accounts with a server.
struct Machine {
    opener: Opener,
    url: String,
    client: Client,
    tasks: Tasks,
}

fn name(email: &str) -> &str {
    email.split('@').next().unwrap()
}

/// An account by its name, with `-` before that of a paused one.
fn account(name: &str) -> WatchedAccount {
    WatchedAccount {
        email: format!("{}@example.com", name.trim_start_matches('-')),
        name: name.trim_start_matches('-').to_owned(),
        is_paused: name.starts_with('-'),
    }
}

impl Machine {
    async fn new(accounts: &[&str], broken: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let opener = Opener(Arc::new(Inner {
            sandbox: Sandbox::start(listener).await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
            broken: Mutex::new(broken.iter().map(|name| account(name).email).collect()),
            opened: Mutex::default(),
        }));
        let accounts = accounts.iter().map(|name| account(name)).collect();
        let auth = PushAuth::with_token(TOKEN.into());
        let clock = Arc::new(SystemClock::new());
        let opened = Accounts::open(opener.clone(), accounts, auth, clock, || 0.5);
        let (accounts, routes) = opened.await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = routes.router("/gmail-pubsub");
        let tasks = Tasks::new();
        tasks.start("accounts", |stop| accounts.run(stop));
        tasks.start("server", |stop| async move {
            let serving = axum::serve(listener, router);
            let serving = serving.with_graceful_shutdown(stop.cancelled_owned());
            serving.await.unwrap();
        });
        Self {
            opener,
            url,
            client: Client::new(),
            tasks,
        }
    }

    /// A notification of a new mail.
    fn push(&self, name: &str) -> RequestBuilder {
        let email = account(name).email;
        let gmail = self.opener.0.sandbox.gmail();
        let delivered = gmail.deliver(&email, b"Subject: hi\n\nhello").unwrap();
        let data = json!({ "emailAddress": email, "historyId": delivered.history_id });
        let data = BASE64_STANDARD.encode(data.to_string());
        let body = json!({ "message": { "data": data, "messageId": "m1" } });
        let push = self.client.post(format!("{}/gmail-pubsub", self.url));
        push.header("x-gog-token", TOKEN).json(&body)
    }

    async fn watch(&self, accounts: &[&str]) {
        let accounts: Vec<_> = accounts.iter().map(|name| account(name)).collect();
        let put = self.client.put(format!("{}/accounts", self.url));
        let put = put.header("x-gog-token", TOKEN).json(&accounts);
        assert_eq!(answer(put).await.0, StatusCode::OK);
    }

    /// Whether monitoring says that the account has no watcher. (No watch of Gmail was started for any of them.)
    async fn is_unwatched(&self, name: &str) -> bool {
        let ready = answer(self.client.get(format!("{}/ready", self.url)));
        let (_, ready) = ready.await;
        let problems = ready["problems"].as_array().cloned().unwrap_or_default();
        let is_its = |it: &Value| it["mailbox"] == name && it["code"] == "unknown";
        problems.iter().any(is_its)
    }

    fn opened(&self) -> Vec<String> {
        let opened = self.opener.0.opened.lock();
        opened.iter().map(|(name, _)| name.clone()).collect()
    }

    async fn stop(self) {
        self.tasks.stop(Duration::from_secs(60)).await.unwrap();
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_change_of_one_account_leaves_the_others_alone() {
    let machine = Machine::new(&["ann", "bob"], &[]).await;
    for name in ["ann", "bob"] {
        assert_eq!(answer(machine.push(name)).await.0, StatusCode::OK, "{name}");
    }
    let (status, body) = answer(machine.push("cid")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["problem"], "not_watched");

    machine.watch(&["ann", "cid"]).await;
    assert_eq!(answer(machine.push("cid")).await.0, StatusCode::OK);
    assert_eq!(answer(machine.push("ann")).await.0, StatusCode::OK);
    let (status, _) = answer(machine.push("bob")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(machine.opened(), ["ann", "bob", "cid"], "Ann's runs on");
    machine.watch(&[]).await;
    let (status, _) = answer(machine.push("ann")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    machine.stop().await;
}

/// It could have the mailbox under another address, and cannot find out.
#[tokio::test]
async fn an_account_without_a_grant_does_not_answer_for_one_that_is_not_watched_yet() {
    let machine = Machine::new(&["ann"], &[]).await;
    machine.opener.0.sandbox.oauth().revoke("ann@example.com");
    let (status, body) = answer(machine.push("bob")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["problem"], "not_watched", "{body}");
    let (status, _) = answer(machine.push("ann")).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    machine.stop().await;
}

#[tokio::test]
async fn a_push_waits_while_the_credentials_of_its_account_are_replaced() {
    let machine = Machine::new(&["ann", "-bob"], &[]).await;
    assert_eq!(machine.opened(), ["ann"]);
    let waiting = answer(machine.push("bob"));
    let unpaused = async {
        machine.watch(&["ann", "bob"]).await;
    };
    let ((status, _), ()) = tokio::join!(waiting, unpaused);
    assert_eq!(status, StatusCode::OK);
    machine.watch(&["-ann", "bob"]).await;
    machine.watch(&["ann", "bob"]).await;
    assert_eq!(answer(machine.push("ann")).await.0, StatusCode::OK);
    assert_eq!(machine.opened(), ["ann", "bob", "ann"]);
    machine.stop().await;
}

#[tokio::test]
async fn an_account_that_cannot_be_watched_is_named_and_tried_again() {
    let machine = Machine::new(&["ann", "bob"], &["bob"]).await;
    assert!(machine.is_unwatched("bob").await && !machine.is_unwatched("ann").await);
    assert_eq!(answer(machine.push("ann")).await.0, StatusCode::OK);
    let (status, _) = answer(machine.push("bob")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    machine.opener.0.broken.lock().clear();
    while machine.is_unwatched("bob").await {
        yield_now().await;
    }
    // As a task does that panics, or a webhook that is gone.
    let tasks = machine.opener.0.opened.lock()[0].1.clone();
    tasks.request_stop();
    while machine.opened().len() < 3 {
        yield_now().await;
    }
    assert_eq!(machine.opened(), ["ann", "bob", "ann"]);
    machine.stop().await;
}

#[tokio::test]
async fn only_the_controller_changes_accounts() {
    let machine = Machine::new(&["ann"], &[]).await;
    let put = |token: &str| {
        let put = machine.client.put(format!("{}/accounts", machine.url));
        put.header("x-gog-token", token)
    };
    let (status, _) = answer(put("wrong").json(&json!([]))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) = answer(put(TOKEN).body("{")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer(machine.push("ann")).await.0, StatusCode::OK);
    machine.stop().await;
}
