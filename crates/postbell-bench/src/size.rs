//! Measures what a push, a claim and the metrics cost with many mailboxes, and how large the database is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::{Clock, DeliveryLog, DeliveryQueue, RelayId, Settlement, SystemClock};
use postbell_store::{Store, StoreOptions};

use crate::child::Served;
use crate::fill;
use crate::measure::{Inbox, NO_MACHINES, ROUNDS, in_words, middle, warm_and_load};
use crate::report::{Line, Promise, say};
use crate::world::{Sender, World};

/// Mailboxes of the database with which the large one is compared.
const FEW: usize = 10_000;

/// How many mailboxes are claimed at once, and how often.
const CLAIMED: usize = 100;
const TIMES: usize = 21;

/// Milliseconds.
struct Costs {
    /// Of a claim.
    claim: f64,
    /// Of counting the queue for the metrics, which a relay does once a second at most.
    depth: f64,
}

/// Measures an empty database, one of 10,000 mailboxes and one of `mailboxes`; a tenth of the mailboxes waits.
pub(crate) async fn all(
    world: &World,
    senders: &Arc<Vec<Sender>>,
    time: Duration,
    mailboxes: usize,
) -> anyhow::Result<()> {
    let [empty, few, large] = [Inbox::new()?, Inbox::new()?, Inbox::new()?];
    say(&format!(
        "  filling databases with {FEW} and {mailboxes} mailboxes"
    ))?;
    fill::fill(&few.url, FEW).await?;
    fill::fill(&large.url, mailboxes).await?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = large.bytes()? as f64 / mailboxes as f64;
    say(&format!(
        "  {bytes:.0} bytes for each mailbox, after one delivery"
    ))?;
    let of_few = costs(&few.url).await?;
    let of_large = costs(&large.url).await?;
    for (size, costs) in [(FEW, &of_few), (mailboxes, &of_large)] {
        let Costs { claim, depth } = costs;
        say(&format!(
            "  {size} mailboxes: {CLAIMED} are claimed in {claim:.2} ms, the queue is counted in {depth:.2} ms"
        ))?;
    }
    let lines = [
        (
            "cost of a claim with the large database, in that with 10,000",
            of_large.claim / of_few.claim,
        ),
        (
            "cost of counting the queue, in the same",
            of_large.depth / of_few.depth,
        ),
    ];
    for (what, measured) in lines {
        Line {
            what,
            measured,
            promised: Promise::AtMost(1.20),
            unit: "",
        }
        .print()?;
    }
    pushes(world, senders, time, &empty, &large).await
}

/// Measures pushes and the memory.
async fn pushes(
    world: &World,
    senders: &Arc<Vec<Sender>>,
    time: Duration,
    empty: &Inbox,
    large: &Inbox,
) -> anyhow::Result<()> {
    let of_empty = Served::start("relay", &world.variables(&empty.url, NO_MACHINES)).await?;
    let of_large = Served::start("relay", &world.variables(&large.url, NO_MACHINES)).await?;
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let empty = warm_and_load(&of_empty, senders, time).await?;
        let large = warm_and_load(&of_large, senders, time).await?;
        say(&format!("  empty {}", in_words(&empty)))?;
        say(&format!("  large {}", in_words(&large)))?;
        costs.push(empty.per_second / large.per_second);
    }
    Line {
        what: "cost of a push with the large database, in that with an empty one",
        measured: middle(costs),
        promised: Promise::AtMost(1.20),
        unit: "",
    }
    .print()?;
    Line {
        what: "private memory with the large database, a tenth waiting",
        measured: of_large.private_memory()?,
        promised: Promise::AtMost(60.0),
        unit: "MB",
    }
    .print()?;
    of_empty.stop().await?;
    of_large.stop().await
}

/// Claims and counts, and leaves the queue as it was.
async fn costs(inbox: &str) -> anyhow::Result<Costs> {
    let store = Store::open(inbox, StoreOptions::service())?;
    let (queue, log) = (store.queue(), store.log());
    let (mut claims, mut depths) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        claims.push(claim(&queue).await?);
        depths.push(count(&log).await?);
    }
    Ok(Costs {
        claim: middle(claims),
        depth: middle(depths),
    })
}

async fn claim(queue: &Arc<dyn DeliveryQueue>) -> anyhow::Result<f64> {
    let clock = SystemClock::new();
    let (relay, lease) = (RelayId::new(1), Duration::from_secs(60));
    let begun = clock.elapsed();
    let claimed = queue.claim(relay, clock.now(), lease, CLAIMED).await?;
    let took = clock.elapsed().saturating_sub(begun);
    claimed.claims.first().context("nothing waits")?;
    for claim in &claimed.claims {
        queue
            .settle(claim, Settlement::Release, clock.now())
            .await?;
    }
    Ok(took.as_secs_f64() * 1000.0)
}

async fn count(log: &Arc<dyn DeliveryLog>) -> anyhow::Result<f64> {
    let clock = SystemClock::new();
    let begun = clock.elapsed();
    log.depth().await?;
    Ok(clock.elapsed().saturating_sub(begun).as_secs_f64() * 1000.0)
}
