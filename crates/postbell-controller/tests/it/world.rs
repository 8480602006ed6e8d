use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use postbell_controller::{
    ControllerParts, Ports, Processes, Settings, Timing, Variables, Version, WatcherMemory,
    WatcherProgram, start,
};
use postbell_core::{BoxError, HistoryId, SystemClock, Tasks, Timestamp};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

/// How long everything together may take to end.
pub(crate) const DEADLOCK: Duration = Duration::from_secs(60);

/// No wait that a test would have to sit out.
pub(crate) const HURRIED: Timing = Timing {
    grace: DEADLOCK,
    first_wait: Duration::from_millis(1),
    longest_wait: Duration::from_millis(1),
    healthy_after: DEADLOCK,
};

pub(crate) const TOKEN: &str = "of-the-gateway";

/// A child that stays until it is told to go.
pub(crate) const STAYS: &str = "exec sleep 1000";

/// What is to be started: programs that are scripts, and what the machine is told.
pub(crate) struct Plan {
    pub(crate) folder: TempDir,
    variables: Variables,
    watcher_program: Option<&'static str>,
    memory: Memory,
    gateway: Option<u16>,
    watcher: Option<u16>,
}

/// A controller at an address.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) client: Client,
    tasks: Tasks,
}

/// A server of the test's own, which goes with this value.
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

impl Plan {
    /// A machine whose gateway stays.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        let plan = Self {
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
            memory: Memory::default(),
            gateway: None,
            watcher: None,
        };
        plan.program("openclaw", STAYS)
    }

    /// A program in `PATH`.
    pub(crate) fn program(self, name: &str, script: &str) -> Self {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Postbell's own watcher is this script, under this name.
    pub(crate) fn watcher(mut self, script: &str) -> Self {
        self.watcher_program = Some("watcher");
        self.program("watcher", script)
    }

    /// A Google account, with these credentials.
    pub(crate) fn account(self, tarball: &str) -> Self {
        self.with("KILOCLAW_GOG_CONFIG_TARBALL", tarball)
            .with("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", "ann@example.com")
    }

    /// When the watch ends, as the watcher remembers it.
    pub(crate) fn watched_until(mut self, expires_at: Timestamp) -> Self {
        self.memory.watch_expires_at = Some(expires_at);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.set(name, value);
        self
    }

    /// What listens for the gateway's child.
    pub(crate) fn gateway_at(mut self, served: &Served) -> Self {
        self.gateway = Some(served.port);
        self
    }

    /// What listens for the watcher's child.
    pub(crate) fn watcher_at(self, served: &Served) -> Self {
        self.watcher_on(served.port)
    }

    /// Where the watcher's child is to listen.
    pub(crate) fn watcher_on(mut self, port: u16) -> Self {
        self.watcher = Some(port);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn start(self) -> World {
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
        World {
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
        ControllerParts {
            settings: Settings::read(&self.variables).unwrap(),
            variables: self.variables.clone(),
            gog_folder: Some(self.path(".config/gogcli")),
            memory: Arc::new(self.memory.clone()),
            watcher: match self.watcher_program {
                Some(name) => WatcherProgram::Postbell(self.path("bin").join(name)),
                None => WatcherProgram::Gog,
            },
            ports: Ports {
                gateway: port(self.gateway).await,
                watcher: port(self.watcher).await,
            },
            timing: HURRIED,
            processes: Processes::new().unwrap(),
            make_client: Box::new(|| Ok(Client::new())),
            chance: || 0.5,
            fresh_token: "a-fresh-token".into(),
            clock: Arc::new(SystemClock::new()),
            version: Version {
                version: "1.2.3",
                commit: "abc",
            },
        }
    }
}

/// A watcher that remembers when the watch ends, if anything.
#[derive(Clone, Default)]
struct Memory {
    watch_expires_at: Option<Timestamp>,
}

impl WatcherMemory for Memory {
    fn carry_over(&self, _: &Path, _: &Path, _: &str) -> Result<(), BoxError> {
        Ok(())
    }

    fn raise(&self, _: &Path, _: &str, _: HistoryId) -> Result<(), BoxError> {
        Err("a watcher that remembers nothing was asked".into())
    }

    fn watch_expires_at(&self, gog: &Path, account: &str) -> Result<Option<Timestamp>, BoxError> {
        assert!(gog.ends_with(".config/gogcli"), "{}", gog.display());
        assert_eq!(account, "ann@example.com");
        Ok(self.watch_expires_at)
    }
}

impl World {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Hands a push over as a relay does.
    pub(crate) async fn push(&self, authorization: &str) -> (u16, Value) {
        let request = self.post("/_kilo/gmail-pubsub").body("the body");
        let (status, body) = answer(request.header("authorization", authorization)).await;
        (status.as_u16(), body)
    }

    /// The controller's state, once it is up or has failed.
    pub(crate) async fn settled(&self) -> Value {
        within_deadline(async {
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

    /// What a child wrote into a file of the folder, once it is there.
    pub(crate) async fn written(&self, name: &str) -> String {
        written(&self.folder.path().join(name)).await
    }

    pub(crate) async fn shut_down(self) {
        self.tasks.stop(DEADLOCK).await.unwrap();
    }
}

/// What somebody wrote into a file, once it is there as a whole line.
pub(crate) async fn written(file: &Path) -> String {
    within_deadline(async {
        loop {
            match fs::read_to_string(file) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => yield_now().await,
            }
        }
    })
    .await
}

/// What comes, unless it never does.
pub(crate) async fn within_deadline<T>(comes: impl Future<Output = T>) -> T {
    timeout(DEADLOCK, comes)
        .await
        .expect("it did not come in a minute")
}

/// Status and body of an answer; `null` for a body that is no JSON.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// A port where nobody listens.
pub(crate) async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Whether there is anything left of a process, if only for its parent to reap.
pub(crate) fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Waits until a process does not run: one that is dead but not reaped yet has no memory.
pub(crate) async fn is_dead(pid: &str) {
    let statm = Path::new("/proc").join(pid).join("statm");
    let lives = || fs::read_to_string(&statm).is_ok_and(|statm| !statm.starts_with("0 "));
    within_deadline(async {
        while lives() {
            yield_now().await;
        }
    })
    .await;
}
