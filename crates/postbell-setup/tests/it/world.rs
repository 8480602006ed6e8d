use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{SystemClock, Timestamp};
use postbell_google::{GoogleUrls, default_id_of_mailbox};
use postbell_protocol::gog_dirs::GogDirs;
use postbell_sandbox::{ClientKind, Sandbox};
use postbell_setup::{
    Blocker, Deps, Destination, GoogleApis, Mode, ProgressFile, Report, SetupContext, SetupError,
    SetupRequest, StepId, StepState, Timeouts, WatchStates, Webhook, run, undo,
};
use reqwest::Client;
use reqwest::redirect::Policy;
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

use crate::fake_user::{FakeUi, FakeUser};

pub(crate) const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const MAILBOX: &str = "ann@example.com";
pub(crate) const PROJECT: &str = "my-project";

/// A sandbox with an empty project, its OAuth client, and a user.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) user: Arc<FakeUser>,
    pub(crate) folder: TempDir,
    pub(crate) request: SetupRequest,
    pub(crate) timeouts: Timeouts,
}

impl World {
    /// A world that pulls notifications.
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
        let webhook = Webhook {
            url: Url::parse(&sandbox.bot().hook_url()).unwrap(),
            token: Some(sandbox.bot().token().into()),
            signing: Some(SIGNING_SECRET.parse().unwrap()),
        };
        let request = SetupRequest {
            client_file: Some(client_file),
            mailbox: Some(MAILBOX.parse().unwrap()),
            destination: Some(Destination::Pull {
                credentials: Some(folder.path().join("google.json")),
            }),
            webhook: Some(webhook),
            ..SetupRequest::default()
        };
        Self {
            sandbox,
            user: Arc::new(FakeUser::new()),
            folder,
            request,
            timeouts: Timeouts {
                initial_delay: Duration::from_millis(1),
                max_delay: Duration::from_millis(2),
                total: Duration::from_millis(60),
                consent: Duration::from_secs(30),
                arrival: Duration::from_secs(30),
            },
        }
    }

    /// A world with a separate OAuth client for the sign-in.
    pub(crate) async fn with_separate_sign_in() -> Self {
        let mut world = Self::new().await;
        let file = world.folder.path().join("sign-in.json");
        std::fs::write(&file, world.sandbox.oauth().client_file().to_string()).unwrap();
        world.request.sign_in_client_file = Some(file);
        world
    }

    fn gog_dirs(&self) -> GogDirs {
        let home = self.folder.path().to_str();
        GogDirs::from_variables(|name| home.filter(|_| name == "HOME")).unwrap()
    }

    /// The folder of the watcher's state.
    pub(crate) fn watch_state(&self) -> PathBuf {
        self.gog_dirs().watch_state(MAILBOX)
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.folder.path().join("google.json")
    }

    pub(crate) fn progress_file(&self) -> PathBuf {
        self.folder.path().join("setup.json")
    }

    pub(crate) fn context(&self, mode: Mode) -> SetupContext {
        let url = |path: &str| Url::parse(&format!("{}{path}", self.sandbox.url())).unwrap();
        let base = url("");
        let deps = Deps {
            google: GoogleApis {
                client: Client::builder().redirect(Policy::none()).build().unwrap(),
                urls: GoogleUrls {
                    auth: url("/o/oauth2/v2/auth"),
                    token: url("/token"),
                    gmail: base.clone(),
                    pubsub: base.clone(),
                    iam: base.clone(),
                    resource_manager: base.clone(),
                    service_usage: base,
                },
                clock: Arc::new(SystemClock::new()),
            },
            random: |bytes| aws_lc_rs::rand::fill(bytes).unwrap(),
            ui: Arc::new(FakeUi(Arc::clone(&self.user))),
            watch_states: WatchStates(self.gog_dirs()),
            timeouts: self.timeouts,
            progress_file: ProgressFile::new(self.progress_file()),
        };
        SetupContext::new(deps, self.request.clone(), mode).unwrap()
    }

    pub(crate) async fn run(&self) -> Report {
        run(&mut self.context(Mode::Apply)).await.unwrap()
    }

    /// Runs setup, and asserts that every step is done.
    pub(crate) async fn set_up(&self) -> Report {
        let report = self.run().await;
        assert!(
            report.is_done(),
            "{:#?}\n{}",
            report.steps,
            self.user.transcript()
        );
        report
    }

    pub(crate) async fn undo(&self) -> Report {
        undo(&mut self.context(Mode::Apply)).await.unwrap()
    }

    pub(crate) fn topic(&self) -> String {
        let id = default_id_of_mailbox("postbell-gmail", &MAILBOX.parse().unwrap());
        format!("projects/{PROJECT}/topics/{id}")
    }

    pub(crate) fn subscription(&self) -> String {
        let id = default_id_of_mailbox("postbell-pull", &MAILBOX.parse().unwrap());
        format!("projects/{PROJECT}/subscriptions/{id}")
    }

    /// The existing resources, in Google Cloud and on this machine.
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

    /// The complete state, for comparison.
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

/// The error of a failed step.
pub(crate) fn error_of(report: &Report, step: StepId) -> SetupError {
    match report.state(step) {
        Some(StepState::Failed(error)) => error.clone(),
        other => panic!("expected {step} to have failed: {other:?}\n{report:#?}"),
    }
}

pub(crate) fn assert_failed(report: &Report, step: StepId, blocker: &Blocker) {
    assert_eq!(error_of(report, step).blocker, *blocker);
}

/// The skipped steps.
pub(crate) fn skipped(report: &Report) -> Vec<StepId> {
    let skipped = report.steps.iter();
    let skipped = skipped.filter(|(_, state)| matches!(state, StepState::Skipped(_)));
    skipped.map(|(step, _)| *step).collect()
}

pub(crate) fn in_two_hours() -> Timestamp {
    use postbell_core::Clock;
    SystemClock::new().now() + Duration::from_secs(2 * 60 * 60)
}
