//! Pushes what a subscription holds, until it is acknowledged
//! (<https://cloud.google.com/pubsub/docs/push>).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backlog::Handed;
use super::push::Pushed;
use super::subscription::Subscription;
use crate::Sandbox;
use crate::faults::{Kind, Place};

/// How many pushes are outstanding at most. Google's window grows to 3,000 a region.
const WINDOW: usize = 1_000;

/// What a subscription waits after a refusal: doubled for each one in a row.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// How long a push waits that is to be overtaken.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(50);

/// Longer than any push takes: what is being pushed is nobody else's to take.
const BEING_PUSHED: Duration = Duration::from_secs(365 * 86_400);

/// Pushes until the subscription is deleted or `stop` is cancelled. While it has no push endpoint,
/// its messages wait to be pulled.
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
            for (ack_id, handed) in pusher.subscription.backlog.take(room, BEING_PUSHED) {
                outstanding.push(pusher.push_until_acknowledged(ack_id, handed));
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
    /// In a row, of the whole subscription.
    refusals: AtomicU32,
}

impl Pusher {
    async fn push_until_acknowledged(&self, ack_id: String, mut handed: Handed) {
        loop {
            self.back_off().await;
            let Some(config) = self.subscription.push_config() else {
                // It is for pulling by now.
                self.subscription.backlog.extend(&ack_id, Duration::ZERO);
                return;
            };
            let pushed = Pushed {
                sandbox: &self.sandbox,
                subscription: &self.subscription,
                config,
            };
            if self.attempt(&pushed, &handed).await {
                self.subscription.backlog.acknowledge(&ack_id);
                self.refusals.store(0, Ordering::Relaxed);
                return;
            }
            self.refusals.fetch_add(1, Ordering::Relaxed);
            let wait = self.subscription.retry_wait(handed.attempts);
            sleep(wait.min(self.sandbox.pubsub().longest_wait())).await;
            handed.attempts += 1;
        }
    }

    /// Pushes once, or does what a fault says. Returns whether it was acknowledged.
    async fn attempt(&self, pushed: &Pushed<'_>, handed: &Handed) -> bool {
        match self.sandbox.faults().strike(Place::Push) {
            None => pushed.send(handed).await,
            Some(Kind::Delay { millis }) => {
                sleep(Duration::from_millis(millis)).await;
                pushed.send(handed).await
            }
            Some(Kind::Reorder) => {
                sleep(OVERTAKEN_WITHIN).await;
                pushed.send(handed).await
            }
            Some(Kind::Duplicate) => {
                let (first, second) = tokio::join!(pushed.send(handed), pushed.send(handed));
                first || second
            }
            Some(Kind::DropAfter) => {
                pushed.send(handed).await;
                false
            }
            Some(Kind::Refuse { .. } | Kind::DropBefore | Kind::Wall { .. }) => false,
        }
    }

    /// Waits as the whole subscription does after refusals, whichever message they were for.
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
