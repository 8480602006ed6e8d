//! A bot's machine: a controller with its children.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};

use postbell_sandbox::Sandbox;
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::bot::Bot;
use crate::support::google_variables;

/// Returns a port that the system gives to no other process: below those that it gives to whom asks
/// for any, because it stays unused while its process is down.
pub(crate) async fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        // Another soak on this machine begins elsewhere.
        let start = u16::try_from(std::process::id() % 10_000).unwrap_or(0);
        let port = 20_000 + (start + offset) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}

/// A machine and the bot on it.
pub(crate) struct Machine {
    pub(crate) user: String,
    pub(crate) email: String,
    pub(crate) port: u16,
    pub(crate) bot: Bot,
    /// The ids of the mails that were sent, in order.
    pub(crate) sent: Vec<Sent>,
    home: TempDir,
    variables: Vec<(String, String)>,
    controller: Option<Child>,
}

/// A mail in the mailbox.
pub(crate) struct Sent {
    pub(crate) id: String,
    /// Whether the bot, or Gmail, never lets it through.
    pub(crate) is_bad: bool,
}

impl Machine {
    pub(crate) async fn new(sandbox: &Sandbox, user: String, checkin: &str) -> Self {
        let email = format!("{user}@example.com");
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let gateway = bin.join("openclaw");
        fs::write(&gateway, "#!/bin/sh\nexec sleep 100000\n").unwrap();
        fs::set_permissions(gateway, Permissions::from_mode(0o755)).unwrap();
        let bot = Bot::start().await;
        let (port, watcher_port) = (own_port().await, own_port().await);
        let url = format!("{}/sandbox/mailboxes/{email}/tarball", sandbox.url());
        let tarball = Client::new().post(url).send().await.unwrap();
        let variables = [
            ("HOME", home.path().display().to_string()),
            ("PATH", format!("{}:/usr/bin:/bin", bin.display())),
            ("PORT", port.to_string()),
            (
                "OPENCLAW_GATEWAY_TOKEN",
                sandbox.platform().gateway_token(&user),
            ),
            ("KILOCLAW_GATEWAY_ARGS", "[]".to_owned()),
            ("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", email.clone()),
            ("KILOCLAW_GOG_CONFIG_TARBALL", tarball.text().await.unwrap()),
            ("KILOCLAW_HOOKS_TOKEN", "of-the-hooks".to_owned()),
            ("KILOCLAW_SANDBOX_ID", user.clone()),
            ("KILOCLAW_CHECKIN_URL", checkin.to_owned()),
            ("POSTBELL_CONTROLLER__GATEWAY_PORT", bot.port.to_string()),
            (
                "POSTBELL_CONTROLLER__WATCHER_PORT",
                watcher_port.to_string(),
            ),
        ];
        let google = google_variables(sandbox.url());
        let variables = variables.into_iter().chain(google);
        Self {
            user,
            email,
            port,
            bot,
            sent: Vec::new(),
            home,
            variables: variables
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            controller: None,
        }
    }

    pub(crate) fn start(&mut self) {
        let log = self.home.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_postbell"))
            .arg("controller")
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        self.controller = Some(child.unwrap());
    }

    /// Kills the controller, if it runs.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut controller) = self.controller.take() {
            controller.kill().await.unwrap();
        }
    }

    /// Starts the controller unless it runs.
    pub(crate) fn ensure_running(&mut self) {
        let running = self.controller.as_mut();
        if running.is_none_or(|it| it.try_wait().unwrap().is_some()) {
            self.start();
        }
    }

    /// Kills the children whose command line contains a text.
    pub(crate) fn kill_children(&self, text: &str) {
        let Some(controller) = self.controller.as_ref().and_then(Child::id) else {
            return;
        };
        let parent = format!("PPid:\t{controller}\n");
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let read = |name: &str| fs::read_to_string(process.path().join(name));
            let is_child = read("status").is_ok_and(|status| status.contains(&parent));
            let is_meant = || read("cmdline").is_ok_and(|line| line.contains(text));
            let id = process.file_name().to_string_lossy().parse().ok();
            if is_child
                && is_meant()
                && let Some(id) = id.and_then(Pid::from_raw)
            {
                // It may have ended meanwhile.
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }

    /// The ids of the mailbox's dead letters.
    pub(crate) fn dead_letters(&self) -> Vec<String> {
        let name = self.email.replace(['@', '.'], "_");
        let state = format!(".config/gogcli/state/gmail-watch/{name}.json");
        let state = fs::read(self.home.path().join(state)).unwrap_or_default();
        let state: Value = serde_json::from_slice(&state).unwrap_or_default();
        let letters = state["deadLetters"].as_array().into_iter().flatten();
        letters
            .filter_map(|letter| Some(letter["id"].as_str()?.to_owned()))
            .collect()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}
