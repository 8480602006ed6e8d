//! Measures the controller's proxy against a bare proxy.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::http::{Request, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use postbell::config::Env;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::machine::Machine;
use crate::child::{self, Served};
use crate::load::{Throughput, Until, closed_loop};
use crate::measure::{in_words, middle};
use crate::report::{Line, Promise, say};
use crate::world::Sender;

/// Connections of the load generator.
const CONNECTIONS: usize = 64;

/// Rounds of the comparison; the median counts.
const ROUNDS: usize = 3;

/// The variable with the bare proxy's upstream.
const BACKEND: &str = "BACKEND";

pub(crate) async fn all(time: Duration) -> anyhow::Result<()> {
    let backend = Served::start("bare", &[]).await?;
    let mut shares = Vec::new();
    for _ in 0..ROUNDS {
        let variables = [(BACKEND, backend.address.to_string())];
        let bare = Served::start("proxy", &variables).await?;
        let of_bare = warm_and_load(bare.address, time).await?;
        bare.stop().await?;
        let machine = Machine::with_gateway(backend.address.port()).await?;
        let controller = machine.start()?;
        while !machine.push().await {
            tokio::task::yield_now().await;
        }
        let of_controller = warm_and_load(machine.address, time).await?;
        controller.terminate().await?;
        say(&format!("  bare proxy {}", in_words(&of_bare)))?;
        say(&format!("  controller {}", in_words(&of_controller)))?;
        shares.push(of_controller.per_second / of_bare.per_second);
    }
    backend.stop().await?;
    let line = Line {
        what: "requests a second let through, of a bare hyper proxy's",
        measured: middle(shares),
        promised: Promise::AtLeast(0.8),
        unit: "",
    };
    Ok(line.print()?)
}

async fn warm_and_load(
    address: std::net::SocketAddr,
    time: Duration,
) -> anyhow::Result<Throughput> {
    let sender = Sender {
        path: "/push/user/ann".to_owned(),
        authorization: "Bearer of somebody".to_owned(),
    };
    let senders = Arc::new(vec![sender]);
    let warm = Until::After(Duration::from_secs(1));
    closed_loop(address, &senders, CONNECTIONS, warm).await?;
    closed_loop(address, &senders, CONNECTIONS, Until::After(time)).await
}

/// The minimum that a proxy can do: hyper on both sides, only the address replaced.
pub(crate) async fn serve_bare() -> anyhow::Result<()> {
    let env = Env::from_process(None)?;
    let backend = env.variable(BACKEND).context("no backend")?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    child::tell_address(&listener)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    let backend: Arc<str> = backend.into();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, backend) = (client.clone(), Arc::clone(&backend));
        let pass_on = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            let path = request.uri().path();
            let uri: Result<Uri, _> = format!("http://{backend}{path}").parse();
            *request.uri_mut() = uri.unwrap_or_default();
            client.request(request)
        });
        connections.spawn(async move {
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), pass_on);
            // The sender notices if the connection ends.
            let _ = serving.await;
        });
    }
}
