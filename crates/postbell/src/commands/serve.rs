//! `postbell serve`

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::{Clock, Tasks};
use tracing::info;

use super::listen;
use crate::config::{Config, Mistakes};
use crate::wiring::{self, Service, TlsListeners};

/// Serves relay and platform until the process receives a stop signal, then finishes the work in
/// flight.
pub(crate) async fn run(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<ExitCode> {
    let mut mistakes = Mistakes::default();
    mistakes.check(config.relay.check());
    mistakes.check(config.platform.check());
    // Checks combinations of both tables.
    mistakes.check(config.check());
    mistakes.into_result()?;
    postbell_http::require_ca_certificates()?;
    let (relay, platform) = wiring::relay_and_platform(config, Arc::clone(&clock))?;
    let for_relay = listen(&config.relay.listen, "relay.listen").await?;
    let mut for_platform = listen(&config.platform.listen, "platform.listen").await?;
    let service = Service::new(config.relay.grace)?;
    info!(address = %for_platform.address()?, "The platform is listening");
    info!(address = %for_relay.address()?, "The relay is listening");
    let tasks = Tasks::new();
    let secured = TlsListeners::start(&config.tls, &clock, &tasks)?;
    if config.is_platform_secured() {
        for_platform = secured.secure(for_platform);
    }
    let (of_relay, of_platform) = (relay.problem(), platform.problem());
    platform.start(for_platform, &tasks);
    relay.start(secured.secure(for_relay), &tasks);
    let problem = async || match of_relay().await {
        None => of_platform().await,
        problem => problem,
    };
    let status = "receiving pushes and serving the platform".to_owned();
    Ok(service.run(tasks, status, problem).await)
}
