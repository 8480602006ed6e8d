//! Measures the latency from acceptance to the machine.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use postbell_core::{Clock, SystemClock, Tasks};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::load::{connect, next_message, push};
use crate::world::{Sender, body};

/// Machines that accept everything and record the time.
#[derive(Clone)]
pub(crate) struct Machines {
    arrivals: Arc<Mutex<HashMap<String, Duration>>>,
    clock: SystemClock,
    pub(crate) address: SocketAddr,
}

impl Machines {
    pub(crate) async fn start(tasks: &Tasks) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let machines = Self {
            arrivals: Arc::default(),
            clock: SystemClock::new(),
            address: listener.local_addr()?,
        };
        let router = Router::new()
            .route("/_kilo/gmail-pubsub", post(arrive))
            .with_state(machines.clone());
        tasks.start("machines", |stop| async move {
            let serving = axum::serve(listener, router);
            // The server ends with the measurement.
            let _ = stop.run_until_cancelled(serving.into_future()).await;
        });
        Ok(machines)
    }
}

async fn arrive(State(machines): State<Machines>, body: Bytes) {
    let now = machines.clock.elapsed();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = body["message"]["messageId"].as_str().unwrap_or_default();
    machines.arrivals.lock().insert(message.to_owned(), now);
}

/// Result of the measurement.
pub(crate) struct Latency {
    /// From the answer to the push until the machine has it, in microseconds; 0 if the machine had it
    /// first.
    pub(crate) times: Histogram<u64>,
    /// Pushes covered by a later one of the same mailbox.
    pub(crate) covered: usize,
}

/// Pushes a thousand notifications a second, round-robin over users, and waits for them at the machines.
pub(crate) async fn accept_to_machine(
    relay: SocketAddr,
    machines: &Machines,
    senders: &Arc<Vec<Sender>>,
    time: Duration,
) -> anyhow::Result<Latency> {
    let accepted = push_steadily(relay, senders, machines.clock, time).await?;
    // Wait for deliveries in flight.
    sleep(Duration::from_secs(1)).await;
    let arrivals = machines.arrivals.lock();
    let mut latency = Latency {
        times: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        covered: 0,
    };
    for (message, accepted_at) in &accepted {
        match arrivals.get(&format!("{message:020}")) {
            Some(arrived_at) => {
                let took = arrived_at.saturating_sub(*accepted_at);
                let micros = u64::try_from(took.as_micros())?;
                latency.times.saturating_record(micros);
            }
            None => latency.covered += 1,
        }
    }
    Ok(latency)
}

/// Pushes a thousand notifications a second, round-robin over users, and returns each with the time of its answer.
pub(crate) async fn push_steadily(
    relay: SocketAddr,
    senders: &Arc<Vec<Sender>>,
    clock: SystemClock,
    time: Duration,
) -> anyhow::Result<Vec<(u64, Duration)>> {
    const CONNECTIONS: u64 = 20;
    let rate = Duration::from_micros(1000 * CONNECTIONS);
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let mut running = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (senders, accepted) = (Arc::clone(senders), Arc::clone(&accepted));
        running.spawn(async move {
            let mut connection = connect(relay).await?;
            sleep(Duration::from_millis(number)).await;
            let mut ticks = interval(rate);
            let end = clock.elapsed() + time;
            let mut turn = usize::try_from(number)?;
            while clock.elapsed() < end {
                ticks.tick().await;
                let message = next_message();
                let sender = &senders[turn % senders.len()];
                push(&mut connection, sender, body(message)).await?;
                accepted.lock().push((message, clock.elapsed()));
                turn += usize::try_from(CONNECTIONS)?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(std::mem::take(&mut accepted.lock()))
}
