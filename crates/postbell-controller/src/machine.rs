//! Brings the machine up, and keeps it so: credentials, then the gateway, then the watcher.

use std::error::Error;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::checkin::Checkin;
use crate::credentials::{self, CarryOver};
use crate::presence::{Door, Presence, keep_watch};
use crate::processes::Processes;
use crate::renewal;
use crate::settings::{GmailSettings, Problem};
use crate::state::{ControllerState, Phase, Stage, StateCell};
use crate::supervisor::{Child, ChildSpec};
use crate::{Ports, Variables};

/// What there is to do between the first moment and the last.
pub(crate) struct Machine {
    pub(crate) state: StateCell,
    pub(crate) variables: Variables,
    pub(crate) carry_over: Arc<CarryOver>,
    pub(crate) processes: Processes,
    pub(crate) ports: Ports,
    pub(crate) gateway: Kept,
    /// The watcher, where an account is connected; or what is wrong with the account.
    pub(crate) watcher: Result<Option<WatcherParts>, Problem>,
    pub(crate) checkin: Option<Checkin>,
}

/// A child, and the end of its door at which it is said whether it is there.
pub(crate) struct Kept {
    pub(crate) child: Child,
    pub(crate) door: Door,
    pub(crate) tell: watch::Sender<Presence>,
}

/// The watcher, and what comes with it.
pub(crate) struct WatcherParts {
    pub(crate) kept: Kept,
    pub(crate) gmail: GmailSettings,
    pub(crate) renewal: Option<ChildSpec>,
}

impl Machine {
    /// Works until `stop` is cancelled.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let phase = Phase::GmailCredentials;
        self.state.set(ControllerState::Bootstrapping { phase });
        let watcher = self.take_watcher().await;
        self.state.set(ControllerState::Starting);
        let is_gmail_missing = watcher.is_err();
        let watcher = watcher.ok().flatten();
        // The hook's side first: the watcher's first look may find something.
        let _ = self.gateway.child.start().await;
        if let Some(watcher) = &watcher {
            let _ = watcher.kept.child.start().await;
        }
        tokio::join!(
            keep_state(
                self.state,
                self.gateway.child.clone(),
                is_gmail_missing,
                stop.clone()
            ),
            check_in(self.checkin, &self.gateway, watcher.as_ref(), stop.clone()),
            renew(watcher.as_ref(), &self.processes, stop.clone()),
            keep_watch_of(watcher.as_ref(), self.ports.watcher, stop.clone()),
            keep_watch(
                self.gateway.child.clone(),
                self.ports.gateway,
                self.gateway.tell.clone(),
                stop
            ),
        );
    }

    /// The watcher, once the credentials are in their place; `None` where no account is connected.
    async fn take_watcher(&mut self) -> Result<Option<WatcherParts>, ()> {
        let watcher = match std::mem::replace(&mut self.watcher, Ok(None)) {
            Ok(watcher) => watcher,
            Err(problem) => {
                error!(%problem, "No mail is watched for");
                return Err(());
            }
        };
        let gmail = watcher.as_ref().map(|watcher| watcher.gmail.clone());
        let (variables, carry_over) = (self.variables.clone(), Arc::clone(&self.carry_over));
        let put_in_place = move || match gmail {
            Some(gmail) => credentials::install(&gmail, &variables, &*carry_over),
            None => credentials::remove(&variables),
        };
        let placed = tokio::task::spawn_blocking(put_in_place).await;
        match placed {
            Ok(Ok(())) => Ok(watcher),
            Ok(Err(error)) => {
                let error: &dyn Error = &error;
                error!(error, "No mail is watched for");
                self.give_up(watcher)
            }
            Err(panic) => {
                error!(error = %panic, "No mail is watched for");
                self.give_up(watcher)
            }
        }
    }

    fn give_up(&self, watcher: Option<WatcherParts>) -> Result<Option<WatcherParts>, ()> {
        if let Some(watcher) = watcher {
            watcher.kept.tell.send_replace(Presence::Away);
        }
        Err(())
    }
}

/// Says what the controller is doing, once the children are started.
async fn keep_state(
    state: StateCell,
    gateway: Child,
    is_gmail_missing: bool,
    stop: CancellationToken,
) {
    let runs = |gateway: &Child| gateway.status().state.running().is_some();
    if !runs(&gateway) {
        let stage = Stage::GatewayStart;
        state.set(ControllerState::Degraded { stage });
        let started = gateway.wait_for(|status| status.state.running().is_some());
        if stop.run_until_cancelled(started).await.is_none() {
            return;
        }
    }
    if is_gmail_missing {
        let stage = Stage::GmailCredentials;
        state.set(ControllerState::Degraded { stage });
        warn!("The controller works, but for Gmail");
    } else {
        state.set(ControllerState::Ready);
        info!("The controller is ready");
    }
}

async fn check_in(
    checkin: Option<Checkin>,
    gateway: &Kept,
    watcher: Option<&WatcherParts>,
    stop: CancellationToken,
) {
    if let Some(checkin) = checkin {
        let doors = [
            Some(&gateway.door),
            watcher.map(|watcher| &watcher.kept.door),
        ];
        let doors = doors.into_iter().flatten().cloned().collect();
        checkin.keep_telling(doors, stop).await;
    }
}

async fn renew(watcher: Option<&WatcherParts>, processes: &Processes, stop: CancellationToken) {
    if let Some(watcher) = watcher
        && let Some(command) = &watcher.renewal
    {
        let child = watcher.kept.child.clone();
        let renew = || renewal::run(command, processes);
        renewal::keep_renewing(child, renew, stop).await;
    }
}

async fn keep_watch_of(watcher: Option<&WatcherParts>, port: u16, stop: CancellationToken) {
    if let Some(WatcherParts { kept, .. }) = watcher {
        keep_watch(kept.child.clone(), port, kept.tell.clone(), stop).await;
    }
}
