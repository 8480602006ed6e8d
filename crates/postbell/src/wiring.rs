//! Builds the parts and joins them.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::ListenerExt;
use postbell_core::{Clock, Directory, Tasks};
use postbell_google::{GoogleKeys, IdTokenVerifier};
use postbell_relay::{
    Dispatcher, DispatcherSettings, Edge, HttpDirectory, HttpMachine, forget_old_ids,
};
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::{Config, ConfigError};

/// How long a stopping process waits for what is in flight; longer than one delivery may take.
const GRACE: Duration = Duration::from_secs(35);

/// How long connecting may take, to whatever it is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many deliveries may be under way at once.
const DELIVERIES_AT_ONCE: usize = 256;

/// How much longer a claim holds than the delivery may take: time to look up the machine before,
/// and to settle after.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// A relay whose parts are joined, and which does nothing yet.
pub struct Relay {
    edge: Edge,
    keys: Arc<GoogleKeys>,
    dispatcher: Dispatcher,
}

/// The HTTP client of every part.
///
/// It follows no redirects: mail and tokens go where the configuration says, and nowhere else.
///
/// # Errors
///
/// Where the system's root certificates cannot be read.
pub fn http_client() -> anyhow::Result<Client> {
    let client = Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .user_agent(concat!("postbell/", env!("CARGO_PKG_VERSION")));
    client.build().context("cannot make an HTTP client")
}

/// Joins the parts of a relay. Opens the inbox; binds and asks nothing.
///
/// # Errors
///
/// What is wrong with the configuration, or stands in the way of the inbox.
pub fn relay(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Relay> {
    let audience = config.relay.audience()?.into();
    let client = http_client()?;
    let directory = directory(config, client.clone())?;
    let timeout = config.relay.delivery_timeout;
    let machine =
        HttpMachine::new(client.clone(), &config.relay.machine_url, timeout).map_err(|error| {
            ConfigError::Value {
                key: "relay.machine_url".to_owned(),
                source_name: "configuration".to_owned(),
                problem: error.to_string(),
            }
        })?;
    let inbox = postbell_store::open(&config.relay.inbox)
        .with_context(|| format!("relay.inbox {}", config.relay.inbox))?;
    let keys = GoogleKeys::new(client, config.google.jwks_url.clone(), Arc::clone(&clock));
    let keys = Arc::new(keys);
    let arrivals = Arc::new(Notify::new());
    Ok(Relay {
        edge: Edge {
            inbox: Arc::clone(&inbox),
            directory: Arc::clone(&directory),
            id_tokens: Arc::new(IdTokenVerifier::new(Arc::clone(&keys))),
            clock: Arc::clone(&clock),
            audience,
            arrivals: Arc::clone(&arrivals),
        },
        keys,
        dispatcher: Dispatcher {
            inbox,
            directory,
            machine: Arc::new(machine),
            clock,
            arrivals,
            settings: DispatcherSettings {
                retry: config.relay.retry.into(),
                lease: timeout + LEASE_MARGIN,
                at_once: DELIVERIES_AT_ONCE,
            },
        },
    })
}

fn directory(config: &Config, client: Client) -> anyhow::Result<Arc<dyn Directory>> {
    const MISSING: ConfigError = ConfigError::Contradiction {
        key: "directory",
        expected: "the url and the api_key of the platform that knows the users",
    };
    let directory = config.directory.as_ref().ok_or(MISSING)?;
    Ok(Arc::new(HttpDirectory::new(
        client,
        directory.url.clone(),
        directory.api_key.clone(),
    )))
}

impl Relay {
    /// The relay's routes, for a server of the caller's.
    pub fn router(&self) -> Router {
        self.edge.clone().router()
    }

    /// Starts all that the relay does but serving.
    pub fn start_in_background(self, tasks: &Tasks) {
        let Self {
            edge,
            keys,
            dispatcher,
        } = self;
        tasks.start("tidy", |stop| forget_old_ids(edge.inbox, edge.clock, stop));
        tasks.start("dispatcher", |stop| Arc::new(dispatcher).run(stop));
        tasks.start("google-keys", |stop| keys.refresh_ahead(stop));
    }

    /// Serves on `listener`, and delivers.
    pub fn start(self, listener: TcpListener, tasks: &Tasks) {
        let router = self.router();
        tasks.start("relay", |stop| serve(listener, router, stop));
        self.start_in_background(tasks);
    }
}

/// Serves until `stop` is cancelled, and then until the requests in flight are answered.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let listener = listener.tap_io(|connection| {
        // An answer is small and is waited for: it must not wait for a second packet.
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "Could not set TCP_NODELAY");
        }
    });
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        error!(%error, "Serving ended");
    }
}

/// Waits for a signal, or for a task that ended early, and then for all tasks to end.
///
/// # Errors
///
/// Where the signals cannot be listened for.
pub async fn run_until_stopped(tasks: Tasks) -> anyhow::Result<ExitCode> {
    let asked = tokio::select! {
        signal = stop_signal() => { signal?; true }
        () = tasks.stopping() => false,
    };
    if asked {
        info!("Stopping: finishing what is in flight");
    } else {
        error!("A task ended before it was asked to; stopping the others");
    }
    if tasks.stop(GRACE).await.is_err() {
        error!("Some tasks did not end within {GRACE:?}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if asked {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Completes on SIGTERM or SIGINT (Ctrl-C).
///
/// # Errors
///
/// Where the signals cannot be listened for.
pub async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    Ok(())
}
