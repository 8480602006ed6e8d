//! What the relay and the watcher cost: shares of a bare server, measured in the same run on the
//! same machine.
//!
//! Every server runs in a process of its own: `postbell-bench bare` is axum that reads the body and
//! answers, `postbell-bench relay` is `postbell relay` by the same wiring. The load, the stand-in
//! for Google and the directory, and the machines are in the process that measures. Start reading
//! at `measure.rs`.

mod child;
mod fill;
mod latency;
mod load;
mod measure;
mod report;
mod watcher;
mod world;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use clap::{Parser, Subcommand};
use postbell::config::Surroundings;
use postbell::wiring;
use postbell_core::{SystemClock, Tasks};
use tokio::net::TcpListener;

/// Measure what the relay and the watcher cost
#[derive(Parser)]
struct Cli {
    /// Seconds for each measurement
    #[arg(long, default_value_t = 5, value_name = "N")]
    seconds: u64,

    /// Mailboxes in the large database
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    mailboxes: usize,

    #[command(subcommand)]
    server: Option<Server>,
}

#[derive(Subcommand)]
enum Server {
    /// Serve as a bare server does; the measurements start this themselves
    #[command(hide = true)]
    Bare,
    /// Serve as the relay does; the measurements start this themselves
    #[command(hide = true)]
    Relay,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.server {
        None => {
            watcher::all().await?;
            measure::all(Duration::from_secs(cli.seconds), cli.mailboxes).await
        }
        Some(Server::Bare) => bare().await,
        Some(Server::Relay) => relay().await,
    }
}

/// The least that a server can do with a push.
async fn bare() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    child::tell_address(&listener)?;
    let take = async |body: Bytes| {
        drop(body);
        StatusCode::NO_CONTENT
    };
    let router = Router::new().route("/push/user/{user}", post(take));
    axum::serve(listener, router).await?;
    Ok(())
}

async fn relay() -> anyhow::Result<()> {
    let config = Surroundings::of_process(None).load()?;
    let relay = wiring::relay(&config, Arc::new(SystemClock::new()))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    child::tell_address(&listener)?;
    let tasks = Tasks::new();
    relay.start(listener, &tasks);
    wiring::run_until_stopped(tasks, config.relay.grace).await?;
    Ok(())
}
