//! A machine with a controller whose children sleep.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use anyhow::ensure;
use axum::Router;
use axum::routing::post;
use postbell_sandbox::Sandbox;
use reqwest::Client;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::child::Served;

const EMAIL: &str = "ann@example.com";
const TOKEN: &str = "of-the-gateway";

/// A machine with a controller whose children sleep. A watcher that accepts everything listens in the
/// child's place.
pub(crate) struct Machine {
    pub(crate) address: SocketAddr,
    variables: Vec<(&'static str, String)>,
    home: TempDir,
    _watcher: JoinSet<()>,
}

/// A controller in its own process.
pub(crate) struct Controller(Served);

impl Machine {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::with_gateway(free_port().await?.port()).await
    }

    /// A machine whose gateway is served on this port by the caller.
    pub(crate) async fn with_gateway(gateway: u16) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in("target")?;
        let folder = std::path::absolute(home.path())?;
        for program in ["openclaw", "gog"] {
            let path = folder.join(program);
            fs::write(&path, "#!/bin/sh\nexec sleep 100000\n")?;
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let watcher = listener.local_addr()?.port();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let router = Router::new().route("/gmail-pubsub", post(async || ()));
            // The server ends with the machine.
            let _ = axum::serve(listener, router).await;
        });
        let address = free_port().await?;
        let text = |text: &dyn ToString| text.to_string();
        let variables = vec![
            ("HOME", text(&folder.display())),
            ("PATH", format!("{}:/usr/bin:/bin", folder.display())),
            ("PORT", text(&address.port())),
            ("OPENCLAW_GATEWAY_TOKEN", text(&TOKEN)),
            ("KILOCLAW_GATEWAY_ARGS", text(&"[]")),
            ("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", text(&EMAIL)),
            ("KILOCLAW_GOG_CONFIG_TARBALL", tarball().await?),
            // Nothing listens there; the check-in's client is built anyway.
            ("KILOCLAW_CHECKIN_URL", text(&"https://127.0.0.1:9/")),
            ("KILOCLAW_SANDBOX_ID", text(&"bench")),
            ("POSTBELL_CONTROLLER__WATCHER", text(&"gog")),
            ("POSTBELL_CONTROLLER__GATEWAY_PORT", text(&gateway)),
            ("POSTBELL_CONTROLLER__WATCHER_PORT", text(&watcher)),
            ("POSTBELL_LOG", text(&"error")),
        ];
        Ok(Self {
            address,
            variables,
            home,
            _watcher: serving,
        })
    }

    pub(crate) fn start(&self) -> anyhow::Result<Controller> {
        let program = std::env::current_exe()?.with_file_name("postbell");
        ensure!(
            program.exists(),
            "expected {}: run `cargo build --release` first",
            program.display()
        );
        let mut command = Command::new(program);
        command
            .arg("controller")
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path());
        Ok(Controller(Served::run(command, self.address)?))
    }

    /// Whether a push is accepted, over a new connection.
    pub(crate) async fn push(&self) -> bool {
        let pushed = async {
            let mut stream = TcpStream::connect(self.address).await?;
            let push = format!(
                "POST /_kilo/gmail-pubsub HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
                 content-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
            stream.write_all(push.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
        };
        pushed.await.unwrap_or(false)
    }
}

impl Controller {
    pub(crate) fn private_memory(&self) -> anyhow::Result<f64> {
        self.0.private_memory()
    }

    pub(crate) fn own_memory(&self) -> anyhow::Result<f64> {
        self.0.own_memory()
    }

    pub(crate) async fn terminate(self) -> anyhow::Result<()> {
        self.0.terminate().await
    }
}

async fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

async fn tarball() -> anyhow::Result<String> {
    let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await?).await?;
    let url = format!("{}/sandbox/mailboxes/{EMAIL}/tarball", sandbox.url());
    let tarball = Client::new().post(url).send().await?.text().await?;
    sandbox.stop().await;
    Ok(tarball)
}
