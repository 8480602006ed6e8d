//! What strangers may know of the controller.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

/// What the controller is doing. Strangers may know it: it says nothing of why.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ControllerState {
    /// It prepares what the children need.
    Bootstrapping {
        /// What of it.
        phase: Phase,
    },
    /// It starts the children.
    Starting,
    /// The children are started, and are started again when they end.
    Ready,
    /// Something is missing; the log says what. What does not need it works.
    Degraded {
        /// What was being done.
        #[serde(rename = "error")]
        stage: Stage,
    },
}

/// What is prepared.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// What the variables say.
    Init,
    /// The credentials of the Google account.
    GmailCredentials,
}

/// What a start can fail in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Decrypting variables.
    Bootstrap,
    /// Reading the settings.
    RuntimeConfig,
    /// Unpacking the credentials of the Google account: only Gmail is missing.
    GmailCredentials,
    /// Starting the gateway: it is tried again.
    GatewayStart,
    /// Starting the watcher: it is tried again, and only Gmail is missing.
    WatcherStart,
}

/// What the controller is doing, for whoever asks. A clone is a handle to the same.
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
