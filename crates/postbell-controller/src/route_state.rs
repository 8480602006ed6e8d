//! The state of the routes that need the gateway token.

use std::sync::Arc;

use axum::extract::FromRef;
use postbell_core::{Clock, Tracer};
use postbell_protocol::gateway_token::GatewayToken;

use crate::loopback::Loopback;
use crate::mail_monitor::MailMonitor;
use crate::reloads::Reloads;
use crate::state::StateCell;
use crate::supervisor::Child;
use crate::watched_mailbox::WatchedMailbox;

/// The build that runs.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// The version number.
    pub version: &'static str,
    /// The commit.
    pub commit: &'static str,
}

/// The state of the routes that need the gateway token. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RouteState {
    pub(crate) gateway_token: GatewayToken,
    pub(crate) state: StateCell,
    pub(crate) gateway: Child,
    pub(crate) watcher: Child,
    pub(crate) mailbox: WatchedMailbox,
    /// `None` if the configuration is not fetched from a platform.
    pub(crate) reloads: Option<Reloads>,
    pub(crate) mail: MailMonitor,
    /// Reaches the gateway.
    pub(crate) loopback: Loopback,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) version: Version,
    pub(crate) tracer: Tracer,
}

impl FromRef<RouteState> for GatewayToken {
    fn from_ref(state: &RouteState) -> Self {
        state.gateway_token.clone()
    }
}
