//! Pushes as fast as the server answers, over several connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use postbell_core::{Clock, SystemClock};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::world::{Sender, body};

/// By this clock messages are numbered.
static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);

/// The number of the last message.
static LAST_MESSAGE: AtomicU64 = AtomicU64::new(0);

/// Result of a load run.
pub(crate) struct Throughput {
    /// Answers per second.
    pub(crate) per_second: f64,
    /// Response times, in microseconds.
    pub(crate) times: Histogram<u64>,
}

/// Returns the number of a new message, which is greater than all before it: when it was made, in microseconds.
pub(crate) fn next_message() -> u64 {
    let now = micros(CLOCK.elapsed());
    let next = |last: u64| Some(now.max(last + 1));
    match LAST_MESSAGE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
        Ok(last) | Err(last) => now.max(last + 1),
    }
}

/// Returns the microseconds since a message was made.
pub(crate) fn age_of(message: u64) -> u64 {
    micros(CLOCK.elapsed()).saturating_sub(message)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Pushes to `address` for a duration, one push after the other on each connection.
///
/// With `once`, each token is used once, and the load ends when none is left.
pub(crate) async fn closed_loop(
    address: SocketAddr,
    senders: &Arc<Vec<Sender>>,
    connections: usize,
    until: Until,
) -> anyhow::Result<Throughput> {
    let clock = SystemClock::new();
    let next = Arc::new(AtomicU64::new(0));
    let mut running = JoinSet::new();
    for _ in 0..connections {
        running.spawn(one_connection(
            address,
            Arc::clone(senders),
            Arc::clone(&next),
            clock,
            until,
        ));
    }
    let mut times = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    while let Some(ended) = running.join_next().await {
        times.add(ended??)?;
    }
    let count = times.len();
    Ok(Throughput {
        per_second: per(count, clock.elapsed()),
        times,
    })
}

/// End of the load.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// After a duration.
    After(Duration),
    /// After one push of each sender.
    AllSent,
}

async fn one_connection(
    address: SocketAddr,
    senders: Arc<Vec<Sender>>,
    next: Arc<AtomicU64>,
    clock: SystemClock,
    until: Until,
) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let mut connection = connect(address).await?;
    loop {
        let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed))?;
        let is_over = match until {
            Until::After(time) => clock.elapsed() >= time,
            Until::AllSent => number >= senders.len(),
        };
        if is_over {
            return Ok(times);
        }
        let body = body(next_message());
        let begun = clock.elapsed();
        push(&mut connection, &senders[number % senders.len()], body).await?;
        let took = clock.elapsed().saturating_sub(begun);
        times.saturating_record(micros(took));
    }
}

/// Opens a connection for pushes, one after the other.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // The sender notices if the connection ends.
        let _ = connection.await;
    });
    Ok(Connection {
        requests,
        _driver: driver,
    })
}

pub(crate) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

/// Sends a push and waits for 204.
pub(crate) async fn push(
    connection: &mut Connection,
    sender: &Sender,
    body: Bytes,
) -> anyhow::Result<()> {
    let request = Request::post(&sender.path)
        .header("host", "push.example.com")
        .header("user-agent", "CloudPubSub-Google")
        .header("content-type", "application/json")
        .header("authorization", &sender.authorization)
        .body(Full::new(body))?;
    let answer = connection.requests.send_request(request).await;
    let answer = answer.context("the server is gone")?;
    let status = answer.status();
    answer.into_body().collect().await?;
    ensure!(status == 204, "expected 204, got {status}");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn per(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
