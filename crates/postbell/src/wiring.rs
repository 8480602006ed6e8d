//! Builds the parts and connects them.

mod alerts;
mod platform;
mod service_manager;
mod stop_signals;
mod store_gate;
mod telemetry;
mod tls;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use postbell_core::{Clock, DeliveryLog, DeliveryQueue, Directory, RelayId, StoreError, Tasks};
use postbell_google::{IdTokenVerifier, SigningKeys};
use postbell_http::{HttpClient, Listener, serve};
use postbell_relay::{
    Deliverer, DirectoryCache, Dispatcher, DispatcherSettings, HttpDirectory, HttpMachine, Ingress,
    IngressParts, Metrics, RejectPolicy, UrlTokenKey,
};
use postbell_store::{Store, StoreOptions};
use reqwest::Client;
use secrecy::SecretString;
use tokio::sync::Notify;
use tracing::{error, info};

use self::alerts::{AlertPorts, AlertService, alerts};
pub use self::platform::{PlatformService, platform, relay_and_platform, sign_in_links};
pub(crate) use self::platform::{controllers, operator_client};
use self::service_manager::ServiceManager;
use self::stop_signals::StopSignals;
pub use self::stop_signals::stop_signal;
use self::store_gate::StoreGate;
pub(crate) use self::telemetry::Telemetry;
pub(crate) use self::tls::TlsListeners;
use crate::config::{Config, ConfigError, RelayConfig};

/// Added to the grace period of the parts: time to release unfinished deliveries.
const GRACE_MARGIN: Duration = Duration::from_secs(5);

/// Added to the time limits of the two deliveries that an attempt may make (the machine may have moved)
/// to give the lease of a claim: time for its four questions to the directory, to settle twice on a slow
/// database, and for the clocks of two relays to differ.
const LEASE_MARGIN: Duration = Duration::from_secs(60);

/// A relay whose parts are connected, but not started.
pub struct Relay {
    queue: Arc<dyn DeliveryQueue>,
    log: Arc<dyn DeliveryLog>,
    gate: StoreGate,
    ingress: Ingress,
    keys: Arc<SigningKeys>,
    dispatcher: Dispatcher,
    /// Without a platform in this process, whose alerts include the relay's.
    alerts: Option<AlertService>,
    telemetry: Telemetry,
}

/// Dependencies of a relay that differ between `relay` and `serve`.
struct RelayPorts {
    queue: Arc<dyn DeliveryQueue>,
    log: Arc<dyn DeliveryLog>,
    gate: StoreGate,
    directory: Arc<dyn Directory>,
    /// API key that the platform sends with notifications of changed users.
    api_key: Option<SecretString>,
}

/// Builds a relay with a remote platform. Opens the store; opens no socket and sends no request.
///
/// # Errors
///
/// Fails if the configuration is invalid, or the store cannot be opened.
pub fn relay(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Relay> {
    // At once: the first client reads the system's certificates, which takes as long as to open a store.
    let (client, store) = thread::scope(|threads| {
        let client = threads.spawn(postbell_http::client);
        let store = Store::open(config.relay.inbox.expose(), StoreOptions::service());
        (client.join(), store)
    });
    let client = client.map_err(|_| anyhow!("reading the system's certificates panicked"))??;
    let store = store.with_context(|| format!("relay.inbox {}", config.relay.inbox))?;
    let directory = directory(config, client.clone())?;
    let remote = config.directory.as_ref();
    let ports = RelayPorts {
        queue: store.queue(),
        log: store.log(),
        gate: StoreGate::new("relay.inbox", &store, &clock),
        directory,
        api_key: remote.map(|directory| directory.api_key.clone()),
    };
    let ports_of_alerts = AlertPorts {
        outbox: store.alert_outbox(),
        users: None,
        log: Some(store.log()),
    };
    let alerts = alerts(&config.alerts, &clock, ports_of_alerts)?;
    let mut relay = join(config, clock, client, ports)?;
    relay.alerts = Some(alerts);
    Ok(relay)
}

fn join(
    config: &Config,
    clock: Arc<dyn Clock>,
    client: Client,
    ports: RelayPorts,
) -> anyhow::Result<Relay> {
    let RelayPorts {
        queue,
        log,
        gate,
        directory,
        api_key,
    } = ports;
    let machine = machine(&config.relay, Arc::clone(&clock))?;
    let directory = Arc::new(DirectoryCache::new(directory, Arc::clone(&clock)));
    let keys = SigningKeys::of_google(client, config.google.jwks_url.clone(), Arc::clone(&clock));
    let keys = Arc::new(keys);
    let arrivals = Arc::new(Notify::new());
    let metrics = Arc::new(Metrics::new());
    let telemetry = Telemetry::new(&config.telemetry, "postbell-relay", &clock)?;
    let tracer = telemetry.tracer.clone();
    let secret = config.relay.url_token_secret.as_ref();
    let ingress = Ingress::new(IngressParts {
        queue: Arc::clone(&queue),
        log: Arc::clone(&log),
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
        tracer: tracer.clone(),
    });
    let dispatcher = Dispatcher {
        relay: RelayId::new(fastrand::i64(..)),
        queue: Arc::clone(&queue),
        deliverer: Deliverer {
            directory,
            machine: Arc::new(machine),
        },
        clock: Arc::clone(&clock),
        arrivals,
        metrics,
        tracer,
        jitter: Box::new(fastrand::f64),
        settings: dispatcher_settings(&config.relay),
    };
    Ok(Relay {
        queue,
        log,
        gate,
        ingress,
        keys,
        dispatcher,
        alerts: None,
        telemetry,
    })
}

fn dispatcher_settings(config: &RelayConfig) -> DispatcherSettings {
    DispatcherSettings {
        retry: config.retry.into(),
        lease: config
            .delivery_timeout
            .saturating_mul(2)
            .saturating_add(LEASE_MARGIN),
        max_concurrent: usize::try_from(config.deliveries_at_once.get()).unwrap_or(usize::MAX),
        grace: config.grace,
    }
}

/// Builds the relay's client of machines.
pub(crate) fn machine(config: &RelayConfig, clock: Arc<dyn Clock>) -> anyhow::Result<HttpMachine> {
    let hosts = config.machine_hosts()?;
    let timeout = config.delivery_timeout;
    let client = HttpClient::from_env();
    HttpMachine::new(client, &config.machine_url, timeout, hosts, clock).map_err(|error| {
        let problem = ConfigError::Value {
            key: "relay.machine_url".to_owned(),
            source_name: "configuration".to_owned(),
            problem: error.to_string(),
        };
        problem.into()
    })
}

/// Builds the client of a remote platform.
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
    /// Returns the relay's routes, for callers with a server of their own.
    pub fn router(&self) -> Router {
        self.ingress.router()
    }

    /// Returns a question for [`Service::run`]: does the queue take writes?
    pub fn problem(&self) -> impl AsyncFn() -> Option<String> + use<> {
        let (queue, clock) = (Arc::clone(&self.queue), Arc::clone(&self.dispatcher.clock));
        async move || store_problem("relay.inbox", queue.check_ready(clock.now()).await)
    }

    /// Starts the relay's background tasks, without a server.
    pub fn start_in_background(self, tasks: &Tasks) {
        let Self {
            gate,
            ingress,
            keys,
            dispatcher,
            alerts,
            telemetry,
            ..
        } = self;
        tasks.start("rate-limits", |stop| ingress.prune_idle_senders(stop));
        gate.start(tasks, "dispatcher", |stop| Arc::new(dispatcher).run(stop));
        tasks.start("google-keys", |stop| keys.refresh_ahead(stop));
        if let Some(alerts) = alerts {
            alerts.start(&gate, tasks);
        }
        telemetry.start(tasks);
    }

    /// Starts the server and the background tasks.
    pub fn start(self, listener: impl Into<Listener>, tasks: &Tasks) {
        let (service, listener) = (self.ingress.service(), listener.into());
        tasks.start("relay", |stop| serve(listener, service, stop));
        self.start_in_background(tasks);
    }
}

/// A service that has started all but its tasks. From now on, a signal stops it in order.
pub struct Service {
    signals: StopSignals,
    /// How long its tasks may take to stop.
    grace: Duration,
}

impl Service {
    /// Installs the signal handlers.
    ///
    /// # Errors
    ///
    /// Fails if the signal handlers cannot be installed.
    pub fn new(grace: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            signals: StopSignals::listen().context("cannot handle signals")?,
            grace,
        })
    }

    /// Tells the service manager that the service is ready, with a status that says what it does. Waits
    /// for a stop signal or for a task that ends early, then stops all tasks within the grace and a
    /// margin. Until then, `problem` is asked what the status is, every 30 seconds or more often: `None`
    /// if all is well. If it does not answer, the service manager's watchdog may restart the process.
    pub async fn run(
        self,
        tasks: Tasks,
        status: String,
        problem: impl AsyncFn() -> Option<String>,
    ) -> ExitCode {
        let manager = ServiceManager::ready(status);
        let was_requested = tokio::select! {
            () = self.signals.stop() => true,
            () = tasks.stopping() => false,
            () = manager.report(problem) => false,
        };
        manager.stopping();
        if was_requested {
            info!("Stopping: finishing the work in flight");
        } else {
            error!("A task ended unexpectedly; stopping the others");
        }
        let grace = self.grace.saturating_add(GRACE_MARGIN);
        if tasks.stop(grace).await.is_err() {
            error!("Some tasks did not stop within {grace:?}");
            return ExitCode::FAILURE;
        }
        if was_requested {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Returns what keeps a store from being ready, asked through its port.
fn store_problem(name: &str, ready: Result<(), StoreError>) -> Option<String> {
    let error = ready.err()?;
    Some(format!("{name} is not ready: {error}"))
}
