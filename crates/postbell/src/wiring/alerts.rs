//! The alerts of a process.

use std::sync::Arc;

use postbell_alerts::{
    AlertClient, Monitor, MonitorParts, ObservedUsers, Reach, Sender, SenderParts, UserTargets,
};
use postbell_core::{AlertOutbox, AlertTargets, Clock, DeliveryLog, Tasks, Users};
use tokio::sync::Notify;

use super::store_gate::StoreGate;
use crate::config::AlertsConfig;

/// What observes mailboxes and what sends alerts, not started.
pub(super) struct AlertService {
    pub(super) monitor: Arc<Monitor>,
    sender: Sender,
}

/// The stores of an [`AlertService`].
pub(super) struct AlertPorts {
    pub(super) outbox: Arc<dyn AlertOutbox>,
    /// The platform's users and their targets.
    pub(super) users: Option<(Arc<dyn Users>, Arc<dyn AlertTargets>)>,
    /// The relay's deliveries.
    pub(super) log: Option<Arc<dyn DeliveryLog>>,
}

/// Builds the alerts of a process.
///
/// # Errors
///
/// Fails if a target is invalid, or the system's root certificates cannot be read.
pub(super) fn alerts(
    config: &AlertsConfig,
    clock: &Arc<dyn Clock>,
    ports: AlertPorts,
) -> anyhow::Result<AlertService> {
    let operator = config.targets()?;
    let wake = Arc::new(Notify::new());
    let AlertPorts { outbox, users, log } = ports;
    let targets = match &users {
        Some((_, targets)) => Some(UserTargets {
            targets: Arc::clone(targets),
            client: users_client(config, clock)?,
        }),
        None => None,
    };
    let monitor = Monitor::new(MonitorParts {
        outbox: Arc::clone(&outbox),
        users: users.map(|(users, targets)| ObservedUsers { users, targets }),
        log,
        operator: operator
            .iter()
            .map(postbell_alerts::AlertTarget::id)
            .collect(),
        rules: config.rules(),
        clock: Arc::clone(clock),
        wake: Arc::clone(&wake),
    });
    let sender = Sender::new(SenderParts {
        outbox,
        operator,
        client: AlertClient::new(Reach::Anywhere, Arc::clone(clock))?
            .with_mail_server(config.mail_server()?),
        users: targets,
        clock: Arc::clone(clock),
        wake,
        jitter: Box::new(fastrand::f64),
    });
    Ok(AlertService {
        monitor: Arc::new(monitor),
        sender,
    })
}

/// The client for targets that users enter.
///
/// # Errors
///
/// Fails if the mail server is invalid, or the system's root certificates cannot be read.
pub(super) fn users_client(
    config: &AlertsConfig,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<AlertClient> {
    let client = AlertClient::new(Reach::PublicOnly, Arc::clone(clock))?;
    Ok(client.with_mail_server(config.mail_server()?))
}

impl AlertService {
    /// Starts to observe and to send.
    pub(super) fn start(self, gate: &StoreGate, tasks: &Tasks) {
        let Self { monitor, sender } = self;
        gate.start(tasks, "alert-monitor", |stop| monitor.run(stop));
        gate.start(tasks, "alert-sender", |stop| sender.run(stop));
    }
}
