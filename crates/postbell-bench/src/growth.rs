//! Measures whether the private memory of relay, watcher and controller grows under a steady load.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{SystemClock, Tasks};
use tokio::time::sleep;

use crate::child::Served;
use crate::delivery::Arrivals;
use crate::latency::push_steadily;
use crate::measure::Inbox;
use crate::report::{Line, Promise, say};
use crate::world::{Machines, World, listening_at};
use crate::{controller, watcher};

/// Mailboxes of the relay, which gets a thousand pushes a second.
const MAILBOXES: usize = 1000;

/// Private memory in MB, after a tenth and a half of the time, and at its end.
pub(crate) type Samples = [f64; 3];

/// Loads all three for this time.
pub(crate) async fn all(time: Duration) -> anyhow::Result<()> {
    say(&format!(
        "private memory after a tenth and a half of {time:?} and at the end: the relay gets 1 000 pushes a second and \
         delivers them, the watcher 20 mails a second, the controller 100 pushes a second over new connections"
    ))?;
    let (relay, watcher, controller) = tokio::try_join!(
        Box::pin(of_relay(time)),
        Box::pin(watcher::growth(time)),
        Box::pin(controller::growth(time)),
    )?;
    for (what, samples) in [
        ("growth of the relay", relay),
        ("growth of the watcher", watcher),
        ("growth of the controller", controller),
    ] {
        let [first, middle, last] = samples;
        say(&format!("  {first:.1} MB, {middle:.1} MB, {last:.1} MB"))?;
        Line {
            what,
            measured: last - first,
            promised: Promise::AtMost(0.5),
            unit: "MB",
        }
        .print()?;
    }
    Ok(())
}

/// Takes samples of a process that is under load.
pub(crate) async fn sample(
    time: Duration,
    memory: impl Fn() -> anyhow::Result<f64>,
) -> anyhow::Result<Samples> {
    sleep(time / 10).await;
    let first = memory()?;
    sleep(time / 2 - time / 10).await;
    let middle = memory()?;
    sleep(time / 2).await;
    Ok([first, middle, memory()?])
}

async fn of_relay(time: Duration) -> anyhow::Result<Samples> {
    let world = World::new(MAILBOXES, MAILBOXES, Machines::Running).await?;
    let senders = Arc::new(world.senders(MAILBOXES));
    let tasks = Tasks::new();
    let arrivals = Arrivals::start(&tasks).await?;
    let inbox = Inbox::new()?;
    let variables = world.variables(&inbox.url, &listening_at(arrivals.address));
    let relay = Served::start("relay", &variables).await?;
    let clock = SystemClock::new();
    // Longer than the samples, so that the last is taken under load.
    let load = push_steadily(relay.address, &senders, clock, time + time);
    let samples = tokio::select! {
        samples = sample(time, || relay.private_memory()) => samples?,
        ended = load => anyhow::bail!("the load has ended: {:?}", ended.err()),
    };
    relay.stop().await?;
    tasks.stop(Duration::from_secs(10)).await?;
    world.stop().await;
    Ok(samples)
}
