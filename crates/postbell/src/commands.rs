//! A file for each command.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod controller;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod demo;
pub(crate) mod relay;
pub(crate) mod sandbox;
pub(crate) mod watch;

mod table;

use std::sync::Arc;

use anyhow::Context;
use postbell_core::Inbox;

use crate::config::Config;

/// Opens the relay's inbox for a command beside it; makes none where there is none.
fn open_inbox(config: &Config) -> anyhow::Result<Arc<dyn Inbox>> {
    let url = &config.relay.inbox;
    postbell_store::open_existing(url).with_context(|| format!("relay.inbox {url}"))
}
