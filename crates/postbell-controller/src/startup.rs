//! Starts the machine's processes: installs the credentials, then starts the gateway and the watcher.

use std::error::Error;

use futures_util::future::OptionFuture;
use postbell_protocol::gog_dirs::GogDirs;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::checkin::Checkin;
use crate::credentials::{CredentialsError, GogFolder, HomeLock};
use crate::endpoint::{Endpoint, ReadinessProbe};
use crate::mail_monitor::MailMonitor;
use crate::processes::Processes;
use crate::renewal;
use crate::settings::{GmailSettings, InvalidVariable};
use crate::state::{ControllerState, Phase, Stage, StateCell};
use crate::supervisor::{Child, ChildSpec, CommandError};

/// The task that starts the children and runs what belongs to them.
pub(crate) struct Startup {
    pub(crate) state: StateCell,
    pub(crate) gog_dirs: Option<GogDirs>,
    pub(crate) processes: Processes,
    pub(crate) gateway: Supervised,
    pub(crate) gmail: Gmail,
    pub(crate) mail: MailMonitor,
    pub(crate) checkin: Option<Checkin>,
}

/// A child with a supervisor.
pub(crate) struct Supervised {
    pub(crate) child: Child,
    pub(crate) endpoint: Endpoint,
    pub(crate) probe: ReadinessProbe,
}

/// The Google account of the machine.
pub(crate) enum Gmail {
    /// No account is connected.
    NotConnected,
    /// An account is connected.
    Watched(Box<Watcher>),
    /// An account is connected, but its settings are invalid.
    Invalid(InvalidVariable),
}

/// The watcher.
pub(crate) struct Watcher {
    pub(crate) supervised: Supervised,
    pub(crate) gmail: GmailSettings,
    /// The command that renews the watch, if the watcher does not renew it itself.
    pub(crate) renewal: Option<ChildSpec>,
}

/// The results of the first starts.
struct StartResults {
    gateway: Result<(), CommandError>,
    watcher: Result<(), CommandError>,
    is_watcher_missing: bool,
}

impl Startup {
    /// Runs until `stop` is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self {
            state,
            gog_dirs,
            processes,
            gateway,
            gmail,
            mail,
            checkin,
        } = self;
        let phase = Phase::GmailCredentials;
        state.set(ControllerState::Bootstrapping { phase });
        let is_connected = !matches!(gmail, Gmail::NotConnected);
        let installed = install_credentials(gmail, gog_dirs);
        let (watcher, _lock) = installed.await;
        state.set(ControllerState::Starting);
        // The gateway first: the watcher's first sync may already find mail to post to it.
        let results = StartResults {
            gateway: gateway.child.start().await,
            watcher: match &watcher {
                Some(watcher) => watcher.supervised.child.start().await,
                None => Ok(()),
            },
            is_watcher_missing: is_connected && watcher.is_none(),
        };
        let mut endpoints = vec![gateway.endpoint];
        let mut watcher_child = None;
        if let Some(watcher) = &watcher {
            endpoints.push(watcher.supervised.endpoint.clone());
            watcher_child = Some(watcher.supervised.child.clone());
        }
        let checking_in = checkin.map(|checkin| checkin.run(endpoints, mail, stop.clone()));
        let watching = watcher.map(|watcher| watcher.run(&processes, stop.clone()));
        tokio::join!(
            report_state(
                &state,
                &results,
                [Some(gateway.child), watcher_child],
                stop.clone()
            ),
            OptionFuture::from(checking_in),
            OptionFuture::from(watching),
            gateway.probe.run(stop),
        );
    }
}

impl Watcher {
    /// Probes the watcher and renews the watch until `stop` is cancelled.
    async fn run(self, processes: &Processes, stop: CancellationToken) {
        let child = self.supervised.child;
        let renewing = self.renewal.as_ref().map(|command| {
            let renew = || renewal::run(command, processes);
            renewal::keep_renewing(child, renew, stop.clone())
        });
        tokio::join!(
            OptionFuture::from(renewing),
            self.supervised.probe.run(stop)
        );
    }
}

/// Installs the credentials and returns the watcher if it can be started; removes those of an account
/// that is no longer connected. The lock must be held while the watcher runs.
async fn install_credentials(
    gmail: Gmail,
    gog_dirs: Option<GogDirs>,
) -> (Option<Box<Watcher>>, Option<HomeLock>) {
    let watcher = match gmail {
        Gmail::Invalid(error) => {
            error!(%error, "The mailbox is not watched");
            return (None, None);
        }
        Gmail::NotConnected => None,
        Gmail::Watched(watcher) => Some(watcher),
    };
    let gmail = watcher.as_ref().map(|watcher| watcher.gmail.clone());
    let installed = tokio::task::spawn_blocking(move || match gmail {
        Some(gmail) => GogFolder::new(gog_dirs)?.install(&gmail).map(Some),
        // Without a home there is nothing to remove.
        None => gog_dirs.map_or(Ok(None), |dirs| GogFolder::new(Some(dirs))?.remove()),
    });
    let installed: Result<Result<Option<HomeLock>, CredentialsError>, _> = installed.await;
    let error: Box<dyn Error> = match installed {
        Ok(Ok(lock)) => return (watcher, lock),
        Ok(Err(error)) => error.into(),
        Err(panic) => panic.into(),
    };
    let error = &*error;
    match watcher {
        Some(watcher) => {
            error!(error, "The mailbox is not watched");
            watcher.supervised.probe.report_down();
        }
        None => error!(
            error,
            "Could not remove the credentials of a disconnected account"
        ),
    }
    (None, None)
}

/// Updates the controller's state after the children were started, until it no longer changes.
async fn report_state(
    state: &StateCell,
    results: &StartResults,
    [gateway, watcher]: [Option<Child>; 2],
    stop: CancellationToken,
) {
    let gateway = (&results.gateway, gateway, Stage::GatewayStart);
    let watcher = (&results.watcher, watcher, Stage::WatcherStart);
    for (result, child, stage) in [gateway, watcher] {
        if let (Err(_), Some(child)) = (result, child) {
            state.set(ControllerState::Degraded { stage });
            // The supervisor retries.
            let running = stop.run_until_cancelled(child.running()).await.flatten();
            if running.is_none() {
                return;
            }
        }
    }
    if results.is_watcher_missing {
        let stage = Stage::GmailCredentials;
        state.set(ControllerState::Degraded { stage });
        warn!("The controller is ready, but the mailbox is not watched");
    } else {
        state.set(ControllerState::Ready);
        info!("The controller is ready");
    }
}
