//! The user's machine, as the dispatcher sees it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::SecretString;

use crate::Instance;

/// The way to the controller on a user's machine (protocol, section 3).
#[async_trait]
pub trait Machine: Send + Sync {
    /// Hands a Pub/Sub body to the machine's controller, once.
    ///
    /// Never fails: what went wrong is one of the answers, for the dispatcher must act on each.
    async fn deliver(&self, instance: &Instance, token: &SecretString, body: Bytes) -> Delivery;
}

/// What became of one delivery.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// The machine has it (2xx).
    Accepted,

    /// The machine will never take it (400, 422).
    Refused {
        /// The machine's answer.
        status: u16,
    },

    /// It may be taken later: any other answer, or none.
    Failed {
        /// What happened, for the log and the dead letter. Holds nothing secret.
        cause: String,
        /// How long the machine asked us to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
}
