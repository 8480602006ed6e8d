//! `postbell watch` as its user runs it, against the sandbox.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_core::{Clock, SystemClock};
use postbell_google::{AuthorizedUser, PubSubAdmin, TokenSource};
use postbell_sandbox::{FaultPoint, Frequency, Hook, IdTokenClaims, Kind, PROJECT, Sandbox};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use url::Url;

use crate::support::{ServiceProcess, free_port, run};

pub(crate) const EMAIL: &str = "ann@example.com";
pub(crate) const TOKEN: &str = "the-watchers-token";
pub(crate) const SUBSCRIPTION: &str = "projects/sandbox-project/subscriptions/gmail-pull";

/// How long something may take to come before the test fails. Nothing is measured by it.
const DEADLOCK: Duration = Duration::from_secs(60);

/// A mailbox at the sandbox, and a user's home.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) home: TempDir,
    pub(crate) hooks: UnboundedReceiver<Hook>,
    pub(crate) topic: String,
    pub(crate) admin: PubSubAdmin,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(EMAIL).await
    }

    /// A world whose credentials are those of this mailbox.
    pub(crate) async fn of(email: &str) -> Self {
        let sandbox = Sandbox::start(free_port().await).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let grant = serde_json::to_value(sandbox.oauth().grant(email)).unwrap();
        std::fs::write(home.path().join("google.json"), grant.to_string()).unwrap();
        let topic = format!("projects/{PROJECT}/topics/gmail");
        let user: AuthorizedUser = serde_json::from_value(grant).unwrap();
        let base = Url::parse(sandbox.url()).unwrap();
        let token_url = base.join("/token").unwrap();
        let clock = Arc::new(SystemClock::new());
        let tokens = TokenSource::new(Client::new(), token_url, user, clock);
        let tokens = Arc::new(tokens);
        let admin = PubSubAdmin::new(Client::new(), base.clone(), Arc::clone(&tokens));
        admin.create_topic(&topic).await.unwrap();
        admin.allow_gmail(&topic).await.unwrap();
        let token = tokens.access_token().await.unwrap();
        let subscription = Client::new()
            .put(format!("{base}v1/{SUBSCRIPTION}"))
            .bearer_auth(secrecy::ExposeSecret::expose_secret(&token))
            .json(&json!({ "topic": topic }));
        assert_eq!(subscription.send().await.unwrap().status(), StatusCode::OK);
        let hooks = sandbox.bot().subscribe();
        Self {
            sandbox,
            home,
            hooks,
            topic,
            admin,
        }
    }

    /// A world whose mailbox is watched.
    pub(crate) async fn watched() -> Self {
        let world = Self::new().await;
        let hook_url = world.sandbox.bot().hook_url();
        let topic = world.topic.clone();
        let arguments = ["start", "--topic", &topic, "--hook-url", &hook_url];
        let (code, _, stderr) = world.run(&arguments).await;
        assert_eq!(code, Some(0), "{stderr}");
        world
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let url = self.sandbox.url();
        let google = self.home.path().join("google.json");
        [
            ("HOME", self.home.path().display().to_string()),
            ("GOG_ACCOUNT", EMAIL.to_owned()),
            (
                "POSTBELL_GOOGLE__CREDENTIALS_FILE",
                google.display().to_string(),
            ),
            ("POSTBELL_GOOGLE__TOKEN_URL", format!("{url}/token")),
            ("POSTBELL_GOOGLE__GMAIL_URL", url.to_owned()),
            ("POSTBELL_GOOGLE__PUBSUB_URL", url.to_owned()),
            (
                "POSTBELL_GOOGLE__JWKS_URL",
                format!("{url}/oauth2/v3/certs"),
            ),
            ("POSTBELL_WATCH_TOKEN", TOKEN.to_owned()),
            (
                "POSTBELL_WATCH_HOOK_TOKEN",
                self.sandbox.bot().token().to_owned(),
            ),
        ]
        .to_vec()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .arg("watch")
            .args(arguments)
            .current_dir(self.home.path());
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.command(arguments);
        run(command.env_clear().envs(self.variables())).await
    }

    /// Starts a watcher that works until it is stopped.
    pub(crate) async fn service(&self, arguments: &[&str]) -> ServiceProcess {
        let hook_url = self.sandbox.bot().hook_url();
        let mut command = self.command(arguments);
        command.args(["--hook-url", &hook_url]);
        ServiceProcess::run(command, &self.variables(), "The watcher is running").await
    }

    pub(crate) fn deliver(&self) -> String {
        let mail = b"From: b@example.org\nSubject: hi\n\nhello";
        self.sandbox
            .gmail()
            .deliver(EMAIL, mail)
            .unwrap()
            .message_id
    }

    pub(crate) async fn next_hook(&mut self) -> Hook {
        timeout(DEADLOCK, self.hooks.recv()).await.unwrap().unwrap()
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        let below_home = ".config/gogcli/state/gmail-watch/ann_example_com.json";
        self.home.path().join(below_home)
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.state_file()).unwrap()).unwrap()
    }
}

pub(crate) fn ids(hook: &Hook) -> Vec<String> {
    let messages = hook.body["messages"].as_array().unwrap().iter();
    messages
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) async fn push(address: SocketAddr, history_id: u64) -> StatusCode {
    push_for(address, EMAIL, history_id).await
}

/// Pushes a notification that names a mailbox.
pub(crate) async fn push_for(address: SocketAddr, email: &str, history_id: u64) -> StatusCode {
    let data = json!({ "emailAddress": email, "historyId": history_id }).to_string();
    let body = json!({ "message": { "data": BASE64_STANDARD.encode(data), "messageId": "1" } });
    let push = Client::new()
        .post(format!("http://{address}/gmail-pubsub"))
        .header("x-gog-token", TOKEN)
        .json(&body);
    push.send().await.unwrap().status()
}

/// A port that was free a moment ago.
pub(crate) async fn port() -> SocketAddr {
    free_port().await.local_addr().unwrap()
}

#[tokio::test]
async fn a_watch_is_started_shown_renewed_and_stopped_as_with_gog() {
    let world = World::watched().await;
    let state = world.state();
    assert_eq!(state["account"], EMAIL);
    assert_eq!(state["topic"], world.topic);
    assert!(state["historyId"].is_string() && state["expirationMs"].is_i64());

    let (code, shown, _) = world.run(&["status"]).await;
    assert_eq!(code, Some(1), "no watcher runs");
    assert!(
        shown.contains(&format!("topic\t{}", world.topic)),
        "{shown}"
    );
    let (_, shown, _) = world.run(&["status", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["watch"]["historyId"], state["historyId"]);

    assert_eq!(world.run(&["renew"]).await.0, Some(0));
    assert_eq!(world.state()["historyId"], state["historyId"]);
    assert_eq!(world.run(&["stop"]).await.0, Some(0));
    assert!(!world.state_file().exists());
    let (code, _, stderr) = world.run(&["status"]).await;
    assert_eq!(code, Some(78));
    assert!(stderr.contains("postbell watch start"), "{stderr}");
}

#[tokio::test]
async fn a_watch_whose_credentials_are_gone_can_be_forgotten() {
    let world = World::watched().await;
    let stop = async || {
        let mut command = world.command(&["stop"]);
        command.env_clear().envs(world.variables());
        command.env_remove("POSTBELL_GOOGLE__CREDENTIALS_FILE");
        let (code, _, stderr) = run(&mut command).await;
        (code, stderr)
    };
    let (code, stderr) = stop().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("within seven days"), "{stderr}");
    assert!(!world.state_file().exists());
    let (code, stderr) = stop().await;
    assert_eq!(code, Some(78));
    assert!(stderr.contains("google.credentials_file"), "{stderr}");
}

#[tokio::test]
async fn a_push_brings_the_mail_and_no_secret_is_in_a_process_list_or_status() {
    let mut world = World::watched().await;
    let address = port().await;
    let port = address.port().to_string();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let watcher = world
        .service(&[
            "serve",
            "--port",
            &port,
            "--save-hook",
            "--hook-secret",
            secret,
        ])
        .await;
    let sent = world.deliver();
    // The look with which a watcher begins may have found it first.
    assert!(push(address, u64::MAX).await.is_success());
    let hook = world.next_hook().await;
    assert_eq!(ids(&hook), [sent]);
    assert!(hook.signature.unwrap().starts_with("v1,"));

    assert!(!watcher.command_line().contains(TOKEN));
    let (_, shown, _) = world.run(&["status", "--json"]).await;
    assert!(!shown.contains(world.sandbox.bot().token()), "{shown}");
    assert_eq!(watcher.terminate().await, Some(0));
    assert_eq!(world.state()["hook"]["token"], world.sandbox.bot().token());
}

#[tokio::test]
async fn a_watcher_that_pulls_needs_no_endpoint() {
    let mut world = World::watched().await;
    let watcher = world
        .service(&["pull", "--subscription", SUBSCRIPTION])
        .await;
    let first = world.deliver();
    assert_eq!(ids(&world.next_hook().await), [first]);
    // What failed is given back, and comes again.
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(503), Frequency::Times(1));
    let second = world.deliver();
    assert_eq!(ids(&world.next_hook().await), [second]);
    timeout(DEADLOCK, world.sandbox.pubsub().drained(SUBSCRIPTION))
        .await
        .unwrap();
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn killed_between_hook_and_save_it_repeats_one_hook_under_the_same_key() {
    let mut world = World::watched().await;
    let address = port().await;
    let port = address.port().to_string();
    let watcher = world.service(&["serve", "--port", &port]).await;
    let faults = world.sandbox.faults();
    // The bot takes each hook, and the watcher never hears of it.
    faults.add(FaultPoint::Hook, Kind::DropAfter, Frequency::Always);
    let first = world.deliver();
    assert_eq!(push(address, u64::MAX).await, StatusCode::BAD_GATEWAY);
    let before = world.next_hook().await;
    watcher.kill().await;
    while let Ok(repeated) = world.hooks.try_recv() {
        assert_eq!(repeated.idempotency_key, before.idempotency_key);
    }

    world.sandbox.faults().clear();
    let second = world.deliver();
    let watcher = world.service(&["serve", "--port", &port]).await;
    let (again, after) = (world.next_hook().await, world.next_hook().await);
    assert_eq!(ids(&again), [first]);
    assert_eq!(again.idempotency_key, before.idempotency_key);
    assert_eq!(ids(&after), [second]);
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn a_dead_grant_is_in_status_and_exit_code() {
    let world = World::watched().await;
    world.sandbox.oauth().revoke(EMAIL);
    let (code, _, stderr) = world.run(&["renew"]).await;
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("connect the google account again"),
        "{stderr}"
    );
    let (code, shown, _) = world.run(&["status"]).await;
    assert_eq!(code, Some(1));
    assert!(shown.contains("reconnect Google"), "{shown}");
}

#[tokio::test]
async fn a_second_watcher_and_a_taken_port_are_said_once_and_clearly() {
    let world = World::watched().await;
    let taken = free_port().await;
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, stderr) = world.run(&["serve", "--port", &port]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("the address is in use"), "{stderr}");
    drop(taken);

    let watcher = world.service(&["serve", "--port", &port]).await;
    for arguments in [
        &["serve", "--port", "0"][..],
        &["renew", "--ttl", "1h"],
        &["stop"],
    ] {
        let (code, _, stderr) = world.run(arguments).await;
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(
            stderr.contains("another watcher runs for this account"),
            "{stderr}"
        );
    }
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn a_webhook_that_answers_410_ends_the_watcher() {
    let world = World::watched().await;
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(410), Frequency::Always);
    world.deliver();
    let watcher = world.service(&["serve", "--port", "0"]).await;
    assert_eq!(timeout(DEADLOCK, watcher.ended()).await.unwrap(), Some(1));
    let (_, shown, _) = world.run(&["status"]).await;
    assert!(shown.contains("the bot takes no more mail"), "{shown}");
}

#[tokio::test]
async fn serve_needs_a_token_or_oidc() {
    let world = World::watched().await;
    let mut command = world.command(&["serve", "--port", "0"]);
    let variables = world.variables().into_iter();
    let variables = variables.filter(|(name, _)| *name != "POSTBELL_WATCH_TOKEN");
    let output = command.env_clear().envs(variables).output().await.unwrap();
    assert_eq!(output.status.code(), Some(78));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("--token") && stderr.contains("--verify-oidc"),
        "{stderr}"
    );
}

#[tokio::test]
async fn googles_token_opens_where_it_is_for_this_endpoint_and_of_this_account() {
    const ACCOUNT: &str = "push@sandbox-project.iam.gserviceaccount.com";
    const AUDIENCE: &str = "https://push.example.com/gmail-pubsub";

    let world = World::watched().await;
    let address = port().await;
    let port = address.port().to_string();
    let oidc = [
        "--verify-oidc",
        "--oidc-email",
        ACCOUNT,
        "--oidc-audience",
        AUDIENCE,
    ];
    let arguments = [&["serve", "--port", &port], &oidc[..]].concat();
    let watcher = world.service(&arguments).await;
    let now = SystemClock::new().now().as_secs();
    for (account, audience, expected) in [
        (ACCOUNT, AUDIENCE, StatusCode::ACCEPTED),
        (
            "eve@evil.iam.gserviceaccount.com",
            AUDIENCE,
            StatusCode::UNAUTHORIZED,
        ),
        (
            ACCOUNT,
            "https://other.example.com/",
            StatusCode::UNAUTHORIZED,
        ),
    ] {
        let claims = IdTokenClaims::of(account, audience, now);
        let token = world.sandbox.oauth().id_token(&claims);
        let data = json!({ "emailAddress": "bob@example.com", "historyId": 1 }).to_string();
        let push = Client::new()
            .post(format!("http://{address}/gmail-pubsub"))
            .bearer_auth(token)
            .json(&json!({ "message": { "data": BASE64_STANDARD.encode(data) } }));
        assert_eq!(push.send().await.unwrap().status(), expected, "{account}");
    }
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn a_label_is_named_as_people_see_it_or_by_its_id() {
    let world = World::new().await;
    let start = |label| ["start", "--topic", &world.topic, "--label", label];
    assert_eq!(world.run(&start("inbox")).await.0, Some(0));
    assert_eq!(world.state()["labels"], json!(["INBOX"]));
    let (code, _, stderr) = world.run(&start("Holidays")).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("Holidays"), "{stderr}");
}

#[tokio::test]
async fn a_service_account_opens_the_mailbox_that_it_may_act_for() {
    let world = World::new().await;
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pem = |what: &str, der: &[u8]| {
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
    };
    let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
    let public = aws_lc_rs::signature::KeyPair::public_key(&key);
    let public = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(public).unwrap();
    let file = json!({
        "type": "service_account",
        "client_email": "bot@sandbox-project.iam.gserviceaccount.com",
        "private_key": pem("PRIVATE KEY", private.as_ref()),
    });
    write(&world.home.path().join("google.json"), &file);
    let refused = world.run(&["start", "--topic", &world.topic]).await;
    assert_eq!(refused.0, Some(1));
    assert!(refused.2.contains("domain-wide"), "{}", refused.2);

    let oauth = world.sandbox.oauth();
    let public = pem("PUBLIC KEY", public.as_ref());
    oauth.add_service_account("bot@sandbox-project.iam.gserviceaccount.com", &public);
    let (code, _, stderr) = world.run(&["start", "--topic", &world.topic]).await;
    assert_eq!(code, Some(0), "{stderr}");
}

fn write(file: &Path, content: &Value) {
    std::fs::write(file, content.to_string()).unwrap();
}
