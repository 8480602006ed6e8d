//! Measures the deliveries after an outage: a backlog of an hour, beside new mail at a constant rate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use postbell_core::{Clock, SystemClock, Tasks};
use postbell_protocol::routes;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::child::Served;
use crate::delivery::{self, Arrivals};
use crate::fill;
use crate::latency::push_steadily;
use crate::load::{Until, closed_loop};
use crate::measure::{CONNECTIONS, Inbox, millis};
use crate::report::{Line, Promise, say};
use crate::world::{Machines, Sender, World, listening_at, push_account};

/// Mailboxes of the backlog.
const WAITING: usize = 100_000;

/// Mailboxes with new mail, which comes at a thousand a second.
const NEW: usize = 1000;

/// How long the mailboxes have waited.
const OUTAGE: Duration = Duration::from_secs(60 * 60);

/// How long the backlog may take; it is not delivered if it takes longer.
const LONGEST: Duration = Duration::from_secs(120);

/// A user's id in a question.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    user_id: String,
}

/// Measures how fast a backlog is delivered, and how long new mail takes beside it.
pub(crate) async fn all(time: Duration) -> anyhow::Result<()> {
    say(&format!(
        "{WAITING} mailboxes that have waited for an hour, beside 1 000 new mails a second to others"
    ))?;
    let world = World::new(NEW, NEW, Machines::Running).await?;
    let tasks = Tasks::new();
    let arrivals = Arrivals::start(&tasks).await?;
    let directory = start_directory(&tasks).await?;
    let inbox = Inbox::new()?;
    fill::wait(&inbox.url, WAITING, OUTAGE).await?;
    let mut variables = world.variables(&inbox.url, &listening_at(arrivals.address));
    variables.retain(|(name, _)| *name != "POSTBELL_DIRECTORY__URL");
    variables.push(("POSTBELL_DIRECTORY__URL", directory));
    let senders = Arc::new(world.senders(NEW));
    let relay = Served::start("relay", &variables).await?;
    let backlog = backlog(&relay, &arrivals, &senders).await?;
    let steady = steady(&relay, &arrivals, &senders, time).await?;
    relay.stop().await?;
    say(&format!(
        "  {backlog:.0} a second of the backlog and new mail, {steady:.0} without a backlog"
    ))?;
    Line {
        what: "deliveries a second after an outage, of the steady rate",
        measured: backlog / steady,
        promised: Promise::AtLeast(0.8),
        unit: "",
    }
    .print()?;
    tasks.stop(Duration::from_secs(10)).await?;
    world.stop().await;
    Ok(())
}

/// Returns the deliveries a second until the backlog is delivered.
async fn backlog(
    relay: &Served,
    arrivals: &Arrivals,
    senders: &Arc<Vec<Sender>>,
) -> anyhow::Result<f64> {
    let clock = SystemClock::new();
    let delivered = async {
        while arrivals.of_backlog() < WAITING as u64 {
            sleep(Duration::from_millis(10)).await;
        }
        (clock.elapsed(), arrivals.times().len())
    };
    let pushing = push_steadily(relay.address, senders, clock, LONGEST);
    let (took, new) = tokio::select! {
        delivered = timeout(LONGEST, delivered) => delivered.context("the backlog is not delivered")?,
        pushed = pushing => { pushed?; anyhow::bail!("the backlog is not delivered") }
    };
    let times = arrivals.times();
    ensure!(new > 0, "no new mail was delivered");
    for (what, quantile, most) in [
        (
            "new mail meanwhile, from push to controller, p50",
            0.50,
            100.0,
        ),
        (
            "new mail meanwhile, from push to controller, p99",
            0.99,
            1000.0,
        ),
    ] {
        Line {
            what,
            measured: millis(times.value_at_quantile(quantile)),
            promised: Promise::AtMost(most),
            unit: "ms",
        }
        .print()?;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let delivered = (WAITING as u64 + new) as f64;
    Ok(delivered / took.as_secs_f64())
}

/// Returns the deliveries a second of the same relay under as many pushes as it accepts.
async fn steady(
    relay: &Served,
    arrivals: &Arrivals,
    senders: &Arc<Vec<Sender>>,
    time: Duration,
) -> anyhow::Result<f64> {
    let warm = Until::After(Duration::from_secs(1));
    closed_loop(relay.address, senders, CONNECTIONS, warm).await?;
    arrivals.reset();
    closed_loop(relay.address, senders, CONNECTIONS, Until::After(time)).await?;
    Ok(delivery::per_second(arrivals, time))
}

/// Starts a directory that answers as Postbell's platform does, for any user, and returns its URL.
async fn start_directory(tasks: &Tasks) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = listening_at(listener.local_addr()?);
    let router = Router::new()
        .route(routes::LOOKUP, get(look_up))
        .route(routes::HISTORY_ID, post(async || StatusCode::NO_CONTENT));
    tasks.start("directory", |stop| async move {
        let serving = axum::serve(listener, router);
        // The server ends with the measurement.
        let _ = stop.run_until_cancelled(serving.into_future()).await;
    });
    Ok(url)
}

async fn look_up(Query(Asked { user_id }): Query<Asked>) -> impl IntoResponse {
    let user = json!({
        "sandboxId": format!("sandbox-of-{user_id}"), "status": "running", "flyAppName": "bot",
        "flyMachineId": "d8910", "googleConnected": true, "gmailNotificationsEnabled": true,
        "gmailPushOidcEmail": push_account(), "gatewayToken": "token", "freshForMs": 60_000,
    });
    Json(json!({ "user": user }))
}
