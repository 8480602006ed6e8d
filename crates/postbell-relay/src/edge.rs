//! Where pushes come in (contract, section 1).

mod caller;
mod envelope;
mod health;
mod push;
mod refusal;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use postbell_core::{Clock, Directory, Inbox};
use postbell_google::IdTokenVerifier;
use tokio::sync::Notify;

use self::refusal::Refusal;

/// What the edge works with. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    /// Where a notification waits once it is accepted.
    pub inbox: Arc<dyn Inbox>,

    /// Who the user is, and whose pushes are theirs.
    pub directory: Arc<dyn Directory>,

    /// Checks Google's tokens.
    pub id_tokens: Arc<IdTokenVerifier>,

    /// The time of day.
    pub clock: Arc<dyn Clock>,

    /// The relay's public base URL without a slash at its end; audiences are built on it.
    pub audience: Arc<str>,

    /// Told of each notification that waits; the dispatcher listens.
    pub arrivals: Arc<Notify>,
}

impl Edge {
    /// The routes of the edge.
    pub fn router(self) -> Router {
        Router::new()
            .route("/push/user/{user}", post(push::receive_push))
            .route("/health", get(health::health))
            .route("/ready", get(health::ready))
            .fallback(async || Refusal::NoSuchRoute)
            .with_state(self)
    }
}
