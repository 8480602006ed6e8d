//! The trace of the sync in progress, which its webhook calls continue.

use std::sync::Arc;

use parking_lot::Mutex;
use postbell_core::{Clock, Span, SpanKind, TraceContext, Tracer};

use crate::delivery::Progress;
use crate::error::SyncError;
use crate::webhook::WebhookError;

/// Hands the trace of a sync to the webhook calls that it makes. There is one sync at a time.
pub(crate) struct SyncTrace {
    tracer: Tracer,
    clock: Arc<dyn Clock>,
    current: Mutex<Option<TraceContext>>,
}

impl SyncTrace {
    pub(crate) fn new(tracer: Tracer, clock: Arc<dyn Clock>) -> Self {
        Self {
            tracer,
            clock,
            current: Mutex::default(),
        }
    }

    /// Begins a sync: in the trace of the notification that asked for it, or in a new one.
    pub(crate) fn begin(&self, notified: Option<TraceContext>) -> Span {
        let now = self.clock.elapsed();
        let span = self
            .tracer
            .follow("sync", SpanKind::Internal, notified, now);
        *self.current.lock() = Some(span.context);
        span
    }

    /// Ends a sync. A poll that found nothing is not worth a span.
    pub(crate) fn end(&self, mut span: Span, progress: Progress, error: Option<&SyncError>) {
        let Progress {
            delivered,
            deferred,
        } = progress;
        if span.parent.is_none() && delivered + deferred == 0 && error.is_none() {
            return;
        }
        span.set("postbell.delivered", delivered);
        span.set("postbell.deferred", deferred);
        if let Some(error) = error {
            // Not its text, which may come from Gmail.
            let problem = error.problem().map(|problem| problem.code);
            span.fail(problem.map_or("failed", |code| code.as_str()));
        }
        self.tracer.end(span, self.clock.elapsed());
    }

    /// Begins a webhook call of the present sync.
    pub(crate) fn begin_call(&self) -> Span {
        let (sync, now) = (*self.current.lock(), self.clock.elapsed());
        self.tracer.follow("webhook", SpanKind::Client, sync, now)
    }

    /// Ends a webhook call with so many messages.
    pub(crate) fn end_call(
        &self,
        mut span: Span,
        messages: usize,
        posted: &Result<(), WebhookError>,
    ) {
        span.set("postbell.messages", messages);
        if let Err(error) = posted {
            span.fail(error);
        }
        self.tracer.end(span, self.clock.elapsed());
    }
}
