//! Requests to servers that are not trusted: answers are bounded, and errors do not repeat the request.

use std::error::Error;

use postbell_core::Timestamp;
use postbell_http::read_response;
use reqwest::tls::TlsInfo;
use reqwest::{RequestBuilder, Response, header};
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Maximum size of an answer. A status has some hundred bytes.
const MAX_BODY: usize = 64 * 1024;

/// Maximum length of a foreign text that is printed.
const MAX_TEXT: usize = 64;

/// An answer whose body is not read yet.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The `date` header.
    pub(crate) date: Option<Timestamp>,
    /// End of validity of the TLS certificate.
    pub(crate) certificate_ends: Option<Timestamp>,
    response: Response,
}

impl Answer {
    /// Reads the body, if it is JSON of a bounded size.
    pub(crate) async fn json(self) -> Option<Value> {
        let body = read_response(self.response, MAX_BODY).await.ok()?;
        serde_json::from_slice(&body).ok()
    }
}

/// Sends a request.
///
/// # Errors
///
/// The failure as a clause.
pub(crate) async fn send(request: RequestBuilder) -> Result<Answer, &'static str> {
    let response = request.send().await.map_err(|error| describe(&error))?;
    let date = response.headers().get(header::DATE);
    let date = date.and_then(|date| date.to_str().ok());
    let certificate = response.extensions().get::<TlsInfo>();
    let certificate = certificate.and_then(TlsInfo::peer_certificate);
    Ok(Answer {
        status: response.status().as_u16(),
        date: date.and_then(parse_date),
        certificate_ends: certificate.and_then(not_after),
        response,
    })
}

fn parse_date(text: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::default() + since)
}

fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// Describes an error. Its own text may contain the URL, and is too technical.
fn describe(error: &reqwest::Error) -> &'static str {
    let causes = std::iter::successors(error.source(), |cause: &&dyn Error| (*cause).source());
    let causes: String = causes.map(|cause| format!("{cause} ")).collect();
    let causes = causes.to_lowercase();
    let has = |word: &str| causes.contains(word);
    if error.is_timeout() {
        "the request timed out"
    } else if has("certificate") && has("expired") {
        "its certificate has expired"
    } else if has("certificate") && (has("notvalidforname") || has("not valid for name")) {
        "its certificate is for another name"
    } else if has("certificate") {
        "its certificate is not signed by an authority that this machine trusts"
    } else if has("dns error") || has("lookup") {
        "its name does not resolve"
    } else if has("refused") {
        "connection refused"
    } else if error.is_connect() {
        "the connection failed"
    } else {
        "the connection broke, or the server does not speak HTTP"
    }
}

/// Returns a foreign text without control characters, shortened.
pub(crate) fn printable(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    let shown = text.chars().filter(|character| !character.is_control());
    Some(shown.take(MAX_TEXT).collect())
}
