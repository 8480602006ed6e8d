//! Notifications of many mailboxes, and deliveries that cost nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use postbell_core::{
    Clock, DeliveryQueue, HistoryId, Notification, RelayId, Settlement, SystemClock, Timestamp,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::load::{Throughput, next_message, per};
use crate::world::{body, user};

/// Pushes that wait for their answer at the same time.
const CALLERS: usize = 256;

/// Mailboxes in a claim.
pub(super) const CLAIMED: usize = 100;

/// How long a claim is valid; longer than a measurement.
const LEASE: Duration = Duration::from_secs(600);

/// How long a dispatcher that found nothing waits.
const PAUSE: Duration = Duration::from_millis(5);

/// Notifications with rising history ids, spread over mailboxes.
pub(super) struct Pushes {
    mailboxes: u64,
    body: Bytes,
    clock: SystemClock,
}

impl Pushes {
    pub(super) fn over(mailboxes: u64) -> Arc<Self> {
        Arc::new(Self {
            mailboxes,
            body: body(1),
            clock: SystemClock::new(),
        })
    }

    pub(super) fn next(&self) -> anyhow::Result<(Notification, Timestamp)> {
        let number = next_message();
        // Visits the mailboxes in no order, about equally often.
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
        let user = user(usize::try_from(mixed % self.mailboxes)?);
        let now = self.clock.now();
        let notification = Notification {
            address: Some(format!("{user}@example.com").parse()?),
            user: user.parse()?,
            message_id: format!("{number:017}").parse()?,
            published_at: Some(now),
            trace: None,
            history_id: HistoryId::new(number),
            body: self.body.clone(),
        };
        Ok((notification, now))
    }
}

/// Pushes from [`CALLERS`] callers, each of which waits for its answer.
pub(super) async fn closed_loop<A, F>(
    pushes: &Arc<Pushes>,
    time: Duration,
    accept: A,
) -> anyhow::Result<Throughput>
where
    A: Fn(Notification, Timestamp) -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let clock = SystemClock::new();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (pushes, accept) = (Arc::clone(pushes), accept.clone());
        callers.spawn(async move {
            let mut times = Histogram::new_with_bounds(1, 60_000_000, 3)?;
            while clock.elapsed() < time {
                let (notification, now) = pushes.next()?;
                let begun = clock.elapsed();
                accept(notification, now).await?;
                let took = clock.elapsed().saturating_sub(begun);
                times.saturating_record(u64::try_from(took.as_micros())?);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    while let Some(ended) = callers.join_next().await {
        times.add(ended??)?;
    }
    Ok(Throughput {
        per_second: per(times.len(), clock.elapsed()),
        times,
    })
}

/// Accepts in a queue.
pub(super) async fn accept(
    queue: &Arc<dyn DeliveryQueue>,
    pushes: &Arc<Pushes>,
    time: Duration,
) -> anyhow::Result<Throughput> {
    let queue = Arc::clone(queue);
    let accept = move |notification, now| {
        let queue = Arc::clone(&queue);
        async move {
            queue.accept(notification, now).await?;
            Ok(())
        }
    };
    closed_loop(pushes, time, accept).await
}

/// Dispatchers whose machines accept everything at once. They end with this value.
pub(super) struct Deliveries {
    dispatchers: JoinSet<anyhow::Result<()>>,
    count: Arc<AtomicU64>,
}

impl Deliveries {
    pub(super) fn start(queue: &Arc<dyn DeliveryQueue>, dispatchers: i64) -> Self {
        let mut running = Self {
            dispatchers: JoinSet::new(),
            count: Arc::default(),
        };
        for number in 0..dispatchers {
            let (queue, count) = (Arc::clone(queue), Arc::clone(&running.count));
            running.dispatchers.spawn(async move {
                loop {
                    let delivered = deliver(&queue, RelayId::new(number)).await?;
                    count.fetch_add(delivered, Ordering::Relaxed);
                    if delivered == 0 {
                        sleep(PAUSE).await;
                    }
                }
            });
        }
        running
    }

    /// How many have ended.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends them, unless they have failed.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        match self.dispatchers.try_join_next() {
            None => Ok(()),
            Some(ended) => ended?.context("the deliveries failed"),
        }
    }
}

/// Claims what is due, and returns how many mailboxes.
pub(super) async fn claim(queue: &Arc<dyn DeliveryQueue>) -> anyhow::Result<u64> {
    let now = SystemClock::new().now();
    let claimed = queue.claim(RelayId::new(1), now, LEASE, CLAIMED).await?;
    Ok(claimed.claims.len() as u64)
}

/// Claims what is due, and settles it; returns how many mailboxes.
pub(super) async fn deliver(queue: &Arc<dyn DeliveryQueue>, relay: RelayId) -> anyhow::Result<u64> {
    let clock = SystemClock::new();
    let claimed = queue.claim(relay, clock.now(), LEASE, CLAIMED).await?;
    let now = clock.now();
    let settled = claimed
        .claims
        .iter()
        .map(|claim| queue.settle(claim, Settlement::Delivered, now));
    Ok(try_join_all(settled).await?.len() as u64)
}
