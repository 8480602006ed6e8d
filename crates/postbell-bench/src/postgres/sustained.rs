//! A constant load for minutes: the size of the table that changes all the time, and what a delivery costs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use postbell_core::{Clock, SystemClock};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::load::{Deliveries, Pushes};
use super::server::Database;
use crate::child::status_of;
use crate::measure::millis;
use crate::report::say;

/// Pushes in a second, in groups of [`GROUP`].
pub(super) const RATE: u64 = 4000;

const GROUP: u64 = 20;

/// Before the first part: until the table was vacuumed a few times, it is smaller than it stays.
const WARM: Duration = Duration::from_secs(15);

/// Pushes that may wait for their answer at the same time.
const WAITING: usize = 2000;

/// A fifth of the load.
pub(super) struct Part {
    /// The mean size of the table, with its indexes, in MB.
    pub(super) size: f64,
}

/// Pushes at [`RATE`] for a duration, and delivers what is pending.
pub(super) async fn run(
    database: &Database,
    mailboxes: u64,
    time: Duration,
) -> anyhow::Result<Vec<Part>> {
    let pushes = Pushes::over(mailboxes);
    let deliveries = Deliveries::start(&database.queue, 2);
    part(database, &pushes, WARM).await?;
    let mut parts = Vec::new();
    for number in 1..=5 {
        let before = Costs::read(database, &deliveries).await?;
        let (sizes, times) = part(database, &pushes, time / 5).await?;
        let after = Costs::read(database, &deliveries).await?;
        let size = float(sizes.iter().sum()) / float(i64::try_from(sizes.len())?) / 1e6;
        say(&format!(
            "  part {number} of 5: {:.0} deliveries a second, {}; the table {size:.1} MB (at most {:.1}); accept p50 {:.1} ms, p99 {:.1} ms",
            after.deliveries(&before) / (time / 5).as_secs_f64(),
            after.each(&before),
            float(sizes.iter().max().copied().unwrap_or_default()) / 1e6,
            millis(times.value_at_quantile(0.5)),
            millis(times.value_at_quantile(0.99)),
        ))?;
        parts.push(Part { size });
    }
    deliveries.stop()?;
    Ok(parts)
}

/// Pushes for a while, and returns the size of the table each second, and the times of the answers.
async fn part(
    database: &Database,
    pushes: &Arc<Pushes>,
    time: Duration,
) -> anyhow::Result<(Vec<i64>, Histogram<u64>)> {
    let clock = SystemClock::new();
    let mut ticks = interval(Duration::from_secs(1) * u32::try_from(GROUP)? / u32::try_from(RATE)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    let mut sizes = Vec::new();
    let mut times = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    while clock.elapsed() < time {
        ticks.tick().await;
        for _ in 0..GROUP {
            let (notification, now) = pushes.next()?;
            let queue = Arc::clone(&database.queue);
            running.spawn(async move {
                let begun = clock.elapsed();
                queue.accept(notification, now).await?;
                anyhow::Ok(clock.elapsed().saturating_sub(begun))
            });
        }
        while let Some(ended) = running.try_join_next() {
            times.saturating_record(u64::try_from(ended??.as_micros())?);
        }
        while running.len() >= WAITING {
            let ended = running.join_next().await.context("nothing runs")?;
            times.saturating_record(u64::try_from(ended??.as_micros())?);
        }
        if clock.elapsed().as_secs() >= sizes.len() as u64 {
            let size = "SELECT pg_total_relation_size('pending')";
            sizes.push(database.number(size).await?);
        }
    }
    while let Some(ended) = running.join_next().await {
        times.saturating_record(u64::try_from(ended??.as_micros())?);
    }
    Ok((sizes, times))
}

/// What the server has spent.
struct Costs {
    deliveries: u64,
    /// Bytes of the write-ahead log.
    log: i64,
    /// Processor time of all its processes, in ticks of 10 ms.
    ticks: u64,
}

impl Costs {
    async fn read(database: &Database, deliveries: &Deliveries) -> anyhow::Result<Self> {
        let own = database.number("SELECT pg_backend_pid()::int8").await?;
        Ok(Self {
            deliveries: deliveries.count(),
            log: database
                .number("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::int8")
                .await?,
            ticks: ticks_of_server(u32::try_from(own)?)?,
        })
    }

    fn deliveries(&self, before: &Self) -> f64 {
        float((self.deliveries - before.deliveries).cast_signed())
    }

    /// What each delivery has cost.
    fn each(&self, before: &Self) -> String {
        let deliveries = self.deliveries(before);
        format!(
            "{:.0} µs of the server's processor and {:.1} KB of log each",
            float((self.ticks - before.ticks).cast_signed()) * 10_000.0 / deliveries,
            float(self.log - before.log) / deliveries / 1e3,
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn float(number: i64) -> f64 {
    number as f64
}

/// The processor time of a server, given one of its processes: that of the first process, of those that have ended and
/// of those that run.
fn ticks_of_server(one: u32) -> anyhow::Result<u64> {
    let first = status_of(one, "PPid:").context("the server ended")?;
    let mut ticks: u64 = times(&first, 4)?;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(Ok(process)) = name.to_str().map(str::parse) else {
            continue;
        };
        if status_of(process, "PPid:").is_some_and(|parent| parent == first) {
            // One may end in between.
            ticks += times(&process.to_string(), 2).unwrap_or_default();
        }
    }
    Ok(ticks)
}

/// The sum of the first `count` of utime, stime, cutime and cstime of proc(5).
fn times(process: &str, count: usize) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let times = fields.split(' ').skip(11).take(count);
    times.map(|time| Ok(time.parse::<u64>()?)).sum()
}
