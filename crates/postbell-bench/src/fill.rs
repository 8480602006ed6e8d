//! Fills a large database.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::{
    Clock, DeliveryQueue, HistoryId, Notification, RelayId, Settlement, SystemClock, Timestamp,
};
use postbell_store::{Store, StoreOptions};
use tokio::task::JoinSet;

use crate::world::{WAITING, body, user};

/// The number of the message that every filled-in mailbox has.
pub(crate) const BACKLOG: u64 = 1;

/// Above the numbers of the world's mailboxes.
const FIRST_WAITING: usize = 5_000_000;

/// Concurrent calls.
const AT_ONCE: usize = 1000;

/// Fills a queue with this many mailboxes, some of them pending.
pub(crate) async fn fill(inbox: &str, mailboxes: usize) -> anyhow::Result<()> {
    let queue = Store::open(inbox, StoreOptions::service())?.queue();
    let now = SystemClock::new().now();
    let delivered = (0..mailboxes).filter(|number| number % WAITING != 0);
    accept_all(&queue, delivered, BACKLOG, now).await?;
    deliver_all(&queue, now).await?;
    let waiting = (0..mailboxes).step_by(WAITING);
    accept_all(&queue, waiting, BACKLOG, now).await
}

/// Delivers one more message to each mailbox.
pub(crate) async fn deliver(inbox: &str, mailboxes: usize, message: u64) -> anyhow::Result<()> {
    let queue = Store::open(inbox, StoreOptions::service())?.queue();
    let now = SystemClock::new().now();
    accept_all(&queue, 0..mailboxes, message, now).await?;
    deliver_all(&queue, now).await
}

async fn deliver_all(queue: &Arc<dyn DeliveryQueue>, now: Timestamp) -> anyhow::Result<()> {
    loop {
        let claims = queue
            .claim(RelayId::new(1), now, Duration::from_secs(60), AT_ONCE)
            .await?
            .claims;
        if claims.is_empty() {
            return Ok(());
        }
        let mut running = JoinSet::new();
        for claim in claims {
            let queue = Arc::clone(queue);
            running.spawn(async move { queue.settle(&claim, Settlement::Delivered, now).await });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
    }
}

/// Fills a queue with this many mailboxes that have waited for so long. None of them is one of the world's.
pub(crate) async fn wait(inbox: &str, mailboxes: usize, time: Duration) -> anyhow::Result<()> {
    let queue = Store::open(inbox, StoreOptions::service())?.queue();
    let now = SystemClock::new().now().as_millis();
    let since = Timestamp::from_millis(now - i64::try_from(time.as_millis())?);
    let numbers = FIRST_WAITING..FIRST_WAITING + mailboxes;
    accept_all(&queue, numbers, BACKLOG, since).await
}

async fn accept_all(
    queue: &Arc<dyn DeliveryQueue>,
    numbers: impl Iterator<Item = usize>,
    message: u64,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for number in numbers {
        if running.len() >= AT_ONCE {
            running.join_next().await.context("nothing runs")???;
        }
        let notification = Notification {
            trace: None,
            user: user(number).parse()?,
            address: None,
            message_id: format!("fill-{number}-{message}").parse()?,
            published_at: None,
            history_id: HistoryId::new(message),
            body: body(message),
        };
        let queue = Arc::clone(queue);
        running.spawn(async move { queue.accept(notification, now).await });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}
