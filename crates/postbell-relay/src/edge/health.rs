//! Liveness and readiness.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{Edge, Refusal};

/// Answers as long as the process does.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Answers whether the inbox does.
pub(super) async fn ready(State(edge): State<Edge>) -> Result<Json<Value>, Refusal> {
    edge.inbox.next_due().await?;
    Ok(Json(json!({ "status": "ready" })))
}
