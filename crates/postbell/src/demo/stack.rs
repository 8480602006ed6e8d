//! Starts every part on a port of its own, against the sandbox.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_controller::{Endpoint, PushRoute};
use postbell_core::{Clock, Tasks, Tracer};
use postbell_google::{
    AuthorizedUser, Gmail, Patience, PubSubAdmin, PushSubscription, TokenSource,
};
use postbell_http::{HttpClient, serve};
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes::WATCHER_PUSH;
use postbell_protocol::watch_state::StateFile;
use postbell_sandbox::{PROJECT, PlatformInstance, Sandbox};
use postbell_watcher::{BodyWanted, PushAuth, PushServer, Watcher, WatcherSettings, WebhookClient};
use reqwest::Client;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;
use url::Url;

use super::hop_tracer::{Hop, HopTracer};
use crate::config::{Config, DirectoryConfig, GoogleConfig, RateConfig};
use crate::wiring;

/// The user and their mailbox.
const USER: &str = "ada";
const EMAIL: &str = "ada@example.com";

/// Names of the resources in the sandbox's Google Cloud project.
const TOPIC: &str = "gmail";
const SUBSCRIPTION: &str = "gmail-push";
const PUSH_ACCOUNT: &str = "gmail-push@sandbox-project.iam.gserviceaccount.com";

/// Maximum size of a mail's text in the payload, in bytes.
const BODY_BYTES: usize = 20_000;

/// Time limit for the parts to start or to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Every part on a port of its own, against the sandbox: Google, a user with a running machine, a
/// controller, a watcher and a bot. The relay runs in this process or in one of the caller's.
pub struct DemoStack {
    /// Stand-ins for Google, the user directory and the bot.
    pub sandbox: Sandbox,
    /// Configuration for a relay in this stack.
    pub config: Config,
    /// Records when notifications reach the hops.
    pub tracer: HopTracer,
    watcher: Watcher,
    pubsub: PubSubAdmin,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    _folder: TempDir,
}

impl DemoStack {
    /// Starts every part including a relay. Returns when the notification that Gmail sends at the
    /// start of a watch has passed the whole path.
    ///
    /// # Errors
    ///
    /// Fails if a part does not start.
    pub async fn start(clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let listener = free_port().await?;
        let address = listener.local_addr()?;
        let stack = Self::without_relay(clock, address, Patience::default()).await?;
        stack.start_relay(listener)?;
        stack.begin().await?;
        let completed = timeout(GRACE, stack.tracer.completed()).await;
        completed.context("the first notification did not pass the whole path")?;
        Ok(stack)
    }

    /// Starts every part except a relay, which is expected on `relay`. Gmail does not watch the
    /// mailbox before [`begin`](Self::begin). `patience` limits the watcher's calls to Gmail.
    ///
    /// # Errors
    ///
    /// Fails if a part does not start.
    pub async fn without_relay(
        clock: Arc<dyn Clock>,
        relay: SocketAddr,
        patience: Patience,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot create a directory for the demo")?;
        let sandbox = Sandbox::start(free_port().await?).await?;
        let client = postbell_http::client()?;
        let base = Url::parse(sandbox.url())?;
        // Credentials are read from JSON, as from a credentials file.
        let user = serde_json::to_value(sandbox.oauth().grant(EMAIL))?;
        let user: AuthorizedUser = serde_json::from_value(user)?;
        let token_url = base.join("/token")?;
        let tokens = TokenSource::new(client.clone(), token_url, user, Arc::clone(&clock));
        let tokens = Arc::new(tokens);
        let to_gmail = HttpClient::from_env();
        let gmail = Gmail::new(to_gmail, base.clone(), Arc::clone(&tokens), patience);
        // The sandbox enforces no quota.
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
        let tasks = Tasks::new();
        // A push waits for the sync that this task does.
        let sync = Arc::clone(&watcher.sync);
        tasks.start("watcher-sync", |stop| sync.run(stop));
        let tracer = HopTracer::new(Arc::clone(&clock));
        let controller = start_machine(&tasks, &tracer, watcher.server.clone(), &token).await?;
        sandbox.platform().put(running_machine());
        let config = relay_config(&sandbox, relay, controller, &folder)?;
        Ok(Self {
            sandbox,
            config,
            tracer,
            watcher,
            pubsub,
            tasks,
            clock,
            _folder: folder,
        })
    }

    /// Starts a relay with [`config`](Self::config) in this process.
    ///
    /// # Errors
    ///
    /// Fails if the relay does not start.
    pub fn start_relay(&self, listener: TcpListener) -> anyhow::Result<()> {
        let relay = wiring::relay(&self.config, Arc::clone(&self.clock))?;
        let router = self.tracer.wrap(Hop::Relay, relay.router());
        self.tasks
            .start("relay", |stop| serve(listener, router, stop));
        relay.start_in_background(&self.tasks);
        Ok(())
    }

    /// Creates the topic and a subscription that pushes to the relay, and starts the Gmail watch.
    ///
    /// # Errors
    ///
    /// Fails if Google refuses a request.
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
            .renewal
            .start(&topic, &["INBOX".to_owned()])
            .await?;
        Ok(())
    }

    /// Returns the address of the watched mailbox.
    #[must_use]
    pub fn email(&self) -> &str {
        EMAIL
    }

    /// Returns the name of the push subscription.
    #[must_use]
    pub fn subscription(&self) -> String {
        format!("projects/{PROJECT}/subscriptions/{SUBSCRIPTION}")
    }

    /// Stops every part and waits for it.
    ///
    /// # Errors
    ///
    /// Fails if a part does not stop in time.
    pub async fn stop(self) -> anyhow::Result<()> {
        let ended = self.tasks.stop(GRACE).await;
        self.sandbox.stop().await;
        ended.context("a part did not stop in time")
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
        body: BodyWanted::text(BODY_BYTES),
        tracer: Tracer::new(|| fastrand::u64(..)),
        ..settings
    }
}

fn hook(sandbox: &Sandbox, client: Client) -> anyhow::Result<WebhookClient> {
    let url = Url::parse(&sandbox.bot().hook_url())?;
    Ok(WebhookClient {
        client,
        url,
        token: Some(sandbox.bot().token().into()),
        signing: None,
    })
}

/// Starts the bot's machine: a watcher and a controller that forwards to it. Returns the controller's
/// address.
async fn start_machine(
    tasks: &Tasks,
    tracer: &HopTracer,
    server: PushServer,
    token: &str,
) -> anyhow::Result<SocketAddr> {
    let listener = free_port().await?;
    let endpoint = Endpoint::always_ready(listener.local_addr()?.port());
    let router = tracer.wrap(Hop::Watcher, server.router(WATCHER_PUSH));
    tasks.start("watcher", |stop| serve(listener, router, stop));

    let listener = free_port().await?;
    let address = listener.local_addr()?;
    let pushes = PushRoute::new(GatewayToken::try_from(token)?, Some(endpoint));
    let router = tracer.wrap(Hop::Controller, pushes.router());
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
    config.relay.listen = relay.into();
    config.relay.audience = Some(Url::parse(&format!("http://{relay}"))?);
    config.relay.inbox = format!("sqlite:{}", folder.path().join("inbox.db").display()).into();
    config.relay.machine_url = format!("http://{controller}");
    // All mails are of one user, whose pushes would be limited otherwise, and repeated seconds later.
    let unlimited = NonZeroU32::MAX;
    config.relay.rate_per_user = RateConfig {
        per_second: unlimited,
        burst: unlimited,
    };
    Ok(config)
}
