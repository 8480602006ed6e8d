//! The answers of faults.

use std::convert::Infallible;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;

use super::{Named, Reason};
use crate::clock::{http_date, rfc3339};
use crate::errors::{api_error, error_with_reason};
use crate::fault_point::FaultPoint;
use crate::fly;
use crate::rng::random_hex;

/// The page token of a page that repeats.
const AGAIN: &str = "again";

/// The length of each piece of an endless body.
const PIECE: usize = 16 * 1024;

/// The largest answer to which a page token is added.
const PAGE_LIMIT: usize = 16 * 1024 * 1024;

/// An error in the form of the point's API.
pub(super) fn refusal(point: FaultPoint, status: u16, text: &str) -> Response {
    match point {
        FaultPoint::FlyGet | FaultPoint::FlyStart | FaultPoint::FlyUpdate => {
            fly::error(status, text)
        }
        _ => api_error(status, text),
    }
}

pub(super) fn refusal_for(status: u16, reason: Reason) -> Response {
    let (domain, reason, word, message) = reason.parts();
    error_with_reason(status, message, domain, reason, word)
}

/// A refusal that names the time of the next call.
pub(super) fn refusal_until(point: FaultPoint, status: u16, millis: i64, named: Named) -> Response {
    match named {
        Named::Text => {
            let text = format!("User-rate limit exceeded.  Retry after {}", rfc3339(millis));
            refusal(point, status, &text)
        }
        Named::Header => {
            let mut answer = refusal(point, status, "The sandbox was configured to refuse this.");
            if let Ok(date) = HeaderValue::from_str(&http_date(millis)) {
                answer.headers_mut().insert(header::RETRY_AFTER, date);
            }
            answer
        }
    }
}

/// JSON that no client of Google's expects.
pub(super) fn unreadable() -> Response {
    const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    (JSON, r#"{"id":[1],"historyId":{},"payload":"none"}"#).into_response()
}

/// A body without an end.
pub(super) fn endless(status: u16) -> Response {
    let piece = Bytes::from(vec![b' '; PIECE]);
    let pieces = stream::repeat_with(move || Ok::<_, Infallible>(piece.clone()));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Body::from_stream(pieces)).into_response()
}

/// Answers a page whose token leads to the same page, or with a new token each time.
pub(super) async fn page(mut request: Request, next: Next, is_same: bool) -> Response {
    *request.uri_mut() = without_page_token(request.uri());
    let (parts, body) = next.run(request).await.into_parts();
    let body = to_bytes(body, PAGE_LIMIT).await.unwrap_or_default();
    match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(mut page)) => {
            let token = if is_same {
                AGAIN.to_owned()
            } else {
                random_hex(8)
            };
            page.insert("nextPageToken".to_owned(), token.into());
            (parts.status, axum::Json(page)).into_response()
        }
        _ => Response::from_parts(parts, body.into()),
    }
}

fn without_page_token(uri: &Uri) -> Uri {
    let parameters = uri.query().unwrap_or_default().split('&');
    let kept: Vec<_> = parameters
        .filter(|parameter| !parameter.starts_with("pageToken="))
        .collect();
    let target = format!("{}?{}", uri.path(), kept.join("&"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = target.parse::<PathAndQuery>().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}
