//! Carries out the requests that commands leave beside the state.

use std::sync::Arc;
use std::time::Duration;

use postbell_protocol::watch_state::{StateError, WebhookTest};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::SyncError;
use crate::poster::Poster;
use crate::problems::ProblemSource;
use crate::request_file::{RequestFile, WatcherRequest};
use crate::state_store::blocking;

/// How often the watcher looks for a request.
const INTERVAL: Duration = Duration::from_secs(1);

/// Carries out requests until `stop`, and requests a sync after each change of dead letters.
pub(crate) async fn carry_out_requests(
    poster: &Poster,
    sync_again: &Notify,
    stop: &CancellationToken,
) {
    while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
        match carry_out_one(poster).await {
            Ok(false) => {}
            Ok(true) => sync_again.notify_one(),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not carry out a request");
            }
        }
    }
}

/// Returns whether dead letters were changed. The request is removed once its result is durable.
async fn carry_out_one(poster: &Poster) -> Result<bool, StateError> {
    let file = Arc::new(RequestFile::beside(&poster.state.file()));
    let read = Arc::clone(&file);
    let Some(request) = blocking(move || read.read()).await? else {
        return Ok(false);
    };
    let has_changed = match request {
        WatcherRequest::DeadLetters(request) => {
            let mut state = poster.state.lock().await;
            let messages = request.apply(&mut state);
            state.save().await?;
            info!(messages, action = ?request.action, "Carried out a request for dead letters");
            true
        }
        WatcherRequest::Test { test } => {
            let tested = poster.test().await.map_err(SyncError::from);
            let problem = tested.err().and_then(|error| error.problem());
            let detail = problem.as_ref().map(|problem| problem.detail.clone());
            let detail = detail.unwrap_or_default();
            if detail.is_empty() {
                info!("The webhook accepted a test");
            } else {
                warn!(problem = detail, "The webhook did not accept a test");
            }
            let mut state = poster.state.lock().await;
            state.last_test = Some(WebhookTest {
                id: test,
                at_ms: poster.clock.now().as_millis(),
                problem: detail,
            });
            // Ended by the next message that the webhook accepts.
            state.set_problem(ProblemSource::Test, problem);
            state.save().await?;
            false
        }
    };
    blocking(move || file.remove()).await?;
    Ok(has_changed)
}
