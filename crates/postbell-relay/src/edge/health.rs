//! Readiness, and what was counted.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use postbell_core::Depth;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Edge, Refusal};

/// How long a count of what waits is good for: anybody may ask, and counting reads the disk.
const DEPTH_FRESH: Duration = Duration::from_secs(1);

/// The format of the answer (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How much waited a moment ago.
pub(super) type LastDepth = Mutex<Option<(Duration, Depth)>>;

/// Answers whether the inbox does.
pub(super) async fn ready(State(edge): State<Edge>) -> Result<Json<Value>, Refusal> {
    edge.parts().inbox.next_due().await?;
    Ok(Json(json!({ "status": "ready" })))
}

/// What was counted. Names nobody.
pub(super) async fn metrics(State(edge): State<Edge>) -> Result<Response, Refusal> {
    let depth = depth(&edge).await?;
    let parts = edge.parts();
    let text = parts.metrics.text(depth, parts.clock.now());
    let text = text.map_err(|_| Refusal::Unavailable("the metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

async fn depth(edge: &Edge) -> Result<Depth, Refusal> {
    let now = edge.parts().clock.elapsed();
    let mut last = edge.0.last_depth.lock().await;
    match *last {
        Some((counted_at, depth)) if now.saturating_sub(counted_at) < DEPTH_FRESH => Ok(depth),
        _ => {
            let depth = edge.parts().inbox.depth().await?;
            *last = Some((now, depth));
            Ok(depth)
        }
    }
}
