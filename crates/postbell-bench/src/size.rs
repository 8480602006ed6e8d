//! Measures what a push, a claim and the metrics cost with many mailboxes, and how large the database is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::{
    Clock, DELIVERIES_KEPT, DeliveryLog, DeliveryQueue, RelayId, Settlement, SystemClock,
};
use postbell_store::{Store, StoreOptions};
use tokio::time::sleep;

use crate::child::Served;
use crate::fill::{self, BACKLOG};
use crate::measure::{Inbox, NO_MACHINES, ROUNDS, in_words, middle, warm_and_load};
use crate::report::{Line, Promise, say};
use crate::world::{Sender, WAITING, World};

/// Mailboxes of the databases with which the large one is compared: one in which no more wait than are claimed, and another.
const FEWEST: usize = CLAIMED * WAITING;
const FEW: usize = 10_000;

/// How many mailboxes are claimed at once, and how often.
const CLAIMED: usize = 100;
const TIMES: usize = 21;

/// In which each waiting delivery is tried once.
const SETTLES: Duration = Duration::from_secs(20);

/// Milliseconds.
struct Costs {
    /// Of a claim.
    claim: f64,
    /// Of counting the queue for the metrics, which a relay does once a second at most.
    depth: f64,
}

/// Measures an empty database and others of up to `mailboxes` mailboxes, of which a tenth waits.
pub(crate) async fn all(
    world: &World,
    senders: &Arc<Vec<Sender>>,
    time: Duration,
    mailboxes: usize,
) -> anyhow::Result<()> {
    let inboxes = [Inbox::new()?, Inbox::new()?, Inbox::new()?, Inbox::new()?];
    let [empty, fewest, few, large] = &inboxes;
    let sizes = [FEWEST, FEW, mailboxes];
    say(&format!("  filling databases with {sizes:?} mailboxes"))?;
    let filled = [fewest, few, large];
    for (inbox, size) in filled.iter().zip(sizes) {
        fill::fill(&inbox.url, size).await?;
        let bytes = inbox.bytes()? / u64::try_from(size)?;
        say(&format!(
            "  {size} mailboxes: {bytes} bytes for each, after one delivery"
        ))?;
    }
    // The disk would write what was filled in, while the pushes wait for it.
    rustix::fs::sync();
    say("  the databases are filled")?;
    // Before a relay delivers: what it could not deliver is not due.
    let mut costs = Vec::new();
    for (inbox, size) in filled.iter().zip(sizes) {
        let of_size = costs_of(&inbox.url).await?;
        let Costs { claim, depth } = of_size;
        say(&format!(
            "  {size} mailboxes: {CLAIMED} are claimed in {claim:.2} ms, the queue is counted in {depth:.2} ms"
        ))?;
        costs.push(of_size);
    }
    let greatest = |cost: fn(&Costs) -> f64| {
        let of_others = costs[1..].iter().map(cost);
        of_others.fold(0.0, f64::max) / cost(&costs[0])
    };
    for (what, measured) in [
        (
            "the greatest cost of a claim, in that of the smallest database",
            greatest(|costs| costs.claim),
        ),
        (
            "the greatest cost of counting the queue, in the same",
            greatest(|costs| costs.depth),
        ),
    ] {
        Line {
            what,
            measured,
            promised: Promise::AtMost(1.20),
            unit: "",
        }
        .print()?;
    }
    pushes(world, senders, time, [empty, few, large]).await?;
    mails(few).await
}

/// Measures how a database grows with mails to the same mailboxes, until the list of deliveries of each is full.
async fn mails(inbox: &Inbox) -> anyhow::Result<()> {
    for round in 1..=DELIVERIES_KEPT + 10 {
        fill::deliver(&inbox.url, FEW, BACKLOG + u64::try_from(round)?).await?;
        if round % 10 == 0 {
            let bytes = inbox.bytes()? / u64::try_from(FEW)?;
            say(&format!(
                "  {FEW} mailboxes: {bytes} bytes for each, after {} deliveries",
                round + 1
            ))?;
        }
    }
    Ok(())
}

/// Measures pushes and the memory.
async fn pushes(
    world: &World,
    senders: &Arc<Vec<Sender>>,
    time: Duration,
    inboxes: [&Inbox; 3],
) -> anyhow::Result<()> {
    let mut relays = Vec::new();
    for inbox in inboxes {
        relays.push(Served::start("relay", &world.variables(&inbox.url, NO_MACHINES)).await?);
    }
    // By then the deliveries of all that wait were tried: their cost is not that of a push.
    sleep(SETTLES).await;
    let (mut of_few, mut of_large) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut rates = Vec::new();
        for (relay, name) in relays.iter().zip(["empty", "few", "large"]) {
            let load = warm_and_load(relay, senders, time).await?;
            say(&format!("  {name:<5} {}", in_words(&load)))?;
            rates.push(load.per_second);
        }
        of_few.push(rates[0] / rates[1]);
        of_large.push(rates[0] / rates[2]);
    }
    for (what, measured) in [
        (
            "cost of a push with 10,000 mailboxes, in that with none",
            middle(of_few),
        ),
        (
            "cost of a push with the large database, in the same",
            middle(of_large),
        ),
    ] {
        Line {
            what,
            measured,
            promised: Promise::AtMost(1.20),
            unit: "",
        }
        .print()?;
    }
    Line {
        what: "private memory with the large database, a tenth waiting",
        measured: relays[2].private_memory()?,
        promised: Promise::AtMost(60.0),
        unit: "MB",
    }
    .print()?;
    for relay in relays {
        relay.stop().await?;
    }
    Ok(())
}

/// Claims and counts, and leaves the queue as it was.
async fn costs_of(inbox: &str) -> anyhow::Result<Costs> {
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
