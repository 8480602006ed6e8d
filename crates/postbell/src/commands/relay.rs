//! `postbell relay`

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::{Clock, Tasks};
use tracing::info;

use super::listen;
use crate::config::Config;
use crate::wiring::{self, Service, TlsListeners};

/// Serves until the process receives a stop signal, then finishes the work in flight.
pub(crate) async fn run(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<ExitCode> {
    config.relay.check()?;
    let relay = wiring::relay(config, Arc::clone(&clock))?;
    postbell_http::require_ca_certificates()?;
    let listener = listen(&config.relay.listen, "relay.listen").await?;
    let service = Service::new(config.relay.grace)?;
    info!(address = %listener.address()?, "The relay is listening");
    let tasks = Tasks::new();
    let secured = TlsListeners::start(&config.tls, &clock, &tasks)?;
    let problem = relay.problem();
    relay.start(secured.secure(listener), &tasks);
    let status = "receiving pushes".to_owned();
    Ok(service.run(tasks, status, problem).await)
}
