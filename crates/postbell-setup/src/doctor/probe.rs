//! Asking whoever may be anybody: an answer is read as far as it may be long, and a failure is told
//! without what was asked.

use std::error::Error;

use postbell_core::Timestamp;
use postbell_http::read_response;
use reqwest::tls::TlsInfo;
use reqwest::{RequestBuilder, Response, header};
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The longest answer: a status is some hundred bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The longest text of somebody else's that is shown.
const LONGEST_TEXT: usize = 64;

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    /// What the answerer takes the time to be.
    pub(super) date: Option<Timestamp>,
    /// When its certificate ends, where it has shown one.
    pub(super) certificate_ends: Option<Timestamp>,
    response: Response,
}

impl Answer {
    /// The body, where it is JSON of a size that can be.
    pub(super) async fn json(self) -> Option<Value> {
        let body = read_response(self.response, LONGEST_ANSWER).await.ok()?;
        serde_json::from_slice(&body).ok()
    }
}

/// Asks.
///
/// # Errors
///
/// What happened instead of an answer, in a clause.
pub(super) async fn ask(request: RequestBuilder) -> Result<Answer, &'static str> {
    let response = request.send().await.map_err(|error| in_words(&error))?;
    let date = response.headers().get(header::DATE);
    let date = date.and_then(|date| date.to_str().ok());
    let certificate = response.extensions().get::<TlsInfo>();
    let certificate = certificate.and_then(TlsInfo::peer_certificate);
    Ok(Answer {
        status: response.status().as_u16(),
        date: date.and_then(read_date),
        certificate_ends: certificate.and_then(end_of),
        response,
    })
}

fn read_date(text: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::default() + since)
}

fn end_of(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// Says what happened. The error's own text may hold the URL, and words that nobody knows.
fn in_words(error: &reqwest::Error) -> &'static str {
    let causes = std::iter::successors(error.source(), |cause: &&dyn Error| (*cause).source());
    let causes: String = causes.map(|cause| format!("{cause} ")).collect();
    let causes = causes.to_lowercase();
    let has = |word: &str| causes.contains(word);
    if error.is_timeout() {
        "there is no answer in time"
    } else if has("certificate") && has("expired") {
        "its certificate has ended"
    } else if has("certificate") && (has("notvalidforname") || has("not valid for name")) {
        "its certificate is for another name"
    } else if has("certificate") {
        "its certificate is not valid: no authority that this machine trusts vouches for it"
    } else if has("dns error") || has("lookup") {
        "nobody knows its name"
    } else if has("refused") {
        "nobody listens there"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "the connection broke, or what answers speaks no HTTP"
    }
}

/// A text of somebody else's, as far as it is to be shown.
pub(super) fn short(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    let shown = text.chars().filter(|character| !character.is_control());
    Some(shown.take(LONGEST_TEXT).collect())
}
