//! Every part on a port of its own, against the sandbox.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_controller::{Endpoint, PushRoute};
use postbell_core::{Clock, Tasks};
use postbell_google::{
    AuthorizedUser, Gmail, Patience, PubSubAdmin, PushSubscription, TokenSource,
};
use postbell_http::serve;
use postbell_protocol::gateway_token::GatewayToken;
use postbell_sandbox::{PROJECT, PlatformInstance, Sandbox};
use postbell_watcher::{BodyWanted, Hook, PushAuth, StateFile, Watcher, WatcherSettings};
use reqwest::Client;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;
use url::Url;

use super::taps::{Door, Taps};
use crate::config::{Config, DirectoryConfig, GoogleConfig};
use crate::wiring;

/// Whose mail it is.
const USER: &str = "ada";
const EMAIL: &str = "ada@example.com";

/// What the parts of Google's are called.
const TOPIC: &str = "gmail";
const SUBSCRIPTION: &str = "gmail-push";
const PUSH_ACCOUNT: &str = "gmail-push@sandbox-project.iam.gserviceaccount.com";

/// How much of a mail's text the bot gets: what KiloClaw sets.
const BODY_BYTES: usize = 20_000;

/// Where the watcher takes pushes.
const WATCHER_PATH: &str = "/gmail-pubsub";

/// How long the parts have to begin, or to end.
const GRACE: Duration = Duration::from_secs(10);

/// Every part on a port of its own, against the sandbox: Google, a user whose machine runs, a
/// controller, a watcher and a bot; and a relay, in this process or in one of the caller's.
pub struct World {
    /// Google, the user directory and the bot.
    pub sandbox: Sandbox,
    /// What a relay in this world is told.
    pub config: Config,
    /// When notifications pass the doors.
    pub taps: Taps,
    watcher: Arc<Watcher>,
    pubsub: PubSubAdmin,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    _folder: TempDir,
}

impl World {
    /// Starts everything, a relay included, and returns once the first notification, with which
    /// Gmail begins a watch, has got through.
    ///
    /// # Errors
    ///
    /// What kept a part from starting.
    pub async fn start(clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let listener = free_port().await?;
        let address = listener.local_addr()?;
        let world = Self::without_relay(clock, address, Patience::default()).await?;
        world.start_relay(listener)?;
        world.start_catch_up();
        world.begin().await?;
        let got_through = timeout(GRACE, world.taps.got_through()).await;
        got_through.context("the first notification did not get through")?;
        Ok(world)
    }

    /// Starts everything but a relay, which will listen on `relay`. No mail is watched for until
    /// [`begin`](Self::begin). `patience` is the watcher's with Gmail.
    ///
    /// # Errors
    ///
    /// What kept a part from starting.
    pub async fn without_relay(
        clock: Arc<dyn Clock>,
        relay: SocketAddr,
        patience: Patience,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the demo")?;
        let sandbox = Sandbox::start(free_port().await?).await?;
        let client = postbell_http::client()?;
        let base = Url::parse(sandbox.url())?;
        // The credentials go the way of the file that holds them: as JSON.
        let user = serde_json::to_value(sandbox.oauth().grant(EMAIL))?;
        let user: AuthorizedUser = serde_json::from_value(user)?;
        let token_url = base.join("/token")?;
        let tokens = TokenSource::new(client.clone(), token_url, user, Arc::clone(&clock));
        let tokens = Arc::new(tokens);
        let gmail = Gmail::new(client.clone(), base.clone(), Arc::clone(&tokens), patience);
        // The sandbox has no quota.
        let gmail = gmail.with_units_per_minute(NonZeroU32::MAX);
        let pubsub = PubSubAdmin::new(client.clone(), base, tokens);
        let state = StateFile::open(&folder.path().join("gmail-watch"), EMAIL)?;
        let token = sandbox.platform().gateway_token(USER);
        let hook = hook(&sandbox, client.clone())?;
        let watcher = Watcher::new(
            settings(token.as_str().into()),
            gmail,
            hook,
            state,
            Arc::clone(&clock),
        )?;
        let watcher = Arc::new(watcher);
        let tasks = Tasks::new();
        let taps = Taps::new(Arc::clone(&clock));
        let controller = start_machine(&tasks, &taps, Arc::clone(&watcher), &token).await?;
        sandbox.platform().put(running_machine());
        let config = relay_config(&sandbox, relay, controller, &folder)?;
        Ok(Self {
            sandbox,
            config,
            taps,
            watcher,
            pubsub,
            tasks,
            clock,
            _folder: folder,
        })
    }

    /// Starts a relay in this process, as [`config`](Self::config) has it.
    ///
    /// # Errors
    ///
    /// What kept it from starting.
    pub fn start_relay(&self, listener: TcpListener) -> anyhow::Result<()> {
        let relay = wiring::relay(&self.config, Arc::clone(&self.clock))?;
        let router = self.taps.watch(Door::Relay, relay.router());
        self.tasks
            .start("relay", |stop| serve(listener, router, stop));
        relay.start_in_background(&self.tasks);
        Ok(())
    }

    /// Lets the watcher look without being asked, too: what a relay loses would be found so.
    pub fn start_catch_up(&self) {
        let watcher = Arc::clone(&self.watcher);
        self.tasks
            .start("watcher-catch-up", |stop| watcher.catch_up(stop));
    }

    /// Sets Pub/Sub up to push to the relay, and has Gmail watch the mailbox.
    ///
    /// # Errors
    ///
    /// What Google refused.
    pub async fn begin(&self) -> anyhow::Result<()> {
        let topic = format!("projects/{PROJECT}/topics/{TOPIC}");
        let endpoint = format!("{}/push/user/{USER}", self.config.relay.audience()?);
        let push = PushSubscription {
            topic: topic.clone(),
            audience: endpoint.clone(),
            endpoint,
            service_account: PUSH_ACCOUNT.to_owned(),
        };
        self.pubsub.create_topic(&topic).await?;
        self.pubsub.allow_gmail(&topic).await?;
        self.pubsub
            .create_push_subscription(&self.subscription(), &push)
            .await?;
        self.watcher
            .start_watch(&topic, &["INBOX".to_owned()])
            .await?;
        Ok(())
    }

    /// Whose mailbox is watched.
    #[must_use]
    pub fn email(&self) -> &str {
        EMAIL
    }

    /// The subscription that pushes.
    #[must_use]
    pub fn subscription(&self) -> String {
        format!("projects/{PROJECT}/subscriptions/{SUBSCRIPTION}")
    }

    /// Ends every part, and waits for it.
    ///
    /// # Errors
    ///
    /// Where a part does not end.
    pub async fn stop(self) -> anyhow::Result<()> {
        let ended = self.tasks.stop(GRACE).await;
        self.sandbox.stop().await;
        ended.context("some part did not end")
    }
}

async fn free_port() -> anyhow::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0")
        .await
        .context("cannot listen on a port of 127.0.0.1")
}

fn settings(token: SecretString) -> WatcherSettings {
    let settings = WatcherSettings::new(EMAIL.to_owned(), PushAuth::with_token(token));
    WatcherSettings {
        body: BodyWanted::UpTo(BODY_BYTES),
        ..settings
    }
}

fn hook(sandbox: &Sandbox, client: Client) -> anyhow::Result<Hook> {
    let url = Url::parse(&sandbox.bot().hook_url())?;
    Ok(Hook {
        client,
        url,
        token: Some(sandbox.bot().token().into()),
        signing: None,
    })
}

/// The bot's machine: a watcher, and a controller's way to it. Returns the controller's address.
async fn start_machine(
    tasks: &Tasks,
    taps: &Taps,
    watcher: Arc<Watcher>,
    token: &str,
) -> anyhow::Result<SocketAddr> {
    let listener = free_port().await?;
    let endpoint = Endpoint::always_ready(listener.local_addr()?.port());
    let router = taps.watch(Door::Watcher, watcher.router(WATCHER_PATH));
    tasks.start("watcher", |stop| serve(listener, router, stop));

    let listener = free_port().await?;
    let address = listener.local_addr()?;
    let pushes = PushRoute::new(GatewayToken::try_from(token)?, Some(endpoint));
    let router = taps.watch(Door::Controller, pushes.router());
    tasks.start("controller", |stop| serve(listener, router, stop));
    Ok(address)
}

fn running_machine() -> PlatformInstance {
    PlatformInstance {
        user_id: USER.to_owned(),
        sandbox_id: USER.to_owned(),
        status: "running".to_owned(),
        fly_app_name: "bot".to_owned(),
        fly_machine_id: "d8910".to_owned(),
        google_connected: true,
        gmail_notifications_enabled: true,
        gmail_push_oidc_email: Some(PUSH_ACCOUNT.to_owned()),
        email: Some(EMAIL.to_owned()),
        gmail_last_history_id: None,
    }
}

fn relay_config(
    sandbox: &Sandbox,
    relay: SocketAddr,
    controller: SocketAddr,
    folder: &TempDir,
) -> anyhow::Result<Config> {
    let base = Url::parse(sandbox.url())?;
    let mut config = Config {
        google: GoogleConfig {
            jwks_url: base.join("/oauth2/v3/certs")?,
            token_url: base.join("/token")?,
            auth_url: base.join("/o/oauth2/v2/auth")?,
            gmail_url: base.clone(),
            pubsub_url: base.clone(),
            ..GoogleConfig::default()
        },
        directory: Some(DirectoryConfig {
            url: base,
            api_key: sandbox.platform().api_key().into(),
        }),
        ..Config::default()
    };
    config.relay.listen = relay;
    config.relay.audience = Some(Url::parse(&format!("http://{relay}"))?);
    config.relay.inbox = format!("sqlite:{}", folder.path().join("inbox.db").display());
    config.relay.machine_url = format!("http://{controller}");
    Ok(config)
}
