//! Measures `postbell controller` with idle children against a bare proxy.

mod held;
mod machine;
mod proxied;

use std::time::Duration;

use anyhow::ensure;
use postbell_core::{Clock, SystemClock};
use tokio::time::sleep;

use self::machine::Machine;
pub(crate) use self::proxied::serve_bare;
use crate::growth::{self, Samples};
use crate::report::{Line, Promise, say};

/// Rounds of the start; the median counts.
const STARTS: usize = 21;

/// Between two pushes of a steady load.
const PAUSE: Duration = Duration::from_millis(10);

/// Measures the controller; `hold` is how long WebSockets stay open.
pub(crate) async fn all(time: Duration, hold: Duration) -> anyhow::Result<()> {
    say("the controller, its children apart")?;
    proxied::all(time).await?;
    held::all(hold).await
}

/// Measures its start, and its memory at rest.
pub(crate) async fn rest() -> anyhow::Result<()> {
    say("the controller, its children apart")?;
    start().await?;
    at_rest().await
}

/// Time from exec to the answer of the first push, with credentials unpacked and both children started.
async fn start() -> anyhow::Result<()> {
    let machine = Machine::new().await?;
    let clock = SystemClock::new();
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = clock.elapsed();
        let controller = machine.start()?;
        while !machine.push().await {
            tokio::task::yield_now().await;
        }
        times.push(clock.elapsed().saturating_sub(begun));
        controller.terminate().await?;
    }
    times.sort();
    say(&format!("  slowest {:.1?}", times[STARTS - 1]))?;
    let line = Line {
        what: "from exec to the first push that is taken",
        measured: times[STARTS / 2].as_secs_f64() * 1000.0,
        promised: Promise::AtMost(20.0),
        unit: "ms",
    };
    Ok(line.print()?)
}

/// Watches its memory while pushes come one after the other.
pub(crate) async fn growth(time: Duration) -> anyhow::Result<Samples> {
    let machine = Machine::new().await?;
    let controller = machine.start()?;
    while !machine.push().await {
        tokio::task::yield_now().await;
    }
    let load = async {
        while machine.push().await {
            sleep(PAUSE).await;
        }
    };
    let samples = tokio::select! {
        samples = growth::sample(time, || controller.private_memory()) => samples?,
        () = load => anyhow::bail!("the controller refused a push"),
    };
    controller.terminate().await?;
    Ok(samples)
}

async fn at_rest() -> anyhow::Result<()> {
    let machine = Machine::new().await?;
    let controller = machine.start()?;
    while !machine.push().await {
        tokio::task::yield_now().await;
    }
    sleep(Duration::from_secs(2)).await;
    let private = controller.private_memory()?;
    controller.terminate().await?;
    ensure!(private > 0.1, "no process has {private} MB");
    let line = Line {
        what: "private memory at rest",
        measured: private,
        promised: Promise::AtMost(4.0),
        unit: "MB",
    };
    Ok(line.print()?)
}
