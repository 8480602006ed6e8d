//! Bodies of requests and responses, read only up to a limit.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use axum::http::StatusCode;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use reqwest::Response;
use tokio::time::timeout;

/// How long a whole request body may take. Pub/Sub, browsers and our own clients send it together
/// with the head.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The longest text of an error that is read, and how long it may take to arrive after the head.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const ERROR_TIME: Duration = Duration::from_secs(5);

/// How much of an unwanted body is read, and for how long, so that the connection can be reused.
const MAX_DRAIN_BYTES: usize = 16 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Why a request's body could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// The body did not arrive in time.
    #[error("expected the whole body within 10 seconds")]
    TooSlow,

    /// The body is over the limit.
    #[error("the body is over the limit")]
    TooLarge,

    /// The connection ended before the body did.
    #[error("the body is incomplete")]
    Incomplete,
}

impl BodyError {
    /// Returns the status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a request's body of at most `limit` bytes, within ten seconds.
///
/// # Errors
///
/// Fails if the body is too large, too slow or incomplete.
pub async fn read_body<B>(body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(Limited::new(body, limit).collect());
    // Nearly every body has arrived with its head, and then no timer is needed.
    let arrived = poll_fn(|context| Poll::Ready(body.as_mut().poll(context))).await;
    let body = match arrived {
        Poll::Ready(body) => body,
        Poll::Pending => timeout(BODY_TIME, body)
            .await
            .map_err(|_| BodyError::TooSlow)?,
    };
    body.map(Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            BodyError::TooLarge
        } else {
            BodyError::Incomplete
        }
    })
}

/// Why a response's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The connection broke. The cause does not contain the URL, which may hold a secret.
    #[error("the connection broke")]
    Broken(#[source] Box<dyn Error + Send + Sync>),

    /// The body is over the limit.
    #[error("its answer is too long")]
    TooLarge,
}

/// Reads a response's body of at most `limit` bytes. The client or the request sets the time-out.
///
/// # Errors
///
/// Fails if the connection breaks or the body is too large.
pub async fn read_response(mut response: Response, limit: usize) -> Result<Vec<u8>, ResponseError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > limit {
            return Err(ResponseError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads at most 64 KiB of an unsuccessful response's body, for at most five seconds. A longer one,
/// too slow or broken is cut: the error that the response reports matters more.
pub async fn read_error(response: Response) -> Vec<u8> {
    read_error_body(reqwest::Body::from(response)).await
}

/// The same with the body of a response.
pub async fn read_error_body<B>(body: B) -> Vec<u8>
where
    B: HttpBody<Data = Bytes>,
{
    read_start(body, MAX_ERROR_BYTES, ERROR_TIME).await
}

/// Reads a response's body without keeping it, so that the connection can be reused; the connection
/// is closed if the body is longer than 16 KiB or does not end within a second.
pub async fn drain(response: Response) {
    drain_body(reqwest::Body::from(response)).await;
}

/// The same with the body of a response.
pub async fn drain_body<B>(body: B)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    if body.is_end_stream() {
        return;
    }
    let mut body = pin!(Limited::new(body, MAX_DRAIN_BYTES));
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    // The rest is not needed.
    let _ = timeout(DRAIN_TIME, reading).await;
}

/// Reads a body until it ends, has `limit` bytes or `time` has passed.
async fn read_start<B>(body: B, limit: usize, time: Duration) -> Vec<u8>
where
    B: HttpBody<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut start = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let chunk = frame.into_data().unwrap_or_default();
            let room = limit - start.len();
            start.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                break;
            }
        }
    };
    // The part that has arrived by then is returned.
    let _ = timeout(time, reading).await;
    start
}

fn broken(error: reqwest::Error) -> ResponseError {
    ResponseError::Broken(error.without_url().into())
}
