//! What the platform knows of the users' machines, and how it reaches them.

use std::sync::Arc;

use postbell_core::{Clock, MachineLocation};
use postbell_platform::{ContactPoll, Controllers, HttpControllers, Tarballs};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_store::Store;
use reqwest::Client;

use crate::config::Config;
use crate::wiring::machine;

/// The parts of a platform that are about machines.
pub(super) struct MachineParts {
    pub(super) tarballs: Tarballs,
    pub(super) controllers: Arc<dyn Controllers>,
    pub(super) contact: ContactPoll,
}

/// Builds them. The controllers are where the relay finds them.
pub(super) fn parts(
    config: &Config,
    store: &Store,
    key: Option<&Arc<PlatformKey>>,
    client: &Client,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<MachineParts> {
    let controllers = controllers(config, client, clock)?;
    Ok(MachineParts {
        tarballs: Tarballs {
            credentials: store.credentials(),
            key: key.cloned(),
        },
        contact: ContactPoll {
            store: store.users(),
            controllers: Arc::clone(&controllers),
            clock: Arc::clone(clock),
        },
        controllers,
    })
}

/// The controllers on the machines.
pub(crate) fn controllers(
    config: &Config,
    client: &Client,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn Controllers>> {
    let machine = machine(&config.relay, Arc::clone(clock))?;
    let tokens = GatewayTokens::new(config.platform.gateway_secret()?);
    let url = Box::new(move |location: &MachineLocation| machine.controller(location));
    let controllers = HttpControllers::new(client.clone(), url, tokens);
    Ok(Arc::new(controllers))
}
