use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, HistoryId, SystemClock, Tasks};
use postbell_google::{
    AuthorizedUser, Credentials, Gmail, Patience, PubSubAdmin, TokenSource, UNITS_PER_MINUTE,
};
use postbell_http::HttpClient;
use postbell_protocol::watch_state::StateFile;
use postbell_sandbox::{PROJECT, Sandbox};
use postbell_testkit::PausedClock;
use postbell_watcher::{
    BodyWanted, MessageRetries, NotSynced, PushAuth, SyncError, SyncOutcome, SyncTimes, Watcher,
    WatcherSettings, WebhookClient,
};
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

pub(crate) const EMAIL: &str = "ann@example.com";
pub(crate) const TOKEN: &str = "the-watchers-token";

/// The file with the grant that was stored last.
const GRANT: &str = "google.json";

/// So long that it does not happen in a test.
pub(crate) const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// A sandbox, and a running watcher with a started watch. Without other settings, it syncs at its
/// start and after notifications only.
pub(crate) struct TestWatcher {
    pub(crate) sandbox: Sandbox,
    pub(crate) watcher: Watcher,
    tasks: Tasks,
    folder: TempDir,
    change: Change,
    limits: Limits,
}

/// A clock, and the quota in units per minute.
pub(crate) struct Limits {
    clock: Arc<dyn Clock>,
    units: NonZeroU32,
}

impl Limits {
    /// The time of day, and no quota.
    pub(crate) fn none() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            units: NonZeroU32::MAX,
        }
    }
}

/// Changes the settings of a watcher.
type Change = Box<dyn Fn(&mut WatcherSettings)>;

impl TestWatcher {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same with other settings.
    pub(crate) async fn with(change: impl Fn(&mut WatcherSettings) + 'static) -> Self {
        Self::limited(Limits::none(), Box::new(change)).await
    }

    /// A watcher within Gmail's quota, whose time can be paused.
    pub(crate) async fn within_quota() -> Self {
        let limits = Limits {
            clock: Arc::new(PausedClock::starting_at(SystemClock::new().now())),
            units: UNITS_PER_MINUTE,
        };
        Self::limited(limits, Box::new(|_| ())).await
    }

    async fn limited(limits: Limits, change: Change) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(listener).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let watcher = watcher(&sandbox, EMAIL, folder.path(), &change, &limits);
        let topic = format!("projects/{PROJECT}/topics/gmail");
        let (client, base) = (Client::new(), Url::parse(sandbox.url()).unwrap());
        let admin = PubSubAdmin::new(
            client,
            base,
            tokens(&sandbox, EMAIL, folder.path(), &limits),
        );
        admin.create_topic(&topic).await.unwrap();
        admin.allow_gmail(&topic).await.unwrap();
        watcher.renewal.start(&topic, &[]).await.unwrap();
        let tasks = Tasks::new();
        let world = Self {
            sandbox,
            watcher,
            tasks,
            folder,
            change,
            limits,
        };
        let mut changes = world.watcher.sync.changes();
        world.run();
        while world.watcher.sync.state().await.last_poll_at_ms == 0 {
            changes.changed().await.unwrap();
        }
        world
    }

    /// Replaces the watcher, as a restart of the process does.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// The same after a change while the watcher does not run.
    pub(crate) async fn restart_after(mut self, meanwhile: impl FnOnce(&Self)) -> Self {
        self.stop().await;
        meanwhile(&self);
        drop(self.watcher);
        let folder = self.folder.path();
        let watcher = watcher(&self.sandbox, EMAIL, folder, &self.change, &self.limits);
        let world = Self { watcher, ..self };
        world.run();
        world
    }

    pub(crate) async fn stop(&mut self) {
        let tasks = std::mem::take(&mut self.tasks);
        tasks.stop(Duration::from_secs(10)).await.unwrap();
    }

    fn run(&self) {
        let sync = Arc::clone(&self.watcher.sync);
        self.tasks.start("sync", |stop| sync.run(stop));
    }

    /// Syncs up to the mailbox's history id.
    pub(crate) async fn sync(&self) -> Result<SyncOutcome, Arc<SyncError>> {
        self.sync_to(self.present()).await
    }

    pub(crate) async fn sync_to(&self, to: HistoryId) -> Result<SyncOutcome, Arc<SyncError>> {
        self.watcher
            .sync
            .sync_to(to, None)
            .await
            .map_err(|error| match error {
                NotSynced::Failed(error) => error,
                other => panic!("{other}"),
            })
    }

    /// Completes once the state is as expected.
    pub(crate) async fn until(&self, is_expected: impl Fn(&Self, &Value) -> bool) {
        let mut changes = self.watcher.sync.changes();
        while !is_expected(self, &self.state()) {
            changes.changed().await.unwrap();
        }
    }

    /// Delivers a message to the mailbox, and returns its id.
    pub(crate) fn deliver(&self, mail: &str) -> String {
        self.sandbox
            .gmail()
            .deliver(EMAIL, mail.as_bytes())
            .unwrap()
            .message_id
    }

    pub(crate) fn deliver_many(&self, count: usize) -> Vec<String> {
        (0..count)
            .map(|number| self.deliver(&format!("Subject: mail {number}\n\n.")))
            .collect()
    }

    /// The mailbox's history id.
    pub(crate) fn present(&self) -> HistoryId {
        HistoryId::new(self.sandbox.gmail().history_id(EMAIL))
    }

    /// Stores a new grant of a user, as setup does.
    pub(crate) fn store_grant(&self, email: &str) {
        let file = self.folder.path().join(GRANT);
        grant(&self.sandbox, email).write(&file).unwrap();
    }

    /// The message ids of each request that the bot received.
    pub(crate) fn hooks(&self) -> Vec<Vec<String>> {
        let hooks = self.sandbox.bot().hooks();
        hooks.iter().map(|hook| ids(&hook.body)).collect()
    }

    /// The content of the state file.
    pub(crate) fn state(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.state_path()).unwrap()).unwrap()
    }

    /// Replaces the state file.
    pub(crate) fn write_state(&self, state: &Value) {
        std::fs::write(self.state_path(), state.to_string()).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn state_path(&self) -> PathBuf {
        self.folder.path().join("ann_example_com.json")
    }
}

fn ids(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Tokens for a new grant, and then for what [`TestWatcher::store_grant`] stores.
fn tokens(sandbox: &Sandbox, email: &str, folder: &Path, limits: &Limits) -> Arc<TokenSource> {
    let user = grant(sandbox, email);
    let url = Url::parse(sandbox.url()).unwrap().join("/token").unwrap();
    let clock = Arc::clone(&limits.clock);
    let (file, email) = (folder.join(GRANT), email.to_owned());
    let stored = move || Credentials::from_file(&file, &email).ok();
    Arc::new(TokenSource::new(Client::new(), url, user, clock).with_stored(stored))
}

fn grant(sandbox: &Sandbox, email: &str) -> AuthorizedUser {
    let user = serde_json::to_value(sandbox.oauth().grant(email)).unwrap();
    serde_json::from_value(user).unwrap()
}

/// Opens the watcher of a mailbox, which posts to the sandbox's bot.
pub(crate) fn watcher(
    sandbox: &Sandbox,
    email: &str,
    folder: &Path,
    change: &dyn Fn(&mut WatcherSettings),
    limits: &Limits,
) -> Watcher {
    let moment = Duration::from_millis(1);
    let patience = Patience {
        tries: 3,
        first_wait: moment,
        longest_wait: moment,
        ..Patience::default()
    };
    let base = Url::parse(sandbox.url()).unwrap();
    let gmail = Gmail::new(
        HttpClient::from_env(),
        base,
        tokens(sandbox, email, folder, limits),
        patience,
    );
    let gmail = gmail.with_units_per_minute(limits.units);
    let url = Url::parse(&sandbox.bot().hook_url()).unwrap();
    let hook = WebhookClient {
        client: Client::new(),
        url,
        token: Some(sandbox.bot().token().into()),
        signing: None,
    };
    let mut settings = WatcherSettings {
        body: BodyWanted::text(20),
        fetch_delay: moment,
        times: SyncTimes {
            poll: NEVER,
            first_wait: NEVER,
            longest_wait: NEVER,
            ..SyncTimes::default()
        },
        retries: MessageRetries {
            first_wait: NEVER,
            longest_wait: NEVER,
            least_wait: Duration::ZERO,
        },
        ..WatcherSettings::new(email.to_owned(), PushAuth::with_token(TOKEN.into()))
    };
    change(&mut settings);
    let file = StateFile::open(folder, email).unwrap();
    Watcher::new(settings, gmail, hook, file, Arc::clone(&limits.clock)).unwrap()
}
