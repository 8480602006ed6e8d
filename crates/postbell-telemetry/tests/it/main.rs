//! The exporter and a receiver that decodes the official protobuf messages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use postbell_core::{SpanKind, SystemClock, Tasks, Tracer};
use postbell_telemetry::{OtlpExporter, OtlpSettings, Service};
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Request = (HeaderMap, ExportTraceServiceRequest);

/// A receiver that answers the first requests with these statuses, and then 200.
struct Collector {
    requests: mpsc::UnboundedReceiver<Request>,
    url: String,
    tasks: Tasks,
}

#[derive(Clone)]
struct Receiver {
    requests: mpsc::UnboundedSender<Request>,
    statuses: Arc<std::sync::Mutex<Vec<u16>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    receiver.requests.send((headers, request)).unwrap();
    let status = receiver.statuses.lock().unwrap().pop();
    StatusCode::from_u16(status.unwrap_or(200)).unwrap()
}

impl Collector {
    async fn start(statuses: &[u16]) -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let receiver = Receiver {
            requests: sender,
            statuses: Arc::new(std::sync::Mutex::new(statuses.to_vec())),
        };
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(receiver);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let tasks = Tasks::new();
        tasks.start("collector", |stop| {
            postbell_http::serve(listener, router, stop)
        });
        Self {
            requests,
            url,
            tasks,
        }
    }

    fn tracer(&self) -> (Tracer, Tasks) {
        export_to(&self.url)
    }
}

/// A tracer whose spans are sent to a URL, and the tasks of its exporter.
fn export_to(url: &str) -> (Tracer, Tasks) {
    let settings = OtlpSettings {
        url: url.parse().unwrap(),
        headers: HeaderMap::from_iter([("api-key".parse().unwrap(), "k".parse().unwrap())]),
        service: Service {
            name: "postbell-relay".to_owned(),
            version: "1.2.3",
            instance: "i".to_owned(),
        },
    };
    let client = postbell_http::client().unwrap();
    let (sink, exporter) = OtlpExporter::new(settings, client, Arc::new(SystemClock::new()));
    let tasks = Tasks::new();
    tasks.start("telemetry", |stop| exporter.run(stop));
    (Tracer::new(|| 7).exporting(Arc::new(sink), 1.0), tasks)
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|one| one.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn spans_reach_a_collector_with_their_ids_times_and_facts() {
    let mut collector = Collector::start(&[]).await;
    let (tracer, tasks) = collector.tracer();
    let push = tracer.begin("push", None, Duration::from_secs(1));
    let before = Some(push.context);
    let mut delivery = tracer.follow("deliver", SpanKind::Client, before, Duration::from_secs(2));
    delivery.set("postbell.outcome", "failed");
    delivery.fail("timeout");
    tracer.end(push, Duration::from_secs(2));
    tracer.end(delivery, Duration::from_secs(5));
    drop(tracer);
    tasks.stop(Duration::from_secs(20)).await.unwrap();

    let (headers, request) = collector.requests.recv().await.unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["api-key"], "k");
    let of_process = &request.resource_spans[0];
    let resource = &of_process.resource.as_ref().unwrap().attributes;
    assert_eq!(text(resource, "service.name"), Some("postbell-relay"));
    assert_eq!(text(resource, "service.version"), Some("1.2.3"));
    let [push, delivery] = &of_process.scope_spans[0].spans[..] else {
        panic!("{request:?}");
    };
    assert_eq!((push.name.as_str(), push.kind), ("push", 2));
    assert_eq!((delivery.name.as_str(), delivery.kind), ("deliver", 3));
    assert_eq!(push.trace_id, delivery.trace_id);
    assert_eq!(push.trace_id.len(), 16);
    assert_eq!(delivery.parent_span_id, push.span_id);
    assert!(push.parent_span_id.is_empty());
    let took = delivery.end_time_unix_nano - delivery.start_time_unix_nano;
    assert_eq!(took, 3_000_000_000);
    let between = delivery.start_time_unix_nano - push.start_time_unix_nano;
    assert_eq!(between, 1_000_000_000);
    assert_eq!(
        text(&delivery.attributes, "postbell.outcome"),
        Some("failed")
    );
    let status = delivery.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "timeout"));
    collector.tasks.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_collector_that_is_busy_gets_the_same_spans_again() {
    let mut collector = Collector::start(&[503]).await;
    let (tracer, tasks) = collector.tracer();
    tracer.end(tracer.begin("push", None, Duration::ZERO), Duration::ZERO);
    let (_, first) = collector.requests.recv().await.unwrap();
    let (_, second) = collector.requests.recv().await.unwrap();
    assert_eq!(
        first.resource_spans[0].scope_spans,
        second.resource_spans[0].scope_spans
    );
    tasks.stop(Duration::from_secs(20)).await.unwrap();
    collector.tasks.stop(Duration::from_secs(5)).await.unwrap();
}

/// The one that stops a process waits for less than a request may take.
#[tokio::test]
async fn a_collector_that_does_not_answer_delays_no_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (tracer, tasks) = export_to(&url);
    tracer.end(tracer.begin("push", None, Duration::ZERO), Duration::ZERO);
    let (mut connection, _) = listener.accept().await.unwrap();
    connection.read_u8().await.unwrap();

    tokio::time::pause();
    tasks.stop(Duration::from_secs(8)).await.unwrap();
}

/// Nothing reads the queue: what a push costs does not depend on the collector.
#[tokio::test]
async fn a_full_queue_drops_spans_and_blocks_nothing() {
    let collector = Collector::start(&[]).await;
    let settings = OtlpSettings {
        url: collector.url.parse().unwrap(),
        headers: HeaderMap::new(),
        service: Service {
            name: "x".to_owned(),
            version: "",
            instance: String::new(),
        },
    };
    let client = postbell_http::client().unwrap();
    let (sink, exporter) = OtlpExporter::new(settings, client, Arc::new(SystemClock::new()));
    let tracer = Tracer::new(|| 7).exporting(Arc::new(sink), 1.0);
    for _ in 0..100_000 {
        tracer.end(tracer.begin("push", None, Duration::ZERO), Duration::ZERO);
    }
    drop(exporter);
    tracer.end(tracer.begin("push", None, Duration::ZERO), Duration::ZERO);
    assert_eq!(tracer.dropped_spans(), 100_001 - 8192);
}
