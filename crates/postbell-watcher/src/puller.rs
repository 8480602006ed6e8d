//! Pulls notifications from a subscription.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::Backoff;
use postbell_google::{PullError, PullSubscription, Pulled, TokenSource};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use url::Url;

use crate::server::PushServer;

/// First and longest delay after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Pulls notifications from a subscription and hands them to a watcher.
pub struct Puller {
    /// Pub/Sub API.
    pub endpoint: Url,
    /// Access tokens that may pull.
    pub tokens: Arc<TokenSource>,
    /// The subscription, as `projects/P/subscriptions/S`.
    pub subscription: String,
    /// The watcher's push server.
    pub server: PushServer,
    /// Returns a random number from 0 to 1.
    pub jitter: fn() -> f64,
}

impl Puller {
    /// Opens the subscription.
    ///
    /// # Errors
    ///
    /// [`PullError`] if Google refuses it.
    pub async fn open(&self) -> Result<PullSubscription, PullError> {
        PullSubscription::open(&self.endpoint, Arc::clone(&self.tokens), &self.subscription).await
    }

    /// Pulls one notification after the other until `stop`. One sync also covers the notifications
    /// that arrive meanwhile.
    pub async fn run(self, mut subscription: PullSubscription, stop: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let Some(next) = stop.run_until_cancelled(subscription.next()).await else {
                return;
            };
            match next {
                Ok(pulled) if self.server.pulled(&pulled.data).await => {
                    pulled.done();
                    backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
                }
                Ok(pulled) => self.release(pulled, &mut backoff, &stop).await,
                Err(error) => {
                    let name = &self.subscription;
                    error!(
                        error = &error as &dyn std::error::Error,
                        "Cannot pull from {name} (--subscription)"
                    );
                    self.pause(&mut backoff, &stop).await;
                    if let Ok(opened) = self.open().await {
                        subscription = opened;
                    }
                }
            }
        }
    }

    /// Returns a notification to Pub/Sub after a delay, because Pub/Sub repeats it at once.
    async fn release(&self, pulled: Pulled, backoff: &mut Backoff, stop: &CancellationToken) {
        warn!(wait = ?backoff.peek(), "Releasing a notification for a retry");
        self.pause(backoff, stop).await;
        pulled.again();
    }

    async fn pause(&self, backoff: &mut Backoff, stop: &CancellationToken) {
        let wait = backoff.next_jittered((self.jitter)());
        stop.run_until_cancelled(sleep(wait)).await;
    }
}
