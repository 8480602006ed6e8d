//! Bodies that are too large, too slow or cut off.

use axum::body::{Body, Bytes};
use futures_util::stream::{self, StreamExt};
use postbell_http::{
    BodyError, ResponseError, client, drain, read_body, read_error, read_response,
};
use reqwest::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
    assert_eq!(read_body(Body::from("12345"), 5).await.unwrap(), "12345");
    let result = read_body(Body::from("12345"), 4).await;
    assert_eq!(result, Err(BodyError::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_too_slow() {
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from("1"))]);
    let body = Body::from_stream(first.chain(stream::pending()));
    assert_eq!(read_body(body, 5).await, Err(BodyError::TooSlow));
}

#[tokio::test]
async fn a_body_whose_connection_breaks_is_incomplete() {
    let broken = std::io::Error::other("broken");
    let parts = [Ok(Bytes::from("1")), Err(broken)];
    let body = Body::from_stream(stream::iter(parts));
    assert_eq!(read_body(body, 5).await, Err(BodyError::Incomplete));
}

/// Starts a server whose every answer has this status and a body without an end.
async fn endless(status: u16, servers: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    servers.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!("HTTP/1.1 {status} x\r\ntransfer-encoding: chunked\r\n\r\n");
            let mut sent = stream.write_all(head.as_bytes()).await;
            let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while sent.is_ok() {
                sent = stream.write_all(chunk.as_bytes()).await;
            }
        }
    });
    url
}

async fn get(url: &str) -> Response {
    client().unwrap().get(url).send().await.unwrap()
}

#[tokio::test]
async fn of_an_endless_response_only_the_start_is_read() {
    let mut servers = JoinSet::new();
    let url = endless(500, &mut servers).await;
    let start = read_error(get(&url).await).await;
    assert_eq!(start.len(), 64 * 1024);
    assert!(start.iter().all(|byte| *byte == b'x'));
    drain(get(&url).await).await;
    let url = endless(200, &mut servers).await;
    let read = read_response(get(&url).await, 1024 * 1024).await;
    assert!(matches!(read, Err(ResponseError::TooLarge)), "{read:?}");
}
