//! Clients that hold on to what they have.

use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};
use postbell_core::Tasks;
use postbell_http::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long a server may take to stop.
const GRACE: Duration = Duration::from_secs(15);

/// Starts a server and sends it one client's request.
async fn serve_request(router: Router, request: &str) -> (Tasks, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    tasks.start("server", |stop| serve(listener, router, stop));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    (tasks, client)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_of_the_response_is_cut_off() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let router = Router::new().route("/", get(async || vec![0; LENGTH]));
    let (tasks, mut client) = serve_request(router, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_secs(60)).await;
    let mut received = Vec::new();
    // A connection that is cut may end with or without an error.
    let _ = client.read_to_end(&mut received).await;
    assert!(received.len() < LENGTH, "the whole response arrived");
    tasks.stop(GRACE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_does_not_keep_the_server_from_stopping() {
    let router = Router::new().route("/", any(async |_: String| "never"));
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx";
    let (tasks, mut client) = serve_request(router, head).await;
    sleep(Duration::from_secs(1)).await;
    tasks.stop(GRACE).await.unwrap();
    let mut received = Vec::new();
    let _ = client.read_to_end(&mut received).await;
    assert!(received.is_empty());
}
