//! Configures the watcher: installs the credentials, sets the command lines, and starts, restarts or
//! stops the watcher when the configuration changes. The gateway runs on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{Backoff, BoxError, Clock, wait_for};
use postbell_protocol::api::MachineConfig;
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watched_accounts::WatchedAccount;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use crate::child_specs::{ChildSpecs, WatcherProgram};
use crate::config_source::{ConfigSource, FetchError};
use crate::installation::Installation;
use crate::mail_monitor::MailMonitor;
use crate::mail_settings::{AccountSettings, FIRST, MailSettings};
use crate::reloads::{Change, ReloadError, Reloaded};
use crate::settings::{GmailSettings, InvalidVariable};
use crate::state::{ControllerState, Stage, StateCell};
use crate::supervisor::{Child, ChildSpec, CommandError, Timing};
use crate::watched_mailbox::{Mailbox, WatchStateFile, WatchedMailbox};
use crate::watcher_accounts::put_accounts;

/// The time between two requests to the platform without a reload: a reload may not have reached this machine.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The share of the interval by which a request may come early, so that machines that were started together do
/// not ask together.
const EARLIER: f64 = 0.1;

pub(crate) const NO_CREDENTIALS: ControllerState = ControllerState::Degraded {
    stage: Stage::GmailCredentials,
};

/// What keeps a configuration current.
pub(crate) struct Reloading {
    pub(crate) source: ConfigSource,
    pub(crate) requests: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    /// Failures wait as long as crashes do.
    pub(crate) timing: Timing,
    pub(crate) clock: Arc<dyn Clock>,
    /// Returns a random number from 0 to 1.
    pub(crate) jitter: fn() -> f64,
}

/// Applies configurations, one at a time.
pub(crate) struct Configurator {
    pub(crate) specs: ChildSpecs,
    pub(crate) gog_dirs: Option<GogDirs>,
    pub(crate) installation: Installation,
    pub(crate) gateway: Child,
    pub(crate) watcher: Child,
    pub(crate) mailbox: WatchedMailbox,
    pub(crate) mail: MailMonitor,
    pub(crate) state: StateCell,
    /// The command that renews the watch, if the watcher does not renew it itself.
    pub(crate) renewal: Arc<Mutex<Option<ChildSpec>>>,
    /// The account of the variables.
    pub(crate) variables: Result<Option<GmailSettings>, InvalidVariable>,
    /// The configuration that was applied last.
    pub(crate) applied: Option<MailSettings>,
}

/// What the first configuration says about the watcher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FirstStart {
    /// Whether it is to be started.
    pub(crate) has_watcher: bool,
    /// Whether a mailbox is not watched although it should be: its settings or its credentials are invalid.
    pub(crate) is_incomplete: bool,
}

impl FirstStart {
    const WATCHER: Self = Self {
        has_watcher: true,
        is_incomplete: false,
    };
    const MISSING: Self = Self {
        has_watcher: false,
        is_incomplete: true,
    };
    const NONE: Self = Self {
        has_watcher: false,
        is_incomplete: false,
    };
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
                Err(NoConfig::FormerMachine) => {
                    let is_forgotten = self.forget(source).await.is_ok();
                    return (FirstStart::NONE, is_forgotten);
                }
                Err(NoConfig::Failed) => {
                    is_current = false;
                    found = self.stored(source).await;
                }
            }
        }
        let is_known = source.is_none() || found.is_some();
        let first = match found.map_or_else(|| self.of_variables(is_known), Ok) {
            // Nothing is known of the account: what there is of it on disk stays.
            Ok(wanted) if !is_known && wanted.first.is_none() => {
                self.set_gateway(None);
                FirstStart::MISSING
            }
            Ok(wanted) => self.prepare_for(wanted).await,
            Err(error) => {
                error!(%error, "The mailbox is not watched");
                self.set_gateway(None);
                FirstStart::MISSING
            }
        };
        (first, is_current && !first.is_incomplete)
    }

    async fn prepare_for(&mut self, wanted: MailSettings) -> FirstStart {
        if wanted.first.is_none() && wanted.further.is_empty() {
            info!("No mailbox is watched: no account is connected");
        }
        let gmail = wanted.gmail().cloned();
        let installed = async {
            let preparing = self.installation.prepare(None, wanted.clone());
            self.installation.commit(preparing.await?).await
        };
        let reached = match installed.await {
            Ok(committed) => wanted.reached(&committed, None),
            Err(error) => {
                log_not_installed(&*error);
                MailSettings::default()
            }
        };
        let is_incomplete = reached != wanted;
        self.mail.set_uninstalled(wanted.missing_in(Some(&reached)));
        if wanted.is_watching() && !reached.is_watching() {
            self.set_gateway(gmail.as_ref());
            return FirstStart::MISSING;
        }
        let has_watcher = reached.is_watching();
        self.set(reached);
        self.set_gateway(gmail.as_ref());
        FirstStart {
            has_watcher,
            is_incomplete,
        }
    }

    /// Shows the mailboxes of the tables or of the variables before they are prepared: they are known.
    pub(crate) fn expect(&self) {
        if !self.specs.tables.is_empty() {
            self.watch(self.mailbox_of(self.specs.tables.iter().map(|table| (FIRST, table))));
        } else if let Ok(gmail) = &self.variables {
            self.watch(self.mailbox_of(gmail.iter().map(|gmail| (FIRST, &gmail.account))));
        }
    }

    /// The mailboxes of these accounts, each with its name.
    fn mailbox_of<'a>(&self, accounts: impl Iterator<Item = (&'a str, &'a String)>) -> Mailbox {
        let mut accounts = accounts.peekable();
        if accounts.peek().is_none() {
            return Mailbox::None;
        }
        let Some(gog_dirs) = &self.gog_dirs else {
            return Mailbox::Unknown;
        };
        let file = |(name, account): (&str, &String)| WatchStateFile {
            gog_dirs: gog_dirs.clone(),
            account: account.clone(),
            name: name.to_owned(),
        };
        Mailbox::Of(accounts.map(file).collect())
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
        FirstStart::WATCHER
    }

    /// Fetches and applies the configuration at each request, after a failure until it succeeds, and every
    /// hour. Runs until `stop` is cancelled, which may interrupt it.
    pub(crate) async fn keep_current(mut self, reloading: Reloading, is_current: bool) {
        let Reloading {
            source,
            mut requests,
            timing,
            clock,
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
            tokio::select! {
                first = requests.recv() => {
                    // Without routes, the controller is shutting down.
                    let Some(first) = first else { return };
                    waiting.push(first);
                    while let Ok(next) = requests.try_recv() {
                        waiting.push(next);
                    }
                }
                () = wait_for(&*clock, wait) => {}
            }
            let reloaded = self.reload(&source).await;
            is_current = reloaded.is_ok();
            for reply in waiting {
                // The caller may have gone.
                let _ = reply.send(reloaded);
            }
        }
    }

    async fn reload(&mut self, source: &ConfigSource) -> Reloaded {
        let (wanted, config) = match self.fetch(source).await {
            Ok(fetched) => fetched,
            Err(NoConfig::FormerMachine) => return self.forget(source).await,
            Err(NoConfig::Failed) => return Err(ReloadError::NotFetched),
        };
        if self.applied.as_ref() == Some(&wanted) {
            // One that could not be applied was taken back.
            self.mail.set_uninstalled(std::iter::empty());
            if self.state.get() == NO_CREDENTIALS {
                self.state.set(ControllerState::Ready);
            }
            return Ok(Change::None);
        }
        let applied = self.apply(&wanted).await;
        let missing = wanted.missing_in(self.applied.as_ref());
        self.mail.set_uninstalled(missing);
        let is_complete = self.applied.as_ref() == Some(&wanted);
        if applied == Ok(Change::Applied) {
            // An account that failed is tried again, also by a start without the platform.
            source.store(config).await;
            self.mail.refresh().await;
        }
        if !is_complete && applied != Err(ReloadError::ShuttingDown) {
            self.state.set(NO_CREDENTIALS);
            return Err(ReloadError::NotApplied);
        }
        applied
    }

    /// Gives the watcher other settings. Accounts that have not changed are watched on, if that is possible; one whose
    /// settings cannot be applied is watched with its former ones.
    async fn apply(&mut self, wanted: &MailSettings) -> Reloaded {
        let preparing = self
            .installation
            .prepare(self.applied.clone(), wanted.clone());
        let prepared = preparing.await.map_err(not_applied)?;
        let possible = wanted.without(&prepared.failed, self.applied.as_ref());
        if self.applied.as_ref() == Some(&possible) {
            return Ok(Change::None);
        }
        let replaced = prepared.replaced();
        // To remove folders concerns no watcher; it may be tried for hours.
        let is_same_watch = replaced.is_empty()
            && self
                .applied
                .as_ref()
                .is_some_and(|applied| applied.is_same_watch(&possible));
        let runs_on = is_same_watch || self.pause(&possible, &replaced).await?;
        let committed = self.installation.commit(prepared).await;
        let reached = match &committed {
            Ok(committed) => wanted.reached(committed, self.applied.as_ref()),
            Err(_) => self.applied.clone().unwrap_or_default(),
        };
        let is_watching = reached.is_watching();
        let accounts = reached.for_watcher(&[]);
        self.set(reached);
        if self.state.get() == NO_CREDENTIALS {
            self.state.set(ControllerState::Ready);
        }
        if is_same_watch {
            debug!("Only folders of disconnected accounts are to be removed");
        } else if !is_watching {
            stopped(self.watcher.stop().await)?;
        } else if runs_on && self.replace_accounts(&accounts).await {
            info!("The watcher has another configuration; its other mailboxes were watched on");
        } else {
            stopped(self.watcher.restart().await)?;
            info!("Restarted the watcher with another configuration; the gateway runs on");
        }
        committed.map_err(not_applied).map(|_| Change::Applied)
    }

    /// Has the watcher end what `possible` changes, in which the credentials of the accounts `replaced` are new. Returns
    /// whether it runs on.
    async fn pause(
        &self,
        possible: &MailSettings,
        replaced: &[String],
    ) -> Result<bool, ReloadError> {
        let has_same_arguments = |applied: &MailSettings| {
            applied.is_watching() && applied.watcher_arguments == possible.watcher_arguments
        };
        let can_run_on = self.specs.is_of_accounts()
            && possible.is_watching()
            && self.applied.as_ref().is_some_and(has_same_arguments);
        if can_run_on {
            // A watcher that crashes now must not use what is being replaced.
            self.watcher
                .set_spec(self.specs.watcher(possible, replaced));
            let accounts = possible.for_watcher(replaced);
            if self.replace_accounts(&accounts).await {
                return Ok(true);
            }
        }
        stopped(self.watcher.stop().await)?;
        Ok(false)
    }

    /// Has the running watcher watch these accounts, and returns whether it does.
    async fn replace_accounts(&self, accounts: &[WatchedAccount]) -> bool {
        let Some(watcher) = self.mail.running_watcher() else {
            return false;
        };
        let token = &self.specs.gateway_token;
        let replaced = put_accounts(watcher, token, accounts).await;
        if let Err(error) = &replaced {
            let error: &dyn Error = &**error;
            warn!(
                error,
                "The watcher did not take another configuration; restarting it"
            );
        }
        replaced.is_ok()
    }

    /// Ends the watcher and removes all credentials and the stored configuration: no user has this machine, or
    /// the user has it under another id. The watchers' states stay: should it get an account again, nothing is delivered
    /// twice.
    async fn forget(&mut self, source: &ConfigSource) -> Reloaded {
        stopped(self.watcher.stop().await)?;
        let is_new = self.applied.as_ref() != Some(&MailSettings::default());
        let removed = async {
            self.installation.forget().await?;
            source.forget().await
        };
        removed.await.map_err(not_applied)?;
        self.set(MailSettings::default());
        self.mail.set_uninstalled(std::iter::empty());
        if !is_new {
            return Ok(Change::None);
        }
        error!(
            "No user has this machine any more: its credentials were removed. If the user has it under another sandbox \
             id, set KILOCLAW_SANDBOX_ID and OPENCLAW_GATEWAY_TOKEN anew"
        );
        Ok(Change::Applied)
    }

    /// Sets what the next starts of the children run.
    fn set(&mut self, wanted: MailSettings) {
        self.set_gateway(wanted.gmail());
        let watched = wanted.watched();
        let watched = watched.map(|account| (&*account.name, &account.gmail.account));
        self.watch(self.mailbox_of(watched));
        if wanted.is_watching() {
            self.watcher.set_spec(self.specs.watcher(&wanted, &[]));
        }
        if let Some(gmail) = wanted.gmail() {
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
    ) -> Result<(MailSettings, MachineConfig), NoConfig> {
        let fetched = match source.fetch().await {
            Ok(config) => self.settings(&config).map(|settings| (settings, config)),
            Err(FetchError::FormerMachine) => return Err(NoConfig::FormerMachine),
            Err(FetchError::Failed(error)) => Err(error),
        };
        fetched.map_err(|error| {
            let error: &dyn Error = &*error;
            warn!(error, "Could not fetch the configuration from the platform");
            NoConfig::Failed
        })
    }

    async fn stored(&self, source: &ConfigSource) -> Option<MailSettings> {
        let config = source.stored().await?;
        let settings = self.settings(&config).ok()?;
        info!("Starting with the configuration that was fetched before");
        Some(settings)
    }

    fn settings(&self, config: &MachineConfig) -> Result<MailSettings, BoxError> {
        let arguments = self.arguments(&config.watcher_arguments);
        MailSettings::new(config, arguments, &self.specs.gateway_token)
    }

    /// The settings of the variables, which are all if no platform is to give others.
    fn of_variables(&self, has_all: bool) -> Result<MailSettings, InvalidVariable> {
        let first = self.variables.clone()?;
        Ok(MailSettings {
            first: first.map(|gmail| AccountSettings {
                name: FIRST.to_owned(),
                gmail,
                is_on: true,
            }),
            further: Vec::new(),
            has_all,
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

/// Why there is no configuration. The log has the cause.
enum NoConfig {
    FormerMachine,
    Failed,
}

fn not_applied(error: BoxError) -> ReloadError {
    log_not_installed(&*error);
    ReloadError::NotApplied
}

fn log_not_installed(error: &(dyn Error + 'static)) {
    error!(error, "Could not change the credentials");
}

/// A program that cannot be started is tried again by its supervisor.
fn stopped(result: Result<(), CommandError>) -> Result<(), ReloadError> {
    match result {
        Err(CommandError::ShuttingDown) => Err(ReloadError::ShuttingDown),
        Ok(()) | Err(CommandError::AlreadyRunning | CommandError::StartFailed) => Ok(()),
    }
}
