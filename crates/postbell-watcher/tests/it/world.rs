use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, HistoryId, SystemClock};
use postbell_google::{AuthorizedUser, Gmail, Patience, PubSubAdmin, TokenSource};
use postbell_protocol::watch_state::StateFile;
use postbell_sandbox::{PROJECT, Sandbox};
use postbell_watcher::{BodyWanted, PushAuth, Watcher, WatcherSettings, WebhookClient};
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

pub(crate) const EMAIL: &str = "ann@example.com";
pub(crate) const TOKEN: &str = "the-watchers-token";

/// A sandbox, and a watcher with a started watch.
pub(crate) struct TestWatcher {
    pub(crate) sandbox: Sandbox,
    pub(crate) watcher: Watcher,
    folder: TempDir,
    change: fn(&mut WatcherSettings),
}

impl TestWatcher {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same with other settings.
    pub(crate) async fn with(change: fn(&mut WatcherSettings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(listener).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let watcher = watcher(&sandbox, &folder, change);
        let topic = format!("projects/{PROJECT}/topics/gmail");
        let (client, base) = (Client::new(), Url::parse(sandbox.url()).unwrap());
        let admin = PubSubAdmin::new(client, base, tokens(&sandbox));
        admin.create_topic(&topic).await.unwrap();
        admin.allow_gmail(&topic).await.unwrap();
        watcher.renewal.start(&topic, &[]).await.unwrap();
        Self {
            sandbox,
            watcher,
            folder,
            change,
        }
    }

    /// Replaces the watcher, as a restart of the process does.
    pub(crate) fn restart(self) -> Self {
        drop(self.watcher);
        let watcher = watcher(&self.sandbox, &self.folder, self.change);
        Self { watcher, ..self }
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

fn tokens(sandbox: &Sandbox) -> Arc<TokenSource> {
    let user = serde_json::to_value(sandbox.oauth().grant(EMAIL)).unwrap();
    let user: AuthorizedUser = serde_json::from_value(user).unwrap();
    let url = Url::parse(sandbox.url()).unwrap().join("/token").unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Arc::new(TokenSource::new(Client::new(), url, user, clock))
}

fn watcher(sandbox: &Sandbox, folder: &TempDir, change: fn(&mut WatcherSettings)) -> Watcher {
    let moment = Duration::from_millis(1);
    let patience = Patience {
        tries: 3,
        first_wait: moment,
        longest_wait: moment,
        ..Patience::default()
    };
    let base = Url::parse(sandbox.url()).unwrap();
    let gmail = Gmail::new(Client::new(), base, tokens(sandbox), patience);
    let gmail = gmail.with_units_per_minute(NonZeroU32::MAX);
    let url = Url::parse(&sandbox.bot().hook_url()).unwrap();
    let hook = WebhookClient {
        client: Client::new(),
        url,
        token: Some(sandbox.bot().token().into()),
        signing: None,
    };
    let mut settings = WatcherSettings {
        body: BodyWanted::UpTo(20),
        fetch_delay: moment,
        ..WatcherSettings::new(EMAIL.to_owned(), PushAuth::with_token(TOKEN.into()))
    };
    change(&mut settings);
    let file = StateFile::open(folder.path(), EMAIL).unwrap();
    Watcher::new(settings, gmail, hook, file, Arc::new(SystemClock::new())).unwrap()
}
