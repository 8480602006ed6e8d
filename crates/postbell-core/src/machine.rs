//! The users' machines, as the relay delivers to them.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::SecretString;

use crate::{Failure, Instance, TraceContext};

/// Delivers to the controllers on the users' machines (protocol, section 3).
#[async_trait]
pub trait Machine: Send + Sync {
    /// Posts a Pub/Sub body to the machine's controller, once. The machine continues the trace.
    ///
    /// Returns failures as results too, because the dispatcher acts on each of them.
    async fn deliver(
        &self,
        instance: &Instance,
        token: &SecretString,
        body: Bytes,
        trace: TraceContext,
    ) -> Delivery;
}

/// The result of posting one notification.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// The machine accepted it (2xx).
    Accepted,

    /// The machine will never accept it (400, 422).
    Refused {
        /// The machine's status.
        status: u16,
    },

    /// It may be accepted later: any other answer, or none.
    Failed {
        /// The failure.
        failure: Failure,
        /// How long the machine asked to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
}
