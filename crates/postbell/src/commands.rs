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
use tokio::net::TcpListener;

use crate::config::{Config, shown_store};

/// Opens the relay's inbox for a command beside it; makes none where there is none.
fn open_inbox(config: &Config) -> anyhow::Result<Arc<dyn Inbox>> {
    let url = &config.relay.inbox;
    postbell_store::open_existing(url).with_context(|| format!("relay.inbox {}", shown_store(url)))
}

/// Listens on the address that `key` of the configuration names.
async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({key}): is another process there?"))
}
