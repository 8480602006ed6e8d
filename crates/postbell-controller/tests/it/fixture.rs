use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use postbell_controller::{
    ControllerParts, Ports, Processes, Settings, SharedClient, Timing, Variables, Version,
    WatcherProgram, start,
};
use postbell_core::{HistoryId, SystemClock, Tasks, Timestamp, Tracer};
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::{StateError, StateFile, WatchState};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use url::Url;

/// The time-out of every wait in a test.
pub(crate) const DEADLOCK: Duration = Duration::from_secs(60);

/// Waits that do not slow a test down.
pub(crate) const FAST: Timing = Timing {
    grace: DEADLOCK,
    first_wait: Duration::from_millis(1),
    longest_wait: Duration::from_millis(1),
    healthy_after: DEADLOCK,
};

pub(crate) const TOKEN: &str = "of-the-gateway";

/// A child that runs until it is stopped.
pub(crate) const LONG_RUNNING: &str = "exec sleep 1000";

/// A machine with scripts as programs and with environment variables.
pub(crate) struct TestMachine {
    pub(crate) folder: TempDir,
    variables: Variables,
    watcher_program: Option<&'static str>,
    platform: Option<Url>,
    gateway: Option<u16>,
    watcher: Option<u16>,
}

/// A running controller.
pub(crate) struct TestController {
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) client: Client,
    tasks: Tasks,
}

/// A server that is stopped when the value is dropped.
pub(crate) struct Served {
    pub(crate) port: u16,
    _serving: JoinSet<()>,
}

impl Served {
    pub(crate) async fn new(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            _serving: serving,
        }
    }
}

impl TestMachine {
    /// A machine with a long-running gateway.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        Self::again(folder)
    }

    /// The same, with the folder of an earlier one.
    pub(crate) fn again(folder: TempDir) -> Self {
        let machine = Self {
            variables: Variables::default()
                .with("HOME", folder.path())
                .with(
                    "PATH",
                    format!("{}:/usr/bin:/bin", folder.path().join("bin").display()),
                )
                .with("OPENCLAW_GATEWAY_TOKEN", TOKEN)
                .with("KILOCLAW_GATEWAY_ARGS", r#"["--port","3001"]"#),
            folder,
            watcher_program: None,
            platform: None,
            gateway: None,
            watcher: None,
        };
        machine.program("openclaw", LONG_RUNNING)
    }

    /// Has the configuration fetched from the platform at this base URL, as the machine `sandbox-7`.
    pub(crate) fn platform(mut self, url: &str) -> Self {
        self.platform = Some(url.parse().unwrap());
        self.with("KILOCLAW_SANDBOX_ID", "sandbox-7")
    }

    /// Adds a program to `PATH`.
    pub(crate) fn program(self, name: &str, script: &str) -> Self {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Uses a script as Postbell's watcher.
    pub(crate) fn watcher(mut self, script: &str) -> Self {
        self.watcher_program = Some("watcher");
        self.program("watcher", script)
    }

    /// Connects a Google account with these credentials.
    pub(crate) fn account(self, tarball: &str) -> Self {
        self.with("KILOCLAW_GOG_CONFIG_TARBALL", tarball)
            .with("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", "ann@example.com")
    }

    /// Sets the expiry in the watcher's state.
    pub(crate) fn watched_until(self, expires_at: Timestamp) -> Self {
        change_state(&self.folder, |state| {
            state.expiration_ms = expires_at.as_millis()
        });
        self
    }

    /// Sets the problem in the watcher's state.
    pub(crate) fn with_problem(self, code: &str) -> Self {
        set_problem(&self.folder, code);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.set(name, value);
        self
    }

    /// Uses the server's port for the gateway.
    pub(crate) fn gateway_at(mut self, served: &Served) -> Self {
        self.gateway = Some(served.port);
        self
    }

    /// Uses the server's port for the watcher.
    pub(crate) fn watcher_at(self, served: &Served) -> Self {
        self.watcher_on(served.port)
    }

    /// Uses this port for the watcher.
    pub(crate) fn watcher_on(mut self, port: u16) -> Self {
        self.watcher = Some(port);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn start(self) -> TestController {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        let router = start(self.parts().await, &tasks);
        tasks.start("serving", |stop| async move {
            let serving = axum::serve(listener, router);
            serving
                .with_graceful_shutdown(stop.cancelled_owned())
                .await
                .unwrap();
        });
        TestController {
            address,
            folder: self.folder,
            client: Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            tasks,
        }
    }

    async fn parts(&self) -> ControllerParts {
        let port = async |given: Option<u16>| match given {
            Some(port) => port,
            None => closed_port().await,
        };
        let settings = Settings::read(&self.variables).unwrap();
        let settings = match &self.platform {
            Some(url) => settings.with_platform(url, &self.variables).unwrap(),
            None => settings,
        };
        ControllerParts {
            settings,
            variables: self.variables.clone(),
            gog_dirs: Some(gog_dirs(&self.folder)),
            gateway_command: ["openclaw", "gateway"].map(str::to_owned).to_vec(),
            hook_url: None,
            tables: Vec::new(),
            watcher: match self.watcher_program {
                Some(name) => WatcherProgram::Postbell {
                    program: self.path("bin").join(name),
                    arguments: Vec::new(),
                },
                None => WatcherProgram::Gog,
            },
            ports: Ports {
                gateway: port(self.gateway).await,
                watcher: port(self.watcher).await,
            },
            timing: FAST,
            processes: Processes::new().unwrap(),
            client: Arc::new(SharedClient::new(|| Ok(Client::new()))),
            seal_secret: TOKEN.into(),
            jitter: || 0.5,
            fresh_token: "a-fresh-token".into(),
            clock: Arc::new(SystemClock::new()),
            tracer: Tracer::new(|| 1),
            version: Version {
                version: "1.2.3",
                commit: "abc",
            },
        }
    }
}

fn gog_dirs(home: &TempDir) -> GogDirs {
    let home = home.path().to_str();
    GogDirs::from_variables(|name| home.filter(|_| name == "HOME")).unwrap()
}

/// Changes the state of the watcher, which does not run.
fn change_state(home: &TempDir, change: impl FnOnce(&mut WatchState)) {
    let account = "ann@example.com";
    let folder = gog_dirs(home).watch_state(account);
    let file = loop {
        match StateFile::open(&folder, account) {
            // A child of another test has the lock's descriptor until it executes its program.
            Err(StateError::InUse { .. }) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    let mut state = file.read().unwrap();
    account.clone_into(&mut state.account);
    state.history_id = Some(HistoryId::new(7));
    change(&mut state);
    file.write(&state).unwrap();
}

fn set_problem(home: &TempDir, code: &str) {
    change_state(home, |state| {
        code.clone_into(&mut state.problem_code);
        state.problem = if code.is_empty() { "" } else { "in a sentence" }.to_owned();
        state.problem_since_ms = 1_790_000_000_000;
    });
}

impl TestController {
    /// Sets the problem in the watcher's state; empty for none.
    pub(crate) fn set_problem(&self, code: &str) {
        set_problem(&self.folder, code);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Sends a push as a relay does.
    pub(crate) async fn push(&self, authorization: &str) -> (u16, Value) {
        let request = self.post("/_kilo/gmail-pubsub").body("the body");
        let (status, body) = answer(request.header("authorization", authorization)).await;
        (status.as_u16(), body)
    }

    /// Waits until the controller is ready or degraded, and returns its health.
    pub(crate) async fn settled(&self) -> Value {
        with_deadline(async {
            loop {
                let (_, health) = answer(self.get("/_kilo/health")).await;
                if health["state"] == "ready" || health["state"] == "degraded" {
                    return health;
                }
                yield_now().await;
            }
        })
        .await
    }

    /// Waits for a file that a child writes, and returns its content.
    pub(crate) async fn written(&self, name: &str) -> String {
        written(&self.folder.path().join(name)).await
    }

    pub(crate) async fn shut_down(self) {
        self.shut_down_but_folder().await;
    }

    /// Shuts down, and returns the folder for another controller.
    pub(crate) async fn shut_down_but_folder(self) -> TempDir {
        self.tasks.stop(DEADLOCK).await.unwrap();
        self.folder
    }
}

/// Waits until a file has a complete line, and returns its content.
pub(crate) async fn written(file: &Path) -> String {
    with_deadline(async {
        loop {
            match fs::read_to_string(file) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => yield_now().await,
            }
        }
    })
    .await
}

/// Awaits a future, or panics after the deadline.
pub(crate) async fn with_deadline<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLOCK, future)
        .await
        .expect("timed out after a minute")
}

/// Returns the status and the body of a response; `null` for a body that is not JSON.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Returns a port on which nothing listens.
pub(crate) async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Returns whether a process exists, running or as a zombie.
pub(crate) fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Waits until a process no longer runs. A zombie has no memory.
pub(crate) async fn is_dead(pid: &str) {
    let statm = Path::new("/proc").join(pid).join("statm");
    let is_running = || fs::read_to_string(&statm).is_ok_and(|statm| !statm.starts_with("0 "));
    with_deadline(async {
        while is_running() {
            yield_now().await;
        }
    })
    .await;
}
