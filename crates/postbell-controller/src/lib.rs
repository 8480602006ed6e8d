//! The process on the bot's machine that hands pushes to the watcher (contract, section 4).
//!
//! It knows nothing of Gmail: a push is a body to pass on, and the watcher's status is all that it
//! looks at. So far it has `/health` and `/_kilo/gmail-pubsub`. Start reading at [`Controller`].

mod bearer;
mod gmail_pubsub;
mod supervisor;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::Client;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

pub use self::supervisor::{
    Child, ChildSpec, ChildState, ChildStatus, Conflict, Exit, Supervisor, Timing,
};

/// What the controller works with. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    /// The bearer token that callers must show; the watcher is shown the same.
    pub gateway_token: Arc<SecretString>,

    /// Where the watcher takes pushes; `None` where no watcher is configured.
    pub watcher_url: Option<Url>,

    /// Reaches the watcher; must not follow redirects.
    pub client: Client,
}

impl Controller {
    /// The routes of the controller.
    pub fn router(self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/_kilo/gmail-pubsub", post(gmail_pubsub::pass_on))
            .with_state(self)
    }
}

/// Answers from the first moment of the process.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
