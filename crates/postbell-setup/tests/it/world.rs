use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{SystemClock, Timestamp};
use postbell_google::GoogleUrls;
use postbell_sandbox::{ClientKind, Sandbox};
use postbell_setup::{
    Begun, Destination, HookWish, Mode, Patience, ProgressFile, Remembered, Report, Site, State,
    StepId, Tools, Trouble, Wall, WatchMemory, Wishes, run, undo,
};
use reqwest::Client;
use reqwest::redirect::Policy;
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

use crate::person::{FakePerson, Shared};

pub(crate) const MAILBOX: &str = "ann@example.com";
pub(crate) const PROJECT: &str = "my-project";

/// A sandbox with a project that has nothing, an OAuth client of it, and a person who wants mail.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) person: Arc<FakePerson>,
    pub(crate) memory: Arc<FakeMemory>,
    pub(crate) folder: TempDir,
    pub(crate) wishes: Wishes,
    pub(crate) patience: Patience,
}

/// What a watcher would remember.
#[derive(Default)]
pub(crate) struct FakeMemory(pub(crate) Mutex<HashMap<String, Remembered>>);

impl WatchMemory for FakeMemory {
    fn recall(&self, mailbox: &str) -> Result<Option<Remembered>, Trouble> {
        Ok(self.0.lock().get(mailbox).cloned())
    }

    fn note(&self, mailbox: &str, begun: &Begun<'_>) -> Result<(), Trouble> {
        let remembered = Remembered {
            topic: begun.topic.to_owned(),
            ends_at: begun.ends_at,
            ..Remembered::default()
        };
        self.0.lock().insert(mailbox.to_owned(), remembered);
        Ok(())
    }

    fn forget(&self, mailbox: &str) -> Result<(), Trouble> {
        self.0.lock().remove(mailbox);
        Ok(())
    }

    fn folder(&self) -> &Path {
        Path::new("/nowhere")
    }
}

impl World {
    /// A world where notifications are fetched on this machine.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(listener).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let number = sandbox.cloud().put_project(PROJECT);
        let client = sandbox
            .oauth()
            .add_client(PROJECT, &number, ClientKind::Installed);
        let client_file = folder.path().join("client_secret.json");
        std::fs::write(&client_file, client.to_string()).unwrap();
        let hook = HookWish {
            url: Url::parse(&sandbox.bot().hook_url()).unwrap(),
            token: Some(sandbox.bot().token().into()),
        };
        let wishes = Wishes {
            client_file: Some(client_file),
            mailbox: Some(MAILBOX.parse().unwrap()),
            destination: Some(Destination::Pull {
                credentials: Some(folder.path().join("google.json")),
            }),
            hook: Some(hook),
            ..Wishes::default()
        };
        Self {
            sandbox,
            person: Arc::new(FakePerson::new()),
            memory: Arc::default(),
            folder,
            wishes,
            patience: Patience {
                first: Duration::from_millis(1),
                longest: Duration::from_millis(2),
                total: Duration::from_millis(60),
                consent: Duration::from_secs(30),
                arrival: Duration::from_secs(30),
            },
        }
    }

    /// The same where the administration is signed in for with a client of the sandbox's.
    pub(crate) async fn with_other_sign_in() -> Self {
        let mut world = Self::new().await;
        let file = world.folder.path().join("sign-in.json");
        std::fs::write(&file, world.sandbox.oauth().client_file().to_string()).unwrap();
        world.wishes.sign_in_client_file = Some(file);
        world
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.folder.path().join("google.json")
    }

    pub(crate) fn progress_file(&self) -> PathBuf {
        self.folder.path().join("setup.json")
    }

    pub(crate) fn site(&self) -> Site {
        let url = |path: &str| Url::parse(&format!("{}{path}", self.sandbox.url())).unwrap();
        let base = url("");
        let tools = Tools {
            client: Client::builder().redirect(Policy::none()).build().unwrap(),
            google: GoogleUrls {
                auth: url("/o/oauth2/v2/auth"),
                token: url("/token"),
                gmail: base.clone(),
                pubsub: base.clone(),
                iam: base.clone(),
                resource_manager: base.clone(),
                service_usage: base,
            },
            clock: Arc::new(SystemClock::new()),
            random: |bytes| aws_lc_rs::rand::fill(bytes).unwrap(),
            person: Arc::new(Shared(Arc::clone(&self.person))),
            memory: Arc::<FakeMemory>::clone(&self.memory),
            patience: self.patience,
            progress_file: ProgressFile::new(self.progress_file()),
        };
        Site::new(tools, self.wishes.clone()).unwrap()
    }

    pub(crate) async fn run(&self) -> Report {
        run(&mut self.site(), Mode::Apply).await.unwrap()
    }

    /// Sets everything up, and asserts that it is.
    pub(crate) async fn set_up(&self) -> Report {
        let report = self.run().await;
        assert!(
            report.is_done(),
            "{:#?}\n{}",
            report.steps,
            self.person.told()
        );
        report
    }

    pub(crate) async fn undo(&self) -> Report {
        undo(&mut self.site()).await.unwrap()
    }

    pub(crate) fn topic(&self) -> String {
        format!("projects/{PROJECT}/topics/postbell-gmail")
    }

    pub(crate) fn subscription(&self) -> String {
        format!("projects/{PROJECT}/subscriptions/postbell-pull")
    }

    /// All that is there in Google Cloud and beside it.
    pub(crate) fn inventory(&self) -> Vec<String> {
        let mut all = self.sandbox.pubsub().inventory(PROJECT);
        all.extend(self.sandbox.cloud().inventory(PROJECT));
        all.extend(
            self.sandbox
                .gmail()
                .watch(MAILBOX)
                .map(|_| "a watch".to_owned()),
        );
        if self.credentials().exists() {
            all.push("a file".to_owned());
        }
        all.extend((0..self.sandbox.oauth().grants(MAILBOX)).map(|_| "a grant".to_owned()));
        all
    }

    /// Everything that could have changed, for comparing.
    pub(crate) fn everything(&self) -> String {
        let read = |file: PathBuf| std::fs::read_to_string(file).unwrap_or_default();
        format!(
            "{:?}\n{:?}\n{:?}\n{}\n{}",
            self.inventory(),
            self.sandbox.pubsub().topic_policy(&self.topic()),
            self.sandbox.gmail().watch(MAILBOX),
            read(self.credentials()),
            read(self.progress_file()),
        )
    }
}

/// What a step has failed of.
pub(crate) fn trouble(report: &Report, step: StepId) -> Trouble {
    match report.state(step) {
        Some(State::Failed(trouble)) => trouble.clone(),
        other => panic!("expected {step} to have failed: {other:?}\n{report:#?}"),
    }
}

pub(crate) fn assert_failed(report: &Report, step: StepId, wall: &Wall) {
    assert_eq!(trouble(report, step).wall, *wall);
}

/// What was not tried because something else has failed.
pub(crate) fn skipped(report: &Report) -> Vec<StepId> {
    let skipped = report.steps.iter();
    let skipped = skipped.filter(|(_, state)| matches!(state, State::Skipped(_)));
    skipped.map(|(step, _)| *step).collect()
}

pub(crate) fn in_an_hour_and_more() -> Timestamp {
    use postbell_core::Clock;
    SystemClock::new().now() + Duration::from_secs(2 * 60 * 60)
}
