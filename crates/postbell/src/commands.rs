//! The commands, one file each. A command parses its arguments, calls a part and prints the result.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod controller;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod healthcheck;
pub(crate) mod keys;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod platform;
pub(crate) mod relay;
pub(crate) mod sandbox;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod users;
pub(crate) mod watch;

mod operator;
mod secrets;
mod table;

use std::sync::Arc;

use anyhow::Context;
use postbell_core::DeliveryLog;
use postbell_http::{ListenAddress, Listener};
use postbell_store::{Store, StoreOptions};

use crate::config::Config;

/// Opens the relay's store for a command. The relay may be running.
fn open_log(config: &Config, options: StoreOptions) -> anyhow::Result<Arc<dyn DeliveryLog>> {
    let url = &config.relay.inbox;
    let store = Store::open(url.expose(), options);
    let store = store.with_context(|| format!("relay.inbox {url}"))?;
    Ok(store.log())
}

/// Opens the platform's store for a command. The platform may be running.
fn open_users(config: &Config, options: StoreOptions) -> anyhow::Result<Store> {
    let url = &config.platform.store;
    if let Some(directory) = config
        .directory
        .as_ref()
        .filter(|_| !config.platform.is_configured())
    {
        let directory = &directory.url;
        anyhow::bail!(
            "this configuration has no platform: the users are those of {directory} (directory.url)"
        );
    }
    let keys = config.platform.key_ring()?;
    Store::open(url.expose(), options.keys(keys)).with_context(|| format!("platform.store {url}"))
}

/// Listens on the address that a key of the configuration or a flag sets.
async fn listen(address: &ListenAddress, set_by: &'static str) -> anyhow::Result<Listener> {
    Listener::bind(address).await.context(set_by)
}
