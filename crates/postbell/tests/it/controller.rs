//! `postbell controller` as a machine runs it: with a watcher of ours, a gateway that is a stand-in,
//! and a relay before it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use postbell_sandbox::Sandbox;
use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::yield_now;

use crate::support::free_port;

const EMAIL: &str = "ann@example.com";
const TOKEN: &str = "of-the-gateway";

/// A gateway that takes hooks, as the sandbox has one.
pub(crate) const SANDBOX_GATEWAY: &str = "exec $POSTBELL sandbox \"$@\"";

/// A machine: its home, its programs, and what it is told.
pub(crate) struct Machine {
    pub(crate) home: TempDir,
    variables: Vec<(String, String)>,
    port: u16,
    client: Client,
}

/// A controller in a process of its own. Its log is in the home.
pub(crate) struct Controller {
    child: Child,
}

impl Machine {
    /// A machine whose gateway is this script.
    pub(crate) async fn new(gateway: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().display().to_string();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let [port, gateway_port, watcher_port] = [
            closed_port().await,
            closed_port().await,
            closed_port().await,
        ];
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let mut machine = Self {
            home,
            variables: Vec::new(),
            port,
            client: Client::new(),
        };
        machine.program("openclaw", gateway);
        for (name, value) in [
            ("HOME", folder.as_str()),
            ("PATH", &path),
            ("POSTBELL", env!("CARGO_BIN_EXE_postbell")),
            ("PORT", &port.to_string()),
            ("OPENCLAW_GATEWAY_TOKEN", TOKEN),
            (
                "KILOCLAW_GATEWAY_ARGS",
                &format!(r#"["--port","{gateway_port}"]"#),
            ),
            (
                "POSTBELL_CONTROLLER__GATEWAY_PORT",
                &gateway_port.to_string(),
            ),
            (
                "POSTBELL_CONTROLLER__WATCHER_PORT",
                &watcher_port.to_string(),
            ),
        ] {
            machine.set(name, value);
        }
        machine
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.home.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    /// Gives the machine an account at the sandbox.
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

    pub(crate) fn start(&self) -> Controller {
        let command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        self.start_as(command)
    }

    fn start_as(&self, mut command: Command) -> Controller {
        let log = fs::File::create(self.home.path().join("log")).unwrap();
        let child = command
            .arg("controller")
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Controller { child }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let request = self.client.get(self.url(path)).bearer_auth(TOKEN);
        request.send().await.ok()?.json().await.ok()
    }

    /// Waits until the controller's state is this, and returns its health.
    pub(crate) async fn is(&self, state: &str) -> Value {
        loop {
            match self.get("/_kilo/health").await {
                Some(health) if health["state"] == state => return health,
                _ => yield_now().await,
            }
        }
    }

    /// What a child wrote into a file, once it is there.
    async fn written(&self, name: &str) -> String {
        let file = self.home.path().join(name);
        loop {
            match fs::read_to_string(&file) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => yield_now().await,
            }
        }
    }

    /// Hands a push over as a relay does, until it is taken: with it, or without being asked, the
    /// watcher has brought everything to the bot.
    async fn push(&self, history_id: u64) {
        let is_taken =
            |status: &StatusCode| [StatusCode::OK, StatusCode::ACCEPTED].contains(status);
        while self
            .push_once(history_id)
            .await
            .is_none_or(|status| !is_taken(&status))
        {
            yield_now().await;
        }
    }

    async fn push_once(&self, history_id: u64) -> Option<StatusCode> {
        use base64::Engine;
        let data = json!({ "emailAddress": EMAIL, "historyId": history_id }).to_string();
        let data = base64::prelude::BASE64_STANDARD.encode(data);
        let body = json!({ "message": { "data": data, "messageId": history_id.to_string() } });
        let push = self
            .client
            .post(self.url("/_kilo/gmail-pubsub"))
            .bearer_auth(TOKEN);
        Some(push.json(&body).send().await.ok()?.status())
    }

    /// The subjects that the bot has got, through the controller.
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

impl Controller {
    fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap()
    }

    pub(crate) async fn terminate(mut self) -> Option<i32> {
        kill_process(self.id(), Signal::TERM).unwrap();
        self.child.wait().await.unwrap().code()
    }

    /// Has it killed, whenever that is noticed.
    pub(crate) fn signal_kill(&self) {
        kill_process(self.id(), Signal::KILL).unwrap();
    }

    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }
}

async fn closed_port() -> u16 {
    free_port().await.local_addr().unwrap().port()
}

fn deliver(sandbox: &Sandbox, subject: &str) -> u64 {
    let mail = format!("From: b@example.org\nSubject: {subject}\n\nhello");
    let delivered = sandbox.gmail().deliver(EMAIL, mail.as_bytes());
    delivered.unwrap().history_id
}

fn runs(pid: &str) -> bool {
    // A process that is dead but not reaped yet has no memory.
    let statm = Path::new("/proc").join(pid).join("statm");
    fs::read_to_string(statm).is_ok_and(|statm| !statm.starts_with("0 "))
}

/// All processes that run with this folder as their home.
fn processes_of(home: &Path) -> Vec<PathBuf> {
    let variable = format!("HOME={}", home.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let of_home = processes.filter(|process| {
        let environ = fs::read(process.path().join("environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|one| one == variable.as_bytes())
    });
    of_home.map(|process| process.path()).collect()
}

#[tokio::test]
async fn a_push_reaches_the_bot_through_controller_watcher_and_gateway() {
    let sandbox = Sandbox::start(free_port().await).await.unwrap();
    let mut machine = Machine::new(SANDBOX_GATEWAY).await;
    machine.connect(&sandbox).await;
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
    for secret in [TOKEN, "KILOCLAW"] {
        assert!(!command_lines.iter().any(|line| line.contains(secret)));
        assert!(!machine.log().contains(secret));
    }
    assert_eq!(controller.terminate().await, Some(0));
    assert!(processes_of(machine.home.path()).is_empty());
}

#[tokio::test]
async fn what_the_watcher_knows_survives_the_start_that_replaces_its_folder() {
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

#[tokio::test]
async fn what_the_platform_knows_to_be_delivered_is_not_delivered_again() {
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

/// A gateway with a child in its group, and one that has left it.
const FAMILY: &str = "sleep 1000 & echo $! > $HOME/child; \
                      setsid sh -c 'echo $$ > $HOME/daemon; exec sleep 1000' & \
                      echo $$ > $HOME/gateway; exec sleep 1000";

#[tokio::test]
async fn nothing_outlives_a_controller_that_is_told_to_stop() {
    let machine = Machine::new(FAMILY).await;
    let controller = machine.start();
    for name in ["child", "daemon", "gateway"] {
        assert!(runs(&machine.written(name).await), "{name}");
    }
    assert_eq!(controller.terminate().await, Some(0));
    assert_eq!(processes_of(machine.home.path()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn no_group_outlives_a_controller_that_is_killed() {
    let machine = Machine::new(FAMILY).await;
    let controller = machine.start();
    let [child, gateway, daemon] = [
        machine.written("child").await,
        machine.written("gateway").await,
        machine.written("daemon").await,
    ];
    machine.is("ready").await;
    controller.kill().await;
    while runs(&child) || runs(&gateway) {
        yield_now().await;
    }
    // What has left its group belongs to nobody any more.
    let daemon = Pid::from_raw(daemon.parse().unwrap()).unwrap();
    let _ = kill_process(daemon, Signal::KILL);
    while !processes_of(machine.home.path()).is_empty() {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_child_that_ignores_all_is_killed_after_the_grace() {
    let stubborn = "trap '' TERM INT HUP; echo $$ > $HOME/gateway; while :; do sleep 1; done";
    let machine = Machine::new(stubborn).await;
    let controller = machine.start();
    machine.written("gateway").await;
    assert_eq!(controller.terminate().await, Some(0));
    assert!(processes_of(machine.home.path()).is_empty());
    assert!(machine.log().contains("does not end; killing it"));
}

#[tokio::test]
async fn as_pid_1_it_reaps_what_is_not_its_own() {
    // Orphans, again and again, beside a gateway that crashes now and then.
    let script = "for i in 1 2 3 4 5; do setsid sh -c 'sleep 0 & sleep 0 &' & done; \
                  echo x >> $HOME/starts; [ $(wc -l < $HOME/starts) -gt 3 ] || exit 7; \
                  exec sleep 1000";
    let machine = Machine::new(script).await;
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command.arg(env!("CARGO_BIN_EXE_postbell"));
    let mut controller = machine.start_as(command);
    let status = loop {
        match machine.get("/_kilo/gateway/status").await {
            Some(status) if status["state"] == "running" && status["restarts"] == 3 => {
                break status;
            }
            _ => yield_now().await,
        }
    };
    assert_eq!(status["lastExit"]["code"], 7, "{status}");
    let zombies = || {
        let processes = processes_of(machine.home.path());
        let is_zombie = |process: &&PathBuf| {
            let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" Z"))
        };
        processes.iter().filter(is_zombie).count()
    };
    while zombies() > 0 {
        yield_now().await;
    }
    // Told from outside, as a container's engine does it; unshare passes the exit code on.
    let us = processes_of(machine.home.path());
    let is_first = |process: &&PathBuf| {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        inside.is_some_and(|inside| inside.split_whitespace().nth(1) == Some("1"))
    };
    let first = us.iter().find(is_first).unwrap().file_name().unwrap();
    let first = Pid::from_raw(first.to_str().unwrap().parse().unwrap()).unwrap();
    kill_process(first, Signal::TERM).unwrap();
    assert_eq!(controller.child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_children_say_is_passed_on_with_their_name_to_the_last_word() {
    let script = "echo one; echo two >&2; head -c 20000 /dev/zero | tr '\\0' x; echo; \
                  echo the last word; exit 3";
    let machine = Machine::new(script).await;
    let controller = machine.start();
    while !machine.log().contains("gateway: the last word") {
        yield_now().await;
    }
    let log = machine.log();
    assert!(log.contains("gateway: one") && log.contains("gateway: two"));
    let longest = log.lines().map(str::len).max().unwrap();
    assert!((8_000..9_000).contains(&longest), "{longest}");
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn bad_settings_are_told_to_the_log_and_health_answers() {
    let mut machine = Machine::new("exec sleep 1000").await;
    machine.set("KILOCLAW_GATEWAY_ARGS", "--token hunter2");
    machine.set("REQUIRE_PROXY_TOKEN", "hunter2");
    let controller = machine.start();
    let health = machine.is("degraded").await;
    let told = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during runtime-config",
    });
    assert_eq!(health, told);
    assert_eq!(
        machine.get("/health").await,
        Some(json!({ "status": "ok" }))
    );
    let log = machine.log();
    for expected in [
        "KILOCLAW_GATEWAY_ARGS: expected a JSON array of strings",
        "it is text of 15 characters",
        "REQUIRE_PROXY_TOKEN: expected true or false",
    ] {
        assert!(log.contains(expected), "{log}");
    }
    assert!(!log.contains("hunter2"));
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn a_wrong_configuration_degrades_the_same_way() {
    let mut machine = Machine::new("exec sleep 1000").await;
    machine.set("POSTBELL_CONTROLLER__WATCHER", "mutt");
    machine.set("POSTBELL_LOG", "a=b=c");
    let controller = machine.start();
    machine.is("degraded").await;
    let log = machine.log();
    assert!(log.contains("POSTBELL_LOG"), "{log}");
    assert!(
        log.contains("controller.watcher (from POSTBELL_CONTROLLER__WATCHER)"),
        "{log}"
    );
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn encrypted_variables_are_decrypted_and_never_seen_again() {
    // Encrypted under the bytes 0 to 31, with Python's `cryptography`.
    let mut machine = Machine::new("env > $HOME/env; exec sleep 1000").await;
    machine.set(
        "KILOCLAW_ENV_KEY",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    );
    let sealed = "enc:v1:AAECAwQFBgcICQoLLnbxaOWE4mjoIuXuxU+ocrVixC28ZVN1NfTsB3A=";
    machine.set("KILOCLAW_ENC_SECRET", sealed);
    let controller = machine.start();
    let env = machine.written("env").await;
    assert!(
        env.lines().any(|line| line == "SECRET=it's a secret"),
        "{env}"
    );
    assert!(!env.contains("KILOCLAW_EN"), "{env}");
    assert_eq!(controller.terminate().await, Some(0));

    machine.set("KILOCLAW_ENC_OTHER", "enc:v1:AAAA");
    let controller = machine.start();
    let health = machine.is("degraded").await;
    assert_eq!(health["error"], "Startup failed during bootstrap");
    assert!(
        machine
            .log()
            .contains("KILOCLAW_ENC_OTHER: expected enc:v1:")
    );
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn a_second_controller_on_the_port_says_so() {
    let machine = Machine::new("exec sleep 1000").await;
    let controller = machine.start();
    machine.is("ready").await;
    let second = Command::new(env!("CARGO_BIN_EXE_postbell"))
        .arg("controller")
        .env_clear()
        .env("PORT", machine.port.to_string())
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(
        told.contains("(PORT): is another controller there?"),
        "{told}"
    );
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn gog_is_called_where_it_is_chosen() {
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
