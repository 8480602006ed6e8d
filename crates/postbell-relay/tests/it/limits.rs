use std::num::NonZeroU32;

use postbell_relay::Rate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, instance, notification};

/// Sends these bytes, and returns what comes back until the relay closes the connection.
async fn exchange(world: &World, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    // The relay may have closed the connection already; its response can still be read.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_user_over_the_rate_limit_learns_when_to_retry() {
    let one = NonZeroU32::new(1).unwrap();
    let world = World::with(|parts| {
        parts.rate = Rate {
            per_second: one,
            burst: one,
        };
    })
    .await;
    assert_eq!(world.push_with(&world.claims()).await, 204);
    let body = notification("m2", 8).to_string();
    let answer = world.push("/push/user/ann", &world.token(), body).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
    // Neither unauthenticated senders nor other users count against the limit.
    assert_eq!(
        world.push("/push/user/bob", "no.jwt", "").await.status(),
        401
    );
    world.sandbox.platform().put(instance("bob"));
    world.stop().await;
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let world = World::new().await;
    let long = "x".repeat(16 * 1024);
    let head = format!("GET /health HTTP/1.1\r\nconnection: close\r\nx-long: {long}\r\n\r\n");
    let answer = exchange(&world, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn a_url_over_the_limit_is_refused_and_not_repeated() {
    let world = World::new().await;
    let path = format!("/push/user/ann?{}", "hunter2".repeat(400));
    let answer = world.push(&path, &world.token(), "").await;
    assert_eq!(answer.status(), 414);
    assert!(!answer.text().await.unwrap().contains("hunter2"));
    world.stop().await;
}

#[tokio::test]
async fn malformed_http_ends_the_connection() {
    let world = World::new().await;
    for request in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /push/user/ann HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    ] {
        let answer = exchange(&world, request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_incomplete_body_is_not_stored() {
    let world = World::new().await;
    let token = world.token();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /push/user/ann HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: 400\r\n\r\n{{\"message\""
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(!answer.contains(" 204 "), "{answer}");
    world.assert_nothing_stored().await;
    world.stop().await;
}
