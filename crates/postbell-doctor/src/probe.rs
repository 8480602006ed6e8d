//! Requests to servers that are not trusted: answers are bounded, and errors do not repeat the request.

use postbell_core::Timestamp;
use postbell_http::{read_response, request_problem};
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
    let response = request
        .send()
        .await
        .map_err(|error| request_problem(&error))?;
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

/// Returns a foreign text without control characters, shortened.
pub(crate) fn printable(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    let shown = text.chars().filter(|character| !character.is_control());
    Some(shown.take(MAX_TEXT).collect())
}
