//! Starts the machine's processes: configures them, then starts the gateway and the watcher.

use std::sync::Arc;

use futures_util::future::OptionFuture;
use postbell_core::Clock;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::checkin::Checkin;
use crate::configurator::{Configurator, FirstStart, NO_CREDENTIALS, Reloading};
use crate::endpoint::{Endpoint, ReadinessProbe};
use crate::mail_monitor::MailMonitor;
use crate::processes::Processes;
use crate::renewal;
use crate::state::{ControllerState, Phase, Stage, StateCell};
use crate::supervisor::{Child, CommandError};

/// The task that starts the children and runs what belongs to them.
pub(crate) struct Startup {
    pub(crate) configurator: Configurator,
    pub(crate) processes: Processes,
    pub(crate) gateway: Supervised,
    pub(crate) watcher: Supervised,
    pub(crate) mail: MailMonitor,
    pub(crate) checkin: Option<Checkin>,
    /// `None` if the configuration is that of the variables.
    pub(crate) reloading: Option<Reloading>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A child with a supervisor.
pub(crate) struct Supervised {
    pub(crate) child: Child,
    pub(crate) endpoint: Endpoint,
    pub(crate) probe: ReadinessProbe,
}

/// The results of the first starts.
struct StartResults {
    gateway: Result<(), CommandError>,
    watcher: Result<(), CommandError>,
    first: FirstStart,
}

impl Startup {
    /// Runs until `stop` is cancelled.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let state = self.configurator.state.clone();
        let phase = Phase::GmailCredentials;
        state.set(ControllerState::Bootstrapping { phase });
        let source = self.reloading.as_ref().map(|it| &it.source);
        let preparing = self.configurator.prepare(source);
        let Some((first, is_current)) = stop.run_until_cancelled(preparing).await else {
            return;
        };
        state.set(ControllerState::Starting);
        let (gateway, watcher) = (self.gateway, self.watcher);
        // The gateway first: the watcher's first sync may already find mail to post to it.
        let results = StartResults {
            gateway: gateway.child.start().await,
            watcher: if first.has_watcher {
                watcher.child.start().await
            } else {
                Ok(())
            },
            first,
        };
        let started = if first.has_watcher { 2 } else { 1 };
        let endpoints = [gateway.endpoint, watcher.endpoint];
        let mail = self.mail;
        // What the states say is known before the first check-in.
        mail.refresh().await;
        let checking_in = self
            .checkin
            .map(|it| it.run(endpoints, started, mail, stop.clone()));
        let command = self.configurator.renewal.clone();
        let renew = || renewal::run_if_any(&command, &self.processes);
        let renewing =
            renewal::keep_renewing(watcher.child.clone(), renew, &*self.clock, stop.clone());
        let configurator = self.configurator;
        let reloading = async {
            // The lock of the home is held until the end.
            match self.reloading {
                Some(reloading) => {
                    let running = configurator.keep_current(reloading, is_current);
                    stop.run_until_cancelled(running).await;
                }
                None => {
                    stop.cancelled().await;
                    drop(configurator);
                }
            }
        };
        tokio::join!(
            report_state(
                &state,
                &results,
                [gateway.child, watcher.child],
                stop.clone()
            ),
            OptionFuture::from(checking_in),
            renewing,
            reloading,
            gateway.probe.run(stop.clone()),
            watcher.probe.run(stop.clone()),
        );
    }
}

/// Updates the controller's state after the children were started, until it no longer changes.
async fn report_state(
    state: &StateCell,
    results: &StartResults,
    [gateway, watcher]: [Child; 2],
    stop: CancellationToken,
) {
    let gateway = (&results.gateway, gateway, Stage::GatewayStart);
    let watcher = (&results.watcher, watcher, Stage::WatcherStart);
    for (result, child, stage) in [gateway, watcher] {
        if result.is_err() {
            state.set(ControllerState::Degraded { stage });
            // The supervisor retries.
            let running = stop.run_until_cancelled(child.running()).await.flatten();
            if running.is_none() {
                return;
            }
        }
    }
    if results.first.is_incomplete {
        state.set(NO_CREDENTIALS);
        warn!("The controller is ready, but a mailbox is not watched");
    } else {
        state.set(ControllerState::Ready);
        info!("The controller is ready");
    }
}
