//! The protobuf messages of OTLP.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as OtlpKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status};
use postbell_core::{Span, SpanKind};

use crate::Service;

/// The name of the library that makes the spans.
const SCOPE: &str = "postbell";

/// Encodes spans of a process whose clock began `clock_began` after the Unix epoch.
pub(crate) fn request(
    service: &Service,
    clock_began: Duration,
    spans: Vec<Span>,
) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![
            attribute("service.name", service.name.clone()),
            attribute("service.version", service.version.to_owned()),
            attribute("service.instance.id", service.instance.clone()),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans
        .into_iter()
        .map(|one| span(one, clock_began))
        .collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn span(span: Span, clock_began: Duration) -> OtlpSpan {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let began = clock_began + span.began;
    let kind = match span.kind {
        SpanKind::Server => OtlpKind::Server,
        SpanKind::Client => OtlpKind::Client,
        SpanKind::Internal => OtlpKind::Internal,
    };
    let attributes = span.attributes.into_iter();
    OtlpSpan {
        trace_id: span.context.trace.to_bytes().to_vec(),
        span_id: span.context.span.to_bytes().to_vec(),
        parent_span_id: span
            .parent
            .map_or_else(Vec::new, |id| id.to_bytes().to_vec()),
        // The flags of W3C: sampled.
        flags: 1,
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanos(began),
        end_time_unix_nano: nanos(began + span.took),
        attributes: attributes
            .map(|(name, value)| attribute(name, value))
            .collect(),
        status: span.error.map(|message| Status {
            message,
            code: StatusCode::Error.into(),
        }),
        ..OtlpSpan::default()
    }
}

fn attribute(name: &str, value: String) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}
