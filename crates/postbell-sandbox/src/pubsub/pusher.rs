//! Pushes a subscription's messages until they are acknowledged
//! (<https://cloud.google.com/pubsub/docs/push>).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backlog::Leased;
use super::push::Pushed;
use super::subscription::Subscription;
use crate::Sandbox;
use crate::fault_point::FaultPoint;
use crate::faults::Kind;

/// Maximum of outstanding pushes. Google's window grows to 3,000 per region.
const WINDOW: usize = 1_000;

/// Push back-off of a subscription: doubled for each consecutive refusal.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Delay of a push that a fault reorders.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(50);

/// Longer than any push takes, so that a message in flight is not taken twice.
const BEING_PUSHED: Duration = Duration::from_secs(365 * 86_400);

/// Pushes until the subscription is deleted or `stop` is cancelled. Without a push endpoint, messages
/// stay for pulls.
pub(super) async fn push_all(
    sandbox: Sandbox,
    subscription: Arc<Subscription>,
    stop: CancellationToken,
) {
    let pusher = Pusher {
        sandbox,
        subscription,
        refusals: AtomicU32::new(0),
    };
    let mut outstanding = FuturesUnordered::new();
    loop {
        if pusher.subscription.push_config().is_some() {
            let room = WINDOW - outstanding.len();
            for (ack_id, leased) in pusher.subscription.backlog.take(room, BEING_PUSHED) {
                outstanding.push(pusher.push_until_acknowledged(ack_id, leased));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = pusher.subscription.deleted.cancelled() => return,
            () = pusher.subscription.backlog.arrivals.notified() => (),
            Some(()) = outstanding.next() => (),
        }
    }
}

struct Pusher {
    sandbox: Sandbox,
    subscription: Arc<Subscription>,
    /// Consecutive refusals of the subscription.
    refusals: AtomicU32,
}

impl Pusher {
    async fn push_until_acknowledged(&self, ack_id: String, mut leased: Leased) {
        loop {
            self.back_off().await;
            let Some(config) = self.subscription.push_config() else {
                // The subscription was switched to pull.
                self.subscription.backlog.extend(&ack_id, Duration::ZERO);
                return;
            };
            let pushed = Pushed {
                sandbox: &self.sandbox,
                subscription: &self.subscription,
                config,
            };
            if self.attempt(&pushed, &leased).await {
                self.subscription.backlog.acknowledge(&ack_id);
                self.refusals.store(0, Ordering::Relaxed);
                return;
            }
            self.refusals.fetch_add(1, Ordering::Relaxed);
            let wait = self.subscription.retry_wait(leased.attempts);
            sleep(wait.min(self.sandbox.pubsub().longest_wait())).await;
            leased.attempts += 1;
        }
    }

    /// Pushes once, or applies a fault. Returns whether the push was acknowledged.
    async fn attempt(&self, pushed: &Pushed<'_>, leased: &Leased) -> bool {
        match self.sandbox.faults().take(FaultPoint::Push, "") {
            None => pushed.send(leased).await,
            Some(Kind::Delay { millis }) => {
                sleep(Duration::from_millis(millis)).await;
                pushed.send(leased).await
            }
            Some(Kind::Reorder) => {
                sleep(OVERTAKEN_WITHIN).await;
                pushed.send(leased).await
            }
            Some(Kind::Duplicate) => {
                let (first, second) = tokio::join!(pushed.send(leased), pushed.send(leased));
                first || second
            }
            Some(Kind::DropAfter) => {
                pushed.send(leased).await;
                false
            }
            // Every other fault is an answer that is no acknowledgement.
            Some(_) => false,
        }
    }

    /// Waits for the subscription's push back-off.
    async fn back_off(&self) {
        let refusals = self.refusals.load(Ordering::Relaxed);
        if refusals == 0 {
            return;
        }
        let doubled = 2_u32.saturating_pow(refusals.min(16) - 1);
        let wait = SHORTEST_BACKOFF
            .saturating_mul(doubled)
            .min(LONGEST_BACKOFF);
        sleep(wait.min(self.sandbox.pubsub().longest_wait())).await;
    }
}
