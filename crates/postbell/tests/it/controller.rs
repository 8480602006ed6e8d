//! `postbell controller` as a process, with scripts and stand-ins as children.

mod accounts;
mod life;
mod mail;
mod settings;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::support::free_port;

const TOKEN: &str = "of-the-gateway";

/// The time-out of every wait in a test.
const DEADLOCK: Duration = Duration::from_secs(60);

/// The sandbox's gateway, which accepts webhooks.
pub(crate) const SANDBOX_GATEWAY: &str = "exec $POSTBELL sandbox \"$@\"";

/// A machine: its home, programs and environment variables.
pub(crate) struct Machine {
    pub(crate) home: TempDir,
    variables: Vec<(String, String)>,
    port: u16,
    client: Client,
    token: String,
}

/// A running controller. Its log is in the home.
pub(crate) struct Controller {
    child: Child,
}

impl Machine {
    /// A machine with a script as its gateway.
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
            token: TOKEN.to_owned(),
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

    /// Gives the machine the token that a platform derives for it.
    pub(crate) fn set_token(&mut self, token: &str) {
        self.set("OPENCLAW_GATEWAY_TOKEN", token);
        token.clone_into(&mut self.token);
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.home.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn start(&self) -> Controller {
        self.start_as(
            Command::new(env!("CARGO_BIN_EXE_postbell")),
            self.log_file(),
        )
    }

    /// Starts the controller as the first process of a PID namespace, as in a container.
    fn start_as_pid_1(&self) -> Controller {
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
        self.start_as(command, self.log_file())
    }

    fn start_with_log(&self, stderr: impl Into<Stdio>) -> Controller {
        self.start_as(Command::new(env!("CARGO_BIN_EXE_postbell")), stderr)
    }

    fn log_file(&self) -> fs::File {
        fs::File::create(self.home.path().join("log")).unwrap()
    }

    fn start_as(&self, mut command: Command, stderr: impl Into<Stdio>) -> Controller {
        let child = command
            .arg("controller")
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
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

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let request = self.client.get(self.url(path)).bearer_auth(&self.token);
        request.send().await.ok()?.json().await.ok()
    }

    /// Waits until the controller has this state, and returns its health.
    pub(crate) async fn is(&self, state: &str) -> Value {
        within_deadline(async {
            loop {
                match self.get("/_kilo/health").await {
                    Some(health) if health["state"] == state => return health,
                    _ => yield_now().await,
                }
            }
        })
        .await
    }

    /// The accounts and subjects of the mails that the sandbox's gateway has received.
    pub(crate) async fn received(&self) -> Vec<(String, String)> {
        let hooks = self.get("/sandbox/hooks").await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let hooks = hooks["hooks"].as_array().unwrap().iter();
        let received = hooks.flat_map(|hook| {
            let account = text(&hook["body"]["account"]);
            let messages = hook["body"]["messages"].as_array().unwrap().iter();
            let subjects = messages.map(|message| text(&message["subject"]));
            subjects
                .map(|subject| (account.clone(), subject))
                .collect::<Vec<_>>()
        });
        received.collect()
    }

    /// Waits for a file that a child writes, and returns its content.
    async fn written(&self, name: &str) -> String {
        let file = self.home.path().join(name);
        within_deadline(async {
            loop {
                match fs::read_to_string(&file) {
                    Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                    _ => yield_now().await,
                }
            }
        })
        .await
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

    /// Sends SIGKILL without waiting.
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

/// Waits until the condition holds.
async fn until(mut condition: impl FnMut() -> bool) {
    within_deadline(async {
        while !condition() {
            yield_now().await;
        }
    })
    .await;
}

/// Awaits a future, or panics after the deadline.
async fn within_deadline<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLOCK, future)
        .await
        .expect("timed out after a minute")
}

/// Returns whether a process exists, running or as a zombie.
fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Returns all processes with this folder as their home.
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
