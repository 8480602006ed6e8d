//! Request bodies that are too large, too slow or cut off.

use axum::body::{Body, Bytes};
use futures_util::stream::{self, StreamExt};
use postbell_http::{BodyError, read_body};

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
