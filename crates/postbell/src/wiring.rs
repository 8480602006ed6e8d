//! Builds the parts and joins them.

mod platform;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use postbell_core::{Clock, Directory, Inbox, Tasks};
use postbell_google::{GoogleKeys, IdTokenVerifier};
use postbell_http::serve;
use postbell_relay::{
    Deliverer, DirectoryCache, Dispatcher, DispatcherSettings, HttpDirectory, HttpMachine, Ingress,
    IngressParts, Metrics, RejectPolicy, UrlTokenKey, prune_message_ids,
};
use postbell_store::{Store, StoreOptions};
use reqwest::Client;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing::{error, info};

pub use self::platform::{PlatformService, platform, relay_and_platform, sign_in_links};
use crate::config::{Config, ConfigError, RelayConfig, shown_store};

/// How much longer than its parts a stopping process waits: time to give back what they gave up.
const GRACE_MARGIN: Duration = Duration::from_secs(5);

/// How many deliveries may be under way at once.
const MAX_CONCURRENT_DELIVERIES: usize = 256;

/// How much longer a claim holds than the delivery may take: time to look up the machine before,
/// and to settle after.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// A relay whose parts are joined, and which does nothing yet.
pub struct Relay {
    inbox: Arc<dyn Inbox>,
    clock: Arc<dyn Clock>,
    ingress: Ingress,
    keys: Arc<GoogleKeys>,
    dispatcher: Dispatcher,
}

/// What a relay is given that depends on what runs beside it.
struct RelayPorts {
    inbox: Arc<dyn Inbox>,
    directory: Arc<dyn Directory>,
    /// What the platform shows when it says that a user has changed.
    api_key: Option<SecretString>,
}

/// Joins the parts of a relay whose platform runs elsewhere. Opens the inbox; binds and asks
/// nothing.
///
/// # Errors
///
/// What is wrong with the configuration, or stands in the way of the inbox.
pub fn relay(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Relay> {
    let client = postbell_http::client()?;
    let directory = directory(config, client.clone())?;
    let inbox = Store::open(&config.relay.inbox, StoreOptions::relay())
        .with_context(|| format!("relay.inbox {}", shown_store(&config.relay.inbox)))?
        .inbox();
    let elsewhere = config.directory.as_ref();
    let ports = RelayPorts {
        inbox,
        directory,
        api_key: elsewhere.map(|directory| directory.api_key.clone()),
    };
    join(config, clock, client, ports)
}

fn join(
    config: &Config,
    clock: Arc<dyn Clock>,
    client: Client,
    ports: RelayPorts,
) -> anyhow::Result<Relay> {
    let RelayPorts {
        inbox,
        directory,
        api_key,
    } = ports;
    let machine = machine(&config.relay, client.clone())?;
    let directory = Arc::new(DirectoryCache::new(directory, Arc::clone(&clock)));
    let keys = GoogleKeys::new(client, config.google.jwks_url.clone(), Arc::clone(&clock));
    let keys = Arc::new(keys);
    let arrivals = Arc::new(Notify::new());
    let metrics = Arc::new(Metrics::new());
    let secret = config.relay.url_token_secret.as_ref();
    let ingress = Ingress::new(IngressParts {
        inbox: Arc::clone(&inbox),
        directory: Arc::clone(&directory),
        id_tokens: Arc::new(IdTokenVerifier::new(Arc::clone(&keys))),
        clock: Arc::clone(&clock),
        audience: config.relay.audience()?.to_owned(),
        url_tokens: secret.map(UrlTokenKey::new),
        api_key,
        rate: config.relay.rate_per_user.into(),
        reject_policy: if config.relay.ack_rejected {
            RejectPolicy::Ack
        } else {
            RejectPolicy::Respond
        },
        arrivals: Arc::clone(&arrivals),
        metrics: Arc::clone(&metrics),
    });
    let dispatcher = Dispatcher {
        inbox: Arc::clone(&inbox),
        deliverer: Deliverer {
            directory,
            machine: Arc::new(machine),
        },
        clock: Arc::clone(&clock),
        arrivals,
        metrics,
        jitter: Box::new(fastrand::f64),
        settings: dispatcher_settings(&config.relay),
    };
    Ok(Relay {
        inbox,
        clock,
        ingress,
        keys,
        dispatcher,
    })
}

fn dispatcher_settings(config: &RelayConfig) -> DispatcherSettings {
    DispatcherSettings {
        retry: config.retry.into(),
        lease: config.delivery_timeout.saturating_add(LEASE_MARGIN),
        max_concurrent: MAX_CONCURRENT_DELIVERIES,
        grace: config.grace,
    }
}

/// The machines, as the relay reaches them.
pub(crate) fn machine(config: &RelayConfig, client: Client) -> anyhow::Result<HttpMachine> {
    let hosts = config.machine_hosts()?;
    let timeout = config.delivery_timeout;
    HttpMachine::new(client, &config.machine_url, timeout, hosts).map_err(|error| {
        let problem = ConfigError::Value {
            key: "relay.machine_url".to_owned(),
            source_name: "configuration".to_owned(),
            problem: error.to_string(),
        };
        problem.into()
    })
}

/// A platform that is elsewhere.
pub(crate) fn directory(
    config: &Config,
    client: Client,
) -> Result<Arc<dyn Directory>, ConfigError> {
    let directory = config.directory()?;
    Ok(Arc::new(HttpDirectory::new(
        client,
        directory.url.clone(),
        directory.api_key.clone(),
    )))
}

impl Relay {
    /// The relay's routes, for a server of the caller's.
    pub fn router(&self) -> Router {
        self.ingress.router()
    }

    /// Starts all that the relay does but serving.
    pub fn start_in_background(self, tasks: &Tasks) {
        let Self {
            inbox,
            clock,
            ingress,
            keys,
            dispatcher,
        } = self;
        tasks.start("retention", |stop| prune_message_ids(inbox, clock, stop));
        tasks.start("rate-limits", |stop| ingress.prune_idle_senders(stop));
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

/// Waits for a signal, or for a task that ended early, and then for all tasks to end, which may
/// take `grace` and a little.
///
/// # Errors
///
/// Where the signals cannot be listened for.
pub async fn run_until_stopped(tasks: Tasks, grace: Duration) -> anyhow::Result<ExitCode> {
    let signals = StopSignals::listen()?;
    Ok(run_until(signals, tasks, grace).await)
}

/// The same, where signals are listened for already.
pub(crate) async fn run_until(signals: StopSignals, tasks: Tasks, grace: Duration) -> ExitCode {
    let asked = tokio::select! {
        () = signals.stop() => true,
        () = tasks.stopping() => false,
    };
    if asked {
        info!("Stopping: finishing what is in flight");
    } else {
        error!("A task ended before it was asked to; stopping the others");
    }
    let grace = grace.saturating_add(GRACE_MARGIN);
    if tasks.stop(grace).await.is_err() {
        error!("Some tasks did not end within {grace:?}");
        return ExitCode::FAILURE;
    }
    if asked {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// SIGTERM and SIGINT (Ctrl-C), from the moment on that they are listened for.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens. Before that, SIGTERM ends the process, or is lost where it is PID 1.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes on the first of them.
    pub(crate) async fn stop(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}

/// Completes on SIGTERM or SIGINT (Ctrl-C).
///
/// # Errors
///
/// Where the signals cannot be listened for.
pub async fn stop_signal() -> std::io::Result<()> {
    StopSignals::listen()?.stop().await;
    Ok(())
}
