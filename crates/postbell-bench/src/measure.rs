//! Runs the measurements one after the other.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, SystemClock, Tasks};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::child::Served;
use crate::delivery;
use crate::latency::{self, accept_to_machine};
use crate::load::{Throughput, Until, closed_loop, connect, push};
use crate::outage;
use crate::report::{Line, Promise, say};
use crate::size;
use crate::world::{Machines, Sender, USERS, World, body, listening_at};

/// Connections of the load generator.
pub(crate) const CONNECTIONS: usize = 64;

/// Rounds of a comparison; the median counts.
pub(crate) const ROUNDS: usize = 3;

/// Rounds of the start; the median counts.
const STARTS: usize = 11;

/// Tokens for the measurement with single-use tokens.
const TOKENS: usize = 20_000;

/// Nothing listens there. Stopped machines get no delivery.
pub(crate) const NO_MACHINES: &str = "http://127.0.0.1:9";

/// Runs all measurements.
pub(crate) async fn all(time: Duration, mailboxes: usize) -> anyhow::Result<()> {
    say("the relay beside a bare axum server, 64 connections, 200 users, each push durable")?;
    let world = World::new(USERS, mailboxes, Machines::Stopped).await?;
    let senders = Arc::new(world.senders(USERS));
    latency(mailboxes, time).await?;
    delivery::all(time).await?;
    outage::all(time).await?;
    shares(&world, &senders, time).await?;
    new_tokens(&world, &senders).await?;
    size::all(&world, &senders, time, mailboxes).await?;
    world.stop().await;
    Ok(())
}

/// Measures accepts alone.
pub(crate) async fn accepts(time: Duration) -> anyhow::Result<()> {
    let world = World::new(USERS, USERS, Machines::Stopped).await?;
    let senders = Arc::new(world.senders(USERS));
    shares(&world, &senders, time).await?;
    world.stop().await;
    Ok(())
}

/// Measures databases of several sizes alone.
pub(crate) async fn size(time: Duration, mailboxes: usize) -> anyhow::Result<()> {
    let world = World::new(USERS, mailboxes, Machines::Stopped).await?;
    let senders = Arc::new(world.senders(USERS));
    size::all(&world, &senders, time, mailboxes).await?;
    world.stop().await;
    Ok(())
}

/// Measures the relay's start, and its memory at rest.
pub(crate) async fn rest() -> anyhow::Result<()> {
    say("the relay")?;
    let world = World::new(USERS, USERS, Machines::Stopped).await?;
    let sender = &world.senders(1)[0];
    let clock = SystemClock::new();
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let inbox = Inbox::new()?;
        let variables = world.variables(&inbox.url, NO_MACHINES);
        let begun = clock.elapsed();
        let relay = Served::start("relay", &variables).await?;
        let mut connection = connect(relay.address).await?;
        push(&mut connection, sender, body(1)).await?;
        times.push(clock.elapsed().saturating_sub(begun).as_secs_f64() * 1000.0);
        relay.stop().await?;
    }
    Line {
        what: "from exec to the first push that is accepted",
        measured: middle(times),
        promised: Promise::AtMost(20.0),
        unit: "ms",
    }
    .print()?;
    let inbox = Inbox::new()?;
    let relay = Served::start("relay", &world.variables(&inbox.url, NO_MACHINES)).await?;
    sleep(Duration::from_secs(2)).await;
    let private = relay.private_memory()?;
    relay.stop().await?;
    world.stop().await;
    let line = Line {
        what: "private memory at rest",
        measured: private,
        promised: Promise::AtMost(8.0),
        unit: "MB",
    };
    Ok(line.print()?)
}

/// An empty database.
pub(crate) struct Inbox {
    folder: TempDir,
    pub(crate) url: String,
}

impl Inbox {
    pub(crate) fn new() -> anyhow::Result<Self> {
        // Beside the program, because the temporary folder may be in memory.
        let folder = tempfile::tempdir_in("target")?;
        let url = format!("sqlite:{}", folder.path().join("bench.db").display());
        Ok(Self { folder, url })
    }

    /// The size of its files.
    pub(crate) fn bytes(&self) -> anyhow::Result<u64> {
        let files = std::fs::read_dir(self.folder.path())?;
        files.map(|file| Ok(file?.metadata()?.len())).sum()
    }
}

async fn shares(world: &World, senders: &Arc<Vec<Sender>>, time: Duration) -> anyhow::Result<()> {
    let mut shares = Vec::new();
    let mut tails = Vec::new();
    for _ in 0..ROUNDS {
        let bare = Served::start("bare", &[]).await?;
        let of_bare = warm_and_load(&bare, senders, time).await?;
        bare.stop().await?;
        let inbox = Inbox::new()?;
        let relay = Served::start("relay", &world.variables(&inbox.url, NO_MACHINES)).await?;
        let of_relay = warm_and_load(&relay, senders, time).await?;
        relay.stop().await?;
        say(&format!("  bare  {}", in_words(&of_bare)))?;
        say(&format!("  relay {}", in_words(&of_relay)))?;
        shares.push(of_relay.per_second / of_bare.per_second);
        tails.push(p99(&of_relay) / p99(&of_bare));
    }
    Line {
        what: "accepted pushes a second, as a share of the bare server's",
        measured: middle(shares),
        promised: Promise::AtLeast(0.60),
        unit: "",
    }
    .print()?;
    Line {
        what: "p99 of accept, in the bare server's",
        measured: middle(tails),
        promised: Promise::AtMost(4.0),
        unit: "",
    }
    .print()?;
    Ok(())
}

async fn new_tokens(world: &World, known: &Arc<Vec<Sender>>) -> anyhow::Result<()> {
    let mut shares = Vec::new();
    let warm = Until::After(Duration::from_secs(1));
    for _ in 0..ROUNDS {
        let senders = Arc::new(world.senders(TOKENS));
        let bare = Served::start("bare", &[]).await?;
        closed_loop(bare.address, known, CONNECTIONS, warm).await?;
        let of_bare = closed_loop(bare.address, &senders, CONNECTIONS, Until::AllSent).await?;
        bare.stop().await?;
        let inbox = Inbox::new()?;
        let relay = Served::start("relay", &world.variables(&inbox.url, NO_MACHINES)).await?;
        closed_loop(relay.address, known, CONNECTIONS, warm).await?;
        let of_relay = closed_loop(relay.address, &senders, CONNECTIONS, Until::AllSent).await?;
        relay.stop().await?;
        say(&format!("  bare  {}", in_words(&of_bare)))?;
        say(&format!("  relay {}", in_words(&of_relay)))?;
        shares.push(of_relay.per_second / of_bare.per_second);
    }
    let line = Line {
        what: "the same with every token new (RSA each time)",
        measured: middle(shares),
        promised: Promise::AtLeast(0.30),
        unit: "",
    };
    Ok(line.print()?)
}

async fn latency(mailboxes: usize, time: Duration) -> anyhow::Result<()> {
    let world = World::new(USERS, mailboxes, Machines::Running).await?;
    let senders = Arc::new(world.senders(USERS));
    let tasks = Tasks::new();
    let machines = latency::Machines::start(&tasks).await?;
    let inbox = Inbox::new()?;
    let variables = world.variables(&inbox.url, &listening_at(machines.address));
    let relay = Served::start("relay", &variables).await?;
    // The first second opens connections and is not counted.
    let warm = Duration::from_secs(1);
    accept_to_machine(relay.address, &machines, &senders, warm).await?;
    let latency = accept_to_machine(relay.address, &machines, &senders, time).await?;
    relay.stop().await?;
    let times = &latency.times;
    say(&format!(
        "  {} pushes at 1 000 a second, {} of them covered by a later one",
        times.len() + latency.covered as u64,
        latency.covered
    ))?;
    for (what, quantile, most) in [
        ("from accept to the controller, p50", 0.50, 1.0),
        ("from accept to the controller, p99", 0.99, 5.0),
    ] {
        Line {
            what,
            measured: millis(times.value_at_quantile(quantile)),
            promised: Promise::AtMost(most),
            unit: "ms",
        }
        .print()?;
    }
    tasks.stop(Duration::from_secs(10)).await?;
    world.stop().await;
    Ok(())
}

pub(crate) async fn warm_and_load(
    server: &Served,
    senders: &Arc<Vec<Sender>>,
    time: Duration,
) -> anyhow::Result<Throughput> {
    let warm = Until::After(Duration::from_secs(1));
    closed_loop(server.address, senders, CONNECTIONS, warm).await?;
    closed_loop(server.address, senders, CONNECTIONS, Until::After(time)).await
}

pub(crate) fn in_words(load: &Throughput) -> String {
    format!(
        "{:>7.0} a second, p50 {:.2} ms, p99 {:.2} ms",
        load.per_second,
        millis(load.times.value_at_quantile(0.50)),
        millis(load.times.value_at_quantile(0.99)),
    )
}

fn p99(load: &Throughput) -> f64 {
    millis(load.times.value_at_quantile(0.99))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

pub(crate) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
