//! Carries out the requests for dead letters that commands leave beside the state.

use std::sync::Arc;
use std::time::Duration;

use postbell_protocol::watch_state::StateError;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::request_file::RequestFile;
use crate::state_store::StateStore;

/// How often the watcher looks for a request.
const INTERVAL: Duration = Duration::from_secs(1);

/// Carries out requests until `stop`, and requests a sync after each.
pub(crate) async fn carry_out_requests(
    state: &StateStore,
    sync_again: &Notify,
    stop: &CancellationToken,
) {
    while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
        match carry_out_one(state).await {
            Ok(false) => {}
            Ok(true) => sync_again.notify_one(),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not carry out a request for dead letters");
            }
        }
    }
}

/// Returns whether there was a request. It is removed once the change is durable.
async fn carry_out_one(state: &StateStore) -> Result<bool, StateError> {
    let file = Arc::new(RequestFile::beside(&state.file()));
    let read = Arc::clone(&file);
    let Some(request) = blocking(move || read.read()).await? else {
        return Ok(false);
    };
    let mut state = state.lock().await;
    let messages = request.apply(&mut state);
    state.save().await?;
    drop(state);
    info!(messages, action = ?request.action, "Carried out a request for dead letters");
    blocking(move || file.remove()).await?;
    Ok(true)
}

/// Runs on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
