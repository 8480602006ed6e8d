//! Configures the watcher: installs the credentials, sets the command lines, and starts, restarts or
//! stops the watcher when the configuration changes. The gateway runs on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{Backoff, BoxError};
use postbell_protocol::api::MachineConfig;
use postbell_protocol::gog_dirs::GogDirs;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::child_specs::{ChildSpecs, WatcherProgram};
use crate::config_source::ConfigSource;
use crate::credentials::{CredentialsError, GogFolder, HomeLock};
use crate::mail_monitor::MailMonitor;

use crate::settings::{GmailSettings, InvalidVariable, is_account};
use crate::state::{ControllerState, Stage, StateCell};
use crate::supervisor::{Child, ChildSpec, CommandError, Timing};
use crate::watched_mailbox::{Mailbox, WatchStateFile, WatchedMailbox};

/// How many requests to reload may wait.
const QUEUED: usize = 16;

/// The time between two requests to the platform without a reload: a reload may not have reached this machine.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The share of the interval by which a request may come early, so that machines that were started together do
/// not ask together.
const EARLIER: f64 = 0.1;

pub(crate) const NO_CREDENTIALS: ControllerState = ControllerState::Degraded {
    stage: Stage::GmailCredentials,
};

/// What the watcher is to run with.
#[derive(Clone, PartialEq)]
pub(crate) struct MailSettings {
    /// The connected account.
    pub(crate) gmail: Option<GmailSettings>,
    /// Whether its owner wants notifications.
    pub(crate) is_on: bool,
    /// Further arguments of the watcher, if it is Postbell's.
    pub(crate) watcher_arguments: Vec<String>,
}

/// The result of a reload.
pub(crate) type Reloaded = Result<Change, ReloadError>;

/// Whether a reload found another configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// The watcher has it.
    Applied,
    None,
}

/// Why a configuration was not fetched or applied. The log has the cause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReloadError {
    NotFetched,
    NotApplied,
    ShuttingDown,
}

/// The queue of requests to reload. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reloads(mpsc::Sender<oneshot::Sender<Reloaded>>);

impl Reloads {
    pub(crate) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<Reloaded>>) {
        let (sender, receiver) = mpsc::channel(QUEUED);
        (Self(sender), receiver)
    }

    /// Has the configuration fetched and applied.
    pub(crate) async fn request(&self) -> Reloaded {
        let (reply, result) = oneshot::channel();
        let sent = self.0.send(reply).await;
        sent.map_err(|_| ReloadError::ShuttingDown)?;
        result.await.unwrap_or(Err(ReloadError::ShuttingDown))
    }
}

/// What keeps a configuration current.
pub(crate) struct Reloading {
    pub(crate) source: ConfigSource,
    pub(crate) requests: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    /// Failures wait as long as crashes do.
    pub(crate) timing: Timing,
    /// Returns a random number from 0 to 1.
    pub(crate) jitter: fn() -> f64,
}

/// Applies configurations, one at a time.
pub(crate) struct Configurator {
    pub(crate) specs: ChildSpecs,
    pub(crate) gog_dirs: Option<GogDirs>,
    pub(crate) gateway: Child,
    pub(crate) watcher: Child,
    pub(crate) mailbox: WatchedMailbox,
    pub(crate) mail: MailMonitor,
    pub(crate) state: StateCell,
    /// The command that renews the watch, if the watcher does not renew it itself.
    pub(crate) renewal: Arc<Mutex<Option<ChildSpec>>>,
    /// The account of the variables.
    pub(crate) variables: Result<Option<GmailSettings>, InvalidVariable>,
    /// Held while a watcher may run.
    pub(crate) lock: Option<HomeLock>,
    /// The configuration that was applied last.
    pub(crate) applied: Option<MailSettings>,
    /// The configuration that could not be applied.
    pub(crate) rejected: Option<MailSettings>,
}

/// What the first configuration says about the watcher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FirstStart {
    /// It can be started.
    Watcher,
    /// No mailbox is to be watched.
    None,
    /// It would be, but its settings or its credentials are invalid.
    Missing,
}

impl Configurator {
    /// Prepares the first start of the children. Returns what is to be started, and whether the configuration
    /// is the present one.
    pub(crate) async fn prepare(&mut self, source: Option<&ConfigSource>) -> (FirstStart, bool) {
        if !self.specs.tables.is_empty() {
            return (self.prepare_tables(), true);
        }
        let mut is_current = true;
        let mut found = None;
        if let Some(source) = source {
            match self.fetch(source).await {
                Ok((settings, config)) => {
                    source.store(config).await;
                    found = Some(settings);
                }
                Err(_) => {
                    is_current = false;
                    found = self.stored(source).await;
                }
            }
        }
        let is_known = source.is_none() || found.is_some();
        let first = match found.map_or_else(|| self.of_variables(), Ok) {
            // Nothing is known of the account: what there is of it on disk stays.
            Ok(wanted) if !is_known && wanted.gmail.is_none() => {
                self.set_gateway(None);
                FirstStart::Missing
            }
            Ok(wanted) => self.prepare_for(wanted).await,
            Err(error) => {
                error!(%error, "The mailbox is not watched");
                self.set_gateway(None);
                FirstStart::Missing
            }
        };
        (first, is_current)
    }

    async fn prepare_for(&mut self, wanted: MailSettings) -> FirstStart {
        if wanted.gmail.is_none() {
            info!("No mailbox is watched: no account is connected");
        }
        let is_wanted = wanted.gmail.is_some() && wanted.is_on;
        match self.install(&wanted).await {
            Ok(()) => self.set(wanted),
            Err(error) => {
                log_not_installed(&*error, wanted.gmail.is_some());
                self.set_gateway(wanted.gmail.as_ref());
                if is_wanted {
                    return FirstStart::Missing;
                }
                self.watch(Mailbox::None);
            }
        }
        if is_wanted {
            FirstStart::Watcher
        } else {
            FirstStart::None
        }
    }

    /// Shows the mailboxes of the tables or of the variables before they are prepared: they are known.
    pub(crate) fn expect(&self) {
        if !self.specs.tables.is_empty() {
            self.watch(self.mailbox_of(self.specs.tables.clone()));
        } else if let Ok(gmail) = &self.variables {
            let account = gmail.iter().map(|gmail| gmail.account.clone());
            self.watch(self.mailbox_of(account.collect()));
        }
    }

    fn mailbox_of(&self, accounts: Vec<String>) -> Mailbox {
        if accounts.is_empty() {
            return Mailbox::None;
        }
        let Some(gog_dirs) = &self.gog_dirs else {
            return Mailbox::Unknown;
        };
        let file = |account| WatchStateFile {
            gog_dirs: gog_dirs.clone(),
            account,
        };
        Mailbox::Of(accounts.into_iter().map(file).collect())
    }

    fn prepare_tables(&mut self) -> FirstStart {
        if !matches!(self.variables, Ok(None)) {
            warn!(
                "The configuration has [[watch]] tables: KILOCLAW_GOG_CONFIG_TARBALL is not used"
            );
        }
        self.set_gateway(None);
        let arguments = self.arguments(&[]);
        self.watcher
            .set_spec(self.specs.watcher_of_tables(&arguments));
        FirstStart::Watcher
    }

    /// Whether a watcher is wanted and has its credentials.
    fn is_watching(&self) -> bool {
        let applied = self.applied.as_ref();
        applied.is_some_and(|applied| applied.is_on && applied.gmail.is_some())
    }

    /// Fetches and applies the configuration at each request, after a failure until it succeeds, and every
    /// hour. Runs until `stop` is cancelled, which may interrupt it.
    pub(crate) async fn keep_current(mut self, reloading: Reloading, is_current: bool) {
        let Reloading {
            source,
            mut requests,
            timing,
            jitter,
        } = reloading;
        let mut backoff = Backoff::new(timing.first_wait, timing.longest_wait);
        let mut is_current = is_current;
        loop {
            let wait = if is_current {
                backoff.reset();
                INTERVAL.mul_f64(1.0 - EARLIER * jitter())
            } else {
                backoff.next_jittered(jitter())
            };
            let mut waiting = Vec::new();
            match timeout(wait, requests.recv()).await {
                Ok(Some(first)) => {
                    waiting.push(first);
                    while let Ok(next) = requests.try_recv() {
                        waiting.push(next);
                    }
                }
                // The routes are gone: the controller is shutting down.
                Ok(None) => return,
                Err(_) => {}
            }
            let is_requested = !waiting.is_empty();
            let reloaded = self.reload(&source, is_requested).await;
            is_current = reloaded.is_ok();
            for reply in waiting {
                // The caller may have gone.
                let _ = reply.send(reloaded);
            }
        }
    }

    async fn reload(&mut self, source: &ConfigSource, is_requested: bool) -> Reloaded {
        let (wanted, config) = self.fetch(source).await?;
        if self.applied.as_ref() == Some(&wanted) {
            return Ok(Change::None);
        }
        // Another try restarts a watcher that works.
        if self.rejected.as_ref() == Some(&wanted) && !is_requested {
            return Err(ReloadError::NotApplied);
        }
        self.rejected = None;
        let applied = self.apply(wanted.clone()).await;
        if applied == Err(ReloadError::NotApplied) {
            self.rejected = Some(wanted);
        }
        applied?;
        source.store(config).await;
        Ok(Change::Applied)
    }

    /// Stops the watcher, and starts it with other settings. If they cannot be applied, it runs with the former
    /// ones.
    async fn apply(&mut self, wanted: MailSettings) -> Result<(), ReloadError> {
        stopped(self.watcher.stop().await)?;
        let installed = self.install(&wanted).await;
        let result = match installed {
            Ok(()) => {
                self.set(wanted);
                if self.state.get() == NO_CREDENTIALS {
                    self.state.set(ControllerState::Ready);
                }
                Ok(())
            }
            Err(error) => {
                log_not_installed(&*error, true);
                self.state.set(NO_CREDENTIALS);
                Err(ReloadError::NotApplied)
            }
        };
        if self.is_watching() {
            stopped(self.watcher.start().await)?;
            info!("Restarted the watcher with another configuration; the gateway runs on");
        }
        result
    }

    /// Installs the credentials, or removes those of an account that is no longer connected.
    async fn install(&mut self, wanted: &MailSettings) -> Result<(), BoxError> {
        let applied = self.applied.as_ref();
        if applied.is_some_and(|applied| applied.gmail == wanted.gmail) {
            return Ok(());
        }
        let (gmail, gog_dirs) = (wanted.gmail.clone(), self.gog_dirs.clone());
        let held = self.lock.take();
        let (lock, installed) = spawn_blocking(move || install(gmail, gog_dirs, held)).await?;
        self.lock = lock;
        Ok(installed?)
    }

    /// Sets what the next starts of the children run.
    fn set(&mut self, wanted: MailSettings) {
        self.set_gateway(wanted.gmail.as_ref());
        let watched = wanted.gmail.iter().filter(|_| wanted.is_on);
        let watched = watched.map(|gmail| gmail.account.clone()).collect();
        self.watch(self.mailbox_of(watched));
        if let Some(gmail) = &wanted.gmail {
            let arguments = &wanted.watcher_arguments;
            self.watcher.set_spec(self.specs.watcher(gmail, arguments));
            *self.renewal.lock() = self.specs.renewal(gmail);
        }
        self.applied = Some(wanted);
    }

    fn set_gateway(&self, gmail: Option<&GmailSettings>) {
        self.gateway.set_spec(self.specs.gateway(gmail));
    }

    fn watch(&self, mailbox: Mailbox) {
        self.mailbox.set(mailbox);
        // Facts of another mailbox do not count.
        self.mail.forget();
    }

    async fn fetch(
        &self,
        source: &ConfigSource,
    ) -> Result<(MailSettings, MachineConfig), ReloadError> {
        let fetched = source
            .fetch()
            .await
            .and_then(|config| Ok((self.settings(&config)?, config)));
        match fetched {
            Ok(fetched) => Ok(fetched),
            Err(error) => {
                let error: &dyn Error = &*error;
                warn!(error, "Could not fetch the configuration from the platform");
                Err(ReloadError::NotFetched)
            }
        }
    }

    async fn stored(&self, source: &ConfigSource) -> Option<MailSettings> {
        let config = source.stored().await?;
        let settings = self.settings(&config).ok()?;
        info!("Starting with the configuration that was fetched before");
        Some(settings)
    }

    fn settings(&self, config: &MachineConfig) -> Result<MailSettings, BoxError> {
        let account = config.account.clone();
        if account
            .as_ref()
            .is_some_and(|account| !is_account(&account.email))
        {
            return Err("its account has no address".into());
        }
        Ok(MailSettings {
            gmail: account.map(|account| GmailSettings {
                account: account.email,
                tarball: account.gog_config_tarball,
                last_history_id: Ok(account.last_history_id),
            }),
            is_on: config.gmail_notifications_enabled,
            watcher_arguments: self.arguments(&config.watcher_arguments),
        })
    }

    fn of_variables(&self) -> Result<MailSettings, InvalidVariable> {
        Ok(MailSettings {
            gmail: self.variables.clone()?,
            is_on: true,
            watcher_arguments: self.arguments(&[]),
        })
    }

    /// The watcher's arguments: those that this machine has, else those of the platform.
    fn arguments(&self, of_platform: &[String]) -> Vec<String> {
        match &self.specs.program {
            WatcherProgram::Postbell { arguments, .. } if arguments.is_empty() => {
                of_platform.to_vec()
            }
            WatcherProgram::Postbell { arguments, .. } => arguments.clone(),
            WatcherProgram::Gog => Vec::new(),
        }
    }
}

/// Replaces or removes the folder with the credentials. Returns the lock of the home, which may have been held
/// before. Blocks on the disk.
fn install(
    gmail: Option<GmailSettings>,
    gog_dirs: Option<GogDirs>,
    held: Option<HomeLock>,
) -> (Option<HomeLock>, Result<(), CredentialsError>) {
    // Without a home there is nothing to remove.
    if gmail.is_none() && gog_dirs.is_none() {
        return (held, Ok(()));
    }
    let folder = match GogFolder::new(gog_dirs) {
        Ok(folder) => folder,
        Err(error) => return (held, Err(error)),
    };
    if gmail.is_none() && !folder.exists() {
        return (held, Ok(()));
    }
    let lock = match held.map_or_else(|| folder.lock(), Ok) {
        Ok(lock) => lock,
        Err(error) => return (None, Err(error)),
    };
    let installed = match gmail {
        Some(gmail) => folder.install(&gmail),
        None => folder.remove(),
    };
    (Some(lock), installed)
}

fn log_not_installed(error: &(dyn Error + 'static), is_connected: bool) {
    if is_connected {
        error!(error, "Could not install the credentials of the mailbox");
    } else {
        error!(
            error,
            "Could not remove the credentials of a disconnected account"
        );
    }
}

/// A program that cannot be started is tried again by its supervisor.
fn stopped(result: Result<(), CommandError>) -> Result<(), ReloadError> {
    match result {
        Err(CommandError::ShuttingDown) => Err(ReloadError::ShuttingDown),
        Ok(()) | Err(CommandError::AlreadyRunning | CommandError::StartFailed) => Ok(()),
    }
}
