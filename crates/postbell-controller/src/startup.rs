//! Brings the machine up, and keeps it so: credentials, then the gateway, then the watcher.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::OptionFuture;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::checkin::Checkin;
use crate::credentials::{CredentialsError, GogFolder, Held, WatcherMemory};
use crate::endpoint::{Endpoint, Lookout};
use crate::processes::Processes;
use crate::renewal;
use crate::settings::{GmailSettings, Problem};
use crate::state::{ControllerState, Phase, Stage, StateCell};
use crate::supervisor::{Child, ChildSpec, CommandError};
use crate::watch_expiry::WatchExpiry;

/// What there is to do between the first moment and the last.
pub(crate) struct Startup {
    pub(crate) state: StateCell,
    pub(crate) gog_folder: Option<PathBuf>,
    pub(crate) memory: Arc<dyn WatcherMemory>,
    pub(crate) processes: Processes,
    pub(crate) gateway: Supervised,
    pub(crate) mail: Mail,
    pub(crate) checkin: Option<Checkin>,
}

/// A child that has a supervisor.
pub(crate) struct Supervised {
    pub(crate) child: Child,
    pub(crate) endpoint: Endpoint,
    pub(crate) lookout: Lookout,
}

/// Whether mail is watched for.
pub(crate) enum Mail {
    /// No account is connected.
    NotConnected,
    /// An account is connected, and there is a watcher for it.
    Watched(Box<Watcher>),
    /// An account is connected that cannot be watched.
    Wrong(Problem),
}

/// The watcher, and what comes with it.
pub(crate) struct Watcher {
    pub(crate) supervised: Supervised,
    pub(crate) gmail: GmailSettings,
    /// Renews the watch, where the watcher does not.
    pub(crate) renewal: Option<ChildSpec>,
}

/// What is started, and whether it could be.
struct Started {
    gateway: Result<(), CommandError>,
    watcher: Result<(), CommandError>,
    is_mail_missing: bool,
}

impl Startup {
    /// Works until `stop` is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self {
            state,
            gog_folder,
            memory,
            processes,
            gateway,
            mail,
            checkin,
        } = self;
        let phase = Phase::GmailCredentials;
        state.set(ControllerState::Bootstrapping { phase });
        let is_connected = !matches!(mail, Mail::NotConnected);
        let placed = put_credentials_in_place(mail, gog_folder.clone(), Arc::clone(&memory));
        let (watcher, _held) = placed.await;
        state.set(ControllerState::Starting);
        // The hook's side first: the watcher's first look may find something.
        let started = Started {
            gateway: gateway.child.start().await,
            watcher: match &watcher {
                Some(watcher) => watcher.supervised.child.start().await,
                None => Ok(()),
            },
            is_mail_missing: is_connected && watcher.is_none(),
        };
        let mut endpoints = vec![gateway.endpoint];
        let mut watcher_child = None;
        if let Some(watcher) = &watcher {
            endpoints.push(watcher.supervised.endpoint.clone());
            watcher_child = Some(watcher.supervised.child.clone());
        }
        let watched = watcher.as_ref().zip(gog_folder);
        let expiry = watched.map(|(watcher, gog_folder)| WatchExpiry {
            memory,
            gog_folder,
            account: watcher.gmail.account.clone(),
        });
        let telling = checkin.map(|checkin| checkin.keep_telling(endpoints, expiry, stop.clone()));
        let watching = watcher.map(|watcher| watcher.keep(&processes, stop.clone()));
        tokio::join!(
            keep_state(
                &state,
                &started,
                [Some(gateway.child), watcher_child],
                stop.clone()
            ),
            OptionFuture::from(telling),
            OptionFuture::from(watching),
            gateway.lookout.keep(stop),
        );
    }
}

impl Watcher {
    /// Does what there is to do beside its process, until `stop` is cancelled.
    async fn keep(self, processes: &Processes, stop: CancellationToken) {
        let child = self.supervised.child;
        let renewing = self.renewal.as_ref().map(|command| {
            let renew = || renewal::run(command, processes);
            renewal::keep_renewing(child, renew, stop.clone())
        });
        tokio::join!(
            OptionFuture::from(renewing),
            self.supervised.lookout.keep(stop)
        );
    }
}

/// Puts the credentials in their place, and gives the watcher that may be started then; or removes
/// those of an account that is connected no more. The home must be held while the watcher runs.
async fn put_credentials_in_place(
    mail: Mail,
    gog_folder: Option<PathBuf>,
    memory: Arc<dyn WatcherMemory>,
) -> (Option<Box<Watcher>>, Option<Held>) {
    let watcher = match mail {
        Mail::Wrong(problem) => {
            error!(%problem, "No mail is watched for");
            return (None, None);
        }
        Mail::NotConnected => None,
        Mail::Watched(watcher) => Some(watcher),
    };
    let gmail = watcher.as_ref().map(|watcher| watcher.gmail.clone());
    let placed = tokio::task::spawn_blocking(move || match gmail {
        Some(gmail) => {
            let folder = GogFolder::at(gog_folder)?;
            folder.install(&gmail, &*memory).map(Some)
        }
        // Where there is no home, there are no credentials in it.
        None => gog_folder.map_or(Ok(None), |folder| GogFolder::at(Some(folder))?.remove()),
    });
    let placed: Result<Result<Option<Held>, CredentialsError>, _> = placed.await;
    let error: Box<dyn Error> = match placed {
        Ok(Ok(held)) => return (watcher, held),
        Ok(Err(error)) => error.into(),
        Err(panic) => panic.into(),
    };
    let error = &*error;
    match watcher {
        Some(watcher) => {
            error!(error, "No mail is watched for");
            watcher.supervised.lookout.give_up();
        }
        None => error!(
            error,
            "The credentials of an account that is connected no more stay"
        ),
    }
    (None, None)
}

/// Says what the controller is doing, once the children are started, until it is as good as it gets.
async fn keep_state(
    state: &StateCell,
    started: &Started,
    [gateway, watcher]: [Option<Child>; 2],
    stop: CancellationToken,
) {
    let gateway = (&started.gateway, gateway, Stage::GatewayStart);
    let watcher = (&started.watcher, watcher, Stage::WatcherStart);
    for (started, child, stage) in [gateway, watcher] {
        if let (Err(_), Some(child)) = (started, child) {
            state.set(ControllerState::Degraded { stage });
            // It is tried again.
            let runs = stop.run_until_cancelled(child.running()).await.flatten();
            if runs.is_none() {
                return;
            }
        }
    }
    if started.is_mail_missing {
        let stage = Stage::GmailCredentials;
        state.set(ControllerState::Degraded { stage });
        warn!("The controller works, but for Gmail");
    } else {
        state.set(ControllerState::Ready);
        info!("The controller is ready");
    }
}
