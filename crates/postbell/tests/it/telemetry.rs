//! One trace per mail, as an OTLP receiver gets it and as the bot sees it.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use postbell_core::Tasks;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{DEADLOCK, Received, free_port, hurried_world, send};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_mail_is_one_trace_from_the_push_to_the_webhook_and_names_no_address() {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let handler = async move |body: Bytes| {
        sender
            .send(ExportTraceServiceRequest::decode(body).unwrap())
            .unwrap();
    };
    let router = Router::new().route("/v1/traces", post(handler));
    let collector = free_port().await;
    let address = collector.local_addr().unwrap();
    let tasks = Tasks::new();
    tasks.start("collector", |stop| {
        postbell_http::serve(collector, router, stop)
    });

    let listener = free_port().await;
    let mut world = hurried_world(listener.local_addr().unwrap()).await;
    world.config.telemetry.otlp_url = Some(format!("http://{address}").parse().unwrap());
    world.start_relay(listener).unwrap();
    world.begin().await.unwrap();
    let mut hooks = world.sandbox.bot().subscribe();
    let sent = [send(&world, 1)];
    let mut received = Received::default();
    received.wait_for(&sent, &mut hooks).await;
    let hook = world.sandbox.bot().hooks().pop().unwrap();
    let at_bot = hook.traceparent.unwrap();

    let mut spans: Vec<Span> = Vec::new();
    // The start of the watch is a notification, too.
    let of = |spans: &[Span], name: &str| {
        let is_it = |span: &&Span| span.name == name && at_bot[3..35] == hex(&span.trace_id);
        spans.iter().find(is_it).cloned()
    };
    while of(&spans, "push").is_none() || of(&spans, "deliver").is_none() {
        let request = timeout(DEADLOCK, requests.recv()).await.unwrap().unwrap();
        let text = format!("{request:?}");
        assert!(!text.contains('@'), "{text}");
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|one| one.scope_spans);
        spans.extend(scopes.flat_map(|one| one.spans));
    }
    let [push, delivery] = ["push", "deliver"].map(|name| of(&spans, name).unwrap());
    assert_eq!(delivery.parent_span_id, push.span_id);
    assert!(at_bot.ends_with("-01"), "{at_bot}");
    world.stop().await.unwrap();
    tasks.stop(Duration::from_secs(5)).await.unwrap();
}
