//! Delivery of mail on the machine.

use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_sandbox::Sandbox;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

use super::{Machine, SANDBOX_GATEWAY, TOKEN, processes_of, until, within_deadline};
use crate::platform::OurPlatform;
use crate::support::free_port;

const EMAIL: &str = "ann@example.com";
const HOOKS_TOKEN: &str = "of-the-hooks";

impl Machine {
    /// Connects an account of the sandbox.
    async fn connect(&mut self, sandbox: &Sandbox) {
        let url = sandbox.url();
        let tarball = self
            .client
            .post(format!("{url}/sandbox/mailboxes/{EMAIL}/tarball"));
        let tarball = tarball.send().await.unwrap().text().await.unwrap();
        self.set("KILOCLAW_GOG_CONFIG_TARBALL", &tarball);
        self.set("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", EMAIL);
        self.set("POSTBELL_GOOGLE__TOKEN_URL", &format!("{url}/token"));
        self.set("POSTBELL_GOOGLE__GMAIL_URL", url);
        self.set("POSTBELL_GOOGLE__PUBSUB_URL", url);
    }

    /// Sends a push as a relay does, with retries. Afterwards the watcher has delivered all mail.
    async fn push(&self, history_id: u64) {
        let is_taken =
            |status: &StatusCode| [StatusCode::OK, StatusCode::ACCEPTED].contains(status);
        within_deadline(async {
            while self
                .push_once(history_id)
                .await
                .is_none_or(|status| !is_taken(&status))
            {
                yield_now().await;
            }
        })
        .await;
    }

    async fn push_once(&self, history_id: u64) -> Option<StatusCode> {
        let data = json!({ "emailAddress": EMAIL, "historyId": history_id }).to_string();
        let data = BASE64_STANDARD.encode(data);
        let body = json!({ "message": { "data": data, "messageId": history_id.to_string() } });
        let push = self
            .client
            .post(self.url("/_kilo/gmail-pubsub"))
            .bearer_auth(TOKEN);
        Some(push.json(&body).send().await.ok()?.status())
    }

    /// Waits until the controller reports this problem with mail, or none.
    async fn reports(&self, code: Option<&str>) {
        let mail = code.map_or("ok", |_| "problem");
        within_deadline(async {
            loop {
                let health = self.get("/_kilo/health").await.unwrap_or_default();
                let version = self.get("/_kilo/version").await.unwrap_or_default();
                let reported = version["watcher"]["problem"]["code"].as_str();
                if health["mail"] == mail && reported == code {
                    return;
                }
                yield_now().await;
            }
        })
        .await;
    }

    /// Returns the subjects that the bot has received.
    async fn subjects(&self) -> Vec<String> {
        let hooks = self.get("/sandbox/hooks").await.unwrap_or_default();
        let hooks = hooks["hooks"].as_array().cloned().unwrap_or_default();
        let messages = hooks
            .iter()
            .flat_map(|hook| hook["body"]["messages"].as_array().cloned());
        let subjects = messages
            .flatten()
            .map(|message| message["subject"].as_str().unwrap().to_owned());
        subjects.collect()
    }
}

fn deliver(sandbox: &Sandbox, subject: &str) -> u64 {
    let mail = format!("From: b@example.org\nSubject: {subject}\n\nhello");
    let delivered = sandbox.gmail().deliver(EMAIL, mail.as_bytes());
    delivered.unwrap().history_id
}

#[tokio::test]
async fn a_push_reaches_the_bot_through_controller_watcher_and_gateway() {
    let sandbox = Sandbox::start(free_port().await).await.unwrap();
    let mut machine = Machine::new(SANDBOX_GATEWAY).await;
    machine.connect(&sandbox).await;
    machine.set("KILOCLAW_HOOKS_TOKEN", HOOKS_TOKEN);
    let before = deliver(&sandbox, "before the start");
    let controller = machine.start();
    machine.push(before).await;
    assert_eq!(machine.subjects().await, ["before the start"]);
    let now = deliver(&sandbox, "after it");
    machine.push(now).await;
    assert_eq!(machine.subjects().await, ["before the start", "after it"]);

    let command_lines: Vec<_> = processes_of(machine.home.path())
        .iter()
        .map(|process| fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect();
    assert!(
        command_lines
            .iter()
            .any(|line| line.contains("watch\0serve")),
        "{command_lines:?}"
    );
    for secret in [TOKEN, HOOKS_TOKEN] {
        assert!(!command_lines.iter().any(|line| line.contains(secret)));
    }
    assert_eq!(controller.terminate().await, Some(0));
    for secret in [TOKEN, HOOKS_TOKEN] {
        assert!(!machine.log().contains(secret));
    }
    until(|| processes_of(machine.home.path()).is_empty()).await;
}

#[tokio::test]
async fn the_watchers_state_survives_a_restart_of_the_controller() {
    let sandbox = Sandbox::start(free_port().await).await.unwrap();
    let mut machine = Machine::new(SANDBOX_GATEWAY).await;
    machine.connect(&sandbox).await;
    let controller = machine.start();
    let first = deliver(&sandbox, "first");
    machine.push(first).await;
    controller.kill().await;

    let second = deliver(&sandbox, "second");
    let controller = machine.start();
    machine.push(second).await;
    assert_eq!(
        machine.subjects().await,
        ["second"],
        "the new gateway hears of no old mail"
    );
    assert_eq!(controller.terminate().await, Some(0));
}

/// Google revokes the grant of an app in testing every seven days. The new credentials begin at the present.
#[tokio::test]
async fn mail_of_the_time_without_a_grant_arrives_after_reconnecting() {
    for has_history_expired in [false, true] {
        let sandbox = Sandbox::start(free_port().await).await.unwrap();
        let mut machine = Machine::new(SANDBOX_GATEWAY).await;
        machine.connect(&sandbox).await;
        let controller = machine.start();
        let before = deliver(&sandbox, "before");
        machine.push(before).await;
        machine.set("KILOCLAW_GMAIL_LAST_HISTORY_ID", &before.to_string());
        let revoke = format!("{}/sandbox/mailboxes/{EMAIL}/revoke", sandbox.url());
        machine.client.post(revoke).send().await.unwrap();
        // The access token is gone with the process.
        assert_eq!(controller.terminate().await, Some(0));
        let controller = machine.start();
        machine.is("ready").await;
        let gap = ["gap 1", "gap 2"];
        for subject in gap {
            let history_id = deliver(&sandbox, subject);
            let status = machine.push_once(history_id).await.unwrap();
            assert!(status.is_server_error(), "{status}");
        }
        machine.reports(Some("grant_revoked")).await;
        if has_history_expired {
            sandbox.gmail().expire_history(EMAIL);
        }

        machine.connect(&sandbox).await;
        assert_eq!(controller.terminate().await, Some(0));
        let controller = machine.start();
        let after = deliver(&sandbox, "after");
        machine.push(after).await;
        let mut subjects = machine.subjects().await;
        subjects.sort();
        assert_eq!(
            subjects,
            ["after", "gap 1", "gap 2"],
            "{has_history_expired}"
        );
        machine.reports(None).await;
        assert_eq!(controller.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn mail_up_to_the_platforms_history_id_is_not_delivered_again() {
    let sandbox = Sandbox::start(free_port().await).await.unwrap();
    let mut machine = Machine::new(SANDBOX_GATEWAY).await;
    machine.connect(&sandbox).await;
    let delivered = deliver(&sandbox, "delivered by another machine");
    machine.set("KILOCLAW_GMAIL_LAST_HISTORY_ID", &delivered.to_string());
    let controller = machine.start();
    let new = deliver(&sandbox, "new");
    machine.push(new).await;
    assert_eq!(machine.subjects().await, ["new"]);
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn the_watch_expiry_is_on_the_page() {
    let ours = OurPlatform::new().await;
    let sandbox = &ours.world.sandbox;
    let service = ours.serve().await;
    ours.add_ada(&[]).await;
    ours.connect().await;
    let mut machine = Machine::new(SANDBOX_GATEWAY).await;
    machine.connect(sandbox).await;
    let token = sandbox.platform().gateway_token("ada");
    machine.set("OPENCLAW_GATEWAY_TOKEN", &token);
    machine.set("KILOCLAW_SANDBOX_ID", "ada");
    let checkin_url = ours.page("/api/controller/checkin");
    machine.set("KILOCLAW_CHECKIN_URL", &checkin_url);
    let controller = machine.start();
    let said = within_deadline(async {
        loop {
            match &ours.ada().await["watchExpiresAt"] {
                Value::Null => {}
                said => return said.clone(),
            }
        }
    });
    let said = said.await;
    let state = ".config/gogcli/state/gmail-watch/ann_example_com.json";
    let state = fs::read(machine.home.path().join(state)).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(said, state["expirationMs"]);
    let shown = ours.command(&["users", "show", "ada"]).await;
    let line = shown.lines().find(|line| line.starts_with("watch ends"));
    assert!(!line.unwrap().ends_with('-'), "{shown}");
    let page = ours.my_bot().await;
    assert!(page.contains("<dd>expires <time"), "{page}");
    assert_eq!(controller.terminate().await, Some(0));
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test]
async fn gog_is_called_if_it_is_configured() {
    let sandbox = Sandbox::start(free_port().await).await.unwrap();
    let mut machine = Machine::new("exec sleep 1000").await;
    machine.program(
        "gog",
        "echo $@ $GOG_ACCOUNT $GOG_KEYRING_BACKEND > $HOME/called; exec sleep 1000",
    );
    machine.connect(&sandbox).await;
    machine.set("POSTBELL_CONTROLLER__WATCHER", "gog");
    let controller = machine.start();
    let called = machine.written("called").await;
    assert!(called.starts_with("gmail watch serve --account ann@example.com --bind 127.0.0.1"));
    assert!(
        called.ends_with("--max-bytes 20000 ann@example.com file"),
        "{called}"
    );
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn a_websocket_is_forwarded_by_the_whole_process() {
    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut machine = Machine::new("exec sleep 1000").await;
    let port = gateway.local_addr().unwrap().port();
    machine.set("POSTBELL_CONTROLLER__GATEWAY_PORT", &port.to_string());
    let controller = machine.start();
    machine.is("ready").await;
    let handshake = "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let mut caller = TcpStream::connect(("127.0.0.1", machine.port))
        .await
        .unwrap();
    caller.write_all(handshake.as_bytes()).await.unwrap();
    let asked = within_deadline(async {
        loop {
            let (mut stream, _) = gateway.accept().await.unwrap();
            let mut head = vec![0; 4096];
            // The readiness probe sends nothing.
            let length = stream.read(&mut head).await.unwrap();
            if length > 0 {
                assert!(head.starts_with(b"GET /chat HTTP/1.1"));
                return stream;
            }
        }
    });
    let mut gateway = asked.await;
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    gateway.write_all(answer.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(caller.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let mut heard = [0; 4];
    caller.write_all(b"ping").await.unwrap();
    gateway.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"ping");
    gateway.write_all(b"pong").await.unwrap();
    caller.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"pong");
    assert_eq!(controller.terminate().await, Some(0));
}
