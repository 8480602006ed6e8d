//! Keeps the inbox from growing without end.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Inbox};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(60);

/// How many message ids are forgotten at a time, so that no push waits long behind it.
const BATCH: usize = 1_000;

/// Forgets message ids that are too old to matter, until `stop` is cancelled.
pub async fn forget_old_ids(inbox: Arc<dyn Inbox>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        match inbox.forget_old_ids(clock.now(), BATCH).await {
            Ok(forgotten) => {
                debug!(forgotten, "Forgot old message ids");
                if forgotten == BATCH && !stop.is_cancelled() {
                    continue;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not forget old message ids");
            }
        }
        if stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}
