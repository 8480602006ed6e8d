//! `postbell relay`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use postbell_core::{Clock, Tasks};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::config::Config;
use crate::wiring;

/// Serves until the process is told to stop, then finishes what is in flight.
pub(crate) async fn run(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<ExitCode> {
    config.relay.check()?;
    let relay = wiring::relay(config, clock)?;
    let listen = config.relay.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen} (relay.listen): is another process there?")
    })?;
    raise_file_limit();
    info!(address = %listener.local_addr()?, "The relay takes pushes");
    let tasks = Tasks::new();
    relay.start(listener, &tasks);
    wiring::run_until_stopped(tasks, config.relay.grace).await
}

/// Lets this process open as many files as it may: each connection is one, and many systems grant
/// 1024 to those who do not ask.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "Could not raise the limit of open files");
    }
}
