//! Measures the queue on PostgreSQL beside bare inserts on the same server: accepts, claims, the cost of a large
//! database, and what minutes of load leave of the table that changes all the time.

mod bare;
mod load;
mod server;
mod sustained;

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, RelayId, SystemClock};

use self::load::{Deliveries, Pushes};
use self::server::{Database, Server};
use crate::load::{Throughput, per};
use crate::measure::{in_words, middle};
use crate::report::{Line, Promise, say};
use crate::world::body;

/// Rounds of a comparison; the median counts.
const ROUNDS: usize = 3;

/// Rounds of a comparison that has to settle first, at most.
const MOST_ROUNDS: usize = 8;

/// By how much two rounds in a row may differ.
const AGREED: f64 = 0.1;

/// Mailboxes of the measurement beside bare inserts.
const MAILBOXES: u64 = 100_000;

/// Mailboxes in the small database.
const FEW: u64 = 1000;

/// Mailboxes that wait to be claimed.
const WAITING: u64 = 50_000;

/// Rows in a bare INSERT at most: as many as the queue's groups have.
const BATCH: usize = 256;

/// Runs all measurements.
pub(crate) async fn all(
    time: Duration,
    mailboxes: usize,
    sustained: Duration,
) -> anyhow::Result<()> {
    let mailboxes = u64::try_from(mailboxes)?;
    say(
        "the queue on PostgreSQL beside bare inserts, 256 callers, 4 connections, each push durable",
    )?;
    let server = Server::start()?;
    let databases = Databases::fill(&server, mailboxes).await?;
    say("  the databases are filled")?;
    accepts(&databases.accepts, time).await?;
    claims(&databases.claims).await?;
    // Before the large database has something to vacuum.
    table(&databases.sustained, sustained).await?;
    size(&databases, time, mailboxes).await
}

/// The measured databases, filled before the first measurement.
struct Databases {
    accepts: Database,
    claims: Database,
    sustained: Database,
    small: Database,
    large: Database,
}

impl Databases {
    async fn fill(server: &Server, mailboxes: u64) -> anyhow::Result<Self> {
        let databases = Self {
            accepts: server.database("accepts").await?,
            claims: server.database("claims").await?,
            sustained: server.database("sustained").await?,
            small: server.database("small").await?,
            large: server.database("large").await?,
        };
        databases.claims.fill(WAITING).await?;
        databases.sustained.fill(MAILBOXES).await?;
        databases.small.fill(FEW).await?;
        say(&format!("  filling a database with {mailboxes} mailboxes"))?;
        databases.large.fill(mailboxes).await?;
        let size = "SELECT pg_database_size('large')";
        let size = databases.large.number(size).await?;
        say(&format!("  it has {:.0} MB", sustained::float(size) / 1e6))?;
        // The filled rows are not written during a measurement.
        databases.large.session.batch_execute("CHECKPOINT").await?;
        Ok(databases)
    }
}

async fn accepts(database: &Database, time: Duration) -> anyhow::Result<()> {
    let pushes = Pushes::over(MAILBOXES);
    let warm = Duration::from_secs(1);
    let (mut shares, mut multiples) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare::insert(database, &pushes, warm, BATCH).await?;
        let batched = bare::insert(database, &pushes, time, BATCH).await?;
        let single = bare::insert(database, &pushes, time, 1).await?;
        database.forget().await?;
        load::accept(&database.queue, &pushes, warm).await?;
        let queue = load::accept(&database.queue, &pushes, time).await?;
        for (what, load) in [
            ("batched", &batched),
            ("one by one", &single),
            ("queue", &queue),
        ] {
            say_load(what, load)?;
        }
        shares.push(queue.per_second / batched.per_second);
        multiples.push(queue.per_second / single.per_second);
    }
    Line {
        what: "accepts a second, as a share of bare batched inserts",
        measured: middle(shares),
        promised: Promise::AtLeast(0.40),
        unit: "",
    }
    .print()?;
    Line {
        what: "accepts a second, in bare inserts one by one",
        measured: middle(multiples),
        promised: Promise::AtLeast(5.0),
        unit: "",
    }
    .print()?;
    Ok(())
}

async fn claims(database: &Database) -> anyhow::Result<()> {
    let body = body(1);
    let clock = SystemClock::new();
    let (mut claimed, mut delivered) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        database.make_due(WAITING, &body).await?;
        let begun = clock.elapsed();
        while load::claim(&database.queue).await? > 0 {}
        claimed.push(per(WAITING, clock.elapsed().saturating_sub(begun)));
        database.make_due(WAITING, &body).await?;
        let begun = clock.elapsed();
        while load::deliver(&database.queue, RelayId::new(1)).await? > 0 {}
        delivered.push(per(WAITING, clock.elapsed().saturating_sub(begun)));
    }
    say(&format!(
        "  claimed and settled {:.0} a second",
        middle(delivered)
    ))?;
    let line = Line {
        what: "mailboxes a second in claims of 100 by one worker",
        measured: middle(claimed),
        promised: Promise::AtLeast(15_000.0),
        unit: "",
    };
    Ok(line.print()?)
}

/// Measures until the large database is in memory and its pages were written once since the checkpoint, as they are in a
/// server that has run for a while: until two rounds agree. The lower one counts.
async fn size(databases: &Databases, time: Duration, mailboxes: u64) -> anyhow::Result<()> {
    let Databases { small, large, .. } = databases;
    let (few, many) = (Pushes::over(FEW), Pushes::over(mailboxes));
    let mut last = None;
    for round in 1..=MOST_ROUNDS {
        let of_small = while_delivering("small", small, &few, time).await?;
        let of_large = while_delivering("large", large, &many, time).await?;
        let of_same = while_delivering("large, few", large, &few, time).await?;
        let (share, same) = (of_large / of_small, of_same / of_small);
        say(&format!(
            "  round {round}: {share:.2}; with pushes for {FEW} of the large database's mailboxes only: {same:.2}"
        ))?;
        let agreed = last.filter(|last: &f64| (share / last - 1.0).abs() <= AGREED);
        if let Some(last) = agreed {
            return print_size(share.min(last));
        }
        last = Some(share);
    }
    say(&format!("  no two rounds agree to {AGREED}"))?;
    print_size(last.unwrap_or_default())
}

fn print_size(share: f64) -> anyhow::Result<()> {
    let line = Line {
        what: "accepts with the large database while deliveries run, in those with 1,000 mailboxes",
        measured: share,
        promised: Promise::AtLeast(0.8),
        unit: "",
    };
    Ok(line.print()?)
}

/// Accepts while deliveries run, and returns how many a second.
async fn while_delivering(
    what: &str,
    database: &Database,
    pushes: &Arc<Pushes>,
    time: Duration,
) -> anyhow::Result<f64> {
    database.forget().await?;
    let deliveries = Deliveries::start(&database.queue, 1);
    load::accept(&database.queue, pushes, Duration::from_secs(1)).await?;
    let before = deliveries.count();
    let load = load::accept(&database.queue, pushes, time).await?;
    let delivered = per(deliveries.count() - before, time);
    deliveries.stop()?;
    say_load(what, &load)?;
    say(&format!("             {delivered:.0} deliveries a second"))?;
    Ok(load.per_second)
}

async fn table(database: &Database, time: Duration) -> anyhow::Result<()> {
    say(&format!(
        "  {} pushes a second to {MAILBOXES} mailboxes for {} seconds",
        sustained::RATE,
        time.as_secs()
    ))?;
    let parts = sustained::run(database, MAILBOXES, time).await?;
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        return Ok(());
    };
    let line = Line {
        what: "the pending table in the last fifth, in the first fifth's size",
        measured: last.size / first.size,
        promised: Promise::Between(0.8, 1.2),
        unit: "",
    };
    Ok(line.print()?)
}

fn say_load(what: &str, load: &Throughput) -> std::io::Result<()> {
    say(&format!("  {what:<11}{}", in_words(load)))
}
