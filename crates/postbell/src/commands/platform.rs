//! `postbell platform`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Tasks};
use tracing::info;

use super::listen;
use crate::config::Config;
use crate::wiring::{self, Service, TlsListeners};

/// How long a stopping platform waits for requests in flight.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until the process receives a stop signal, then finishes the work in flight.
pub(crate) async fn run(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<ExitCode> {
    config.platform.check()?;
    postbell_http::require_ca_certificates()?;
    let platform = wiring::platform(config, Arc::clone(&clock))?;
    let mut listener = listen(&config.platform.listen, "platform.listen").await?;
    let service = Service::new(GRACE)?;
    info!(address = %listener.address()?, "The platform is listening");
    let tasks = Tasks::new();
    if config.is_platform_secured() {
        listener = TlsListeners::start(&config.tls, &clock, &tasks)?.secure(listener);
    }
    let problem = platform.problem();
    platform.start(listener, &tasks);
    let status = "serving the platform".to_owned();
    Ok(service.run(tasks, status, problem).await)
}
