//! The state of the controller, as its public health route reports it.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

/// The state of the controller. It is public, so it contains no causes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ControllerState {
    /// Preparing what the children need.
    Bootstrapping {
        /// The current step.
        phase: Phase,
    },
    /// Starting the children.
    Starting,
    /// The children are started and supervised.
    Ready,
    /// A stage failed; the log has the cause. Everything that does not need it works.
    Degraded {
        /// The failed stage.
        #[serde(rename = "error")]
        stage: Stage,
    },
}

/// A step of the bootstrap.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Reading the variables.
    Init,
    /// Unpacking the credentials of the Google account.
    GmailCredentials,
}

/// A stage of the start that can fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Decrypting variables.
    Bootstrap,
    /// Reading the settings.
    RuntimeConfig,
    /// Unpacking the credentials of the Google account. Only mail is affected.
    GmailCredentials,
    /// Starting the gateway. It is retried.
    GatewayStart,
    /// Starting the watcher. It is retried; only mail is affected.
    WatcherStart,
}

/// The shared state of the controller. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct StateCell(Arc<Mutex<ControllerState>>);

impl StateCell {
    pub(crate) fn new() -> Self {
        let phase = Phase::Init;
        let state = ControllerState::Bootstrapping { phase };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn get(&self) -> ControllerState {
        *self.0.lock()
    }

    pub(crate) fn set(&self, state: ControllerState) {
        *self.0.lock() = state;
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self {
            Self::Bootstrap => "bootstrap",
            Self::RuntimeConfig => "runtime-config",
            Self::GmailCredentials => "gmail-credentials",
            Self::GatewayStart => "gateway-start",
            Self::WatcherStart => "watcher-start",
        };
        write!(f, "Startup failed during {stage}")
    }
}

impl Serialize for Stage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
