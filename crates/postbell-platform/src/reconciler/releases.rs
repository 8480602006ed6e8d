//! The end of permissions that no user needs.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::Timestamp;
use postbell_protocol::api::operator::GooglePermission;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::OperatorClient;
use crate::operator_client::NewGrant;

/// The pause after which Google is asked again to revoke a permission, and for how many permissions at once. After that, the
/// store has it.
const PAUSE: Duration = Duration::from_secs(1);
const MOST: usize = 128;

/// How long a permission that is being given or revoked may delay a stop.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// Has Google revoke permissions.
pub(super) struct Releases {
    client: Option<Arc<OperatorClient>>,
    /// Limits the permissions that wait for Google.
    waiting: Semaphore,
}

impl Releases {
    pub(super) fn new(client: Option<Arc<OperatorClient>>) -> Self {
        Self {
            client,
            waiting: Semaphore::new(MOST),
        }
    }

    /// Has Google revoke a permission. A stop waits a moment for it.
    pub(super) async fn release(
        &self,
        grant: &NewGrant,
        stop: &CancellationToken,
    ) -> GooglePermission {
        let Some(client) = &self.client else {
            return GooglePermission::OwnProject;
        };
        tokio::select! {
            permission = client.release(grant, None) => permission,
            () = last_moment(stop) => GooglePermission::NotRevoked,
        }
    }

    /// Repeats a release that has failed, once: most failures are over in a second.
    pub(super) async fn finish(
        &self,
        grant: &NewGrant,
        permission: GooglePermission,
        stop: &CancellationToken,
    ) {
        let place = self.waiting.try_acquire();
        if permission == GooglePermission::NotRevoked
            && place.is_ok()
            && stop.run_until_cancelled(sleep(PAUSE)).await.is_some()
        {
            self.release(grant, stop).await;
        }
    }

    /// Returns the permissions that are due to be revoked.
    pub(super) async fn due(&self) -> Vec<(NewGrant, Timestamp)> {
        let Some(client) = &self.client else {
            return Vec::new();
        };
        match client.due_grants().await {
            Ok(due) => due,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    error,
                    "Could not read the permissions that are to be revoked"
                );
                Vec::new()
            }
        }
    }

    /// Has Google revoke a permission that is kept since then.
    pub(super) async fn repeat(
        &self,
        (grant, since): (NewGrant, Timestamp),
        stop: &CancellationToken,
    ) {
        if let Some(client) = &self.client {
            tokio::select! {
                _ = client.release_kept(&grant, None, since) => (),
                () = last_moment(stop) => (),
            }
        }
    }
}

/// Waits until a request to Google delays a stop for too long.
pub(super) async fn last_moment(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_REQUEST).await;
}
