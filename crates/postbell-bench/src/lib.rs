//! Measures the relay, the watcher, the controller and the pages as shares of a bare server, the queue on PostgreSQL
//! beside bare inserts, and the reading of mail beside html2text, in the same run on the same machine.
//!
//! Every server runs in its own process: `postbell-bench bare` is axum that reads the body and answers,
//! `postbell-bench relay` is `postbell relay` with the same wiring. Load generator, stand-ins for Google
//! and the directory, and machines run in the measuring process. Start reading at `measure.rs`.

mod child;
mod controller;
mod delivery;
mod fill;
mod growth;
mod latency;
mod load;
mod mail;
mod measure;
mod outage;
mod platform;
mod postgres;
mod report;
mod size;
mod watcher;
mod world;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use clap::{Parser, Subcommand, ValueEnum};
use postbell::config::Env;
use postbell::wiring;
use postbell_core::{SystemClock, Tasks};
use tokio::net::TcpListener;

/// Measure the parts of Postbell against bare servers
#[derive(Parser)]
struct Cli {
    /// Seconds for each measurement
    #[arg(long, default_value_t = 5, value_name = "N")]
    seconds: u64,

    /// Mailboxes in the large database
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    mailboxes: usize,

    /// Seconds for which WebSockets are held, and for which memory is watched under load
    #[arg(long, default_value_t = 600, value_name = "N")]
    hold: u64,

    /// Seconds of constant load on PostgreSQL
    #[arg(long, default_value_t = 60, value_name = "N")]
    sustained: u64,

    /// Measure only this part
    #[arg(long, value_enum, value_name = "PART")]
    only: Option<Part>,

    #[command(subcommand)]
    server: Option<Server>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Accepts,
    Controller,
    Deliveries,
    Growth,
    Mail,
    Outage,
    Platform,
    Postgres,
    Relay,
    Rest,
    Size,
    Watcher,
}

#[derive(Subcommand)]
enum Server {
    /// Run the bare server; started by the measurements
    #[command(hide = true)]
    Bare,
    /// Run the bare proxy; started by the measurements
    #[command(hide = true)]
    Proxy,
    /// Read a hostile mail from a file; started by the measurements
    #[command(hide = true)]
    Mail { file: String },
    /// Run the platform with a relay; started by the measurements
    #[command(hide = true)]
    Platform,
    /// Run the relay; started by the measurements
    #[command(hide = true)]
    Relay,
}

/// Measures, or runs the server that the arguments name.
///
/// # Errors
///
/// Fails if a measurement does.
pub async fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match &cli.server {
        None => measure_all(&cli).await,
        Some(Server::Bare) => bare().await,
        Some(Server::Proxy) => controller::serve_bare().await,
        Some(Server::Mail { file }) => mail::read_hostile(file),
        Some(Server::Platform) => platform::serve().await,
        Some(Server::Relay) => relay().await,
    }
}

async fn measure_all(cli: &Cli) -> anyhow::Result<()> {
    let time = Duration::from_secs(cli.seconds);
    let is_wanted = |part| cli.only.is_none_or(|only| only == part);
    if is_wanted(Part::Mail) {
        mail::all()?;
    }
    if is_wanted(Part::Watcher) {
        watcher::all().await?;
    }
    if is_wanted(Part::Controller) {
        controller::all(time, Duration::from_secs(cli.hold)).await?;
    }
    if is_wanted(Part::Platform) {
        platform::all(cli.mailboxes).await?;
    }
    if is_wanted(Part::Postgres) {
        postgres::all(time, cli.mailboxes, Duration::from_secs(cli.sustained)).await?;
    }
    if is_wanted(Part::Growth) {
        growth::all(Duration::from_secs(cli.hold)).await?;
    }
    if is_wanted(Part::Rest) {
        rest().await?;
    }
    match cli.only {
        None | Some(Part::Relay) => measure::all(time, cli.mailboxes).await?,
        Some(Part::Accepts) => measure::accepts(time).await?,
        Some(Part::Deliveries) => delivery::all(time).await?,
        Some(Part::Size) => measure::size(time, cli.mailboxes).await?,
        Some(Part::Outage) => outage::all(time).await?,
        Some(_) => (),
    }
    Ok(())
}

/// Measures start and memory at rest.
async fn rest() -> anyhow::Result<()> {
    watcher::rest().await?;
    controller::rest().await?;
    platform::rest().await?;
    measure::rest().await
}

/// The minimum that a server can do with a push.
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
    let config = Env::from_process(None)?.load()?;
    let service = wiring::Service::new(config.relay.grace)?;
    let relay = wiring::relay(&config, Arc::new(SystemClock::new()))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    child::tell_address(&listener)?;
    let tasks = Tasks::new();
    relay.start(listener, &tasks);
    service.run(tasks, String::new(), async || None).await;
    Ok(())
}
