//! Several calls in one request
//! (<https://developers.google.com/workspace/gmail/api/guides/batch>).

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Request};
use axum::response::{IntoResponse, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::Sandbox;
use crate::errors::api_error;
use crate::rng::random_hex;

/// Gmail's limit of calls.
const MOST_CALLS: usize = 100;

/// The largest answer of a call.
const LIMIT: usize = 64 * 1024 * 1024;

/// Makes the calls in order. A call without credentials has those of the whole request.
pub(super) async fn run(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(parts) = parts(&headers, &body) else {
        return api_error(400, "Failed to parse batch request, error: 0 items.");
    };
    if parts.len() > MOST_CALLS {
        return api_error(400, "The batch request has too many calls.");
    }
    let router = TowerToHyperService::new(super::routes().with_state(sandbox));
    let boundary = format!("batch_{}", random_hex(12));
    let mut answers = Vec::new();
    for part in parts {
        let answer = match part.request(headers.get(AUTHORIZATION)) {
            Some(request) => match router.call(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
            None => api_error(400, "Failed to parse a call of the batch request."),
        };
        answers.extend(format!("--{boundary}\r\nContent-Type: application/http\r\n").bytes());
        if let Some(id) = part.id {
            // `<x>` is answered with `<response-x>`.
            let id = id.replacen('<', "<response-", 1);
            answers.extend(format!("Content-ID: {id}\r\n").bytes());
        }
        answers.extend(in_text(answer).await);
    }
    answers.extend(format!("--{boundary}--\r\n").bytes());
    let kind = format!("multipart/mixed; boundary={boundary}");
    ([(CONTENT_TYPE, kind)], answers).into_response()
}

/// An answer as HTTP/1.1 writes it.
async fn in_text(answer: Response) -> Vec<u8> {
    let status = answer.status();
    let mut text = format!("\r\nHTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in answer.headers() {
        if name == CONTENT_TYPE {
            text.extend([b"Content-Type: ", value.as_bytes(), b"\r\n"].concat());
        }
    }
    let body = to_bytes(answer.into_body(), LIMIT)
        .await
        .unwrap_or_default();
    text.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
    text.extend(&body);
    text.extend(b"\r\n");
    text
}

/// A call in a batch.
struct Part<'a> {
    id: Option<String>,
    /// The call as HTTP/1.1 writes it.
    call: &'a str,
}

/// The parts of a `multipart/mixed` body; `None` if it is not one with parts.
fn parts<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (_, boundary) = kind.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let delimiter = format!("--{boundary}");
    let body = str::from_utf8(body).ok()?;
    let mut pieces = body.split(delimiter.as_str());
    pieces.next()?;
    let pieces = pieces.take_while(|piece| !piece.starts_with("--"));
    let parts: Vec<_> = pieces.filter_map(Part::of).collect();
    (!parts.is_empty()).then_some(parts)
}

impl<'a> Part<'a> {
    fn of(piece: &'a str) -> Option<Self> {
        let (head, call) = head_and_rest(piece.trim_start())?;
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let id = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-id"));
        Some(Self {
            id: id.map(|(_, id)| id.trim().to_owned()),
            call,
        })
    }

    fn request(&self, authorization: Option<&HeaderValue>) -> Option<Request<Body>> {
        let call = self.call.trim_start();
        let (head, body) = head_and_rest(call).unwrap_or((call, ""));
        let mut lines = head.lines();
        let mut first = lines.next()?.split_whitespace();
        let (method, target) = (first.next()?, first.next()?);
        // A target may be a whole URL.
        let path = target.find("/gmail/v1/").map(|at| &target[at..])?;
        let mut request = Request::builder().method(method).uri(path);
        let given = request.headers_mut()?;
        if let Some(authorization) = authorization {
            given.insert(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = HeaderName::try_from(name.trim()).ok()?;
            given.insert(name, HeaderValue::from_str(value.trim()).ok()?);
        }
        request.body(Body::from(body.trim_end().to_owned())).ok()
    }
}

/// Splits at the first empty line.
fn head_and_rest(text: &str) -> Option<(&str, &str)> {
    text.split_once("\r\n\r\n")
        .or_else(|| text.split_once("\n\n"))
}
