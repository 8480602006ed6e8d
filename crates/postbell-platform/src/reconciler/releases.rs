//! The end of permissions that no user needs.

use std::sync::Arc;
use std::time::Duration;

use postbell_protocol::api::operator::GooglePermission;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::OperatorClient;
use crate::operator_client::NewGrant;

/// The pauses after which Google is asked again to revoke a permission, and for how many permissions at once.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(30),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
];
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
        let released = async {
            match grant {
                NewGrant::Of(grant) => client.release(grant, None).await,
                NewGrant::Unknown(user) => client.release_unknown(user).await,
            }
        };
        tokio::select! {
            permission = released => permission,
            () = last_moment(stop) => GooglePermission::NotRevoked,
        }
    }

    /// Repeats a release that has failed, until `stop`: what waits is in no store. If too many wait, it is not repeated.
    pub(super) async fn finish(
        &self,
        grant: &NewGrant,
        mut permission: GooglePermission,
        stop: &CancellationToken,
    ) {
        if permission != GooglePermission::NotRevoked {
            return;
        }
        let place = self.waiting.try_acquire();
        for pause in PAUSES.iter().filter(|_| place.is_ok()) {
            if stop.run_until_cancelled(sleep(*pause)).await.is_none() {
                break;
            }
            permission = self.release(grant, stop).await;
            if permission != GooglePermission::NotRevoked {
                return;
            }
        }
        let name = grant.log_name();
        warn!("The permission of {name} stays at Google: its owner must remove it there");
    }
}

/// Waits until a request to Google delays a stop for too long.
pub(super) async fn last_moment(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_REQUEST).await;
}
