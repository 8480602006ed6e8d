//! Measures how many notifications a second reach instant machines, under as many pushes as the relay accepts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use postbell_core::Tasks;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::child::Served;
use crate::fill::BACKLOG;
use crate::load::{Until, age_of, closed_loop};
use crate::measure::{CONNECTIONS, Inbox, ROUNDS, middle, millis};
use crate::report::{Line, Promise, say};
use crate::world::{Machines, World, listening_at};

/// Mailboxes that are pushed to in turn.
const MAILBOXES: usize = 1000;

/// What a machine reads of a push.
#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "messageId")]
    id: &'a str,
}

/// Instant machines: they take every push and record its time since it was sent, in microseconds.
#[derive(Clone)]
pub(crate) struct Arrivals {
    times: Arc<Mutex<Histogram<u64>>>,
    of_backlog: Arc<AtomicU64>,
    pub(crate) address: SocketAddr,
}

impl Arrivals {
    pub(crate) async fn start(tasks: &Tasks) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let arrivals = Self {
            times: Arc::new(Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3)?)),
            of_backlog: Arc::default(),
            address: listener.local_addr()?,
        };
        let router = Router::new().route("/_kilo/gmail-pubsub", post(arrive));
        let router = router.with_state(arrivals.clone());
        tasks.start("machines", |stop| async move {
            let serving = axum::serve(listener, router);
            // The server ends with the measurement.
            let _ = stop.run_until_cancelled(serving.into_future()).await;
        });
        Ok(arrivals)
    }

    pub(crate) fn times(&self) -> Histogram<u64> {
        self.times.lock().clone()
    }

    /// How many pushes had no time.
    pub(crate) fn of_backlog(&self) -> u64 {
        self.of_backlog.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.times.lock().reset();
    }
}

/// Measures the deliveries of several rounds.
pub(crate) async fn all(time: Duration) -> anyhow::Result<()> {
    say(
        "deliveries to instant machines, 1 000 mailboxes, 64 connections that push as fast as they can",
    )?;
    let world = World::new(MAILBOXES, MAILBOXES, Machines::Running).await?;
    let tasks = Tasks::new();
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(round(&world, &tasks, time).await?);
    }
    Line {
        what: "deliveries a second",
        measured: middle(rates),
        promised: Promise::AtLeast(15_000.0),
        unit: "",
    }
    .print()?;
    tasks.stop(Duration::from_secs(10)).await?;
    world.stop().await;
    Ok(())
}

/// Returns the deliveries a second of one relay with an empty database.
async fn round(world: &World, tasks: &Tasks, time: Duration) -> anyhow::Result<f64> {
    let senders = Arc::new(world.senders(MAILBOXES));
    let arrivals = Arrivals::start(tasks).await?;
    let inbox = Inbox::new()?;
    let variables = world.variables(&inbox.url, &listening_at(arrivals.address));
    let relay = Served::start("relay", &variables).await?;
    let warm = Until::After(Duration::from_secs(1));
    closed_loop(relay.address, &senders, CONNECTIONS, warm).await?;
    arrivals.reset();
    let until = Until::After(time);
    let accepted = closed_loop(relay.address, &senders, CONNECTIONS, until).await?;
    let (times, per_second) = (arrivals.times(), per_second(&arrivals, time));
    relay.stop().await?;
    say(&format!(
        "  {:>7.0} accepted a second, {per_second:>7.0} delivered, from push to machine p50 {:.2} ms, p99 {:.2} ms",
        accepted.per_second,
        millis(times.value_at_quantile(0.50)),
        millis(times.value_at_quantile(0.99)),
    ))?;
    Ok(per_second)
}

/// The deliveries a second since the arrivals were reset, this time ago.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn per_second(arrivals: &Arrivals, time: Duration) -> f64 {
    arrivals.times().len() as f64 / time.as_secs_f64()
}

async fn arrive(State(arrivals): State<Arrivals>, body: Bytes) -> StatusCode {
    let push = serde_json::from_slice::<Push<'_>>(&body).ok();
    let Some(Ok(message)) = push.map(|push| push.message.id.parse()) else {
        return StatusCode::BAD_REQUEST;
    };
    if message == BACKLOG {
        arrivals.of_backlog.fetch_add(1, Ordering::Relaxed);
    } else {
        arrivals.times.lock().saturating_record(age_of(message));
    }
    StatusCode::NO_CONTENT
}
