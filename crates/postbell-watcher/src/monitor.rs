//! The routes for monitoring: `/health`, `/ready` and `/metrics`. Unauthenticated, so that nothing they
//! answer names a mailbox, a message or an address.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use postbell_core::{Clock, ProblemCode};
use serde_json::json;

use crate::health::assess;
use crate::metrics::Metrics;
use crate::state_store::StateStore;

/// The paths of the routes: no push endpoint can have one of them.
pub const MONITOR_PATHS: [&str; 3] = [HEALTH, READY, METRICS];

const HEALTH: &str = "/health";
const READY: &str = "/ready";
const METRICS: &str = "/metrics";

/// The format of the answer (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers monitoring. Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    pub(crate) state: Arc<StateStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Monitor {
    /// The routes `/health`, `/ready` and `/metrics`.
    pub fn router(&self) -> Router {
        Router::new()
            .route(HEALTH, get(postbell_http::health))
            .route(READY, get(ready))
            .route(METRICS, get(metrics))
            .with_state(self.clone())
    }

    /// Returns what keeps mail from getting through, if anything does.
    pub async fn problem(&self) -> Option<ProblemCode> {
        let state = self.state.snapshot().await;
        assess(&state, self.clock.now()).problem.map(|one| one.code)
    }
}

/// Answers 200 if mail gets through, else 503 with the code of the problem.
async fn ready(State(monitor): State<Monitor>) -> Response {
    let assessed = assess(&monitor.state.snapshot().await, monitor.clock.now());
    match assessed.problem {
        None => Json(json!({ "status": "ready" })).into_response(),
        Some(problem) => {
            let since = problem.since.as_millis();
            let body = json!({ "status": "problem", "code": problem.code, "since": since });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn metrics(State(monitor): State<Monitor>) -> Response {
    let state = monitor.state.snapshot().await;
    let text = monitor.metrics.encode(&state, monitor.clock.now());
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}
