//! Exports the spans of mail by OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! Spans go through a bounded queue, so that a collector that is slow or away costs spans and never
//! mail. Start reading at [`OtlpExporter`].

mod encoding;
mod exporter;

pub use exporter::{OtlpExporter, OtlpSettings, OtlpSink, Service};
