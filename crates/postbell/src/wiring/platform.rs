//! The platform and its pages, alone or in one process with a relay.

mod machines;
mod mailboxes;
mod operator;
mod operator_client;
mod pages;

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use axum::Router;
use postbell_alerts::{Monitor, UserTargets};
use postbell_core::{
    AuditedPorts, Changes, Clock, DeliveryLog, DeliveryQueue, ProblemCode, Tasks, UserId, Users,
};
use postbell_google::SigningKeys;
use postbell_http::{Listener, serve};
use postbell_platform::{
    CheckIn, ContactPoll, CookieCipher, Fleet, FlyMachines, HttpRelays, LocalDirectory, LocalRelay,
    MachineStarter, Machines, MailboxUsers, OperatorClient, Pages, PagesParts, Platform,
    Reconciler, ReconcilerParts, Relays, UserService, WatchRenewer, system_random,
};
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_relay::DirectoryCache;
use postbell_store::{Store, StoreOptions};
use reqwest::Client;
use secrecy::SecretString;
use tokio::sync::Notify;
use tracing::warn;

use self::machines::MachineParts;
pub(crate) use self::machines::controllers;
use self::mailboxes::mailbox_users;
pub(crate) use self::operator_client::operator_client;
pub use self::pages::sign_in_links;
use super::alerts::{AlertPorts, AlertService, alerts, users_client};
use super::store_gate::StoreGate;
use super::{Relay, RelayPorts, join, store_problem};
use crate::config::{Config, PlatformConfig, StoreUrl};

/// A platform whose parts are connected, but not started.
pub struct PlatformService {
    gate: StoreGate,
    users: Arc<UserService>,
    platform: Platform,
    pages: Pages,
    /// Google's keys, if no relay in this process refreshes them.
    keys: Option<Arc<SigningKeys>>,
    reconciler: Reconciler,
    starter: MachineStarter,
    renewer: Option<WatchRenewer>,
    contact: ContactPoll,
    alerts: AlertService,
}

/// Dependencies of a platform that differ between `platform` and `serve`.
struct PlatformPorts {
    client: Client,
    clock: Arc<dyn Clock>,
    store: Store,
    gate: StoreGate,
    fleet: (Arc<Fleet>, MachineStarter),
    mailboxes: Arc<MailboxUsers>,
    alerts: AlertService,
    changes: Changes,
    /// The relay in this process.
    relay: Option<InProcessRelay>,
}

/// The relay in this process, which is notified without HTTP.
struct InProcessRelay {
    store: Store,
    queue: Arc<dyn DeliveryQueue>,
    log: Arc<dyn DeliveryLog>,
    directory: Arc<DirectoryCache>,
    arrivals: Arc<Notify>,
    clock: Arc<dyn Clock>,
    keys: Arc<SigningKeys>,
}

#[async_trait]
impl Relays for InProcessRelay {
    async fn user_changed(&self, user: &UserId) {
        self.directory.forget(user);
    }

    async fn machine_checked_in(&self, _: &CheckIn, mailboxes: &[(UserId, Option<ProblemCode>)]) {
        for (user, problem) in mailboxes {
            self.directory.forget(user);
            let due = self.queue.make_due(user, *problem, self.clock.now());
            if let Err(error) = due.await {
                let error = &error as &dyn std::error::Error;
                warn!(
                    user.id = %user.masked(), error,
                    "Could not make the pending delivery of {} due", user.masked()
                );
            }
        }
        self.arrivals.notify_one();
    }
}

/// Builds a platform alone. Opens the store; opens no socket and sends no request.
///
/// # Errors
///
/// Fails if the configuration is invalid, or the store cannot be opened.
pub fn platform(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<PlatformService> {
    let store = &config.platform.store;
    let changes = Changes::new();
    let options = StoreOptions::service().keys(config.platform.key_ring()?);
    let store = Store::open(store.expose(), options.changes(changes.clone()))
        .with_context(|| format!("platform.store {store}"))?;
    let client = postbell_http::client()?;
    let alerts = alerts_of(config, &clock, &store, None)?;
    let monitor = Arc::clone(&alerts.monitor);
    let mailboxes = mailbox_users(config, &store, &client, &clock)?;
    let fleet = fleet(
        &config.platform,
        &store.users(),
        &clock,
        client.clone(),
        monitor,
    )?;
    let ports = PlatformPorts {
        client,
        gate: StoreGate::new("platform.store", &store, &clock),
        clock,
        store,
        fleet,
        mailboxes,
        alerts,
        changes,
        relay: None,
    };
    service(config, ports)
}

/// Builds a relay and a platform in one process. They may share one store.
///
/// # Errors
///
/// Fails if the configuration is invalid, or a store cannot be opened.
pub fn relay_and_platform(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Relay, PlatformService)> {
    let client = postbell_http::client()?;
    let changes = Changes::new();
    let (inbox, store) = open(config, &changes)?;
    let (gate, gate_of_store) = StoreGate::of_both(config, &inbox, &store, &clock);
    let users = store.users();
    let alerts = alerts_of(config, &clock, &store, Some(inbox.log()))?;
    let monitor = Arc::clone(&alerts.monitor);
    let fleet = fleet(&config.platform, &users, &clock, client.clone(), monitor)?;
    let mailboxes = mailbox_users(config, &store, &client, &clock)?;
    let directory = LocalDirectory {
        store: users,
        fleet: Arc::clone(&fleet.0),
        mailboxes: Arc::clone(&mailboxes),
        gateway_tokens: GatewayTokens::new(config.platform.gateway_secret()?),
    };
    let ports = RelayPorts {
        queue: inbox.queue(),
        log: inbox.log(),
        gate,
        directory: Arc::new(directory),
        api_key: Some(config.platform.api_key()?.clone()),
    };
    let relay = join(config, Arc::clone(&clock), client.clone(), ports)?;
    let in_process = InProcessRelay {
        store: inbox,
        queue: Arc::clone(&relay.queue),
        log: Arc::clone(&relay.log),
        directory: Arc::clone(&relay.dispatcher.deliverer.directory),
        arrivals: Arc::clone(&relay.dispatcher.arrivals),
        clock: Arc::clone(&clock),
        keys: Arc::clone(&relay.keys),
    };
    let ports = PlatformPorts {
        client,
        clock,
        store,
        gate: gate_of_store,
        fleet,
        mailboxes,
        alerts,
        changes,
        relay: Some(in_process),
    };
    let platform = service(config, ports)?;
    Ok((relay, platform))
}

/// Opens the relay's store and the platform's, which may be one. Writes are announced to the pages.
fn open(config: &Config, changes: &Changes) -> anyhow::Result<(Store, Store)> {
    let keys = config.platform.key_ring()?;
    let (inbox, store) = (&config.relay.inbox, &config.platform.store);
    let open = |keys: &str, url: &StoreUrl, options: StoreOptions| {
        let store = Store::open(url.expose(), options.changes(changes.clone()));
        store.with_context(|| format!("{keys} {url}"))
    };
    if inbox == store {
        let options = StoreOptions::service().keys(keys);
        let store = open("relay.inbox and platform.store", store, options)?;
        return Ok((store.clone(), store));
    }
    let inbox = open("relay.inbox", inbox, StoreOptions::service())?;
    let options = StoreOptions::service().keys(keys);
    Ok((inbox, open("platform.store", store, options)?))
}

fn fleet(
    config: &PlatformConfig,
    users: &Arc<dyn Users>,
    clock: &Arc<dyn Clock>,
    client: Client,
    monitor: Arc<Monitor>,
) -> anyhow::Result<(Arc<Fleet>, MachineStarter)> {
    let env_key = config.env_key()?;
    let machines = config.fly.token.clone().map(|token| {
        let machines = FlyMachines::new(
            client,
            config.fly.url.clone(),
            token,
            env_key,
            Arc::clone(clock),
        );
        Arc::new(machines) as Arc<dyn Machines>
    });
    let (users, clock) = (Arc::clone(users), Arc::clone(clock));
    Ok(Fleet::new(users, machines, clock, Some(monitor)))
}

/// The alerts about the users in `store` and, with the log of a relay, about its deliveries.
fn alerts_of(
    config: &Config,
    clock: &Arc<dyn Clock>,
    store: &Store,
    log: Option<Arc<dyn DeliveryLog>>,
) -> anyhow::Result<AlertService> {
    let ports = AlertPorts {
        outbox: store.alert_outbox(),
        users: Some((store.users(), store.alert_targets())),
        log,
    };
    alerts(&config.alerts, clock, ports)
}

/// The relay in this process, as pages use it.
fn local_relay(
    config: &Config,
    relay: Option<&InProcessRelay>,
) -> anyhow::Result<Option<LocalRelay>> {
    let Some(relay) = relay else {
        return Ok(None);
    };
    Ok(Some(LocalRelay {
        queue: Arc::clone(&relay.queue),
        log: Arc::clone(&relay.log),
        arrivals: Arc::clone(&relay.arrivals),
        url: config.relay.audience()?.to_owned(),
    }))
}

/// The relays that learn of changed users: the configured ones, and the one in this process.
fn all_relays(
    settings: &PlatformConfig,
    client: &Client,
    api_key: &SecretString,
    relay: Option<InProcessRelay>,
) -> Arc<dyn Relays> {
    let urls = settings.relay_urls.clone();
    let remote = HttpRelays::new(client.clone(), urls, api_key.clone());
    let mut relays: Vec<Arc<dyn Relays>> = vec![Arc::new(remote)];
    relays.extend(relay.map(|relay| Arc::new(relay) as Arc<dyn Relays>));
    Arc::new(relays)
}

fn user_service(
    store: &Store,
    fleet: Arc<Fleet>,
    relays: &Arc<dyn Relays>,
    machines: &MachineParts,
    operator_client: Option<&Arc<OperatorClient>>,
    queue: Option<Arc<dyn AuditedPorts>>,
    clock: &Arc<dyn Clock>,
) -> (Arc<UserService>, Reconciler) {
    let (commands, reconciler) = Reconciler::new(ReconcilerParts {
        store: store.users(),
        ports: Arc::new(store.clone()),
        tarballs: machines.tarballs.clone(),
        controllers: Arc::clone(&machines.controllers),
        orphaned_machines: store.orphaned_machines(),
        fleet: Arc::clone(&fleet),
        queue,
        random: system_random(),
        relays: Arc::clone(relays),
        operator_client: operator_client.cloned(),
        sessions: store.sessions(),
        clock: Arc::clone(clock),
    });
    let users = UserService {
        store: store.users(),
        ports: Arc::new(store.clone()),
        fleet,
        relays: Arc::clone(relays),
        clock: Arc::clone(clock),
        commands,
        operator_client: operator_client.cloned(),
    };
    (Arc::new(users), reconciler)
}

fn user_targets(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<UserTargets> {
    Ok(UserTargets {
        targets: store.alert_targets(),
        client: users_client(&config.alerts, clock)?,
    })
}

fn renewer(google: Option<&Arc<OperatorClient>>, fleet: &Arc<Fleet>) -> Option<WatchRenewer> {
    google.map(|google| WatchRenewer::new(Arc::clone(google), Arc::clone(fleet)))
}

fn service(config: &Config, ports: PlatformPorts) -> anyhow::Result<PlatformService> {
    let settings = &config.platform;
    let PlatformPorts {
        client,
        clock,
        store,
        gate,
        fleet: (fleet, starter),
        mailboxes,
        alerts,
        changes,
        relay,
    } = ports;
    let beside = local_relay(config, relay.as_ref())?;
    let keys = relay.as_ref().map(|relay| Arc::clone(&relay.keys));
    let queue = operator::operated_queue(config, relay.as_ref());
    let relays = all_relays(settings, &client, settings.api_key()?, relay);
    let platform_key = settings.platform_key()?.map(Arc::new);
    let google = operator_client(config, &store, platform_key.as_ref(), &client, &clock)?;
    let renewer = renewer(google.as_ref(), &fleet);
    let machines = machines::parts(config, &store, platform_key.as_ref(), &client, &clock)?;
    let shared = google.as_ref();
    let ports = queue.as_ref().map(|queue| Arc::clone(&queue.ports));
    let (users, reconciler) =
        user_service(&store, fleet, &relays, &machines, shared, ports, &clock);
    let operator = operator::build(settings, &store, queue, google, &relays, &machines, &clock)?;
    let api = operator::ApiPorts {
        store: &store,
        users: &users,
        mailboxes: &mailboxes,
        tarballs: machines.tarballs,
        platform_key,
        operator: &operator,
    };
    let platform = operator::api(config, api)?;
    let (google, keys) = pages::google(config, client.clone(), Arc::clone(&clock), keys)?;
    let parts = PagesParts {
        users: Arc::clone(&users),
        mailboxes,
        relay: beside,
        changes,
        links: sign_in_links(settings, store.sessions())?,
        cipher: CookieCipher::new(settings.gateway_secret()?),
        operator,
        google,
        issuer: pages::issuer(settings, client, Arc::clone(&clock))?,
        access: pages::access(settings),
        alerts: user_targets(config, &store, &clock)?,
    };
    Ok(PlatformService {
        gate,
        users,
        platform,
        pages: Pages::new(parts),
        keys,
        reconciler,
        starter,
        renewer,
        contact: machines.contact,
        alerts,
    })
}

impl PlatformService {
    /// Returns the platform's routes, for callers with a server of their own.
    pub fn router(&self) -> Router {
        self.pages.around(self.platform.router())
    }

    /// Returns a question for [`Service::run`](super::Service::run): does the store take writes?
    pub fn problem(&self) -> impl AsyncFn() -> Option<String> + use<> {
        let users = Arc::clone(&self.users);
        async move || {
            let ready = users.store.check_ready(users.clock.now()).await;
            store_problem("platform.store", ready)
        }
    }

    /// Starts the server and the background tasks.
    pub fn start(self, listener: impl Into<Listener>, tasks: &Tasks) {
        let (router, listener) = (self.router(), listener.into());
        tasks.start("platform", |stop| serve(listener, router, stop));
        let (pages, gate) = (self.pages.clone(), self.gate);
        gate.start(tasks, "page-changes", |stop| {
            pages.follow_other_processes(stop)
        });
        tasks.start("pages", |stop| self.pages.close_connections(stop));
        gate.start(tasks, "reconciler", |stop| self.reconciler.run(stop));
        gate.start(tasks, "machine-starter", |stop| self.starter.run(stop));
        if let Some(renewer) = self.renewer {
            gate.start(tasks, "watch-renewer", |stop| renewer.run(stop));
        }
        gate.start(tasks, "machine-contact", |stop| self.contact.run(stop));
        self.alerts.start(&gate, tasks);
        if let Some(keys) = self.keys {
            tasks.start("sign-in-keys", |stop| keys.refresh_ahead(stop));
        }
    }
}

#[cfg(test)]
mod tests {
    use postbell_core::{
        HistoryId, InstanceStatus, Listener, MachineLocation, NewUser, Notification, SandboxId,
        Timestamp,
    };

    use super::*;

    async fn is_notified(listener: &mut Listener) -> bool {
        tokio::select! {
            biased;
            () = listener.changed() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn writes_are_announced_to_the_pages() {
        const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        for (inbox_file, store_file) in [("one", "one"), ("inbox", "users")] {
            let mut config = Config::default();
            config.relay.inbox = file(inbox_file).into();
            config.platform.store = file(store_file).into();
            config.platform.gateway_secret = Some("a secret of the tests".into());
            let changes = Changes::new();
            let (inbox, store) = open(&config, &changes).unwrap();
            let ann: UserId = "ann".parse().unwrap();
            let mut listener = changes.listen_to(&ann);
            let new = NewUser {
                user: ann.clone(),
                sandbox_id: SandboxId::from(&ann),
                status: InstanceStatus::Running,
                location: MachineLocation::Unknown,
                wake_on_mail: false,
            };
            store.users().add(new, NOW).await.unwrap();
            assert!(is_notified(&mut listener).await);
            let notification = Notification {
                trace: None,
                user: ann,
                address: None,
                message_id: "m1".parse().unwrap(),
                published_at: None,
                history_id: HistoryId::new(7),
                body: bytes::Bytes::new(),
            };
            inbox.queue().accept(notification, NOW).await.unwrap();
            assert!(is_notified(&mut listener).await);
        }
    }
}
