//! The queue of ended spans, and the task that sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use postbell_core::{Clock, Span, SpanSink};
use postbell_http::{read_response, retry_after};
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use url::Url;

use crate::encoding;

/// How many spans may wait. A span has about 300 bytes.
const QUEUED: usize = 8192;

/// How many spans share a request.
const BATCH: usize = 512;

/// How long the first span of a request waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(2);

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pauses between the tries of a request that the collector could not take now.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// The longest pause that a collector can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long an exporter that stops waits for the next span of work that ends, and for the collector.
const LAST_WAIT: Duration = Duration::from_secs(1);
const LAST_REQUEST: Duration = Duration::from_secs(3);

/// The pause between two warnings.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// The longest response that is read.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// Where the spans go.
pub struct OtlpSettings {
    /// URL of the traces, such as `http://127.0.0.1:4318/v1/traces`.
    pub url: Url,
    /// Further headers, as with the token of a service. They are secrets.
    pub headers: HeaderMap,
    /// Whose spans these are.
    pub service: Service,
}

/// Describes this process in its spans.
pub struct Service {
    /// Its name, such as `postbell-relay`.
    pub name: String,
    /// Its version.
    pub version: &'static str,
    /// Which of several processes with this name it is.
    pub instance: String,
}

/// Queues spans for an [`OtlpExporter`]. Never blocks: if the queue is full, the span is dropped.
pub struct OtlpSink {
    queue: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

impl SpanSink for OtlpSink {
    fn record(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Sends spans to a collector.
pub struct OtlpExporter {
    settings: OtlpSettings,
    client: Client,
    clock: Arc<dyn Clock>,
    queue: mpsc::Receiver<Span>,
    dropped: Arc<AtomicU64>,
    /// How many of them were logged.
    logged: u64,
    warned: Option<Instant>,
}

/// Why a request was not taken.
enum Refused {
    /// Now; it may be later. How long the collector asks to wait.
    Now(String, Option<Duration>),
    ForGood(String),
}

impl OtlpExporter {
    /// Returns the sink, and the exporter that sends what the sink takes.
    #[must_use]
    pub fn new(settings: OtlpSettings, client: Client, clock: Arc<dyn Clock>) -> (OtlpSink, Self) {
        let (sender, queue) = mpsc::channel(QUEUED);
        let dropped = Arc::new(AtomicU64::new(0));
        let sink = OtlpSink {
            queue: sender,
            dropped: Arc::clone(&dropped),
        };
        let exporter = Self {
            settings,
            client,
            clock,
            queue,
            dropped,
            logged: 0,
            warned: None,
        };
        (sink, exporter)
    }

    /// Sends spans until `stop`, and then those of the work that ends within a moment.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let Some(Some(first)) = stop.run_until_cancelled(self.queue.recv()).await else {
                break;
            };
            let spans = self.batch(first, BATCH_WAIT, &stop).await;
            let sent = self.send_with_retries(spans, &stop).await;
            self.report(sent);
        }
        while let Ok(Some(first)) = timeout(LAST_WAIT, self.queue.recv()).await {
            let spans = self.batch(first, LAST_WAIT, &stop).await;
            let body = self.encode(spans);
            if send_until(&stop, self.send(body)).await.is_err() {
                return;
            }
        }
    }

    /// Takes the spans that end within a time, or that have ended when a stop is requested.
    async fn batch(&mut self, first: Span, wait: Duration, stop: &CancellationToken) -> Vec<Span> {
        let until = Instant::now() + wait;
        let mut spans = vec![first];
        while spans.len() < BATCH {
            let next = match self.queue.try_recv() {
                Ok(next) => Some(next),
                Err(_) if stop.is_cancelled() => None,
                Err(_) => {
                    let next = stop.run_until_cancelled(timeout_at(until, self.queue.recv()));
                    next.await.and_then(Result::ok).flatten()
                }
            };
            match next {
                Some(next) => spans.push(next),
                None => break,
            }
        }
        spans
    }

    /// Sends spans, and again if the collector cannot take them now. Returns how many it has not kept,
    /// and why.
    async fn send_with_retries(
        &self,
        spans: Vec<Span>,
        stop: &CancellationToken,
    ) -> Result<(), (u64, String)> {
        let number = spans.len() as u64;
        let body = self.encode(spans);
        let mut pauses = PAUSES.into_iter();
        loop {
            let sent = send_until(stop, self.send(body.clone())).await;
            let (reason, asked) = match sent {
                Ok(0) => return Ok(()),
                Ok(rejected) => return Err((rejected, "it rejected them".to_owned())),
                Err(Refused::ForGood(reason)) => return Err((number, reason)),
                Err(Refused::Now(reason, asked)) => (reason, asked),
            };
            let Some(pause) = pauses.next() else {
                return Err((number, reason));
            };
            let pause = asked.map_or(pause, |asked| asked.min(LONGEST_PAUSE));
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return Err((number, reason));
            }
        }
    }

    fn encode(&self, spans: Vec<Span>) -> Bytes {
        let now = Duration::from_millis(self.clock.now().as_millis().unsigned_abs());
        let clock_began = now.saturating_sub(self.clock.elapsed());
        let request = encoding::request(&self.settings.service, clock_began, spans);
        request.encode_to_vec().into()
    }

    /// Sends a request once. Returns how many spans the collector rejected.
    async fn send(&self, body: Bytes) -> Result<u64, Refused> {
        let request = self
            .client
            .post(self.settings.url.clone())
            .timeout(TIMEOUT)
            .headers(self.settings.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        let response = request.send().await.map_err(|error| {
            let reason = if error.is_timeout() {
                "it did not answer in time"
            } else {
                "it cannot be reached"
            };
            Refused::Now(reason.to_owned(), None)
        })?;
        self.rejected(response).await
    }

    async fn rejected(&self, response: Response) -> Result<u64, Refused> {
        let status = response.status();
        let reason = || format!("it answered {status}", status = status.as_u16());
        match status {
            _ if status.is_success() => {
                let body = read_response(response, RESPONSE_LIMIT)
                    .await
                    .unwrap_or_default();
                let answer = ExportTraceServiceResponse::decode(&body[..]).unwrap_or_default();
                let rejected = answer.partial_success.map_or(0, |it| it.rejected_spans);
                Ok(rejected.unsigned_abs())
            }
            // The ones that the specification names retryable.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let asked = retry_after(response.headers(), self.clock.now());
                Err(Refused::Now(reason(), asked))
            }
            _ => Err(Refused::ForGood(reason())),
        }
    }

    /// Logs lost spans, at most once a minute.
    fn report(&mut self, sent: Result<(), (u64, String)>) {
        let reason = match sent {
            Ok(()) => "the queue was full".to_owned(),
            Err((number, reason)) => {
                self.dropped.fetch_add(number, Ordering::Relaxed);
                reason
            }
        };
        let is_quiet = self.warned.is_some_and(|at| at.elapsed() < WARNING_PAUSE);
        let total = self.dropped.load(Ordering::Relaxed);
        let dropped = total - self.logged;
        if is_quiet || dropped == 0 {
            return;
        }
        self.logged = total;
        self.warned = Some(Instant::now());
        warn!(
            dropped,
            reason, "The OTLP collector did not take {dropped} spans: {reason}"
        );
    }
}

/// Waits for a request, and for [`LAST_REQUEST`] at most once a stop is requested.
async fn send_until(
    stop: &CancellationToken,
    sent: impl Future<Output = Result<u64, Refused>>,
) -> Result<u64, Refused> {
    let last = async {
        stop.cancelled().await;
        sleep(LAST_REQUEST).await;
    };
    tokio::select! {
        sent = sent => sent,
        () = last => Err(Refused::Now("it did not answer in time".to_owned(), None)),
    }
}
