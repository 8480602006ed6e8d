use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use postbell::config::RetryConfig;
use postbell::demo::DemoStack;
use postbell_core::SystemClock;
use postbell_google::Patience;
use postbell_sandbox::Hook;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long something may take before the test fails. Nothing is measured by it.
pub(crate) const DEADLOCK: Duration = Duration::from_secs(60);

const HURRY: Duration = Duration::from_millis(20);

/// A world without a relay, whose parts try again at once instead of after a minute. The watcher
/// polls at its start only: what a relay lost would stay lost.
pub(crate) async fn hurried_world(relay: SocketAddr) -> DemoStack {
    let patience = Patience {
        tries: 4,
        first_wait: HURRY,
        longest_wait: HURRY,
        ..Patience::default()
    };
    let clock = Arc::new(SystemClock::new());
    let mut world = DemoStack::without_relay(clock, relay, patience)
        .await
        .unwrap();
    world.config.relay.retry = RetryConfig {
        attempts: 100_000,
        first: HURRY,
        factor: 1.0,
    };
    world.sandbox.pubsub().repeat_within(HURRY);
    world
}

/// Runs a command, and returns its exit code, stdout and stderr.
pub(crate) async fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The variables that direct each of Google's APIs to the sandbox at `url`.
pub(crate) fn google_variables(url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("POSTBELL_GOOGLE__TOKEN_URL", format!("{url}/token")),
        (
            "POSTBELL_GOOGLE__AUTH_URL",
            format!("{url}/o/oauth2/v2/auth"),
        ),
        ("POSTBELL_GOOGLE__GMAIL_URL", url.to_owned()),
        ("POSTBELL_GOOGLE__PUBSUB_URL", url.to_owned()),
        ("POSTBELL_GOOGLE__IAM_URL", url.to_owned()),
        ("POSTBELL_GOOGLE__RESOURCE_MANAGER_URL", url.to_owned()),
        ("POSTBELL_GOOGLE__SERVICE_USAGE_URL", url.to_owned()),
    ]
}

/// Listens on a port that stays free for a process which is started later.
pub(crate) async fn free_port() -> TcpListener {
    let listener = postbell_testkit::free_port();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

/// Puts a mail into the mailbox, and returns its id.
pub(crate) fn send(world: &DemoStack, number: usize) -> String {
    let mail = format!("From: a@example.org\nSubject: mail {number}\n\nNumber {number}.\n");
    world
        .sandbox
        .gmail()
        .deliver(world.email(), mail.as_bytes())
        .unwrap()
        .message_id
}

/// What the bot has got: each message's id, in order, and under which key it came.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) ids: Vec<String>,
    keys: HashMap<String, String>,
}

impl Received {
    /// Takes hooks until all of `ids` have come. A message that comes twice must come under the
    /// same idempotency key, so that the bot can tell.
    pub(crate) async fn wait_for(&mut self, ids: &[String], hooks: &mut UnboundedReceiver<Hook>) {
        while !ids.iter().all(|id| self.keys.contains_key(id)) {
            let hook = timeout(DEADLOCK, hooks.recv()).await;
            self.take(&hook.expect("a mail is missing").unwrap());
        }
    }

    fn take(&mut self, hook: &Hook) {
        let key = hook.idempotency_key.clone().unwrap();
        for message in hook.body["messages"].as_array().unwrap() {
            let id = message["id"].as_str().unwrap().to_owned();
            match self.keys.insert(id.clone(), key.clone()) {
                None => self.ids.push(id),
                Some(before) => assert_eq!(before, key, "{id} came twice, under two keys"),
            }
        }
    }
}

/// What a relay's log says once it works.
const RELAY_WORKS: &str = "The relay is listening";

/// A service in a process of its own, with a reader of its log.
pub(crate) struct ServiceProcess {
    child: Child,
    _log: JoinSet<()>,
}

impl ServiceProcess {
    /// Starts a relay with these variables alone. Returns once it takes pushes.
    pub(crate) async fn start(variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command.arg("relay");
        Self::run(command, variables, RELAY_WORKS).await
    }

    /// Starts a service where the system lets no file of the process grow beyond 400 KiB.
    pub(crate) async fn start_with_small_files(
        service: &str,
        variables: &[(&str, String)],
    ) -> Self {
        let mut command = Command::new("/bin/sh");
        // In blocks of 512 bytes; without the signal that would end the process.
        let script = "trap '' XFSZ; ulimit -f 800; exec \"$0\" \"$1\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_postbell"), service]);
        Self::run(command, variables, RELAY_WORKS).await
    }

    /// Runs a command with these variables alone. Returns once its log says that it works.
    pub(crate) async fn run(
        mut command: Command,
        variables: &[(&str, String)],
        works: &'static str,
    ) -> Self {
        let mut child = command
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        while !said.contains(works) {
            match log.next_line().await {
                Ok(Some(line)) => said.extend([&*line, "\n"]),
                ended => panic!("the process ended before it worked: {ended:?}\n{said}"),
            }
        }
        let mut reader = JoinSet::new();
        reader.spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self {
            child,
            _log: reader,
        }
    }

    /// The process's command line, as everybody on the machine can read it.
    pub(crate) fn command_line(&self) -> String {
        let file = format!("/proc/{}/cmdline", self.child.id().unwrap());
        std::fs::read_to_string(file).unwrap()
    }

    /// Waits for the process to end by itself, and returns its exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }

    /// Ends the process with SIGTERM, and waits until it is gone.
    pub(crate) async fn stop(&mut self) {
        let id = self.child.id().unwrap();
        let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        self.child.wait().await.unwrap();
    }

    /// Ends the process with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// Ends the process with SIGTERM, and returns its exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().unwrap();
        let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        self.child.wait().await.unwrap().code()
    }
}
