//! A file for each command.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod controller;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod platform;
pub(crate) mod relay;
pub(crate) mod sandbox;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod users;
pub(crate) mod watch;

mod table;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use postbell_core::Inbox;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tracing::warn;

use crate::config::Config;

/// Opens the relay's inbox for a command beside it; makes none where there is none.
fn open_inbox(config: &Config) -> anyhow::Result<Arc<dyn Inbox>> {
    let url = &config.relay.inbox;
    postbell_store::open_existing(url).with_context(|| format!("relay.inbox {url}"))
}

/// Listens on the address that `key` of the configuration names.
async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({key}): is another process there?"))
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
