//! Google, relay, platform and machines.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::SystemClock;
use postbell_google::{AuthorizedUser, PubSubAdmin, PushSubscription, TokenSource};
use postbell_sandbox::{FaultPoint, Frequency, Kind, PROJECT, Reason, Sandbox};
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use url::Url;

use super::bot::POISON;
use super::machine::{Machine, Sent, own_port};
use crate::support::{DEADLOCK, free_port, google_variables};

const API_KEY: &str = "the key of the soak";
const KEY: &str = include_str!("../../../../postbell-protocol/fixtures/key.pem");
const ENVELOPE: &str = include_str!("../../../../postbell-protocol/fixtures/envelope.json");
const PUSH_ACCOUNT: &str = "gmail-push@sandbox-project.iam.gserviceaccount.com";
const AUDIENCE: &str = "https://push.example.com";

/// One mail in so many is refused by the bot for good, or by Gmail.
const ONE_IN: usize = 50;

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) machines: Vec<Machine>,
    relay: Option<Child>,
    platform: Option<Child>,
    variables: Vec<(&'static str, String)>,
    ports: [u16; 2],
    mails: usize,
    struck: BTreeMap<String, usize>,
    folder: TempDir,
}

impl World {
    pub(crate) async fn start(mailboxes: usize) -> Self {
        let sandbox = Sandbox::start(free_port().await).await.unwrap();
        sandbox.pubsub().repeat_within(Duration::from_millis(500));
        let ports = [own_port().await, own_port().await];
        let folder = tempfile::tempdir().unwrap();
        let mut world = Self {
            variables: variables(&sandbox, &folder, ports),
            sandbox,
            machines: Vec::new(),
            relay: None,
            platform: None,
            ports,
            mails: 0,
            struck: BTreeMap::new(),
            folder,
        };
        world.ensure_running();
        world.answers(ports[1], "/health").await;
        world.answers(ports[0], "/ready").await;
        for number in 0..mailboxes {
            world.add_user(format!("u{number}")).await;
        }
        world.subscribe().await;
        for machine in &mut world.machines {
            machine.start();
        }
        for machine in &world.machines {
            world.answers(machine.port, "/_kilo/health").await;
        }
        world
    }

    /// Waits until a server answers.
    async fn answers(&self, port: u16, path: &str) {
        let client = Client::new();
        let url = format!("http://127.0.0.1:{port}{path}");
        let answered = async {
            while !matches!(client.get(&url).send().await, Ok(it) if it.status().is_success()) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLOCK, answered).await.expect(path);
    }

    async fn add_user(&mut self, user: String) {
        let [_, platform] = self.ports;
        let url = format!("http://127.0.0.1:{platform}");
        let checkin = format!("{url}/api/controller/checkin");
        let machine = Machine::new(&self.sandbox, user.clone(), &checkin).await;
        let address = format!("http://127.0.0.1:{}", machine.port);
        let added = Command::new(env!("CARGO_BIN_EXE_postbell"))
            .args(["users", "add", &user, "--url", &address])
            .args(["--machine-status", "running"])
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output();
        let added = added.await.unwrap();
        assert!(added.status.success(), "{added:?}");
        let envelope: Value = serde_json::from_str(ENVELOPE).unwrap();
        let credentials = json!({
            "gogConfigTarball": envelope,
            "email": machine.email,
            "gmailPushOidcEmail": PUSH_ACCOUNT,
        });
        let connected = Client::new()
            .post(format!("{url}/api/platform/google-credentials"))
            .header("x-internal-api-key", API_KEY)
            .json(&json!({ "userId": user, "googleCredentials": credentials }))
            .send();
        assert_eq!(connected.await.unwrap().status(), 200);
        self.machines.push(machine);
    }

    /// Pushes the notifications of all mailboxes to the relay.
    async fn subscribe(&self) {
        let endpoint = format!("http://127.0.0.1:{}/push/gmail", self.ports[0]);
        let push = PushSubscription {
            topic: format!("projects/{PROJECT}/topics/gmail"),
            endpoint,
            audience: format!("{AUDIENCE}/push/gmail"),
            service_account: PUSH_ACCOUNT.to_owned(),
        };
        let grant = self.sandbox.oauth().grant("admin@example.com");
        let user = serde_json::to_value(grant).unwrap();
        let user: AuthorizedUser = serde_json::from_value(user).unwrap();
        let base = Url::parse(self.sandbox.url()).unwrap();
        let token_url = base.join("/token").unwrap();
        let clock = Arc::new(SystemClock::new());
        let tokens = TokenSource::new(Client::new(), token_url, user, clock);
        let admin = PubSubAdmin::new(Client::new(), base, Arc::new(tokens));
        let name = format!("projects/{PROJECT}/subscriptions/gmail-push");
        admin.create_push_subscription(&name, &push).await.unwrap();
    }

    /// Sends one to three mails to a mailbox.
    pub(crate) fn send_mails(&mut self) {
        let chosen = fastrand::usize(0..self.machines.len());
        let machine = &mut self.machines[chosen];
        for _ in 0..fastrand::usize(1..4) {
            self.mails += 1;
            let trouble = fastrand::usize(0..ONE_IN * 2);
            let word = if trouble < 2 { POISON } else { "mail" };
            let mail = format!("From: a@b.example\nSubject: {word} {}\n\nhello", self.mails);
            let delivered = self
                .sandbox
                .gmail()
                .deliver(&machine.email, mail.as_bytes());
            let id = delivered.unwrap().message_id;
            if trouble == 2 {
                let kind = Kind::RefuseFor {
                    status: 400,
                    reason: Reason::FailedPrecondition,
                };
                let faults = self.sandbox.faults();
                faults.add_for(FaultPoint::GmailMessage, &id, kind, Frequency::Always);
            }
            machine.sent.push(Sent {
                id,
                is_bad: trouble <= 2,
            });
        }
    }

    /// Notes a fault for the summary.
    pub(crate) fn note(&mut self, fault: &str) {
        *self.struck.entry(fault.to_owned()).or_default() += 1;
    }

    pub(crate) fn faults_shown(&self) -> String {
        format!("{:?}", self.struck)
    }

    pub(crate) async fn kill_relay(&mut self) {
        if let Some(mut relay) = self.relay.take() {
            relay.kill().await.unwrap();
        }
    }

    pub(crate) async fn kill_platform(&mut self) {
        if let Some(mut platform) = self.platform.take() {
            platform.kill().await.unwrap();
        }
    }

    /// Starts the servers and controllers that do not run.
    pub(crate) fn ensure_running(&mut self) {
        let is_gone = |it: &mut Option<Child>| {
            it.as_mut()
                .is_none_or(|it| it.try_wait().unwrap().is_some())
        };
        if is_gone(&mut self.platform) {
            self.platform = Some(self.spawn("platform"));
        }
        if is_gone(&mut self.relay) {
            self.relay = Some(self.spawn("relay"));
        }
        for machine in &mut self.machines {
            machine.ensure_running();
        }
    }

    fn spawn(&self, command: &str) -> Child {
        let log = self.folder.path().join(format!("{command}.log"));
        let log = File::options().create(true).append(true).open(log);
        Command::new(env!("CARGO_BIN_EXE_postbell"))
            .arg(command)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Ends all faults but those of single messages, and starts what was killed.
    pub(crate) async fn calm_down(&mut self) {
        let of_messages: Vec<_> = self.sandbox.faults().list();
        self.sandbox.faults().clear();
        for fault in of_messages {
            if let Some(id) = &fault.id {
                let faults = self.sandbox.faults();
                faults.add_for(fault.at, id, fault.kind, fault.frequency);
            }
        }
        for machine in &self.machines {
            machine.bot.set_trouble(0);
        }
        self.ensure_running();
        self.answers(self.ports[0], "/ready").await;
    }

    pub(crate) async fn stop(mut self) {
        for machine in &mut self.machines {
            machine.kill().await;
        }
        self.kill_relay().await;
        self.kill_platform().await;
        self.sandbox.stop().await;
    }
}

fn variables(
    sandbox: &Sandbox,
    folder: &TempDir,
    [relay, platform]: [u16; 2],
) -> Vec<(&'static str, String)> {
    let store = |name: &str| format!("sqlite:{}/{name}.db", folder.path().display());
    let mut variables = google_variables(sandbox.url());
    variables.extend([
        (
            "POSTBELL_GOOGLE__JWKS_URL",
            format!("{}/oauth2/v3/certs", sandbox.url()),
        ),
        ("POSTBELL_RELAY__LISTEN", format!("127.0.0.1:{relay}")),
        ("POSTBELL_RELAY__AUDIENCE", AUDIENCE.to_owned()),
        ("POSTBELL_RELAY__INBOX", store("relay")),
        ("POSTBELL_RELAY__RETRY__ATTEMPTS", "100000".to_owned()),
        ("POSTBELL_RELAY__RETRY__FIRST", "1s".to_owned()),
        ("POSTBELL_RELAY__RETRY__FACTOR", "1.2".to_owned()),
        (
            "POSTBELL_DIRECTORY__URL",
            format!("http://127.0.0.1:{platform}"),
        ),
        ("POSTBELL_DIRECTORY__API_KEY", API_KEY.to_owned()),
        ("POSTBELL_PLATFORM__LISTEN", format!("127.0.0.1:{platform}")),
        ("POSTBELL_PLATFORM__STORE", store("platform")),
        ("POSTBELL_PLATFORM__API_KEY", API_KEY.to_owned()),
        (
            "POSTBELL_PLATFORM__GATEWAY_SECRET",
            sandbox.platform().gateway_secret().to_owned(),
        ),
        ("POSTBELL_PLATFORM__PRIVATE_KEY", KEY.to_owned()),
        (
            "POSTBELL_PLATFORM__RELAY_URLS",
            format!("[\"http://127.0.0.1:{relay}\"]"),
        ),
    ]);
    variables
}
