//! The traces of mail.

use std::sync::Arc;

use postbell_core::{Clock, Tasks, Tracer};
use postbell_telemetry::{OtlpExporter, OtlpSettings, Service};

use crate::config::TelemetryConfig;

/// What a process needs for the traces of mail.
pub(crate) struct Telemetry {
    pub(crate) tracer: Tracer,
    exporter: Option<OtlpExporter>,
}

impl Telemetry {
    /// Exports spans of the service `name`, if a collector is configured. Sends nothing yet.
    pub(crate) fn new(
        config: &TelemetryConfig,
        name: &str,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        config.check()?;
        let tracer = Tracer::new(|| fastrand::u64(..));
        let Some(url) = config.traces_url() else {
            return Ok(Self {
                tracer,
                exporter: None,
            });
        };
        let settings = OtlpSettings {
            url,
            headers: config.headers()?,
            service: Service {
                name: name.to_owned(),
                version: env!("CARGO_PKG_VERSION"),
                instance: format!("{:016x}", fastrand::u64(..)),
            },
        };
        let client = postbell_http::client()?;
        let (sink, exporter) = OtlpExporter::new(settings, client, Arc::clone(clock));
        Ok(Self {
            tracer: tracer.exporting(Arc::new(sink), config.sample),
            exporter: Some(exporter),
        })
    }

    /// Starts the export.
    pub(crate) fn start(self, tasks: &Tasks) {
        if let Some(exporter) = self.exporter {
            tasks.start("telemetry", |stop| exporter.run(stop));
        }
    }
}
