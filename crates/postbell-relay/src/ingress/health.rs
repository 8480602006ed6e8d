//! Readiness and metrics.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use postbell_core::Depth;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{ApiError, Ingress};

/// How long a counted depth is reused: the route is public, and counting reads the disk.
const DEPTH_LIFETIME: Duration = Duration::from_secs(1);

/// The format of the answer (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The last counted depth, and when it was counted.
pub(super) type CachedDepth = Mutex<Option<(Duration, Depth)>>;

/// Answers 200 if the store answers and takes writes, and no push was refused for want of Google's keys since
/// they were last fetched. Names in `warning` that they could not be fetched yet.
pub(super) async fn ready(State(ingress): State<Ingress>) -> Result<Json<Value>, ApiError> {
    let parts = ingress.parts();
    parts.queue.check_ready(parts.clock.now()).await?;
    parts.id_tokens.check_ready().await?;
    Ok(Json(if parts.id_tokens.lacks_keys() {
        json!({ "status": "ready", "warning": "Google's keys could not be fetched: pushes will be refused" })
    } else {
        json!({ "status": "ready" })
    }))
}

/// Answers with all metrics, none of which names a user.
pub(super) async fn metrics(State(ingress): State<Ingress>) -> Result<Response, ApiError> {
    let depth = depth(&ingress).await?;
    let parts = ingress.parts();
    parts.metrics.spans_dropped(parts.tracer.dropped_spans());
    let text = parts.metrics.encode(depth, parts.clock.now());
    let text = text.map_err(|_| ApiError::Unavailable("the metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

async fn depth(ingress: &Ingress) -> Result<Depth, ApiError> {
    let now = ingress.parts().clock.elapsed();
    let mut cached = ingress.0.depth.lock().await;
    match *cached {
        Some((counted_at, depth)) if now.saturating_sub(counted_at) < DEPTH_LIFETIME => Ok(depth),
        _ => {
            let depth = ingress.parts().log.depth().await?;
            *cached = Some((now, depth));
            Ok(depth)
        }
    }
}
