//! The platform and its pages, on their own or beside a relay.

mod pages;

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use axum::Router;
use postbell_core::inbox::AnnouncedInbox;
use postbell_core::{Changes, Clock, Inbox, Instances, Tasks, UserId};
use postbell_google::GoogleKeys;
use postbell_platform::{
    CheckIn, Fleet, FlyMachines, GatewayTokens, HttpRelays, LocalDirectory, Machines, Orders,
    Pages, PagesParts, Platform, PlatformParts, RelayBeside, Relays, Seal, UserTokens, Users,
};
use postbell_relay::{Recall, serve};
use postbell_store::{Both, UsersStore, open_both, open_users};
use reqwest::Client;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tracing::warn;

pub use self::pages::sign_in_links;
use super::{Relay, RelayPorts, http_client, join};
use crate::config::{Config, PlatformConfig, shown_store};

/// A platform whose parts are joined, and which does nothing yet.
pub struct PlatformService {
    platform: Platform,
    pages: Pages,
    keys: Option<Arc<GoogleKeys>>,
    users: Arc<Users>,
    fleet: Arc<Fleet>,
}

/// What a platform is made of that depends on what runs beside it.
struct PlatformPorts {
    client: Client,
    clock: Arc<dyn Clock>,
    store: UsersStore,
    fleet: Arc<Fleet>,
    changes: Changes,
    /// The relay in this process, to tell and to look at.
    near: Option<NearRelay>,
}

/// A relay in this process, which is told of changes without a detour.
struct NearRelay {
    inbox: Arc<dyn Inbox>,
    recall: Arc<Recall>,
    arrivals: Arc<Notify>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Relays for NearRelay {
    async fn user_changed(&self, user: &UserId) {
        self.recall.forget(user);
    }

    async fn machine_is_up(&self, check_in: &CheckIn) {
        let user = &check_in.user;
        self.recall.forget(user);
        if let Err(error) = self.inbox.wake(user, self.clock.now()).await {
            let error = &error as &dyn std::error::Error;
            warn!(user.id = %user, error, "Could not make what waits for {user} due");
        }
        self.arrivals.notify_one();
    }
}

/// The pages of this process, which are told of changes as a relay is.
struct OwnPages(Changes);

#[async_trait]
impl Relays for OwnPages {
    async fn user_changed(&self, user: &UserId) {
        self.0.tell(user);
    }

    async fn machine_is_up(&self, check_in: &CheckIn) {
        self.0.tell(&check_in.user);
    }
}

/// Joins the parts of a platform on its own. Opens the users' records; binds and asks nothing.
///
/// # Errors
///
/// What is wrong with the configuration, or stands in the way of the records.
pub fn platform(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<PlatformService> {
    let store = &config.platform.store;
    let store = open_users(store, config.platform.key_ring()?)
        .with_context(|| format!("platform.store {}", shown_store(store)))?;
    let client = http_client()?;
    let fleet = fleet(&config.platform, &store.instances, &clock, client.clone())?;
    let ports = PlatformPorts {
        client,
        clock,
        store,
        fleet,
        changes: Changes::new(),
        near: None,
    };
    service(config, ports)
}

/// Joins the parts of a relay and of a platform that are one process, and may be one file.
///
/// # Errors
///
/// What is wrong with the configuration, or stands in the way of what is stored.
pub fn relay_and_platform(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Relay, PlatformService)> {
    let client = http_client()?;
    let Both {
        inbox,
        users: store,
    } = open(config)?;
    let changes = Changes::new();
    let inbox = Arc::new(AnnouncedInbox {
        inbox,
        changes: changes.clone(),
    });
    let instances = Arc::clone(&store.instances);
    let fleet = fleet(&config.platform, &instances, &clock, client.clone())?;
    let directory = LocalDirectory {
        instances,
        fleet: Arc::clone(&fleet),
        gateway_tokens: GatewayTokens::new(config.platform.gateway_secret()?),
        clock: Arc::clone(&clock),
    };
    let ports = RelayPorts {
        inbox,
        directory: Arc::new(directory),
        api_key: Some(config.platform.api_key()?.clone()),
    };
    let relay = join(config, Arc::clone(&clock), client.clone(), ports)?;
    let near = NearRelay {
        inbox: Arc::clone(&relay.inbox),
        recall: Arc::clone(&relay.dispatcher.recall),
        arrivals: Arc::clone(&relay.dispatcher.arrivals),
        clock: Arc::clone(&clock),
    };
    let ports = PlatformPorts {
        client,
        clock,
        store,
        fleet,
        changes,
        near: Some(near),
    };
    let platform = service(config, ports)?;
    Ok((relay, platform))
}

/// Opens what both need: together, where it is one file.
fn open(config: &Config) -> anyhow::Result<Both> {
    let keys = config.platform.key_ring()?;
    let (inbox, store) = (&config.relay.inbox, &config.platform.store);
    if inbox == store {
        let both = open_both(store, keys);
        return both
            .with_context(|| format!("relay.inbox and platform.store {}", shown_store(store)));
    }
    Ok(Both {
        inbox: postbell_store::open(inbox)
            .with_context(|| format!("relay.inbox {}", shown_store(inbox)))?,
        users: open_users(store, keys)
            .with_context(|| format!("platform.store {}", shown_store(store)))?,
    })
}

fn fleet(
    config: &PlatformConfig,
    instances: &Arc<dyn Instances>,
    clock: &Arc<dyn Clock>,
    client: Client,
) -> anyhow::Result<Arc<Fleet>> {
    let env_key = config.env_key()?;
    let machines = config.fly.token.clone().map(|token| {
        let machines = FlyMachines::new(client, config.fly.url.clone(), token, env_key);
        Arc::new(machines) as Arc<dyn Machines>
    });
    let fleet = Fleet::new(Arc::clone(instances), machines, Arc::clone(clock));
    Ok(Arc::new(fleet))
}

fn service(config: &Config, ports: PlatformPorts) -> anyhow::Result<PlatformService> {
    let settings = &config.platform;
    for key in settings.short_secrets() {
        warn!("{key} can be guessed: `openssl rand -hex 32` prints a better one");
    }
    let PlatformPorts {
        client,
        clock,
        store,
        fleet,
        changes,
        near,
    } = ports;
    let beside = match &near {
        None => None,
        Some(near) => Some(RelayBeside {
            inbox: Arc::clone(&near.inbox),
            arrivals: Arc::clone(&near.arrivals),
            url: config.relay.audience()?.to_owned(),
        }),
    };
    let api_key = settings.api_key()?;
    let urls = settings.relay_urls.clone();
    let elsewhere = HttpRelays::new(client.clone(), urls, api_key.clone());
    let mut relays: Vec<Arc<dyn Relays>> = vec![Arc::new(elsewhere)];
    relays.extend(near.map(|near| Arc::new(near) as Arc<dyn Relays>));
    relays.push(Arc::new(OwnPages(changes.clone())));
    let users = Arc::new(Users {
        instances: store.instances,
        fleet: Arc::clone(&fleet),
        relays,
        key: settings.platform_key()?.map(Arc::new),
        clock: Arc::clone(&clock),
        orders: Orders::default(),
    });
    let secret = settings.gateway_secret()?;
    let platform = Platform::new(PlatformParts {
        users: Arc::clone(&users),
        api_key: api_key.clone(),
        gateway_tokens: GatewayTokens::new(secret),
        user_tokens: UserTokens::new(secret),
    });
    let (google, keys) = pages::google(config, client, clock)?;
    let parts = PagesParts {
        users: Arc::clone(&users),
        relay: beside,
        changes,
        links: sign_in_links(settings, store.sign_ins)?,
        seal: Seal::new(secret),
        user_tokens: UserTokens::new(secret),
        google,
    };
    Ok(PlatformService {
        platform,
        pages: Pages::new(parts),
        keys,
        users,
        fleet,
    })
}

impl PlatformService {
    /// The platform's routes, for a server of the caller's.
    pub fn router(&self) -> Router {
        self.platform.router().merge(self.pages.router())
    }

    /// Serves on `listener`, carries changes out, and wakes machines.
    pub fn start(self, listener: TcpListener, tasks: &Tasks) {
        let router = self.router();
        tasks.start("platform", |stop| serve(listener, router, stop));
        tasks.start("pages", |stop| self.pages.end_streams(stop));
        tasks.start("changes", |stop| self.users.carry_out_changes(stop));
        tasks.start("wakes", |stop| self.fleet.wake_those_asked_for(stop));
        if let Some(keys) = self.keys {
            tasks.start("sign-in-keys", |stop| keys.refresh_ahead(stop));
        }
    }
}
