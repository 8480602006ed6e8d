//! Clients that hold on to what they have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};
use postbell_core::Tasks;
use postbell_http::{serve, serve_at_most};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How long a server may take to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(15);

/// How long an answer may take before the test fails.
pub(crate) const DEADLOCK: Duration = Duration::from_secs(10);

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

/// Starts a server with few connections; `/health` and `/slow` answer, the latter once it is told to.
async fn serve_few(limit: usize, released: Arc<Notify>) -> (Tasks, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = move || {
        let released = Arc::clone(&released);
        async move {
            released.notified().await;
            "slow"
        }
    };
    let router = Router::new()
        .route("/health", get(async || "ok"))
        .route("/slow", get(slow));
    let tasks = Tasks::new();
    tasks.start("server", move |stop| {
        serve_at_most(limit, listener, router, stop)
    });
    (tasks, address)
}

async fn send(client: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
}

/// Returns the status line of the next answer, or nothing if the connection was closed.
async fn status_line(client: &mut TcpStream) -> String {
    let mut answer = [0; 1024];
    let read = timeout(DEADLOCK, client.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn idle_connections_keep_neither_a_health_check_nor_a_push_out() {
    let released = Arc::new(Notify::new());
    let (tasks, address) = serve_few(8, Arc::clone(&released)).await;
    let mut pushing = TcpStream::connect(address).await.unwrap();
    send(&mut pushing, "/slow").await;
    let mut probe = TcpStream::connect(address).await.unwrap();
    send(&mut probe, "/health").await;
    assert_eq!(status_line(&mut probe).await, "HTTP/1.1 200 OK");

    let mut idle = Vec::new();
    for number in 0..40 {
        let mut client = TcpStream::connect(address).await.unwrap();
        // Half of them send a head that never ends.
        if number % 2 == 0 {
            client.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
        }
        idle.push(client);
    }
    for _ in 0..3 {
        let mut fresh = TcpStream::connect(address).await.unwrap();
        send(&mut fresh, "/health").await;
        assert_eq!(status_line(&mut fresh).await, "HTTP/1.1 200 OK");
    }
    send(&mut probe, "/health").await;
    assert_eq!(status_line(&mut probe).await, "HTTP/1.1 200 OK", "kept");
    released.notify_one();
    let answered = status_line(&mut pushing).await;
    assert_eq!(answered, "HTTP/1.1 200 OK", "in flight all the time");
    assert_eq!(status_line(&mut idle[0]).await, "", "closed");
    drop(idle);
    tasks.stop(GRACE).await.unwrap();
}
