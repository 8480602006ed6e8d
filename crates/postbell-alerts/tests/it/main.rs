//! The client, against stand-ins for the services over real connections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mail;
mod monitor;
mod public_only;
mod sender;
mod services;
mod world;

use std::sync::Arc;
use std::time::Duration;

use postbell_alerts::{AlertClient, AlertEvent, AlertKind, AlertTarget, Reach, SendError};
use postbell_core::{ProblemCode, SystemClock, Timestamp};

/// A client that reaches loopback.
fn client() -> AlertClient {
    AlertClient::new(Reach::Anywhere, Arc::new(SystemClock::new())).unwrap()
}

fn target(text: &str) -> AlertTarget {
    text.parse().unwrap()
}

fn event() -> AlertEvent {
    let at = Timestamp::from_millis(1_790_000_000_000);
    let account = Some("ann@example.com".to_owned());
    AlertEvent::new(AlertKind::GrantRevoked, at, account, None)
        .with_problem(Some(ProblemCode::GrantRevoked))
        .with_detail("Google answered <invalid_grant> & \"more\".")
}

/// The text of a failure and the wait that the service asked for.
fn failure(sent: Result<(), SendError>) -> (String, Option<Duration>) {
    let error = sent.unwrap_err();
    (error.to_string(), error.retry_after())
}
