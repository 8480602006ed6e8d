//! Deletes message ids that are too old to recognise a repeat by.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, DeliveryQueue};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(60);

/// How many message ids one transaction deletes, so that no push waits long for it.
const BATCH: usize = 1_000;

/// Deletes old message ids once a minute, until `stop` is cancelled.
pub async fn prune_message_ids(
    queue: Arc<dyn DeliveryQueue>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        match queue.prune_message_ids(clock.now(), BATCH).await {
            Ok(deleted) => {
                debug!(deleted, "Deleted old message ids");
                if deleted == BATCH && !stop.is_cancelled() {
                    continue;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not delete old message ids");
            }
        }
        if stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}
